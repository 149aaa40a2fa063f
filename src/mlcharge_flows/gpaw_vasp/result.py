"""What one Kohn-Sham run produced, in VASP's terms; the writers of the output files read this."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.density.paw_dataset import PawDataset


@dataclass(frozen=True)
class ElectronicStep:
    """One electronic step, as a line of OSZICAR.

    Parameters
    ----------
    number
        Counted from 1.
    free_energy, energy_without_entropy, energy_zero
        Free energy F, energy without entropy E, and E extrapolated to sigma -> 0 (E0), in eV.
    change
        Change of the free energy since the step before, eV (the free energy itself in step 1).
    band_change
        Change of the band-structure energy made by this step's orbital update, eV.
    operations
        Number of applications of the Hamiltonian to an orbital.
    residual
        Norm of the orbitals' residual vector, eV.
    charge_residual
        Norm of output minus input density, electrons; None where no density was computed.
    seconds
        Wall time of the step.
    """

    number: int
    free_energy: float
    energy_without_entropy: float
    energy_zero: float
    change: float
    band_change: float
    operations: int
    residual: float
    charge_residual: float | None
    seconds: float


@dataclass(frozen=True, eq=False)
class Run:
    """A finished (converged or not) calculation of one fixed geometry.

    Parameters
    ----------
    crystal
        The ions, POSCAR order.
    comment
        First line of the POSCAR.
    incar
        Tags as the user gave them.
    parameters
        Every tag the run understood, with defaults resolved (ENCUT, ISMEAR, NBANDS, NGX.. NGXF..).
    datasets
        PAW data sets in the order of the POTCAR; ``crystal.species`` gives the counts.
    kpoints, weights
        Fractional k-points, shape (k, 3), and weights that sum to 1, shape (k,).
    kpoint_scheme
        ``"Gamma"``, ``"Monkhorst-Pack"``, ``"listgenerated"`` (line mode) or ``"explicit"``.
    divisions, shift
        Of a Gamma or Monkhorst-Pack mesh; points per segment in ``divisions`` for line mode.
    line_ends
        End points of the line-mode segments, shape (2 * segments, 3), or None.
    labels
        Labels of ``line_ends``.
    eigenvalues, occupations
        Shape (k, bands); eV, and between 0 and 1 (1 is a full, doubly occupied band).
    fermi_level
        eV.
    electrons
        NELECT.
    steps
        Electronic steps.
    converged
        Whether the stop rule was met within NELM.
    forces
        Shape (ions, 3), eV/angstrom, or None.
    stress
        Shape (3, 3), kB, VASP's sign (positive: the cell wants to expand), or None.
    projections
        Weight of each band on s, p, d of each ion, shape (k, bands, ions, 9) in the order
        s, py, pz, px, dxy, dyz, dz2, dxz, dx2-y2; None without LORBIT.
    dos_energies, dos, integrated_dos
        Total density of states, states per eV (both spins), shapes (NEDOS,).
    projected_dos
        Shape (ions, 9, NEDOS) or None.
    messages
        VASP-style lines about the start that went to stdout.
    started, seconds
        Wall-clock start (POSIX time) and total wall time.
    cores
        MPI processes.
    """

    crystal: Crystal
    comment: str
    incar: dict[str, Any]
    parameters: dict[str, Any]
    datasets: Sequence[PawDataset]
    kpoints: np.ndarray
    weights: np.ndarray
    kpoint_scheme: str
    divisions: tuple[int, ...] | None
    shift: tuple[float, float, float]
    line_ends: np.ndarray | None
    labels: Sequence[str] | None
    eigenvalues: np.ndarray
    occupations: np.ndarray
    fermi_level: float
    electrons: float
    steps: Sequence[ElectronicStep]
    converged: bool
    forces: np.ndarray | None
    stress: np.ndarray | None
    dos_energies: np.ndarray
    dos: np.ndarray
    integrated_dos: np.ndarray
    projections: np.ndarray | None = None
    projected_dos: np.ndarray | None = None
    messages: Sequence[str] = field(default_factory=tuple)
    started: float = 0.0
    seconds: float = 0.0
    cores: int = 1
