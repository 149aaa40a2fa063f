r"""GPAW's density object to and from a CHGCAR's content.

GPAW holds the smooth density (valence and core) on the coarse grid and the atomic density
matrices. A CHGCAR holds, on the fine grid, the smooth *valence* density plus the compensation
charges of the same matrices,

.. math::
    n(r) = \tilde n_v(r) + \sum_{aL} \Big(\sum_{ij} D^a_{ij} \Delta^a_{L,ij}\Big)
           \hat g^a_L(r - R^a)

(Mortensen et al., Phys. Rev. B 71, 035109, eqs. 19-24), which integrates to NELECT, and the
matrices as coupled records. Both directions use the same compensation charges, so the smooth
density comes back unchanged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from ase.units import Bohr
from gpaw.core import PWDesc
from gpaw.core.atom_arrays import AtomArraysLayout

from mlcharge_flows.density.augmentation import from_matrix, to_matrix, truncate
from mlcharge_flows.density.density import Density
from mlcharge_flows.density.fourier import regrid

if TYPE_CHECKING:
    from gpaw.core import UGDesc
    from gpaw.core.atom_arrays import AtomDistribution
    from gpaw.new.density import Density as GPAWDensity
    from gpaw.setup import Setups

    from mlcharge_flows.density.crystal import Crystal


class Transfer:
    """Exchange between one GPAW density and CHGCAR contents on VASP's fine grid.

    Parameters
    ----------
    crystal
        The ions.
    setups
        PAW data sets of all ions.
    fine_grid
        VASP's fine grid (NGXF, NGYF, NGZF) as GPAW describes grids.
    relative_positions
        Fractional coordinates as GPAW holds them.
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
    ):
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

    def compensation(self, matrices: list[np.ndarray]) -> np.ndarray:
        """Compensation charge of these density matrices on the fine grid, electrons/bohr^3."""
        layout = AtomArraysLayout(
            [setup.Delta_iiL.shape[2] for setup in self.setups], atomdist=self.atomdist
        )
        moments = layout.empty()
        for ion, matrix in enumerate(matrices):
            moments[ion] = np.einsum("ij,ijL->L", matrix, self.setups[ion].Delta_iiL)
        coefficients = self.plane_waves.zeros()
        self.shapes.add_to(coefficients, moments)
        return coefficients.ifft(grid=self.fine_grid).data

    def export(self, density: GPAWDensity, lmaxmix: int, comment: str) -> Density:
        """CHGCAR content of a GPAW density.

        Parameters
        ----------
        density
            GPAW's object, without spin.
        lmaxmix
            Occupancies above this L are written as zeros.
        comment
            First line of the CHGCAR.
        """
        matrices = [density.D_asii[ion][0] for ion in range(len(self.crystal))]
        smooth = density.nt_sR.data[0] - density.nct_R.data
        total = regrid(smooth, tuple(self.fine_grid.size_c)) + self.compensation(matrices)
        # GPAW's splines integrate to NELECT within 1e-5 only; a constant makes it exact.
        volume = self.crystal.volume / Bohr**3
        total += self.setups.nvalence / volume - total.mean()
        records = tuple(
            truncate(from_matrix(matrix, channels), channels, lmaxmix)
            for matrix, channels in zip(matrices, self.channels, strict=True)
        )
        return Density(self.crystal, total / Bohr**3, records, comment=comment)

    def impose(self, start: Density, density: GPAWDensity) -> None:
        """Set a GPAW density to the content of a CHGCAR.

        The smooth density is what remains when the compensation charges of the file's occupancies
        are taken off its grid. A start whose integral is off is scaled to neutrality by GPAW, as
        its own starts are.

        Parameters
        ----------
        start
            Density and occupancies on the fine grid.
        density
            GPAW's object, changed in place.
        """
        assert start.augmentation is not None
        matrices = [
            to_matrix(record, channels)
            for record, channels in zip(start.augmentation, self.channels, strict=True)
        ]
        smooth = start.total * Bohr**3 - self.compensation(matrices)
        density.nt_sR.data[0] = regrid(smooth, density.nt_sR.data.shape[1:]) + density.nct_R.data
        for ion, matrix in enumerate(matrices):
            density.D_asii[ion][0] = matrix
