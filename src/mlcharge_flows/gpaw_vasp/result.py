"""Result of one Kohn-Sham run in VASP's terms: what every writer of an output file reads."""

from __future__ import annotations

from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.density.paw_dataset import PawDataset

FORMAT_VERSION = "6.4.3"
"""VASP version whose file layouts are followed.

Readers choose their rules by it, and some split it into three integers.
"""

EV_PER_A3_IN_KB = 1602.1766208
"""1 eV/angstrom^3 in kB."""


def program() -> str:
    """Name the program that computes, with its versions.

    Returns
    -------
    str
        ``gpaw-vasp``, its version and GPAW's, for the headers of output files.

    Examples
    --------
    >>> program().startswith("gpaw-vasp ")
    True
    """
    name = f"gpaw-vasp {version('mlcharge-flows')}"
    try:
        return f"{name} (GPAW {version('gpaw')})"
    except PackageNotFoundError:
        return name


@dataclass(frozen=True)
class ElectronicStep:
    """One electronic step, as a line of OSZICAR shows it.

    Parameters
    ----------
    number
        Counted from 1.
    free_energy
        Free energy F, in eV.
    energy_without_entropy
        Energy E without the entropy term, in eV.
    energy_zero
        Energy extrapolated to a smearing width of zero (E0), in eV.
    change
        Change of the free energy since the step before, in eV (the free energy itself in step 1).
    band_change
        Change of the band-structure energy made by this step's orbital update, in eV.
    operations
        Number of applications of the Hamiltonian to an orbital.
    residual
        Norm of the orbitals' residual vector, in eV.
    charge_residual
        Norm rms(c) of output minus input density, in electrons per angstrom^(3/2); None where no
        output density was computed.
    seconds
        Wall time of the step.
    magnetization
        Total moment of the occupied orbitals, in Bohr magnetons; None with ISPIN = 1.
    density_moment
        Total moment of the density after mixing, in Bohr magnetons; None with ISPIN = 1.
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
    magnetization: float | None = None
    density_moment: float | None = None


@dataclass(frozen=True)
class Motion:
    """Motion of the ions in a step of molecular dynamics.

    Parameters
    ----------
    kinetic_energy
        Kinetic energy of the ions, in eV.
    temperature
        In K.
    thermostat_energy
        Energy of the thermostat, in eV; its sum with the free and the kinetic energy is conserved.
    """

    kinetic_energy: float
    temperature: float
    thermostat_energy: float = 0.0


@dataclass(frozen=True, eq=False)
class IonicStep:
    """Electronic ground state of one geometry among several.

    Parameters
    ----------
    crystal
        Ions in the order of the POSCAR.
    steps
        Electronic steps.
    converged
        Whether the stop rule of the electrons was met within NELM steps.
    forces
        Shape (ions, 3), in eV/angstrom, without drift; None where they were not computed.
    stress
        Shape (3, 3), in kB, with VASP's sign; None where it was not computed.
    drift
        Sum of the forces before it was taken off, shape (3,), in eV/angstrom; None: not taken off.
    change
        Change of the free energy since the reference of this step, in eV: the geometry where the
        line search began, or the step before; the free energy itself in step 1. None where there
        is only one geometry.
    motion
        Motion of the ions; None in a relaxation.
    seconds
        Wall time.
    """

    crystal: Crystal
    steps: Sequence[ElectronicStep]
    converged: bool
    forces: np.ndarray | None
    stress: np.ndarray | None
    drift: np.ndarray | None = None
    change: float | None = None
    motion: Motion | None = None
    seconds: float = 0.0

    @property
    def free_energy(self) -> float:
        """Free energy of the last electronic step, in eV."""
        return self.steps[-1].free_energy


@dataclass(frozen=True, eq=False)
class Run:
    """A finished (converged or not) calculation; its electronic structure is of the last geometry.

    Parameters
    ----------
    crystal
        Ions in the order of the POSCAR.
    comment
        First line of the POSCAR.
    incar
        Tags as given.
    parameters
        Tags that the run used, with defaults resolved (ENCUT, ISMEAR, NBANDS, NGX.. NGXF..).
    datasets
        PAW data set of each species, in the order of the POTCAR.
    kpoints
        Fractional coordinates of the k-points, shape (k, 3).
    weights
        Weights of the k-points, shape (k,), of sum 1.
    kpoint_scheme
        ``"Gamma"``, ``"Monkhorst-Pack"``, ``"listgenerated"`` (line mode) or ``"explicit"``.
    divisions
        Divisions of a mesh; points per segment in line mode; None for a list.
    shift
        Shift of a mesh, in units of its spacing.
    line_ends
        End points of the line-mode segments, shape (2 * segments, 3), or None.
    labels
        Labels of `line_ends`, or None.
    eigenvalues
        Shape (spins, k, bands), in eV.
    occupations
        Shape (spins, k, bands), between 0 and 1 (a full band, doubly occupied without spin).
    fermi_level
        In eV.
    electrons
        NELECT.
    steps
        Electronic steps.
    converged
        Whether the stop rule was met within NELM steps.
    forces
        Shape (ions, 3), in eV/angstrom, or None.
    stress
        Shape (3, 3), in kB, with VASP's sign (positive: the cell wants to expand), or None.
    dos_energies
        Energies of the density of states, shape (NEDOS,), in eV.
    dos
        Total density of states, of each spin or of both together, shape (spins, NEDOS), in states
        per eV.
    integrated_dos
        States below each energy, shape (spins, NEDOS).
    projections
        Weight of each band on s, py, pz, px, dxy, dyz, dz2, dxz, dx2-y2 of each ion, shape
        (spins, k, bands, ions, 9), or 16 with f; None without LORBIT.
    projected_dos
        Shape (spins, ions, 9 or 16, NEDOS), in states per eV; None without LORBIT.
    site_moments
        Moment of each ion and l within its augmentation sphere, shape (ions, l), in Bohr
        magnetons; None without LORBIT or spin.
    messages
        Lines about the initial density that went to stdout.
    started
        POSIX time of the start.
    seconds
        Wall time.
    user_seconds, system_seconds
        Processor time of this process and of the system for it, without the loading of libraries.
    cores
        Number of MPI processes.
    path
        Every geometry of a run with ionic steps, the last one included.
    relaxed
        Whether the stop rule of the ions was met.
    selective_dynamics
        Whether each ion may move along each lattice vector, shape (ions, 3); None: all may.
    velocities
        Velocities at the end of molecular dynamics, shape (ions, 3), in angstrom/fs.
    """

    crystal: Crystal
    comment: str
    incar: Mapping[str, Any]
    parameters: Mapping[str, Any]
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
    site_moments: np.ndarray | None = None
    messages: Sequence[str] = field(default_factory=tuple)
    started: float = 0.0
    seconds: float = 0.0
    user_seconds: float = 0.0
    system_seconds: float = 0.0
    cores: int = 1
    path: Sequence[IonicStep] = ()
    relaxed: bool = False
    selective_dynamics: np.ndarray | None = None
    velocities: np.ndarray | None = None

    @property
    def ionic_steps(self) -> Sequence[IonicStep]:
        """Every geometry, the last one included."""
        only = IonicStep(self.crystal, self.steps, self.converged, self.forces, self.stress)
        return self.path or (only,)

    @property
    def n_spins(self) -> int:
        """Spins that the files show: ISPIN."""
        return len(self.eigenvalues)
