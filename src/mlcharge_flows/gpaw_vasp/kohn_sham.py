"""Self-consistency counted as VASP counts it, on GPAW's building blocks.

One electronic step = three passes of GPAW's PPCG eigensolver over all bands (one with ALGO = Fast,
once the density moves), new occupations, the energy of the input density, then (after the
fixed-density steps) the output density and Pulay mixing. ``d eps`` is what the orbital update
gained at fixed potential, as in VASP.
"""

from __future__ import annotations

import time
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.units import Ha
from gpaw.dft import Parameters
from gpaw.mpi import world
from gpaw.new.calculation import DFT
from gpaw.new.symmetry import SymmetryAnalysisBug

from mlcharge_flows.gpaw_vasp.errors import UnsupportedInputError
from mlcharge_flows.gpaw_vasp.first_orbitals import first_orbitals
from mlcharge_flows.gpaw_vasp.kerker import Kerker
from mlcharge_flows.gpaw_vasp.plane_waves import count_plane_waves
from mlcharge_flows.gpaw_vasp.result import ElectronicStep
from mlcharge_flows.gpaw_vasp.symmetry import symmetric_grid, symmetry
from mlcharge_flows.gpaw_vasp.transfer import Transfer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlcharge_flows.density.density import Density
    from mlcharge_flows.gpaw_vasp.inputs import Inputs

#: Three passes of the conjugate-gradient block solver reduce d eps about a hundredfold per step, as
#: VASP's Davidson scheme does; with fewer, orbitals and not densities decide the step count.
PASSES = 3
#: ALGO = Fast and VeryFast, where VASP takes the cheaper RMM-DIIS.
FAST_PASSES = 1

#: 1 eV/angstrom^3 in kB.
EV_PER_A3_IN_KB = 1602.1766208


def occupations(ismear: int, sigma: float) -> dict:
    """GPAW's occupation scheme for ISMEAR and SIGMA.

    ISMEAR = -5 is the tetrahedron method with Bloechl corrections, -1 Fermi-Dirac, 0 Gaussian
    smearing (Methfessel-Paxton of order 0), 1 and 2 Methfessel-Paxton (VASP wiki, ISMEAR).
    """
    if ismear == -5:
        return {"name": "improved-tetrahedron-method"}
    if ismear == -1:
        return {"name": "fermi-dirac", "width": sigma}
    return {"name": "methfessel-paxton", "order": ismear, "width": sigma}


@contextmanager
def _gpaw_setup() -> Iterator[None]:
    """Turn what GPAW says of an input that it cannot set up into one line."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except SymmetryAnalysisBug:
            raise UnsupportedInputError(
                "POSCAR: the rotations found within SYMPREC are no group; standardize the cell, or "
                "set ISYM = 0 or another SYMPREC in INCAR"
            ) from None
        except (ValueError, FileNotFoundError, RuntimeError, np.linalg.LinAlgError) as error:
            reason = (str(error).strip().splitlines() or [repr(error)])[0]
            raise UnsupportedInputError(f"GPAW refuses this input: {reason}") from error


class KohnSham:
    """The equations of one fixed geometry.

    Parameters
    ----------
    inputs
        What the run folder asks for.

    Raises
    ------
    UnsupportedInputError
        If GPAW cannot set the calculation up.
    """

    def __init__(self, inputs: Inputs):
        self.inputs = inputs
        crystal = inputs.crystal
        self.atoms = Atoms(
            crystal.symbols, cell=crystal.lattice, scaled_positions=crystal.positions, pbc=True
        )
        with _gpaw_setup():
            self._build()
            self._check_bands()
            self.basis = self.builder.create_basis_set()
            self.density = self.builder.density_from_superposition(self.basis)
        self.transfer = Transfer(
            crystal,
            self.builder.setups,
            # VASP's fine grid need not be GPAW's, which is always twice the coarse one.
            self.builder.grid.new(size=inputs.grids.fine),
            self.builder.relpos_ac,
            self.builder.atomdist,
        )
        self.converged = False
        #: Band energy of the present orbitals in the present potential, hartree.
        self.expected_band_energy: float | None = None

    def _build(self) -> None:
        """Set GPAW up, on a coarse grid that keeps the symmetry."""
        inputs, settings = self.inputs, self.inputs.settings
        rotations = symmetry(inputs.crystal, settings.isym, settings.symprec)
        self.parameters = Parameters(
            mode={"name": "pw", "ecut": settings.encut},
            xc="PBE",
            kpts=inputs.kpoints.sampling(),  # type: ignore[arg-type]
            gpts=symmetric_grid(inputs.grids.coarse, rotations.rotations),
            nbands=settings.nbands,
            occupations=occupations(settings.ismear, settings.sigma),
            eigensolver={"name": "ppcg", "niter": PASSES},
            mixer=Kerker(settings.amix, settings.bmix, settings.amin, settings.encut),
            symmetry=rotations,
            # Densities stay whole on every process: k-points are what MPI shares out.
            parallel={"domain": 1, "band": 1},
        )
        self.builder = self.parameters.dft_component_builder(self.atoms, log=None, comm=world)

    def _check_bands(self) -> None:
        """Make sure that there are plane waves enough for the bands at every k-point."""
        settings = self.inputs.settings
        kpoints = self.builder.ibz.kpt_kc
        fewest = min(count_plane_waves(self.inputs.crystal, kpoints, settings.encut))
        if settings.nbands > fewest:
            raise UnsupportedInputError(
                f"INCAR: NBANDS = {settings.nbands}, but ENCUT = {settings.encut:g} leaves only "
                f"{fewest} plane waves at one k-point"
            )

    def check_data_sets(self) -> None:
        """Make sure that the POTCAR describes the data sets that GPAW loaded.

        Raises
        ------
        UnsupportedInputError
            If channels or valence differ: a VASP POTCAR, or another gpaw-data.
        """
        for potcar, setup in zip(self.inputs.potcar_of_ion, self.builder.setups, strict=True):
            if potcar.channels != tuple(setup.l_j) or abs(potcar.zval - setup.Nv) > 1e-6:
                raise UnsupportedInputError(
                    f"POTCAR: {potcar.titel} is not the PAW data set of GPAW, "
                    "fill a library with 'gpaw-vasp potcar DIR' and set PMG_VASP_PSP_DIR to it"
                )

    def start_from(self, start: Density) -> None:
        """Take density and occupancies, and find the first orbitals in their potential.

        Raises
        ------
        UnsupportedInputError
            If GPAW has no potential for this cell, or no orbitals.
        """
        self.transfer.impose(start, self.density)
        self.density.symmetrize(self.builder.ibz.symmetries)
        with _gpaw_setup():
            self.potential_calculator = self.builder.create_potential_calculator()
            self.density.normalize(self.potential_calculator.charge)
            self.loop = self.builder.create_scf_loop()
            self.potential, self.energies, _ = self.potential_calculator.calculate(self.density)
            if not np.isfinite(self.potential.vt_sR.data).all():
                # Its stencil for a flat cell divides zero by zero where neighbors lie in a plane.
                raise UnsupportedInputError(
                    "POSCAR: GPAW has no gradient on the grid of this cell, give its reduced cell "
                    "or set ISYM = 0 in INCAR"
                )
            self.orbitals = first_orbitals(self.builder, self.loop.hamiltonian, self.potential)

    @property
    def n_electrons(self) -> float:
        """Valence electrons."""
        return self.density.nvalence - self.density.charge + self.potential_calculator.charge

    def iterate(self) -> Iterator[ElectronicStep]:
        """Electronic steps until the stop rule or NELM.

        Steps up to |NELMDL| keep the density; the last of them already computes the output density
        and mixes, as VASP's does. The stop rule wants |dE| and |d eps| below EDIFF, is not asked
        before that, and no output density is computed once it is met.

        Yields
        ------
        ElectronicStep
            As OSZICAR prints it.
        """
        settings = self.inputs.settings
        least = max(settings.nelmin, settings.nelmdl + 1)
        self.loop.mixer.reset()
        self.loop.mixer.mix(self.density)
        previous = 0.0
        for number in range(1, settings.nelm + 1):
            begin = time.perf_counter()
            passes = FAST_PASSES if settings.fast and number > settings.nelmdl else PASSES
            band_change, residual = self._update_orbitals(passes)
            free_energy = self.energies.total_free * Ha
            change = free_energy - previous
            self.converged = (
                number >= least
                and abs(change) < settings.ediff
                and abs(band_change) < settings.ediff
            )
            charge_residual = None
            if not self.converged and not settings.fixed_density and number >= settings.nelmdl:
                charge_residual = self._update_density()
            yield ElectronicStep(
                number=number,
                free_energy=free_energy,
                energy_without_entropy=free_energy - self.entropy,
                energy_zero=self.energy_zero,
                change=change,
                band_change=band_change,
                # Per band, the Hamiltonian is applied once to start from, and once per pass.
                operations=(1 + passes) * self.orbitals.nbands * len(self.orbitals.ibz),
                residual=residual,
                charge_residual=charge_residual,
                seconds=time.perf_counter() - begin,
            )
            if self.converged:
                return
            previous = free_energy

    def _update_orbitals(self, passes: int) -> tuple[float, float]:
        """Improve the orbitals at fixed potential: change of band energy, residual norm (eV)."""
        expected = self.expected_band_energy
        solver = self.loop.eigensolver
        solver.niter = solver.min_niter = passes
        _, error, self.energies = solver.iterate(
            self.orbitals,
            self.density,
            self.potential,
            self.loop.hamiltonian,
            self.potential_calculator,
            self.energies,
        )
        gained = self._band_energy() - expected if expected is not None else None
        band, entropy, extrapolation = self.orbitals.calculate_occs(
            self.loop.occ_calc, self.n_electrons
        )
        self.energies.set(band=band, entropy=entropy, extrapolation=extrapolation)
        self.expected_band_energy = band
        self.entropy = entropy * Ha
        self.energy_zero = self.energies.total_extrapolated * Ha
        residual = np.sqrt(error / self.n_electrons) * Ha if np.isfinite(error) else 0.0
        return (band if gained is None else gained) * Ha, float(residual)

    def _band_energy(self) -> float:
        """Sum of the eigenvalues with the occupations that the orbitals had before, hartree."""
        energy = sum(wave.occ_n @ wave.eig_n * wave.weight for wave in self.orbitals)
        return float(
            self.orbitals.kpt_comm.sum_scalar(float(energy)) * self.orbitals.spin_degeneracy
        )

    def _update_density(self) -> float:
        """Output density, mixing, new potential: rms(c)."""
        self.density.update(self.orbitals)
        valence = self.density.nt_sR.data - self.density.nct_R.data
        matrices = self.density.D_asii.data.copy()
        before = self.potential
        charge_residual = self.loop.mixer.mix(self.density)
        self.potential, self.energies, _ = self.potential_calculator.calculate(
            self.density, self.orbitals, before.vHt_x
        )
        # What the orbitals as they are have in the new potential: exact, since only it changed.
        voxel = self.density.nt_sR.desc.volume / valence[0].size
        change = self.potential.vt_sR.data - before.vt_sR.data
        on_site = self.potential.dH_asii.data - before.dH_asii.data
        assert self.expected_band_energy is not None
        self.expected_band_energy += float(
            (change * valence).sum() * voxel + (on_site * matrices).sum()
        )
        return float(charge_residual)

    def forces_and_stress(self) -> tuple[np.ndarray, np.ndarray | None]:
        """Forces in eV/angstrom, shape (ions, 3); stress in kB with VASP's sign, shape (3, 3).

        The stress is None with ISIF = 0, as VASP leaves it out then.
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
