"""Self-consistency counted as VASP counts it, on GPAW's building blocks.

One electronic step = two Davidson passes over all bands, new occupations, the energy of the input
density, then (after the fixed-density steps) the output density and Pulay mixing. The change of
the band-structure energy between the two passes is VASP's ``d eps``: what the orbital update
gained at fixed potential.
"""

from __future__ import annotations

import time
import warnings
from typing import TYPE_CHECKING

import numpy as np
from ase import Atoms
from ase.units import Ha
from gpaw.dft import Parameters, Symmetry
from gpaw.mpi import world
from gpaw.new.calculation import DFT

from mlcharge_flows.gpaw_vasp.refusal import Refusal
from mlcharge_flows.gpaw_vasp.result import ElectronicStep
from mlcharge_flows.gpaw_vasp.transfer import Transfer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlcharge_flows.density.density import Density
    from mlcharge_flows.gpaw_vasp.inputs import Inputs

#: Davidson passes per electronic step.
PASSES = 2

#: GPAW's own defaults of Pulay mixing, VASP's kind of mixing (IMIX = 4).
MIXER = {"name": "pulay"}


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


def symmetry(isym: int, symprec: float) -> Symmetry:
    """GPAW's use of symmetry for ISYM: none at all (-1), time reversal only (0), or full."""
    return Symmetry(
        point_group=isym > 0, time_reversal=isym >= 0, tolerance=max(symprec, 1e-5)
    )


class KohnSham:
    """The equations of one fixed geometry.

    Parameters
    ----------
    inputs
        What the run folder asks for.

    Raises
    ------
    Refusal
        If GPAW cannot set the calculation up.
    """

    def __init__(self, inputs: Inputs):
        self.inputs = inputs
        settings = inputs.settings
        crystal = inputs.crystal
        atoms = Atoms(
            crystal.symbols, cell=crystal.lattice, scaled_positions=crystal.positions, pbc=True
        )
        parameters = Parameters(
            mode={"name": "pw", "ecut": settings.encut},
            xc={"name": settings.functional},
            kpts=inputs.kpoints.sampling(),
            gpts=inputs.grids.coarse,
            nbands=settings.nbands,
            occupations=occupations(settings.ismear, settings.sigma),
            eigensolver={"name": "davidson", "niter": 1},
            mixer=MIXER,
            symmetry=symmetry(settings.isym, settings.symprec),
            # Densities stay whole on every process: k-points are what MPI shares out.
            parallel={"domain": 1, "band": 1},
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            try:
                self.builder = parameters.dft_component_builder(atoms, log=None, comm=world)
            except (ValueError, FileNotFoundError, RuntimeError) as error:
                raise Refusal(f"GPAW refuses this input: {str(error).splitlines()[0]}") from error
        self.parameters = parameters
        self.atoms = atoms
        self.basis = self.builder.create_basis_set()
        self.density = self.builder.density_from_superposition(self.basis)
        self.transfer = Transfer(
            crystal,
            self.builder.setups,
            self.builder.fine_grid,
            self.builder.relpos_ac,
            self.builder.atomdist,
        )
        self.converged = False

    def check_data_sets(self) -> None:
        """Make sure that the POTCAR describes the data sets that GPAW loaded.

        Raises
        ------
        Refusal
            If channels or valence differ: a VASP POTCAR, or another gpaw-data.
        """
        for potcar, setup in zip(self.inputs.potcar_of_ion, self.builder.setups, strict=True):
            if potcar.channels != tuple(setup.l_j) or abs(potcar.zval - setup.Nv) > 1e-6:
                raise Refusal(
                    f"POTCAR: {potcar.titel} is not the PAW data set of GPAW, "
                    "fill a library with 'gpaw-vasp potcar DIR' and set PMG_VASP_PSP_DIR to it"
                )

    def start_from(self, start: Density) -> None:
        """Take density and occupancies, and find the first orbitals in their potential."""
        self.transfer.impose(start, self.density)
        self.density.symmetrize(self.builder.ibz.symmetries)
        self.potential_calculator = self.builder.create_potential_calculator()
        self.density.normalize(self.potential_calculator.charge)
        self.loop = self.builder.create_scf_loop()
        self.potential, self.energies, _ = self.potential_calculator.calculate(self.density)
        self.orbitals = self.builder.create_ibz_wave_functions(self.basis, self.potential)

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
            band_change, residual = self._update_orbitals()
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
                operations=2 * PASSES * self.orbitals.nbands * len(self.orbitals.ibz),
                residual=residual,
                charge_residual=charge_residual,
                seconds=time.perf_counter() - begin,
            )
            if self.converged:
                return
            previous = free_energy

    def _update_orbitals(self) -> tuple[float, float]:
        """Davidson passes at fixed potential: change of the band energy, residual norm (eV)."""
        band_energies = []
        for _ in range(PASSES):
            _, error, self.energies = self.loop.eigensolver.iterate(
                self.orbitals,
                self.density,
                self.potential,
                self.loop.hamiltonian,
                self.potential_calculator,
                self.energies,
            )
            band, entropy, extrapolation = self.orbitals.calculate_occs(
                self.loop.occ_calc, self.n_electrons
            )
            self.energies.set(band=band, entropy=entropy, extrapolation=extrapolation)
            band_energies.append(band * Ha)
        self.entropy = entropy * Ha
        self.energy_zero = self.energies.total_extrapolated * Ha
        residual = np.sqrt(error / self.n_electrons) * Ha if np.isfinite(error) else np.inf
        return band_energies[-1] - band_energies[-2], float(residual)

    def _update_density(self) -> float:
        """Output density, mixing, new potential: integral of |output - input| in electrons."""
        self.density.update(self.orbitals)
        charge_residual = self.loop.mixer.mix(self.density)
        self.potential, self.energies, _ = self.potential_calculator.calculate(
            self.density, self.orbitals, self.potential.vHt_x
        )
        return float(charge_residual)

    def forces_and_stress(self) -> tuple[np.ndarray, np.ndarray]:
        """Forces in eV/angstrom, shape (ions, 3); stress in kB with VASP's sign, shape (3, 3)."""
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
        xx, yy, zz, yz, xz, xy = dft.calculate_stress()
        tensor = np.array([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        return forces, -tensor * EV_PER_A3_IN_KB


#: 1 eV/angstrom^3 in kB.
EV_PER_A3_IN_KB = 1602.1766208
