"""Self-consistency counted as VASP counts it, on GPAW's building blocks.

One electronic step is three iterations of GPAW's PPCG eigensolver over all bands (one with ALGO =
Fast, once the density changes), new occupations, the energy of the input density, then (after the
fixed-density steps) the output density and mixing. ``d eps`` is the change of the band energy by
the orbital update at fixed potential, as in VASP.

References
----------
VASP wiki, OSZICAR, NELMDL, ALGO and EDIFF.
G. Kresse and J. Furthmueller, Phys. Rev. B 54, 11169 (1996), for VASP's scheme.
P. E. Bloechl, Phys. Rev. B 50, 17953 (1994), for the projector augmented-wave method.
"""

from __future__ import annotations

import time
import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
from ase import Atoms
from ase.units import Ha
from gpaw.dft import Parameters
from gpaw.mpi import world
from gpaw.new.calculation import DFT
from gpaw.new.symmetry import SymmetryAnalysisBug

from mlcharge_flows.errors import one_line
from mlcharge_flows.gpaw_vasp.bz_sampling import Sampling
from mlcharge_flows.gpaw_vasp.density_conversion import DensityConverter
from mlcharge_flows.gpaw_vasp.errors import UnsupportedInputError
from mlcharge_flows.gpaw_vasp.lcao import lcao_guess
from mlcharge_flows.gpaw_vasp.mixing import KerkerPulay
from mlcharge_flows.gpaw_vasp.result import EV_PER_A3_IN_KB, ElectronicStep
from mlcharge_flows.gpaw_vasp.symmetry import gpaw_symmetry, symmetric_grid
from mlcharge_flows.vasp.plane_waves import count_plane_waves

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlcharge_flows.density.density import Density
    from mlcharge_flows.gpaw_vasp.inputs import Inputs

#: PPCG iterations of one step. Three reduce d eps about a hundredfold, as VASP's Davidson scheme
#: does; with fewer, orbitals and not densities decide the step count.
PPCG_ITERATIONS = 3
#: The same with ALGO = Fast and VeryFast, where VASP takes the cheaper RMM-DIIS.
FAST_PPCG_ITERATIONS = 1

#: Irreducible k-points that the tetrahedron method needs at least.
CORNERS_OF_TETRAHEDRON = 4

#: Occupation of the highest band from which on VASP warns of too few bands.
OCCUPIED = 1e-2


def occupation_scheme(ismear: int, sigma: float) -> dict[str, Any]:
    """Translate ISMEAR and SIGMA to GPAW's occupation scheme.

    Parameters
    ----------
    ismear
        -5 is the tetrahedron method with Bloechl's corrections, -1 Fermi-Dirac, 0 Gaussian
        smearing (Methfessel-Paxton of order 0), 1 and 2 Methfessel-Paxton.
    sigma
        Width, in eV.

    Returns
    -------
    dict
        GPAW's parameter.

    References
    ----------
    VASP wiki, ISMEAR; P. E. Bloechl, O. Jepsen and O. K. Andersen, Phys. Rev. B 49, 16223 (1994);
    M. Methfessel and A. T. Paxton, Phys. Rev. B 40, 3616 (1989).

    Examples
    --------
    >>> occupation_scheme(-1, 0.1)
    {'name': 'fermi-dirac', 'width': 0.1}
    """
    if ismear == -5:
        return {"name": "improved-tetrahedron-method"}
    if ismear == -1:
        return {"name": "fermi-dirac", "width": sigma}
    return {"name": "methfessel-paxton", "order": ismear, "width": sigma}


@contextmanager
def _gpaw_setup() -> Iterator[None]:
    """Turn GPAW's errors about an input that it cannot set up into one line."""
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
            reason = str(error).strip().partition("\n")[0]
            raise UnsupportedInputError(
                f"GPAW refuses this input: {one_line(reason or repr(error))}"
            ) from error


class KohnSham:
    """Kohn-Sham equations of one fixed geometry.

    Parameters
    ----------
    inputs
        What the run folder asks for.

    Attributes
    ----------
    density
        GPAW's density, at first the superposition of GPAW's own atoms.
    converter
        Conversion between that density and CHGCAR contents.
    converged
        Whether the last step met the stop rule.

    Raises
    ------
    UnsupportedInputError
        If GPAW cannot set the calculation up.
    """

    def __init__(self, inputs: Inputs) -> None:
        self.inputs = inputs
        crystal = inputs.crystal
        self.atoms = Atoms(
            crystal.symbols, cell=crystal.lattice, scaled_positions=crystal.positions, pbc=True
        )
        with _gpaw_setup():
            self._build()
            self._check_tetrahedra()
            self._check_bands()
            self.basis = self.builder.create_basis_set()
            self.density = self.builder.density_from_superposition(self.basis)
        self.converter = DensityConverter(
            crystal,
            self.builder.setups,
            # VASP's fine grid need not be GPAW's, which is always twice the coarse one.
            self.builder.grid.new(size=inputs.grids.fine),
            self.builder.relpos_ac,
            self.builder.atomdist,
        )
        self.converged = False
        #: Band energy of the current orbitals in the current potential, in hartree.
        self.expected_band_energy: float | None = None

    def _build(self) -> None:
        """Set GPAW up, on a coarse grid that keeps the symmetry."""
        inputs, settings = self.inputs, self.inputs.settings
        symmetry = gpaw_symmetry(inputs.crystal, settings.isym, settings.symprec, inputs.kpoints)
        self.parameters = Parameters(
            mode={"name": "pw", "ecut": settings.encut},
            xc="PBE",
            kpts=Sampling(inputs.kpoints),  # type: ignore[arg-type]
            gpts=symmetric_grid(inputs.grids.coarse, symmetry.rotations),
            nbands=settings.nbands,
            occupations=occupation_scheme(settings.ismear, settings.sigma),
            eigensolver={"name": "ppcg", "niter": PPCG_ITERATIONS},
            mixer=KerkerPulay(settings.amix, settings.bmix, settings.amin, settings.encut),
            symmetry=symmetry,
            # Each process holds whole densities: MPI distributes k-points.
            parallel={"domain": 1, "band": 1},
        )
        self.builder = self.parameters.dft_component_builder(self.atoms, log=None, comm=world)

    def _check_tetrahedra(self) -> None:
        """Refuse the tetrahedron method where k-points make no tetrahedron, in VASP's words."""
        count = len(self.builder.ibz)
        if self.inputs.settings.ismear == -5 and count < CORNERS_OF_TETRAHEDRON:
            raise UnsupportedInputError(
                f"INCAR: ISMEAR = -5: Tetrahedron method fails for NKPT<4. NKPT = {count}, "
                "set ISMEAR = 0 or a finer mesh"
            )

    def _check_bands(self) -> None:
        """Refuse more bands than there are plane waves at one of the k-points."""
        settings = self.inputs.settings
        kpoints = self.builder.ibz.kpt_kc
        fewest = min(count_plane_waves(self.inputs.crystal.lattice, settings.encut, kpoints))
        if settings.nbands > fewest:
            raise UnsupportedInputError(
                f"INCAR: NBANDS = {settings.nbands}, but ENCUT = {settings.encut:g} leaves only "
                f"{fewest} plane waves at one k-point"
            )

    def check_data_sets(self) -> None:
        """Compare the POTCAR with the data sets that GPAW loaded.

        Raises
        ------
        UnsupportedInputError
            If channels or valence differ: a VASP POTCAR, or another gpaw-data.
        """
        for dataset, setup in zip(self.inputs.dataset_of_ion, self.builder.setups, strict=True):
            zval = dataset.zval or 0.0
            if dataset.channels != tuple(setup.l_j) or abs(zval - setup.Nv) > 1e-6:
                raise UnsupportedInputError(
                    f"POTCAR: {dataset.titel} is not the PAW data set of GPAW, "
                    "fill a library with 'gpaw-vasp potcar DIR' and set PMG_VASP_PSP_DIR to it"
                )

    def set_initial_density(self, density: Density) -> None:
        """Set density and occupancies, and guess the orbitals in their potential.

        Parameters
        ----------
        density
            Density and augmentation occupancies on VASP's fine grid.

        Raises
        ------
        UnsupportedInputError
            If GPAW has no potential for this cell, or no orbitals.
        """
        self.converter.to_gpaw(density, self.density)
        self.density.symmetrize(self.builder.ibz.symmetries)
        with _gpaw_setup():
            self.potential_calculator = self.builder.create_potential_calculator()
            self.density.normalize(self.potential_calculator.charge)
            self.loop = self.builder.create_scf_loop()
            self.potential, self.energies, _ = self.potential_calculator.calculate(self.density)
            if not np.isfinite(self.potential.vt_sR.data).all():
                # GPAW's stencil for a flat cell divides zero by zero if neighbors lie in a plane.
                raise UnsupportedInputError(
                    "POSCAR: GPAW has no gradient on the grid of this cell, give its reduced cell "
                    "or set ISYM = 0 in INCAR"
                )
            self.orbitals = lcao_guess(self.builder, self.loop.hamiltonian, self.potential)

    @property
    def n_electrons(self) -> float:
        """Number of valence electrons."""
        charge = self.density.charge - self.potential_calculator.charge
        return float(self.density.nvalence - charge)

    def iterate(self) -> Iterator[ElectronicStep]:
        """Take electronic steps until the stop rule is met or NELM is reached.

        Steps up to |NELMDL| keep the density; the last of them already computes the output density
        and mixes, as in VASP. The stop rule, |dE| and |d eps| below EDIFF, applies after them, and
        no output density is computed once it is met.

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
            fast = settings.fast and number > settings.nelmdl
            iterations = FAST_PPCG_ITERATIONS if fast else PPCG_ITERATIONS
            band_change, residual = self._update_orbitals(iterations)
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
                # Per band, the Hamiltonian is applied once at first and once per iteration.
                operations=(1 + iterations) * self.orbitals.nbands * len(self.orbitals.ibz),
                residual=residual,
                charge_residual=charge_residual,
                seconds=time.perf_counter() - begin,
            )
            if self.converged:
                return
            previous = free_energy

    def _update_orbitals(self, iterations: int) -> tuple[float, float]:
        """Improve the orbitals at fixed potential; return d eps and the residual's norm, in eV."""
        expected = self.expected_band_energy
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
        assert self.expected_band_energy is not None
        self.expected_band_energy += float(
            (change * valence).sum() * voxel + (on_site * matrices).sum()
        )
        return float(charge_residual)

    def check_highest_band(self) -> list[str]:
        """Make sure that the electrons of a finished run do not need more bands.

        Returns
        -------
        list of str
            A warning where all bands are full, as in an insulator without empty bands.

        Raises
        ------
        UnsupportedInputError
            If the highest band is partly occupied: higher ones would be, too.
        """
        n_bands = self.orbitals.nbands
        _, occupations = self.orbitals.get_all_eigs_and_occs(broadcast=True)
        if occupations[0][:, -1].max() < OCCUPIED:
            return []
        if abs(2 * n_bands - self.n_electrons) < 1e-6:
            return ["TOO FEW BANDS unless this is an insulator: all bands are occupied"]
        raise UnsupportedInputError(
            f"INCAR: NBANDS = {n_bands}: TOO FEW BANDS, the highest one is occupied, "
            f"set NBANDS = {max(n_bands + 2, int(1.2 * n_bands))}"
        )

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
