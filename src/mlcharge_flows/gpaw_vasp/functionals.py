"""Exchange-correlation functionals, on the PBE data sets that the POTCAR holds.

As in VASP, GGA chooses the functional of the run, whatever functional the PAW data sets were made
with: their cores and partial waves stay those of PBE.

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

from gpaw.dft import XC
from typing_extensions import override

if TYPE_CHECKING:
    from ase import Atoms
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
