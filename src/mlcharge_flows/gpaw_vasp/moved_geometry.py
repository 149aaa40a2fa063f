"""The Kohn-Sham equations of a geometry that follows another one, as VASP carries them over.

Orbitals keep their plane-wave coefficients. The plane waves keep their indices too, as in VASP, so
that the number of plane waves of a changed cell is that of the first one, and stress and energy
belong together. The density takes the change of the superposition of atoms; occupancies stay.
Symmetry and k-points are those of the first geometry.

References
----------
VASP wiki, IWAVPR, ISIF and Energy vs volume, Volume relaxations and Pulay stress.
"""

from __future__ import annotations

from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np
from gpaw.core import PWDesc
from gpaw.core.domain import Domain
from gpaw.new.xc import create_functional
from typing_extensions import override

from mlcharge_flows.gpaw_vasp.initial_orbitals import diagonalize, make_orbitals

if TYPE_CHECKING:
    from ase import Atoms
    from gpaw.core.plane_waves import PWArray
    from gpaw.new.density import Density
    from gpaw.new.hamiltonian import Hamiltonian
    from gpaw.new.potential import Potential
    from gpaw.new.pw.builder import PWDFTComponentsBuilder
    from gpaw.new.pwfd.ibzwfs import PWFDIBZWaveFunctions
    from gpaw.new.pwfd.wave_functions import PWFDWaveFunctions

#: Parts of GPAW's builder that belong to one geometry and are made when they are first asked for.
_CACHED = ("atomdist", "electrostatic_potential_desc", "interpolation_desc", "wf_desc")

#: Occupations this close to 0 and 1 are those of an insulator.
WHOLE = 1e-6

#: Integral of |up - down|, in Bohr magnetons, and difference of occupancies below which a converged
#: density has no magnetization.
NO_MAGNETIZATION = 0.01


class StrainedPlaneWaves(PWDesc):
    """Plane waves of a strained cell, with the indices of those within the cutoff of another cell.

    Parameters
    ----------
    reference
        Plane waves of the other cell.
    cell
        Strained lattice vectors, shape (3, 3), in bohr.
    """

    def __init__(self, reference: PWDesc, cell: np.ndarray) -> None:
        self.reference = getattr(reference, "reference", reference)
        self.__dict__.update(
            {
                name: getattr(reference, name)
                for name in ("gcut", "ecut", "indices_cG", "maxmysize", "ng1", "ng2")
            }
        )
        Domain.__init__(self, cell, (True,) * 3, reference.kpt_c, reference.comm, reference.dtype)
        reciprocal = 2 * np.pi * np.linalg.inv(self.cell_cv).T
        own = slice(self.ng1, self.ng2)
        self.G_plus_k_Gv = (self.indices_cG.T[own] + self.kpt_c) @ reciprocal
        self.ekin_G = 0.5 * (self.G_plus_k_Gv**2).sum(axis=1)
        self.ekin_G.flags.writeable = False
        self.shape, self.myshape = reference.shape, reference.myshape
        self.dv = float(abs(np.linalg.det(self.cell_cv)))
        self._indices_cache = {}

    @override
    def new(self, **changes: Any) -> StrainedPlaneWaves:
        """Make plane waves of another cutoff, k-point, type or communicator in the same cell.

        Parameters
        ----------
        **changes
            As in GPAW's method.

        Returns
        -------
        StrainedPlaneWaves
            With the indices of the same plane waves in the reference cell.
        """
        return StrainedPlaneWaves(self.reference.new(**changes), self.cell_cv)


def moved_builder(builder: PWDFTComponentsBuilder, atoms: Atoms) -> PWDFTComponentsBuilder:
    """Make GPAW's components for other positions and another cell of the same ions.

    Parameters
    ----------
    builder
        Maker of GPAW's objects of the geometry before.
    atoms
        The ions where they are now.

    Returns
    -------
    PWDFTComponentsBuilder
        With the same data sets, bands, k-points, rotations, grid sizes and plane-wave indices.
    """
    moved = copy(builder)
    kept = {name: getattr(builder, name) for name in ("wf_desc", "interpolation_desc")}
    for name in _CACHED:
        moved.__dict__.pop(name, None)
    moved._nct_ag = moved._tauct_ag = None
    moved.atoms = atoms.copy()
    moved.relpos_ac = atoms.get_scaled_positions() % 1.0 % 1.0  # a tiny negative one becomes 1.0
    old = builder.ibz.symmetries
    grid, _ = moved.create_uniform_grids()
    symmetries = type(old)(
        cell=grid.cell_cv,
        rotations=old.rotation_scc,
        translations=old.translation_sc,
        atommaps=old.atommap_sa,
        tolerance=old.tolerance,
        _backwards_compatible=old._backwards_compatible,
    )
    symmetries._old_symmetry = old._old_symmetry
    moved.ibz = copy(builder.ibz)
    moved.ibz.symmetries = symmetries
    moved.grid, moved.fine_grid = moved.create_uniform_grids()
    moved.xc = create_functional(builder.xc.xc, moved.fine_grid, moved.xp)
    for name, desc in kept.items():
        moved.__dict__[name] = StrainedPlaneWaves(desc, moved.grid.cell_cv)
    return moved


def spins_are_equal(density: Density, orbitals: PWFDIBZWaveFunctions) -> bool:
    """Tell whether a ground state of two spin channels is one of an insulator without moments.

    With full and empty bands only, as many of both spins, and no magnetization, displaced ions
    of the same crystal have equal spins, too. A metal may become magnetic.

    Parameters
    ----------
    density
        Converged density of two spins.
    orbitals
        Its orbitals.

    Returns
    -------
    bool
        Whether one channel is enough.
    """
    _, occupations = orbitals.get_all_eigs_and_occs(broadcast=True)
    up, down = occupations
    whole = np.abs(occupations - np.rint(occupations)).max() < WHOLE
    if not (whole and np.array_equal(np.rint(up), np.rint(down))):
        return False
    smooth = np.abs(density.nt_sR.data[0] - density.nt_sR.data[1]).sum() * density.nt_sR.desc.dv
    on_site = max(np.abs(up - down).max() for up, down in density.D_asii.values())
    return bool(max(smooth, on_site) < NO_MAGNETIZATION)


def unpolarized_density(density: Density, builder: PWDFTComponentsBuilder) -> Density:
    """Add the densities of both spins.

    Parameters
    ----------
    density
        Density of two spins.
    builder
        Components of the same geometry with one spin.

    Returns
    -------
    Density
        Density of one channel.
    """
    total: Density = builder.density_from_superposition(builder.create_basis_set())
    total.nt_sR.data[0] = density.nt_sR.data.sum(axis=0)
    for ion, matrices in density.D_asii.items():
        total.D_asii[ion][0] = matrices.sum(axis=0)
    return total


def moved_density(
    density: Density, builder: PWDFTComponentsBuilder, moved: PWDFTComponentsBuilder
) -> Density:
    """Add the change of the superposition of atoms to the smooth density.

    The density of electrons times the cell's volume is kept at each grid point, as VASP keeps it,
    and so are the on-site density matrices.

    Parameters
    ----------
    density
        Density of the geometry before.
    builder
        Its components.
    moved
        Components of the new geometry.

    Returns
    -------
    Density
        Initial density of the new geometry.
    """
    before = builder.density_from_superposition(builder.create_basis_set())
    after: Density = moved.density_from_superposition(moved.create_basis_set())
    ratio = builder.grid.volume / moved.grid.volume
    after.nt_sR.data += (density.nt_sR.data - before.nt_sR.data) * ratio
    after.D_asii.data[:] = density.D_asii.data
    return after


def carried_orbitals(
    orbitals: PWFDIBZWaveFunctions,
    moved: PWDFTComponentsBuilder,
    hamiltonian: Hamiltonian,
    potential: Potential,
) -> PWFDIBZWaveFunctions:
    """Take the plane-wave coefficients of orbitals over to another geometry.

    Parameters
    ----------
    orbitals
        Orbitals of the geometry before.
    moved
        Components of the new geometry.
    hamiltonian
        Its Hamiltonian in plane waves.
    potential
        Its first potential.

    Returns
    -------
    PWFDIBZWaveFunctions
        Orthonormal in the new geometry and diagonal in its first potential.
    """
    known = {(wave.spin, wave.k): wave for wave in orbitals}

    def create(kpoint: np.ndarray, k: int, spin: int) -> PWArray:
        desc = moved.wf_desc.new(kpt=kpoint)
        functions: PWArray = desc.empty(moved.nbands, moved.communicators["b"])
        old = known[spin, k].psit_nX
        # Orbitals are normalized in their cell.
        functions.data[:] = old.data * np.sqrt(old.desc.dv / desc.dv)
        return functions

    def finish(wave: PWFDWaveFunctions) -> PWFDWaveFunctions:
        diagonalize(wave, hamiltonian, potential)
        return wave

    return make_orbitals(moved, create, finish)
