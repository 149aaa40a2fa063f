"""Initial orbitals that the run's own PAW data sets and initial density give."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache
from math import ceil
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from mlcharge_flows.density.atomic_orbitals import (
    bloch_sums,
    enlarged,
    independent,
    radial_orbitals,
)
from mlcharge_flows.density.paw_atom import PawAtom, paw_atom
from mlcharge_flows.density.paw_hamiltonian import PawHamiltonian
from mlcharge_flows.errors import one_line
from mlcharge_flows.settings import Settings
from mlcharge_flows.sources.initial_wavecar import InitialOrbitalsDocument, write_initial_wavecar
from mlcharge_flows.sources.orbitals import OrbitalSource, kpoints_of
from mlcharge_flows.sources.source import SourceError
from mlcharge_flows.vasp.chgcar import read_chgcar
from mlcharge_flows.vasp.incar import default_nbands
from mlcharge_flows.vasp.plane_waves import half_sphere
from mlcharge_flows.vasp.wavecar import KPointOrbitals, WavecarHeader

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from mlcharge_flows.density.atomic_orbitals import RadialOrbital
    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.sources.run_inputs import RunInputs

_LEAST_MIXED = 2
_MIXED_PART = 8
"""One of so many bands has a random part, if electrons do not need it: solvers keep the symmetry of
what they begin with."""

_RANDOM_AMPLITUDE = 0.3
"""Of the random part beside the state of norm 1: an entirely random band ends a short run far from
its energy."""

_reference: Callable[[PawDataset], PawAtom] = lru_cache(paw_atom)


@lru_cache
def _enlarged(dataset: PawDataset) -> tuple[RadialOrbital, ...]:
    """Orbitals of a data set with contracted and polarized ones, whose transforms are kept."""
    return enlarged(radial_orbitals(dataset))


@dataclass(frozen=True)
class AtomicOrbitals(OrbitalSource):
    """States of the initial density in the span of atomic orbitals.

    The Hamiltonian is that of the CHGCAR in the folder of the run and of its POTCAR, the span that
    of contracted and polarized atomic orbitals. Where a data set does not have what this takes, the
    Bloch sums of the bound pseudo partial waves are written as they are, those with most electrons
    in the free atom first. VASP takes random orbitals for bands beyond their number. Both spins
    begin with the same orbitals, which the spin density separates.
    """

    word: ClassVar[str] = "atomic"

    def write(self, inputs: RunInputs, folder: Path) -> InitialOrbitalsDocument:
        """Write the WAVECAR of a run, one k-point at a time.

        Parameters
        ----------
        inputs
            Inputs of the run.
        folder
            Where to write, with the initial CHGCAR of the run if it has one.

        Returns
        -------
        InitialOrbitalsDocument
            What was written.

        Raises
        ------
        SourceError
            The POTCAR has no partial waves, the run is not collinear, VASP's k-points or their
            order are not known, or the file would exceed the setting MAX_WAVECAR_SIZE.
        """
        kpoints, crystal = kpoints_of(inputs), inputs.crystal
        encut = inputs.encut
        if encut is None:
            raise SourceError("initial orbitals: neither INCAR nor POTCAR give ENCUT")
        try:
            radial = {
                symbol: radial_orbitals(dataset) for symbol, dataset in inputs.datasets.items()
            }
        except ValueError as error:
            raise SourceError(f"initial orbitals: {error}") from None
        header = WavecarHeader(
            crystal.lattice,
            encut,
            len(kpoints.points),
            1,
            n_spins=int(inputs.incar.get("ISPIN", 1)),
            half="x" if inputs.gamma_only else None,
        )
        whole = replace(header, half=None)
        failure, hamiltonian = None, None
        try:
            basis = {symbol: _enlarged(dataset) for symbol, dataset in inputs.datasets.items()}
            _check_size(crystal.symbols, basis, whole)
            hamiltonian = _hamiltonian(inputs, folder, whole, kpoints.points)
            radial = basis
        except (ValueError, OSError) as error:
            failure = one_line(error)
        n_bands = _n_bands(inputs, radial, is_enlarged=hamiltonian is not None)
        header = replace(header, n_bands=n_bands)

        n_mixed = max(_LEAST_MIXED, n_bands // _MIXED_PART)
        n_pure = min(n_bands, max(n_bands - n_mixed, ceil(inputs.n_electrons / 2)))

        def orbitals() -> Iterator[KPointOrbitals]:
            energies = np.zeros(n_bands)
            occupations = np.clip(inputs.n_electrons / 2 - np.arange(n_bands), 0.0, 1.0)
            for point in kpoints.points:
                waves = whole.plane_waves(point)
                if hamiltonian is None:
                    found = independent(bloch_sums(crystal, radial, waves + point))[:n_bands]
                else:
                    _, found = hamiltonian.states(radial, waves, point, n_bands)
                if header.half:
                    found = half_sphere(found, waves, header.half)
                first = n_bands if hamiltonian is None else n_pure
                found = _with_random_part(found, first, n_bands)
                yield KPointOrbitals(point, energies, occupations, found)

        document = write_initial_wavecar(folder, header, kpoints.points, orbitals(), self.word)
        document.diagonalized, document.hamiltonian_failure = hamiltonian is not None, failure
        return document


def _count(symbols: Sequence[str], radial: dict[str, tuple[RadialOrbital, ...]]) -> int:
    """Orbitals of all ions."""
    return sum(2 * orbital.degree + 1 for symbol in symbols for orbital in radial[symbol])


def _check_size(
    symbols: Sequence[str], radial: dict[str, tuple[RadialOrbital, ...]], header: WavecarHeader
) -> None:
    """Refuse a span whose coefficients at one k-point exceed the setting MAX_WAVECAR_SIZE.

    Raises
    ------
    ValueError
        They do.
    """
    n_waves = len(header.plane_waves(np.zeros(3)))
    size = _count(symbols, radial) * n_waves * np.dtype(complex).itemsize / 1e9
    if size > (largest := Settings().max_wavecar_size):
        raise ValueError(
            f"atomic orbitals would take {size:.3g} GB at one k-point, the setting "
            f"MAX_WAVECAR_SIZE allows {largest:g}"
        )


def _hamiltonian(
    inputs: RunInputs, folder: Path, header: WavecarHeader, points: np.ndarray
) -> PawHamiltonian:
    """Hamiltonian of the initial density of a run.

    Returns
    -------
    PawHamiltonian

    Raises
    ------
    ValueError, OSError
        There is no density, or a data set lacks something.
    """
    atoms = {symbol: _reference(dataset) for symbol, dataset in inputs.datasets.items()}
    reach = np.max([np.abs(header.plane_waves(point)).max(axis=0) for point in points], axis=0)
    return PawHamiltonian(read_chgcar(folder / "CHGCAR"), atoms, reach)


def _n_bands(
    inputs: RunInputs, radial: dict[str, tuple[RadialOrbital, ...]], *, is_enlarged: bool
) -> int:
    """Bands in the file: those of the run, or as many as there are orbitals.

    Returns
    -------
    int

    Raises
    ------
    SourceError
        There are none, or the run has none.
    """
    symbols = inputs.crystal.symbols
    n_orbitals = _count(symbols, radial)
    if not n_orbitals:
        raise SourceError("initial orbitals: the PAW data sets have no bound states")
    wanted = n_orbitals
    if is_enlarged:
        wanted = default_nbands(inputs.n_electrons, len(symbols))
    n_bands = int(inputs.incar.get("NBANDS", wanted))
    if n_bands < 1:
        raise SourceError(f"initial orbitals: INCAR: NBANDS = {n_bands} must be positive")
    return min(n_orbitals, n_bands)


def _with_random_part(states: np.ndarray, first: int, n_bands: int) -> np.ndarray:
    """Mix random orbitals into the last states, and add random ones where states are missing.

    Parameters
    ----------
    states
        Coefficients of norm 1, shape (at most `n_bands`, plane waves).
    first
        First state with a random part.
    n_bands
        Number of orbitals that are wanted.

    Returns
    -------
    numpy.ndarray
        Of norm 1, shape (bands, plane waves).
    """
    first = min(first, len(states))
    rng = np.random.default_rng(n_bands)
    shape = (n_bands - first, states.shape[1])
    random = rng.normal(size=shape) + 1j * rng.normal(size=shape)
    random[:, 0] = random[:, 0].real  # G = 0, for orbitals that are real at Gamma
    # Weights as of the atomic orbitals: smooth ones, with low kinetic energy.
    random *= np.linalg.norm(states, axis=0)
    random /= np.maximum(np.linalg.norm(random, axis=1, keepdims=True), np.finfo(float).tiny)
    mixed = random[: len(states) - first]
    mixed *= _RANDOM_AMPLITUDE
    mixed += states[first:]
    mixed /= np.linalg.norm(mixed, axis=1, keepdims=True)
    return np.concatenate([states[:first], random])
