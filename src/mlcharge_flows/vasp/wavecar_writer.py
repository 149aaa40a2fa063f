"""Writer of WAVECARs; their layout is described beside the reader."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Self

import numpy as np

from mlcharge_flows.io import atomic_path
from mlcharge_flows.vasp.wavecar import PRECISIONS, KPointOrbitals, WavecarHeader

if TYPE_CHECKING:
    from types import TracebackType

TAGS = {precision: tag for tag, precision in PRECISIONS.items()}
"""Precision -> tag of record 1."""


class WavecarWriter:
    """Writer of a WAVECAR, to which k-points are given one after the other.

    The file is put in place when it is whole, so that a reader finds the old one or the new one.

    Parameters
    ----------
    path
        The file.
    header
        What the first two records say.
    kpoints
        Fractional coordinates of all k-points, shape (k, 3): they decide the record length.
    mark
        Written behind the three numbers of record 1, where no program reads anything.

    Raises
    ------
    ValueError
        The number of k-points is not that of the header, or `record_length` is too short.
    OSError
        The file cannot be written.
    """

    def __init__(
        self,
        path: str | Path,
        header: WavecarHeader,
        kpoints: np.ndarray | list[np.ndarray],
        mark: bytes = b"",
    ) -> None:
        self.path, self.mark = Path(path), mark
        self.kpoints = np.asarray(kpoints, dtype=float).reshape(-1, 3)
        if len(self.kpoints) != header.n_kpoints:
            raise ValueError(f"{len(self.kpoints)} k-points, the header says {header.n_kpoints}")
        self._counts = [len(header.plane_waves(kpoint)) for kpoint in self.kpoints]
        shortest = header.shortest_record(max(self._counts))
        length = header.record_length or shortest
        if length < shortest or length % 8:
            raise ValueError(f"records of {length} bytes, {shortest} are needed")
        self.header = replace(header, record_length=length)
        self._written = 0

    @property
    def size(self) -> int:
        """Size of the whole file, in bytes."""
        return self.header.n_records * (self.header.record_length or 0)

    def __enter__(self) -> Self:
        header = self.header
        self._exits = ExitStack()
        partial = self._exits.enter_context(atomic_path(self.path))
        self._file = self._exits.enter_context(partial.open("wb"))
        self._record(
            np.array([header.record_length, header.n_spins, TAGS[header.precision]], float),
            self.mark,
        )
        sizes = [header.n_kpoints, header.n_bands, header.encut]
        self._record(np.array([*sizes, *np.ravel(header.lattice), header.fermi_level]))
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        expected = self.header.n_spins * self.header.n_kpoints
        if kind is None and self._written != expected:
            problem = ValueError(f"{self._written} of {expected} k-points were written")
            self._exits.__exit__(ValueError, problem, None)
            raise problem
        self._exits.__exit__(kind, error, traceback)

    def _record(self, numbers: np.ndarray, mark: bytes = b"") -> None:
        content = numbers.tobytes() + mark
        self._file.write(content.ljust(self.header.record_length or 0, b"\0"))

    def write(self, orbitals: KPointOrbitals) -> None:
        """Append the next k-point: all of the first spin come before those of the second.

        Parameters
        ----------
        orbitals
            Its coordinates must be those given at first.

        Raises
        ------
        ValueError
            The k-point, the number of bands or that of plane waves is not the expected one.
        """
        header = self.header
        k = self._written % header.n_kpoints
        shape = (header.n_bands, self._counts[k])
        if self._written >= header.n_spins * header.n_kpoints:
            raise ValueError("all k-points have been written")
        if not np.array_equal(orbitals.kpoint, self.kpoints[k]):
            raise ValueError(f"k-point {orbitals.kpoint}, expected {self.kpoints[k]}")
        if orbitals.coefficients.shape != shape:
            raise ValueError(f"coefficients {orbitals.coefficients.shape}, expected {shape}")
        energies = np.asarray(orbitals.energies, dtype=complex)
        bands = np.stack([energies.real, energies.imag, orbitals.occupations], axis=1)
        self._record(np.concatenate([[shape[1]], orbitals.kpoint, bands.ravel()]))
        for band in orbitals.coefficients:
            self._record(np.ascontiguousarray(band, dtype=header.dtype))
        self._written += 1

    def repeat_first_spin(self) -> None:
        """Write the second spin like the first, if it has not been written.

        Raises
        ------
        ValueError
            Not all k-points of the first spin, or some of the second, have been written.
        """
        header = self.header
        missing = header.n_spins * header.n_kpoints - self._written
        if not missing:
            return
        if self._written != header.n_kpoints:
            raise ValueError(f"{self._written} k-points of {header.n_kpoints} were written")
        self._file.flush()
        with Path(self._file.name).open("rb") as written:
            written.seek(2 * (header.record_length or 0))
            for _ in range(header.n_kpoints * (1 + header.n_bands)):
                self._file.write(written.read(header.record_length))
        self._written += missing
