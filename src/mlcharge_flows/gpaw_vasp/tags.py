"""Which INCAR tags ``gpaw-vasp`` understands, tolerates and refuses."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from mlcharge_flows.gpaw_vasp.errors import UnsupportedInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Tags that steer the calculation here as they do in VASP.
UNDERSTOOD = frozenset(
    "SYSTEM ENCUT PREC NGX NGY NGZ NGXF NGYF NGZF EDIFF ISMEAR SIGMA ISTART ICHARG NELM NELMIN "
    "NELMDL LMAXMIX LCHARG NBANDS KSPACING KGAMMA ISYM SYMPREC LORBIT NEDOS EMIN EMAX AMIX BMIX "
    "AMIN GGA ISIF".split()
)

#: Parallel, output and efficiency tags, and tags that only matter with others that are refused.
WITHOUT_INFLUENCE = frozenset(
    "ADDGRID AEXX EDIFFG EFERMI ENAUG GGA_COMPAT HFSCREEN IALGO IBRION IWAVPR KBLOCK KPAR "
    "LAECHG LASPH LASYNC LCHARGH5 LCORR LDAUJ LDAUL LDAUPRINT LDAUTYPE LDAUU LELF LFOCKAE LH5 "
    "LMAXPAW LMAXTAU LMIXTAU LPLANE LREAL LSCALAPACK LSCALU LUSENCCL LVHAR LVTOT LWAVE LWAVEH5 "
    "MAGMOM NBLK NBLOCK NCORE NELECT NPAR NSIM NUPDOWN NWRITE POTIM ROPT RWIGS SMASS TIME".split()
)

#: Tags of VASP's mixer that have no counterpart here: it is that of VASP's defaults.
MIXER = frozenset("AMIX_MAG BMIX_MAG IMIX INIMIX MAXMIX MIXPRE WC".split())

#: value -> whether it asks for something that is not computed here, and what that is.
REFUSED: dict[str, tuple[Callable[[Any], bool], str]] = {
    "ISPIN": (lambda value: value != 1, "spin polarization is not supported yet, set ISPIN = 1"),
    "NSW": (lambda value: value > 0, "ionic steps are not supported, set NSW = 0"),
    "LDAU": (bool, "DFT+U is not supported, set LDAU = .FALSE."),
    "LHFCALC": (bool, "hybrid functionals are not supported, set LHFCALC = .FALSE."),
    "METAGGA": (
        lambda value: str(value).upper() not in {"", "NONE", "--"},
        "meta-GGA functionals are not supported, remove METAGGA",
    ),
    "LSORBIT": (bool, "spin-orbit coupling is not supported, set LSORBIT = .FALSE."),
    "LNONCOLLINEAR": (bool, "non-collinear magnetism is not supported"),
    "IVDW": (lambda value: value != 0, "dispersion corrections are not supported, set IVDW = 0"),
    "LUSE_VDW": (bool, "van der Waals functionals are not supported"),
    "LEPSILON": (bool, "response functions are not supported"),
    "LOPTICS": (bool, "optical properties are not supported, set LOPTICS = .FALSE."),
    "LCALCPOL": (bool, "polarization is not supported"),
    "LCALCEPS": (bool, "response functions are not supported"),
    "LDIPOL": (bool, "dipole corrections are not supported"),
    "IMAGES": (lambda value: value > 0, "image chains are not supported"),
    "LPARD": (bool, "partial densities are not supported"),
    "ALGO": (
        # VASP looks at one letter, but for GW and its kind.
        lambda value: (
            not re.fullmatch("[nvfacde][a-z]*", str(value).lower())
            or str(value).lower().startswith(("evgw", "chi", "acfdt", "crpa", "bse"))
        ),
        "only ground-state algorithms are supported, set ALGO = Normal",
    ),
    "PREC": (
        lambda value: str(value)[:1].upper() not in {"A", "N", "S"},
        "only Accurate, Normal and Single are supported",
    ),
    "GGA": (
        lambda value: str(value).upper() not in {"PE", "", "--"},
        "there are PAW data sets for PBE only, set GGA = PE",
    ),
    "ICHARG": (
        lambda value: value not in {0, 1, 2, 11, 12},
        "only 1, 2, 11 and 12 (and 0, which means 2 without a WAVECAR) are supported",
    ),
    "ISMEAR": (
        lambda value: not -5 <= value <= 2 or value in {-4, -3, -2},
        "only -5, -1, 0, 1 and 2 are supported",
    ),
    "ISYM": (lambda value: value not in {-1, 0, 1, 2, 3}, "only -1, 0, 1, 2 and 3 are known"),
}


def check_tags(incar: Mapping[str, Any]) -> list[str]:
    """Refuse what cannot be computed; return warnings about what has no effect.

    Parameters
    ----------
    incar
        Tags as read from the INCAR.

    Returns
    -------
    list of str
        One line per unknown or ineffective tag.

    Raises
    ------
    UnsupportedInputError
        If a tag asks for physics that is not computed here.
    """
    for tag, (asks_too_much, reason) in REFUSED.items():
        if tag not in incar:
            continue
        try:
            refused = asks_too_much(incar[tag])
        except TypeError:
            raise UnsupportedInputError(
                f"INCAR: {tag} = {incar[tag]} cannot be understood"
            ) from None
        if refused:
            raise UnsupportedInputError(f"INCAR: {tag} = {incar[tag]}: {reason}")
    warnings = []
    for tag in incar:
        if tag in MIXER:
            warnings.append(f"INCAR: {tag} has no influence on the Pulay mixing here")
        elif tag not in UNDERSTOOD | WITHOUT_INFLUENCE | REFUSED.keys():
            warnings.append(f"INCAR: unknown tag {tag} is ignored")
    return warnings
