"""Orbitals of a WAVECAR, read as VASP reads them (ISTART = 1) and written after a run (LWAVE).

Plane waves are put in by their indices: another cutoff cuts or pads them, another cell stretches
the orbitals with it. Bands that the file lacks are random. k-points are taken by their index,
whatever their coordinates. A file of one spin serves both spins of a run.

References
----------
VASP wiki, ISTART, LWAVE and WAVECAR.
"""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from itertools import product
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from ase.units import Ha
from gpaw.mpi import world

from mlcharge_flows.gpaw_vasp.errors import UnsupportedInputError
from mlcharge_flows.gpaw_vasp.initial_orbitals import (
    diagonalized_orbitals,
    make_orbitals,
    randomize,
)
from mlcharge_flows.vasp.plane_waves import count_plane_waves
from mlcharge_flows.vasp.wavecar import (
    IncompleteWavecarError,
    KPointOrbitals,
    WavecarError,
    WavecarHeader,
    WavecarReader,
)
from mlcharge_flows.vasp.wavecar_writer import WavecarWriter

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from gpaw.core.plane_waves import PWArray, PWDesc
    from gpaw.new.hamiltonian import Hamiltonian
    from gpaw.new.potential import Potential
    from gpaw.new.pw.builder import PWDFTComponentsBuilder
    from gpaw.new.pwfd.ibzwfs import PWFDIBZWaveFunctions

    from mlcharge_flows.gpaw_vasp.inputs import Inputs
    from mlcharge_flows.gpaw_vasp.kohn_sham import KohnSham

FOUND = "found WAVECAR, reading the header"
NOT_READ = "WAVECAR not read"
CHANGED = "while reading WAVECAR, plane wave coefficients changed"


def wavecar_header(
    folder: Path, incar: Mapping[str, Any]
) -> tuple[WavecarHeader | None, list[str]]:
    """Read the header of the WAVECAR that a run begins from.

    Parameters
    ----------
    folder
        Run folder.
    incar
        Its tags.

    Returns
    -------
    header : WavecarHeader or None
        None without a WAVECAR, with ISTART = 0, and, as in VASP, if the file is empty or its header
        makes no sense: then ISTART = 0 is taken.
    messages : list of str
        Lines for stdout.

    Raises
    ------
    UnsupportedInputError
        If the file ends too early, or ISTART asks for a constant basis.
    """
    path = folder / "WAVECAR"
    istart = incar.get("ISTART", 1)
    if istart == 0 or not path.is_file():
        return None, []
    try:
        with _damage_named(path), WavecarReader(path) as file:
            header = file.header
    except WavecarError:
        return None, [FOUND]
    if istart != 1:
        raise UnsupportedInputError(f"INCAR: ISTART = {istart}: only 0 and 1 are supported")
    return header, [FOUND]


@contextmanager
def _damage_named(path: Path) -> Iterator[None]:
    """Refuse a WAVECAR whose header is sound and whose records are not, where VASP stops, too."""
    try:
        yield
    except IncompleteWavecarError as error:
        reason = str(error).removeprefix(f"{path}: ")
        raise UnsupportedInputError(f"{CHANGED}: {reason}; remove WAVECAR") from None


class StoredOrbitals:
    """The WAVECAR of a run folder as initial orbitals.

    Parameters
    ----------
    path
        The WAVECAR.
    inputs
        What the run folder asks for.
    kpoints
        Fractional coordinates of the run's irreducible k-points, shape (k, 3).

    Attributes
    ----------
    messages
        Lines for stdout, as VASP prints them.

    Raises
    ------
    UnsupportedInputError
        If the file holds other plane waves than the run has, where VASP stops, too; here and later
        if a record is damaged.
    """

    def __init__(self, path: Path, inputs: Inputs, kpoints: np.ndarray) -> None:
        with ExitStack() as stack:
            self._file = stack.enter_context(WavecarReader(path))
            self.messages = self._check(inputs, kpoints)
            self._exits = stack.pop_all()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._exits.close()

    def _check(self, inputs: Inputs, kpoints: np.ndarray) -> list[str]:
        header, settings = self._file.header, inputs.settings
        messages = ["reading WAVECAR"]
        if header.n_kpoints != len(kpoints):
            messages += [
                "number of k-points has changed, "
                f"file: {header.n_kpoints:5d} present: {len(kpoints):5d}",
                "trying to continue reading WAVECAR, but it might fail",
            ]
        real = len(kpoints) == 1 and not kpoints.any()
        same_basis = (
            header.n_kpoints == len(kpoints)
            and abs(header.encut - settings.encut) < 1e-6
            and np.allclose(header.lattice, inputs.crystal.lattice, atol=1e-6)
        )
        if header.half and not real:
            raise UnsupportedInputError(f"{CHANGED}: the file is of a Gamma-only VASP")
        for k in range(min(header.n_kpoints, len(kpoints))):
            with _damage_named(self._file.path):
                n_file, stored = self._file.read_kpoint(k)
            if same_basis and not header.half:
                # VASP takes the list of plane waves of its own k-point.
                n_run = count_plane_waves(inputs.crystal.lattice, settings.encut, kpoints[[k]])[0]
            else:
                n_run = len(header.plane_waves(stored))
            if n_file != n_run:
                raise UnsupportedInputError(
                    f"{CHANGED}: {n_file} at k-point {k + 1} of the file, {n_run} here; "
                    "set ISTART = 0 or the k-points of the file"
                )
        if header.n_bands < settings.nbands:
            messages.append(f"random initialization beyond band{header.n_bands:13d}")
        if header.n_spins < settings.ispin:
            messages.append("gpaw-vasp: the WAVECAR has one spin, both begin with its orbitals")
        return [*messages, "the WAVECAR file was read successfully"]

    def _read(self, k: int, spin: int) -> KPointOrbitals:
        header = self._file.header
        with _damage_named(self._file.path):
            return self._file.read(min(k, header.n_kpoints - 1), min(spin, header.n_spins - 1))

    def _create(
        self, builder: PWDFTComponentsBuilder, kpoint: np.ndarray, k: int, spin: int
    ) -> PWArray:
        """Orbitals of one k-point; k-points that the file lacks take those of its last one."""
        orbitals: PWArray = builder.wf_desc.new(kpt=kpoint).empty(
            builder.nbands, builder.communicators["b"]
        )
        randomize(orbitals)
        header = self._file.header
        stored = self._read(k, spin)
        n_known = min(header.n_bands, builder.nbands)
        orbitals.data[:n_known] = to_gpaw(
            stored.coefficients[:n_known], header.plane_waves(stored.kpoint), orbitals.desc, header
        )
        return orbitals

    def __call__(
        self, builder: PWDFTComponentsBuilder, hamiltonian: Hamiltonian, potential: Potential
    ) -> PWFDIBZWaveFunctions:
        """Read all k-points and diagonalize the Hamiltonian between their orbitals.

        Parameters
        ----------
        builder
            The calculation.
        hamiltonian
            Hamiltonian in plane waves.
        potential
            Potential to diagonalize in.

        Returns
        -------
        PWFDIBZWaveFunctions
            Orbitals of all irreducible k-points.
        """
        return diagonalized_orbitals(
            builder,
            hamiltonian,
            potential,
            lambda kpoint, k, spin: self._create(builder, kpoint, k, spin),
        )

    def occupied(self, builder: PWDFTComponentsBuilder) -> PWFDIBZWaveFunctions:
        """Read all k-points with the occupations of the file, whose density ICHARG = 0 asks for.

        Parameters
        ----------
        builder
            The calculation.

        Returns
        -------
        PWFDIBZWaveFunctions
            Orthonormal orbitals of all irreducible k-points.
        """
        orbitals = make_orbitals(
            builder, lambda kpoint, k, spin: self._create(builder, kpoint, k, spin)
        )
        header = self._file.header
        for wave in orbitals:
            stored = self._read(wave.k, wave.spin)
            n_known = min(header.n_bands, builder.nbands)
            wave._occ_n = np.zeros(builder.nbands)
            wave._occ_n[:n_known] = stored.occupations[:n_known]
            wave.orthonormalize()
        return orbitals


def to_gpaw(
    coefficients: np.ndarray, waves: np.ndarray, desc: PWDesc, header: WavecarHeader
) -> np.ndarray:
    """Convert VASP's coefficients to those of GPAW's plane waves.

    Parameters
    ----------
    coefficients
        Shape (bands, n).
    waves
        Indices of their G vectors, shape (n, 3).
    desc
        GPAW's plane waves; those that are not in the file get zero.
    header
        Whether the file is Gamma-only.

    Returns
    -------
    numpy.ndarray
        Shape (bands, GPAW's plane waves). For real orbitals, where GPAW keeps half of the plane
        waves, the real part after each orbital has been turned to the phase that makes it largest.
    """
    values = coefficients.astype(complex)
    if header.half:
        values[:, np.any(waves != 0, axis=1)] /= np.sqrt(2)
        mirrored = np.any(waves != 0, axis=1)
        waves = np.concatenate([waves, -waves[mirrored]])
        values = np.concatenate([values, values[:, mirrored].conj()], axis=1)
    own = desc.indices_cG.T
    result = _at(own, waves, values)
    if desc.dtype == float:
        opposite = _at(-own, waves, values)
        turn = np.exp(-0.5j * np.angle((result * opposite).sum(axis=1, keepdims=True)))
        result = (result * turn + (opposite * turn).conj()) / 2
    return np.asarray(result / np.sqrt(desc.dv))


def from_gpaw(orbitals: PWArray, waves: np.ndarray) -> np.ndarray:
    """Convert GPAW's coefficients to those of given plane waves.

    Parameters
    ----------
    orbitals
        Orbitals of one k-point.
    waves
        Indices of G vectors, shape (n, 3).

    Returns
    -------
    numpy.ndarray
        Shape (bands, n); zero where GPAW has no such plane wave.
    """
    own = orbitals.desc.indices_cG.T
    result = _at(waves, own, orbitals.data)
    if orbitals.desc.dtype == float:
        left_out = ~_in(waves, own)
        result[:, left_out] = _at(waves[left_out], -own, orbitals.data.conj())
    return np.asarray(result * np.sqrt(orbitals.desc.dv))


def _keys(waves: np.ndarray) -> np.ndarray:
    """One integer per G vector."""
    shifted = waves.astype(np.int64) + 2**20
    return np.asarray((shifted[:, 0] << 42) + (shifted[:, 1] << 21) + shifted[:, 2])


def _in(waves: np.ndarray, known: np.ndarray) -> np.ndarray:
    return np.isin(_keys(waves), _keys(known))


def _at(waves: np.ndarray, known: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Values, shape (bands, known), at other plane waves; zero where they are not known."""
    result = np.zeros((len(values), len(waves)), complex)
    _, to, source = np.intersect1d(
        _keys(waves), _keys(known), assume_unique=True, return_indices=True
    )
    result[:, to] = values[:, source]
    return result


def write_wavecar(path: Path, solver: KohnSham) -> None:
    """Write the orbitals of a finished run, all plane waves also at Gamma alone, as ``vasp_std``.

    With ISPIN = 2 the file has two spins, the same ones where only one was computed.

    Parameters
    ----------
    path
        The file.
    solver
        Finished run; every process has to call.
    """
    inputs, orbitals = solver.inputs, solver.orbitals
    kpoints = solver.builder.ibz.kpt_kc
    eigenvalues, occupations = orbitals.get_all_eigs_and_occs(broadcast=True)
    header = WavecarHeader(
        solver.basis_lattice,
        inputs.settings.encut,
        len(kpoints),
        orbitals.nbands,
        inputs.settings.ispin,
        fermi_level=solver.fermi_level,
    )
    with ExitStack() as stack:
        file = None
        if world.rank == 0:
            file = stack.enter_context(WavecarWriter(path, header, kpoints))
        for spin, k in product(range(header.n_spins), range(len(kpoints))):
            own = min(spin, solver.n_spins - 1)
            wave = orbitals.get_wfs_on_master(kpt=k, spin=own)
            if file is not None:
                waves = header.plane_waves(kpoints[k])
                coefficients = from_gpaw(wave.psit_nX, waves).astype(np.complex64)
                energies = eigenvalues[own, k] * Ha
                file.write(KPointOrbitals(kpoints[k], energies, occupations[own, k], coefficients))
