"""WAVECAR: orbitals of each spin and k-point, read one k-point at a time.

The file consists of records of equal length. The first two hold record length, number of spins,
precision, numbers of k-points and bands, cutoff, lattice and Fermi level. Then follow, for each
spin and each k-point, one record with the number of plane waves, the k-point and, per band,
eigenvalue (complex) and occupation, and one record of plane-wave coefficients per band. The order
of the plane waves is that of :func:`mlcharge_flows.vasp.plane_waves.plane_waves`.

Orbitals are ``psi_nk(r) = sum_G c_G exp(i (k + G) r) / sqrt(V)``; VASP's are orthonormal with the
PAW overlap, so that the sum of ``|c_G|^2`` differs from 1. A Gamma-only file holds half of the
plane waves, all but G = 0 times sqrt(2).

References
----------
VASP wiki, WAVECAR, https://www.vasp.at/wiki/index.php/WAVECAR; pymatgen's ``Wavecar`` and WaveTrans
(R. M. Feenstra et al., Phys. Rev. B 87, 041406 (2013)) for the records.
"""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Self

import numpy as np

from mlcharge_flows.errors import MlchargeError
from mlcharge_flows.file_kinds import special_file
from mlcharge_flows.io import UnreadableFileError
from mlcharge_flows.vasp.plane_waves import Half, box_size, plane_waves

Precision = Literal["single", "double"]
"""Of the coefficients: complex64, as VASP usually writes, or complex128."""

PRECISIONS: dict[float, Precision] = {45200: "single", 45210: "double"}
"""Tag of record 1 -> precision."""

HEADER_NUMBERS = 13  # of record 2: numbers of k-points and bands, ENCUT, lattice, Fermi level
KPOINT_NUMBERS = 4  # of a k-point's record: number of plane waves, and the k-point
_MAX_COUNT = 10**7  # of k-points or bands: more are a sign of another file

_MAX_RATIO = 1000
"""Of the G vectors around the sphere of a k-point to those that a record holds: about twice what
the edges of the cell span to its volume, and twice that of a Gamma-only file."""


class WavecarError(MlchargeError, ValueError):
    """A WAVECAR that cannot be read; the message is one line that names the file."""


class IncompleteWavecarError(WavecarError):
    """A WAVECAR with a sound header whose records end too early or hold other plane waves."""


@dataclass(frozen=True, eq=False)
class WavecarHeader:
    """First two records of a WAVECAR.

    Parameters
    ----------
    lattice
        Lattice vectors as rows, shape (3, 3), in angstrom.
    encut
        Cutoff energy, in eV.
    n_kpoints
        Number of k-points.
    n_bands
        Number of bands.
    n_spins
        1 or 2.
    fermi_level
        In eV.
    precision
        ``"single"`` (complex64) or ``"double"`` (complex128), of the coefficients.
    half
        Axis of the half sphere of a Gamma-only file; None for all plane waves.
    record_length
        Bytes of a record; None for the shortest that holds every record.
    """

    lattice: np.ndarray
    encut: float
    n_kpoints: int
    n_bands: int
    n_spins: int = 1
    fermi_level: float = 0.0
    precision: Precision = "single"
    half: Half | None = None
    record_length: int | None = None

    @property
    def dtype(self) -> np.dtype[np.complex64] | np.dtype[np.complex128]:
        """Type of the coefficients."""
        return np.dtype(np.complex64) if self.precision == "single" else np.dtype(np.complex128)

    @property
    def n_records(self) -> int:
        """Number of records of the whole file."""
        return 2 + self.n_spins * self.n_kpoints * (1 + self.n_bands)

    def plane_waves(self, kpoint: np.ndarray) -> np.ndarray:
        """List the plane waves that the file holds of one k-point.

        Parameters
        ----------
        kpoint
            Fractional coordinates, shape (3,).

        Returns
        -------
        numpy.ndarray
            Indices of G, shape (n, 3).
        """
        return plane_waves(self.lattice, self.encut, kpoint, self.half)

    def shortest_record(self, n_plane_waves: int) -> int:
        """Compute the record length that VASP takes for the largest k-point.

        Parameters
        ----------
        n_plane_waves
            Largest number of plane waves of a k-point.

        Returns
        -------
        int
            Bytes.
        """
        numbers = max(HEADER_NUMBERS, KPOINT_NUMBERS + 3 * self.n_bands)
        # VASP takes an even number of coefficients.
        return max(8 * numbers, self.dtype.itemsize * 2 * ((n_plane_waves + 1) // 2))


@dataclass(frozen=True, eq=False)
class KPointOrbitals:
    """Orbitals of one spin at one k-point.

    Parameters
    ----------
    kpoint
        Fractional coordinates, shape (3,).
    energies
        Eigenvalues in eV, shape (bands,), complex: VASP writes the rounding error of the imaginary
        part.
    occupations
        Shape (bands,), between 0 and 1.
    coefficients
        Shape (bands, plane waves).
    """

    kpoint: np.ndarray
    energies: np.ndarray
    occupations: np.ndarray
    coefficients: np.ndarray


class WavecarReader:
    """An open WAVECAR, whose k-points are read when asked for.

    Parameters
    ----------
    path
        The file.
    half
        Axis of the half sphere, if the file turns out to be Gamma-only. The file does not tell:
        ``"x"`` is that of VASP 5.4 and later, ``"z"`` of older parallel builds; the OUTCAR does
        ("x direction half grid").

    Raises
    ------
    WavecarError
        The file is empty or of another format.
    IncompleteWavecarError
        It is truncated, or its plane waves are not those of its lattice and cutoff.
    OSError
        It cannot be opened.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from mlcharge_flows.vasp.wavecar_writer import WavecarWriter
    >>> header = WavecarHeader(2 * np.pi * np.eye(3), 3.9, n_kpoints=1, n_bands=1)
    >>> constant = np.eye(1, 7)
    >>> with TemporaryDirectory() as folder:
    ...     with WavecarWriter(Path(folder, "WAVECAR"), header, [np.zeros(3)]) as file:
    ...         file.write(KPointOrbitals(np.zeros(3), np.array([-1.0]), np.ones(1), constant))
    ...     with WavecarReader(Path(folder, "WAVECAR")) as file:
    ...         orbitals = file.read(0)
    >>> orbitals.energies.real.tolist(), orbitals.coefficients.real.tolist()
    ([-1.0], [[1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0]])
    """

    def __init__(self, path: str | Path, half: Half = "x") -> None:
        self.path = Path(path)
        with ExitStack() as stack:
            if reason := special_file(path):
                raise UnreadableFileError(f"{path}: {reason}")
            self._file = stack.enter_context(self.path.open("rb"))
            self._size = self.path.stat().st_size
            self.header = self._read_header()
            self.header = replace(self.header, half=self._half(half))
            self._exits = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def _read_header(self) -> WavecarHeader:
        if self._size < 8 * 3:
            raise WavecarError(f"{self.path}: the file is empty or ends in its first record")
        length, n_spins, tag = np.fromfile(self._file, "f8", 3)
        if (
            tag not in PRECISIONS
            or n_spins not in (1, 2)
            or not 8 * HEADER_NUMBERS <= length < 2**53
        ):
            raise WavecarError(
                f"{self.path}: not a WAVECAR of VASP 5 or 6 (record length {length:g}, "
                f"{n_spins:g} spins, precision {tag:g})"
            )
        if length % 8 or self._size < 2 * length:
            raise WavecarError(f"{self.path}: the header is damaged or truncated")
        self._file.seek(int(length))
        numbers = np.fromfile(self._file, "f8", HEADER_NUMBERS)
        n_kpoints, n_bands, encut = numbers[:3]
        lattice = numbers[3:12].reshape(3, 3)
        whole = all(0 < n < _MAX_COUNT and n == int(n) for n in (n_kpoints, n_bands))
        if not (whole and np.isfinite(numbers).all() and encut > 0 and np.linalg.det(lattice)):
            raise WavecarError(f"{self.path}: the header is damaged")
        header = WavecarHeader(
            lattice,
            float(encut),
            int(n_kpoints),
            int(n_bands),
            int(n_spins),
            float(numbers[12]),
            PRECISIONS[tag],
            record_length=int(length),
        )
        if self._size < header.n_records * length:
            raise IncompleteWavecarError(
                f"{self.path}: truncated, {self._size / length:.1f} of {header.n_records} records"
            )
        return header

    def _half(self, half: Half) -> Half | None:
        """Whether the first k-point holds all plane waves, or half of them."""
        n_file, kpoint = self.read_kpoint(0)
        n_all = len(self.header.plane_waves(kpoint))
        if n_file == n_all:
            return None
        if not kpoint.any() and self.header.n_kpoints == 1 and n_file == (n_all + 1) // 2:
            return half
        if n_file == 2 * n_all:
            raise IncompleteWavecarError(f"{self.path}: spinors of a non-collinear run")
        raise IncompleteWavecarError(
            f"{self.path}: {n_file} plane waves at k-point 1, its lattice and cutoff give {n_all}"
        )

    def _numbers(self, spin: int, k: int, count: int) -> np.ndarray:
        """First numbers of the record of a k-point."""
        header = self.header
        record = 2 + (spin * header.n_kpoints + k) * (1 + header.n_bands)
        assert header.record_length is not None
        self._file.seek(record * header.record_length)
        return np.fromfile(self._file, "f8", count)

    def read_kpoint(self, k: int) -> tuple[int, np.ndarray]:
        """Read number of plane waves and coordinates of a k-point.

        Parameters
        ----------
        k
            Index of the k-point, from 0.

        Returns
        -------
        n_plane_waves : int
            Coefficients of each band.
        kpoint : numpy.ndarray
            Fractional coordinates, shape (3,).

        Raises
        ------
        IncompleteWavecarError
            The numbers make no sense.
        """
        numbers = self._numbers(0, k, KPOINT_NUMBERS)
        n = numbers[0]
        assert self.header.record_length is not None
        most = self.header.record_length // self.header.dtype.itemsize
        if not np.isfinite(numbers[1:]).all():
            raise IncompleteWavecarError(f"{self.path}: k-point {k + 1} is not finite")
        if not (0 < n <= most and n == int(n)):
            raise IncompleteWavecarError(f"{self.path}: {n:g} plane waves at k-point {k + 1}")
        if box_size(self.header.lattice, self.header.encut, numbers[1:]) > _MAX_RATIO * most:
            raise IncompleteWavecarError(
                f"{self.path}: lattice, cutoff or k-point {k + 1} make no sense for records of "
                f"{most} plane waves"
            )
        return int(n), numbers[1:]

    def read(self, k: int, spin: int = 0) -> KPointOrbitals:
        """Read the orbitals of one spin at one k-point.

        Parameters
        ----------
        k
            Index of the k-point, from 0.
        spin
            0, or 1 for the second spin.

        Returns
        -------
        KPointOrbitals
            As many coefficients per band as :meth:`WavecarHeader.plane_waves` has G vectors.

        Raises
        ------
        IncompleteWavecarError
            The number of plane waves is not that of the lattice, cutoff and k-point, or a
            coefficient or occupation is not finite.
        IndexError
            There is no such k-point or spin.
        """
        header = self.header
        if not (0 <= k < header.n_kpoints and 0 <= spin < header.n_spins):
            raise IndexError(f"{self.path}: no k-point {k} of spin {spin}")
        n, kpoint = self.read_kpoint(k)
        if n != len(header.plane_waves(kpoint)):
            raise IncompleteWavecarError(
                f"{self.path}: {n} plane waves at k-point {k + 1}, its lattice and cutoff "
                f"give {len(header.plane_waves(kpoint))}"
            )
        numbers = self._numbers(spin, k, KPOINT_NUMBERS + 3 * header.n_bands)
        bands = numbers[KPOINT_NUMBERS:].reshape(-1, 3)
        coefficients = np.empty((header.n_bands, n), header.dtype)
        assert header.record_length is not None
        first = 3 + (spin * header.n_kpoints + k) * (1 + header.n_bands)
        for band in range(header.n_bands):
            self._file.seek((first + band) * header.record_length)
            coefficients[band] = np.fromfile(self._file, header.dtype, n)
        if not (np.isfinite(coefficients).all() and np.isfinite(bands[:, 2]).all()):
            raise IncompleteWavecarError(
                f"{self.path}: an orbital or occupation at k-point {k + 1} is not finite"
            )
        energies = np.ascontiguousarray(bands[:, :2]).view(np.complex128)[:, 0]
        return KPointOrbitals(kpoint, energies, bands[:, 2].copy(), coefficients)
