r"""Conversion between GPAW's density object and the content of a CHGCAR.

GPAW holds the smooth density (valence and core) on the coarse grid and the atomic density
matrices. A CHGCAR holds, on the fine grid, the smooth *valence* density plus the compensation
charges of the same matrices,

.. math::
    n(r) = \tilde n_v(r) + \sum_{aL} \Big(\sum_{ij} D^a_{ij} \Delta^a_{L,ij}\Big)
           \hat g^a_L(r - R^a),

which integrates to NELECT, and the matrices as coupled augmentation occupancies. Both directions
use the same compensation charges, so that the smooth density comes back unchanged.

References
----------
J. J. Mortensen, L. B. Hansen and K. W. Jacobsen, Phys. Rev. B 71, 035109 (2005), eqs. 19 to 24.
P. E. Bloechl, Phys. Rev. B 50, 17953 (1994).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase.units import Bohr
from gpaw.core import PWDesc
from gpaw.core.atom_arrays import AtomArraysLayout

from mlcharge_flows.density.augmentation import from_matrix, to_matrix, truncate
from mlcharge_flows.density.density import Density, Magnetization
from mlcharge_flows.density.grid import regrid

if TYPE_CHECKING:
    from collections.abc import Sequence

    from gpaw.core import UGDesc
    from gpaw.core.atom_arrays import AtomDistribution
    from gpaw.new.density import Density as GPAWDensity
    from gpaw.setup import Setups

    from mlcharge_flows.density.crystal import Crystal


class DensityConverter:
    """Converter between GPAW's density and CHGCAR contents on VASP's fine grid, for one crystal.

    Parameters
    ----------
    crystal
        The ions.
    setups
        GPAW's PAW data sets of all ions.
    fine_grid
        VASP's fine grid (NGXF, NGYF, NGZF) as GPAW describes grids.
    relative_positions
        Fractional coordinates as GPAW holds them, shape (ions, 3).
    atomdist
        GPAW's distribution of atoms over processes.
    """

    def __init__(
        self,
        crystal: Crystal,
        setups: Setups,
        fine_grid: UGDesc,
        relative_positions: np.ndarray,
        atomdist: AtomDistribution,
    ) -> None:
        self.crystal = crystal
        self.setups = setups
        self.fine_grid = fine_grid
        self.plane_waves = PWDesc(
            ecut=0.999 * fine_grid.ekin_max(), cell=fine_grid.cell, comm=fine_grid.comm
        )
        self.atomdist = atomdist
        self.shapes = setups.create_compensation_charges(
            self.plane_waves, relative_positions, atomdist
        )

    @property
    def channels(self) -> list[tuple[int, ...]]:
        """Projector channels of each ion."""
        return [tuple(setup.l_j) for setup in self.setups]

    def compensation_charge(self, matrices: list[np.ndarray]) -> np.ndarray:
        """Sum the compensation charges of atomic density matrices on the fine grid.

        Parameters
        ----------
        matrices
            Density matrix of each ion, shape (projectors, projectors).

        Returns
        -------
        numpy.ndarray
            Electrons per cubic bohr, shape (nx, ny, nz).
        """
        layout = AtomArraysLayout(
            [setup.Delta_iiL.shape[2] for setup in self.setups], atomdist=self.atomdist
        )
        moments = layout.empty()
        for ion, matrix in enumerate(matrices):
            moments[ion] = np.einsum("ij,ijL->L", matrix, self.setups[ion].Delta_iiL)
        coefficients = self.plane_waves.zeros()
        self.shapes.add_to(coefficients, moments)
        return np.asarray(coefficients.ifft(grid=self.fine_grid).data)

    def from_gpaw(
        self,
        density: GPAWDensity,
        lmaxmix: int,
        comment: str,
        moments: np.ndarray | None = None,
    ) -> Density:
        """Convert a GPAW density to the content of a CHGCAR.

        Parameters
        ----------
        density
            GPAW's object.
        lmaxmix
            Occupancies of an L above this become zero.
        comment
            First line of the CHGCAR.
        moments
            Initial moment of each ion, shape (ions,), in Bohr magnetons: the file then has a
            magnetization, of zeros if the density is without spin. None for a file without.

        Returns
        -------
        Density
            Density and augmentation occupancies; it integrates to NELECT.
        """
        smooth = density.nt_sR.data - density.nct_R.data
        matrices = [density.D_asii[ion] for ion in range(len(self.crystal))]
        total, occupancies = self._from_smooth(
            smooth.sum(axis=0), [matrix.sum(axis=0) for matrix in matrices], lmaxmix
        )
        # GPAW's splines integrate to NELECT within 1e-5 only; a constant makes it exact.
        volume = self.crystal.volume / Bohr**3
        total += self.setups.nvalence / volume - total.mean()
        magnetization = None
        if moments is not None:
            up, down = smooth[0], smooth[-1]
            grid, moment_occupancies = self._from_smooth(
                up - down, [matrix[0] - matrix[-1] for matrix in matrices], lmaxmix
            )
            magnetization = Magnetization(grid / Bohr**3, moment_occupancies, moments)
        return Density(
            self.crystal, total / Bohr**3, occupancies, magnetization=magnetization, comment=comment
        )

    def _from_smooth(
        self, smooth: np.ndarray, matrices: list[np.ndarray], lmaxmix: int
    ) -> tuple[np.ndarray, tuple[np.ndarray, ...]]:
        """Fine grid, in electrons per cubic bohr, and occupancies of one component."""
        grid = regrid(smooth, tuple(self.fine_grid.size_c)) + self.compensation_charge(matrices)
        occupancies = tuple(
            truncate(from_matrix(matrix, channels), channels, lmaxmix)
            for matrix, channels in zip(matrices, self.channels, strict=True)
        )
        return grid, occupancies

    def to_gpaw(self, density: Density, target: GPAWDensity) -> None:
        """Set a GPAW density to the content of a CHGCAR.

        The smooth density is the density of the file less the compensation charges of the file's
        occupancies. An integral that is not NELECT is left to GPAW, which scales its own initial
        densities to neutrality as well. A density without magnetization is shared by both spins.

        Parameters
        ----------
        density
            Density and augmentation occupancies on the fine grid.
        target
            GPAW's object, changed in place.
        """
        assert density.augmentation is not None
        n_spins, *shape = target.nt_sR.data.shape
        smooth, matrices = self._to_smooth(density.total, density.augmentation, shape)
        for spin in range(n_spins):
            target.nt_sR.data[spin] = smooth / n_spins + target.nct_R.data
            for ion, matrix in enumerate(matrices):
                target.D_asii[ion][spin] = matrix / n_spins
        if n_spins == 1 or density.magnetization is None:
            return
        magnetization = density.magnetization
        assert magnetization.augmentation is not None
        smooth, matrices = self._to_smooth(magnetization.grid, magnetization.augmentation, shape)
        for spin, half in enumerate((0.5, -0.5)):
            target.nt_sR.data[spin] += half * smooth
            for ion, matrix in enumerate(matrices):
                target.D_asii[ion][spin] += half * matrix

    def _to_smooth(
        self, grid: np.ndarray, augmentation: Sequence[np.ndarray], shape: Sequence[int]
    ) -> tuple[np.ndarray, list[np.ndarray]]:
        """Smooth part on GPAW's grid, in electrons per cubic bohr, and density matrices."""
        matrices = [
            to_matrix(occupancies, channels)
            for occupancies, channels in zip(augmentation, self.channels, strict=True)
        ]
        smooth = grid * Bohr**3 - self.compensation_charge(matrices)
        return regrid(smooth, tuple(shape)), matrices
