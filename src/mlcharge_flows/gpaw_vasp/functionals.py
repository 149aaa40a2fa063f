"""Exchange-correlation functionals, on the PBE data sets that the POTCAR holds.

As in VASP, GGA chooses the functional of the run, whatever functional the PAW data sets were made
with: their cores and partial waves stay those of PBE. Energies are relative to the free,
unpolarized atoms of the data sets, whose exchange-correlation energy is that of the run's
functional at their PBE density; the self-consistent change is of second order.

References
----------
VASP wiki, GGA.
PBE: J. P. Perdew, K. Burke and M. Ernzerhof, Phys. Rev. Lett. 77, 3865 (1996).
PBEsol: J. P. Perdew et al., Phys. Rev. Lett. 100, 136406 (2008).
RPBE: B. Hammer, L. B. Hansen and J. K. Norskov, Phys. Rev. B 59, 7413 (1999).
revPBE: Y. Zhang and W. Yang, Phys. Rev. Lett. 80, 890 (1998).
LDA: J. P. Perdew and Y. Wang, Phys. Rev. B 45, 13244 (1992).
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from gpaw.dft import XC
from typing_extensions import override

if TYPE_CHECKING:
    from ase import Atoms
    from gpaw.setup import Setups
    from gpaw.setup_data import SetupData
    from gpaw.xc.functional import XCFunctional

#: Value of GGA -> GPAW's kernel, all of them without libxc.
KERNELS = {
    "PE": "PBE",
    "PS": "pyPBEsol",
    "RP": "RPBE",
    "RE": "revPBE",
    "CA": "LDA",
}

#: Functional of the data sets.
DATA_SETS = "PBE"


class FunctionalOnPBE(XC):
    """GPAW's functional parameter, which takes the PBE data sets whatever the functional is.

    Parameters
    ----------
    gga
        Value of GGA: PE, PS, RP, RE or CA.
    """

    def __init__(self, gga: str) -> None:
        super().__init__(KERNELS[gga])  # type: ignore[no-untyped-call]

    @override
    def functional(self, *, collinear: bool, atoms: Atoms | None = None) -> XCFunctional:
        functional: XCFunctional = super().functional(collinear=collinear, atoms=atoms)
        functional.get_setup_name = lambda: DATA_SETS  # type: ignore[method-assign]
        return functional


def refer_to_atoms(setups: Setups, gga: str) -> None:
    """Give the data sets the exchange-correlation energy of their atoms in another functional.

    Parameters
    ----------
    setups
        GPAW's data sets of a run, changed in place.
    gga
        Value of GGA; nothing changes with PE.
    """
    if KERNELS[gga] == DATA_SETS:
        return
    functional = FunctionalOnPBE(gga).functional(collinear=True)
    of_data_sets = XC(DATA_SETS).functional(collinear=True)
    for setup in {id(setup.xc_correction): setup for setup in setups}.values():
        change = atomic_energy(setup.data, functional) - atomic_energy(setup.data, of_data_sets)
        setup.xc_correction.e_xc0 += change


def atomic_energy(data: SetupData, functional: XCFunctional) -> float:
    """Integrate the exchange-correlation energy of the free atom that a data set was made from.

    Parameters
    ----------
    data
        GPAW's data set.
    functional
        Functional, evaluated at the density of the atom in the data set's own functional.

    Returns
    -------
    float
        In hartree.
    """
    density = data.nc_g / np.sqrt(4 * np.pi)
    for occupation, wave in zip(data.f_j, data.phi_jg, strict=True):
        density = density + occupation * wave**2 / (4 * np.pi)
    potential = np.zeros((1, len(density)))
    return float(functional.calculate_spherical(data.rgd, density[None].copy(), potential))
