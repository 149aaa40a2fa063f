"""Self-consistency counted as VASP counts it, on GPAW's building blocks.

One electronic step is two iterations of GPAW's PPCG eigensolver over all bands (three where two are
slow, one with ALGO = Fast once the density changes), new occupations, the energy of the input
density, then (after the fixed-density steps) the output density and mixing. ``d eps`` is the change
of the band energy by the orbital update at fixed potential, as in VASP.

References
----------
VASP wiki, OSZICAR, NELMDL, ALGO and EDIFF.
G. Kresse and J. Furthmueller, Phys. Rev. B 54, 11169 (1996), for VASP's scheme.
P. E. Bloechl, Phys. Rev. B 50, 17953 (1994), for the projector augmented-wave method.
"""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.units import Ha
from gpaw.new.calculation import DFT

from mlcharge_flows.gpaw_vasp.calculation import build, gpaw_errors
from mlcharge_flows.gpaw_vasp.density_conversion import DensityConverter
from mlcharge_flows.gpaw_vasp.errors import UnsupportedInputError
from mlcharge_flows.gpaw_vasp.flat_tetrahedra import fill_flat_tetrahedra
from mlcharge_flows.gpaw_vasp.initial_orbitals import diagonalize, random_orbitals
from mlcharge_flows.gpaw_vasp.moved_geometry import (
    carried_orbitals,
    moved_builder,
    moved_density,
    spins_are_equal,
    unpolarized_density,
)
from mlcharge_flows.gpaw_vasp.result import EV_PER_A3_IN_KB, ElectronicStep
from mlcharge_flows.gpaw_vasp.stored_orbitals import StoredOrbitals

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.density.density import Density
    from mlcharge_flows.gpaw_vasp.initial_orbitals import InitialOrbitals
    from mlcharge_flows.gpaw_vasp.inputs import Inputs

#: PPCG iterations of one step. Two leave 1/30 to 1/120 of the energy error of random orbitals, as a
#: step of VASP's Davidson scheme does; three leave a thousandth (benchmarks/gpaw_vasp_orbitals.py).
PPCG_ITERATIONS = 2
#: The same where two are slower than that: an early step has left more than SLOW.
SLOW_PPCG_ITERATIONS = 3
SLOW = 1 / 20
#: The same with ALGO = Fast and VeryFast, where VASP takes the cheaper RMM-DIIS.
FAST_PPCG_ITERATIONS = 1


class KohnSham:
    """Kohn-Sham equations of one geometry, or of one after another.

    Parameters
    ----------
    inputs
        What the run folder asks for.
    n_spins
        Spin channels that are computed; by default ISPIN.

    Attributes
    ----------
    density
        GPAW's density, at first the superposition of GPAW's own atoms.
    converter
        Conversion between that density and CHGCAR contents.
    converged
        Whether the last step met the stop rule.
    begins_stored
        Whether the first orbitals are those of a WAVECAR.

    Raises
    ------
    UnsupportedInputError
        If GPAW cannot set the calculation up.
    """

    def __init__(self, inputs: Inputs, n_spins: int | None = None) -> None:
        self.inputs = inputs
        self.n_spins = n_spins or inputs.settings.ispin
        self.atoms = atoms_of(inputs.crystal)
        self.parameters, self.builder = build(inputs, self.atoms, self.n_spins)
        with gpaw_errors():
            self.basis = self.builder.create_basis_set()
            self.density = self.builder.density_from_superposition(self.basis)
        self.converter = self._converter()
        self.converged = self.begins_stored = False
        #: Lattice vectors in which the plane waves are those within ENCUT, in angstrom.
        self.basis_lattice = inputs.crystal.lattice
        self._usual_iterations = PPCG_ITERATIONS

    def _converter(self) -> DensityConverter:
        inputs, builder = self.inputs, self.builder
        return DensityConverter(
            inputs.crystal,
            builder.setups,
            # VASP's fine grid need not be GPAW's, which is always twice the coarse one.
            builder.grid.new(size=inputs.grids.fine),
            builder.relpos_ac,
            builder.atomdist,
        )

    def set_initial_state(
        self, density: Density | None, initial_orbitals: InitialOrbitals = random_orbitals
    ) -> None:
        """Set density, occupancies and orbitals, and compute the first potential.

        Parameters
        ----------
        density
            Density and augmentation occupancies on VASP's fine grid; None for those of the
            orbitals, which then have to be stored ones (ICHARG = 0).
        initial_orbitals
            Makes the orbitals in the potential of that density.

        Raises
        ------
        UnsupportedInputError
            If GPAW has no potential for this cell, or no orbitals.
        """
        self.begins_stored = isinstance(initial_orbitals, StoredOrbitals)
        with gpaw_errors():
            if density is None:
                assert isinstance(initial_orbitals, StoredOrbitals)
                self.orbitals = initial_orbitals.occupied(self.builder)
                self.density.update(self.orbitals)
            else:
                self.converter.to_gpaw(density, self.density)
                self.density.symmetrize(self.builder.ibz.symmetries)
            self._compute_first_potential()
            hamiltonian = self.loop.hamiltonian
            if density is None:
                for wave in self.orbitals:
                    diagonalize(wave, hamiltonian, self.potential)
            else:
                self.orbitals = initial_orbitals(self.builder, hamiltonian, self.potential)
        #: Band energy of the current orbitals in the current potential, in hartree.
        self.expected_band_energy: float = self._occupy()[0]

    def _compute_first_potential(self) -> None:
        """Compute the potential of the initial density of a geometry."""
        self.potential_calculator = self.builder.create_potential_calculator()
        self.density.normalize(self.potential_calculator.charge)
        self.loop = self.builder.create_scf_loop()
        fill_flat_tetrahedra(self.loop.occ_calc)
        if self.n_spins == 2:
            # Read with NUPDOWN only.
            self.loop.occ_calc.occ.fixed_magmom_value = self.inputs.settings.nupdown
        self.potential, self.energies, _ = self.potential_calculator.calculate(self.density)
        if not np.isfinite(self.potential.vt_sR.data).all():
            # GPAW's stencil for a flat cell divides zero by zero if neighbors lie in a plane.
            raise UnsupportedInputError(
                "POSCAR: GPAW has no gradient on the grid of this cell, give its reduced cell "
                "or set ISYM = 0 in INCAR"
            )

    @property
    def n_electrons(self) -> float:
        """Number of valence electrons."""
        charge = self.density.charge - self.potential_calculator.charge
        return float(self.density.nvalence - charge)

    @property
    def fermi_level(self) -> float:
        """Fermi level in eV; the mean of both spins' where NUPDOWN fixes the moment."""
        levels = self.orbitals.fermi_levels
        assert levels is not None
        return float(np.mean(levels) * Ha)

    def total_moment(self) -> float | None:
        """Total moment of the occupied orbitals, in Bohr magnetons; None with ISPIN = 1."""
        if self.inputs.moments is None:
            return None
        up_less_down = sum(
            (1 - 2 * wave.spin) * wave.occ_n.sum() * wave.weight for wave in self.orbitals
        )
        moment = float(self.orbitals.kpt_comm.sum_scalar(float(up_less_down)))
        return moment if self.n_spins == 2 else 0.0

    def _density_moment(self) -> float | None:
        if self.inputs.moments is None:
            return None
        return float(self.density.calculate_magnetic_moments()[0][2])

    def merge_equal_spins(self) -> None:
        """Continue with one spin channel after the first geometry, if that cannot matter."""
        if self.n_spins == 1 or self.inputs.settings.nupdown > 0:
            return
        if spins_are_equal(self.density, self.orbitals):
            self.n_spins = 1
            self.parameters, self.builder = build(self.inputs, self.atoms, 1)
            self.density = unpolarized_density(self.density, self.builder)

    def move(self, crystal: Crystal) -> None:
        """Continue with other positions, or another cell, of the same ions.

        Orbitals are kept, and the density takes the change of the superposition of atoms.

        Parameters
        ----------
        crystal
            The ions where they are now.

        Raises
        ------
        UnsupportedInputError
            If GPAW has no potential for this cell.
        """
        before = self.builder
        self.inputs = replace(self.inputs, crystal=crystal)
        self.atoms = atoms_of(crystal)
        with gpaw_errors():
            self.builder = moved_builder(before, self.atoms)
            self.density = moved_density(self.density, before, self.builder)
            self.converter = self._converter()
            self._compute_first_potential()
            self.orbitals = carried_orbitals(
                self.orbitals, self.builder, self.loop.hamiltonian, self.potential
            )
        self.expected_band_energy = self._occupy()[0]

    def iterate(self, delay: int | None = None, previous: float = 0.0) -> Iterator[ElectronicStep]:
        """Take electronic steps until the stop rule is met or NELM is reached.

        Steps up to |NELMDL| keep the density; the last of them already computes the output density
        and mixes, as in VASP. The stop rule, |dE| and |d eps| below EDIFF, applies after them, and
        no output density is computed once it is met.

        Parameters
        ----------
        delay
            Number of steps that keep the density; by default |NELMDL|.
        previous
            Free energy that the first step is compared with, in eV: that of the geometry before.

        Yields
        ------
        ElectronicStep
            As OSZICAR prints it.
        """
        settings = self.inputs.settings
        # Slow orbitals are a property of the crystal, however the run begins: the first geometry
        # tells, before the density decides what a step gains. Random orbitals are slow at first.
        early = range(2, 3) if self.begins_stored else range(3, max(settings.nelmdl, 4))
        if delay is not None:
            early = range(0)
        delay = settings.nelmdl if delay is None else delay
        least = max(settings.nelmin, delay + 1)
        self.loop.mixer.reset()
        self.loop.mixer.mix(self.density)
        previous_gain = 0.0
        for number in range(1, settings.nelm + 1):
            begin = time.perf_counter()
            fast = settings.fast and number > delay
            iterations = FAST_PPCG_ITERATIONS if fast else self._usual_iterations
            band_change, residual = self._update_orbitals(iterations)
            free_energy = self.energies.total_free * Ha
            change = free_energy - previous
            self.converged = (
                number >= least
                and abs(change) < settings.ediff
                and abs(band_change) < settings.ediff
            )
            charge_residual = None
            if not self.converged and not settings.fixed_density and number >= delay:
                charge_residual = self._update_density()
            yield ElectronicStep(
                number=number,
                free_energy=free_energy,
                energy_without_entropy=free_energy - self.entropy,
                energy_zero=self.energy_zero,
                change=change,
                band_change=band_change,
                # Per band, the Hamiltonian is applied once at first and once per iteration.
                operations=(1 + iterations)
                * self.orbitals.nbands
                * len(self.orbitals.ibz)
                * self.n_spins,
                residual=residual,
                charge_residual=charge_residual,
                seconds=time.perf_counter() - begin,
                magnetization=self.total_moment(),
                density_moment=self._density_moment(),
            )
            if self.converged:
                return
            if number in early and abs(band_change) > SLOW * abs(previous_gain):
                self._usual_iterations = SLOW_PPCG_ITERATIONS
            previous, previous_gain = free_energy, band_change

    def _update_orbitals(self, iterations: int) -> tuple[float, float]:
        """Improve the orbitals at fixed potential; return d eps and the residual's norm, in eV."""
        solver = self.loop.eigensolver
        solver.niter = solver.min_niter = iterations
        _, error, self.energies = solver.iterate(
            self.orbitals,
            self.density,
            self.potential,
            self.loop.hamiltonian,
            self.potential_calculator,
            self.energies,
        )
        gained = self._band_energy() - self.expected_band_energy
        band, entropy, extrapolation = self._occupy()
        self.energies.set(band=band, entropy=entropy, extrapolation=extrapolation)
        self.expected_band_energy = band
        self.entropy = entropy * Ha
        self.energy_zero = self.energies.total_extrapolated * Ha
        residual = np.sqrt(error / self.n_electrons) * Ha if np.isfinite(error) else 0.0
        return gained * Ha, float(residual)

    def _occupy(self) -> tuple[float, float, float]:
        """Occupy the bands; return band energy, entropy term and extrapolation, in hartree."""
        band, entropy, extrapolation = self.orbitals.calculate_occs(
            self.loop.occ_calc, self.n_electrons
        )
        return band, entropy, extrapolation

    def _band_energy(self) -> float:
        """Sum of the eigenvalues with the previous occupations, in hartree."""
        energy = sum(wave.occ_n @ wave.eig_n * wave.weight for wave in self.orbitals)
        return float(
            self.orbitals.kpt_comm.sum_scalar(float(energy)) * self.orbitals.spin_degeneracy
        )

    def _update_density(self) -> float:
        """Compute the output density, mix, and compute the new potential; return rms(c)."""
        self.density.update(self.orbitals)
        valence = self.density.nt_sR.data - self.density.nct_R.data
        matrices = self.density.D_asii.data.copy()
        before = self.potential
        charge_residual = self.loop.mixer.mix(self.density)
        self.potential, self.energies, _ = self.potential_calculator.calculate(
            self.density, self.orbitals, before.vHt_x
        )
        # Band energy of the same orbitals in the new potential, exactly.
        voxel = self.density.nt_sR.desc.volume / valence[0].size
        change = self.potential.vt_sR.data - before.vt_sR.data
        on_site = self.potential.dH_asii.data - before.dH_asii.data
        self.expected_band_energy += float(
            (change * valence).sum() * voxel + (on_site * matrices).sum()
        )
        return float(charge_residual)

    def forces_and_stress(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Compute forces and stress of the current orbitals.

        Returns
        -------
        forces : numpy.ndarray
            In eV/angstrom, shape (ions, 3).
        stress : numpy.ndarray or None
            In kB with VASP's sign, shape (3, 3); None with ISIF = 0, where VASP leaves it out.
        """
        dft = DFT.from_components(
            self.atoms,
            self.orbitals,
            self.density,
            self.potential,
            self.builder.setups,
            self.loop,
            self.potential_calculator,
            self.builder.log,
            params=self.parameters,
            energies=self.energies,
            converge=False,
        )
        forces = dft.calculate_forces()
        if self.inputs.settings.isif == 0:
            return forces, None
        xx, yy, zz, yz, xz, xy = dft.calculate_stress()
        tensor = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        return forces, -tensor * EV_PER_A3_IN_KB


def atoms_of(crystal: Crystal) -> Atoms:
    """Describe a crystal to ASE and GPAW.

    Parameters
    ----------
    crystal
        The ions.

    Returns
    -------
    Atoms
        Periodic in three directions.
    """
    return Atoms(
        crystal.symbols, cell=crystal.lattice, scaled_positions=crystal.positions, pbc=True
    )
