"""Every INCAR tag of VASP's manual: honored here, without meaning here, or refused.

A tag is *honored* if it does here what it does in VASP. It is *without meaning* if it concerns
parallelization, numerical details of VASP, or something that only another, refused tag switches on;
such tags are accepted, and one line names them. Tags that ask for additional output files are
accepted with a warning. Everything else is refused by name: a run must not compute something else
than was asked for.

References
----------
VASP wiki, category INCAR tag.
"""

from __future__ import annotations

import re
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from mlcharge_flows.errors import one_line
from mlcharge_flows.gpaw_vasp.errors import UnsupportedInputError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

#: Tags that do here what they do in VASP.
HONORED = frozenset(
    "SYSTEM ENCUT PREC NGX NGY NGZ NGXF NGYF NGZF ALGO IALGO EDIFF ISMEAR SIGMA ISTART INIWAV "
    "ICHARG NELM NELMIN NELMDL LMAXMIX LCHARG LWAVE NBANDS NELECT KSPACING KGAMMA ISYM SYMPREC "
    "LORBIT NEDOS EMIN EMAX AMIX BMIX AMIN GGA ISIF NSW EDIFFG POTIM MDALGO SMASS TEBEG TEEND "
    "ANDERSEN_PROB LANGEVIN_GAMMA CSVR_PERIOD NBLOCK POMASS ISPIN MAGMOM NUPDOWN AMIX_MAG "
    "BMIX_MAG LDAU LDAUTYPE LDAUL LDAUU LDAUJ".split()
)

#: Reason -> tags that change nothing here.
WITHOUT_MEANING: dict[str, frozenset[str]] = {
    reason: frozenset(tags.split())
    for reason, tags in {
        "parallelization, memory and reports": """
            KPAR LASYNC LPLANE LSCAAWARE LSCALAPACK LSCALU LUSENCCL MAXMEM NBLK NCORE NPAR NSIM
            NWRITE PFLAT PLEVEL PROUTINE PTHRESHOLD""",
        "numerical details of VASP": """
            ADDGRID APACO CSHIFT DEPER EBREAK EFERMI ENAUG ENINI GGA_COMPAT ISEARCH ISPECIAL
            IWAVPR LASPH LCOMPAT LCORR LREAL LSUBROT NDAV NLSPLINE RANDOM_GENERATOR RANDOM_SEED
            ROPT SCSRAD TIME WEIMIN""",
        "ions that move in other ways (MDALGO, ICONST, IBRION = 3, 44)": """
            DIMER_DIST FINDIFF HILLS_BIN HILLS_H HILLS_W HITOLER INCREM KBLOCK LANGEVIN_GAMMA_L
            LATTICE_CONSTRAINTS LBLUEOUT MINROT NFREE NHC_NCHAINS NHC_NRESPA NHC_NS NHC_PERIOD
            NPACO NSUBSYS NTEMPER OFIELD_A OFIELD_KAPPA OFIELD_Q6_FAR OFIELD_Q6_NEAR PMASS PSUBSYS
            SHAKEMAXITER SHAKETOL SPRING STEP_MAX STEP_SIZE TSUBSYS VALUE_MAX VALUE_MIN
            VCUTOFF""",
        "spin (LSORBIT, I_CONSTRAINED_M)": """
            ISPIND LAMBDA LMAGBLOCH LORBMOM LTRIPLET M_CONSTR QSPIRAL SAXIS VOSKOWN""",
        "reports of DFT+U": "LDAUPRINT",
        "meta-GGA (METAGGA)": """
            CMBJ CMBJA CMBJB LIBXC1 LIBXC1_P1 LIBXC2 LIBXC2_P1 LMAXTAU LMIXTAU LTBOUNDLIBXC""",
        "exact exchange (LHFCALC)": """
            AEXX ENCUTFOCK EVENONLY HFALPHA HFLMAX HFRCUT HFSCREEN HFSCREENC LFOCKACE LFOCKAE
            LFOCKAEDFT LHARTREE LMAXFOCK LMAXFOCKAE LMODELHF LRHFCALC LTHOMAS NKRED NKREDX NKREDY
            NKREDZ NMAXFOCKAE ODDONLY PRECFOCK QMAXFOCKAE SHIFTRED""",
        "van der Waals (IVDW, LUSE_VDW)": """
            BPARAM CPARAM IVDW_NL LSCSGRAD LVDWEXPANSION LVDW_EWALD PARAM1 PARAM2 PARAM3 VDW_A1
            VDW_A2 VDW_ALPHA VDW_C6 VDW_C6AU VDW_CNRADIUS VDW_D VDW_R0 VDW_R0AU VDW_RADIUS VDW_S6
            VDW_S8 VDW_SR ZAB_VDW""",
        "many-body methods (ALGO)": """
            ANTIRES DARWINR DARWINV ENCUTGW ENCUTGWSOFT ENCUTLF ESF_CONV ESF_NINTER ESF_SPLINES
            EVENONLYGW IBSE KPOINT_BSE LADDER LDOWNSAMPLE LFERMIGW LFINITE_TEMPERATURE LFXC LFXCEPS
            LFXHEG LHFONE LMP2LT LRPAFORCE LSELFENERGY LSINGLES LSMP2LT LSPECTRAL LSPECTRALGW
            LSYMGRAD LTCTE LTETE LUSEW MAXITER_FT NATURALO NBANDSGW NBANDSO NBANDSV NBSEEIG
            NCRPA_BANDS NCRPA_BANDS_LOW NELMALL NELMGW NELMHF NOMEGA NOMEGAPAR NOMEGAR
            NTARGET_STATES NTAUPAR ODDONLYGW OMEGAMAX OMEGAMIN OMEGATL SELFENERGY""",
        "response and spectroscopy (LEPSILON, LOPTICS, LCHIMAG, ICORELEVEL)": """
            CH_LSPEC CH_NEDOS CH_SIGMA CLL CLN CLNT CLZ DQ ICHIBARE IEPSILON IGPAR IPEAD LBONE
            LCLSCAL LGAUGE LLRAUG LNICSALL LNMR_SYM_RED LRPA LVGVAPPL LVGVCALC LZEROZ MAGATOM
            MAGDIPOLOUT MAGPOS NGYROMAG NPPSTR NUCIND ORBITALMAG QUAD_EFG""",
        "dipole corrections (LDIPOL, IDIPOL)": "DIPOL EPSILON",
        "partial densities and STM (LPARD, STM)": "EINT IBAND KPUSE LSEPB LSEPK NBMOD",
        "Wannier functions (LWANNIER90)": """
            LORBITALREAL LWRITE_MMN_AMN LWRITE_SPN LWRITE_UNK LWRITE_WANPROJ NUM_WANN
            WANNIER90_WIN""",
        "occupations that are given (ISMEAR = -2, -3)": "FERDO FERWE SMEARINGS",
        "radii for spheres (LORBIT < 10)": "RWIGS",
    }.items()
}

#: Tags without influence that may change how many steps VASP takes, and what is done here.
INEFFECTIVE = {"MAXMIX": "16 steps are combined whatever its value"}

#: Beginnings of tags that have a meaning only beside a tag that is refused.
WITHOUT_MEANING_BY_PREFIX = ("ML_", "PHON_", "ELPH_", "TRANSPORT_", "HILLS_", "KERNEL_")

#: Tags for files that are not written here.
OUTPUT_FILES: dict[str, str] = {
    "LWAVEH5": "vaspwave.h5",
    "LCHARGH5": "vaspwave.h5",
    "LAECHG": "AECCAR",
    "LELF": "ELFCAR",
    "LVTOT": "LOCPOT",
    "LVHAR": "LOCPOT",
    "LPARDH5": "vaspwave.h5",
}


def _not_in(*values: object) -> Callable[[Any], bool]:
    return lambda value: value not in values


def _not_named(*names: str) -> Callable[[Any], bool]:
    return lambda value: str(value).upper() not in names


def _between(least: int, most: int) -> Callable[[Any], bool]:
    return lambda value: least <= value <= most


def _any_not_zero(value: Any) -> bool:
    return any(number != 0 for number in (value if isinstance(value, list) else [value]))


#: Tag -> whether a value asks for something that is not computed here, and what that is.
REFUSED: dict[str, tuple[Callable[[Any], bool], str]] = {
    # The ground state that is computed.
    "ALGO": (
        # VASP looks at the first letter, except for GW and its kind, and for fixed orbitals.
        lambda value: (
            not re.fullmatch("[nvfacde][a-z]*", str(value).lower())
            or str(value)
            .lower()
            .startswith(("evgw", "chi", "acfdt", "crpa", "bse", "none", "nothing", "eig"))
        ),
        "only ground-state algorithms are supported, set ALGO = Normal",
    ),
    "IALGO": (_not_in(38, 48, 58, 68), "only 38, 48, 58 and 68 are supported, set ALGO = Normal"),
    "PREC": (
        lambda value: str(value)[:1].upper() not in {"A", "N", "S"},
        "only Accurate, Normal and Single are supported",
    ),
    "GGA": (
        _not_named("PE", "PS", "RP", "RE", "CA", "", "--"),
        "only PE, PS, RP, RE and CA are supported",
    ),
    "XC": (lambda value: True, "functionals are chosen by GGA, set GGA = PE"),
    "ICHARG": (_not_in(0, 1, 2, 11, 12), "only 0, 1, 2, 11 and 12 are supported"),
    "ISTART": (_not_in(0, 1, 2, 3), "only 0 and 1 are supported"),
    "INIWAV": (_not_in(1), "orbitals begin as random ones, set INIWAV = 1"),
    "ISMEAR": (_not_in(-5, -1, 0, 1, 2), "only -5, -1, 0, 1 and 2 are supported"),
    "ISYM": (_not_in(-1, 0, 1, 2, 3), "only -1, 0, 1, 2 and 3 are known"),
    "LORBIT": (_not_in(0, 10, 11, 12, 13, 14), "only 0 and 10 to 14 are supported"),
    "SCALEE": (_not_in(1, 1.0), "energies are not scaled, remove SCALEE"),
    "ENMAX": (lambda value: True, "the cutoff is set by ENCUT"),
    "ZVAL": (lambda value: True, "the POTCAR gives the valence, remove ZVAL"),
    "LMAXPAW": (_between(-1, 1), "on-site terms are complete, remove LMAXPAW"),
    "LDIAG": (lambda value: not value, "orbitals are always rotated, remove LDIAG"),
    "LH5": (bool, "VASP then writes vaspwave.h5 and no CHGCAR, set LH5 = .FALSE."),
    # The mixer is that of VASP's defaults.
    "IMIX": (_not_in(4), "only Pulay mixing is supported, set IMIX = 4"),
    "INIMIX": (_not_in(1), "only Kerker's initial mixing is supported, set INIMIX = 1"),
    "MIXPRE": (_not_in(1), "only the metric of MIXPRE = 1 is supported"),
    "MIXFIRST": (bool, "mixing follows the orbitals, set MIXFIRST = .FALSE."),
    "WC": (_not_in(1000, 1000.0), "only Pulay's weights are supported, remove WC"),
    # Spin, and functionals other than PBE.
    "ISPIN": (_not_in(1, 2), "only 1 and 2 are known"),
    "LSORBIT": (bool, "spin-orbit coupling is not supported, set LSORBIT = .FALSE."),
    "LNONCOLLINEAR": (bool, "non-collinear magnetism is not supported"),
    "LSPIRAL": (bool, "spin spirals are not supported"),
    "I_CONSTRAINED_M": (_any_not_zero, "constrained moments are not supported"),
    "LHFCALC": (bool, "hybrid functionals are not supported, set LHFCALC = .FALSE."),
    "METAGGA": (
        _not_named("", "NONE", "--"),
        "meta-GGA functionals are not supported, remove METAGGA",
    ),
    "LMETAGGA": (bool, "meta-GGA functionals are not supported, remove LMETAGGA"),
    "IVDW": (_any_not_zero, "dispersion corrections are not supported, set IVDW = 0"),
    "LUSE_VDW": (bool, "van der Waals functionals are not supported"),
    **{
        tag: (_not_in(1), "functionals are taken as they are, set it to 1")
        for tag in ("AGGAC", "AGGAX", "ALDAC", "ALDAX")
    },
    # Ions that move, or feel something else than the crystal.
    "NSW": (lambda value: value < -1, "the number of ionic steps is negative"),
    "IBRION": (
        _not_in(-1, 0, 1, 2, 3),
        "phonons and transition states are not computed, set IBRION = 2 or -1",
    ),
    "IMAGES": (lambda value: value > 0, "image chains are not supported"),
    "PSTRESS": (_any_not_zero, "external pressure is not supported, set PSTRESS = 0"),
    "EFIELD": (_any_not_zero, "electric fields are not supported"),
    "EFIELD_PEAD": (_any_not_zero, "electric fields are not supported"),
    "BEXT": (_any_not_zero, "magnetic fields are not supported"),
    "LDIPOL": (bool, "dipole corrections are not supported"),
    "LMONO": (bool, "monopole corrections are not supported"),
    "IDIPOL": (_any_not_zero, "dipole corrections are not supported, remove IDIPOL"),
    "LSOL": (bool, "solvents are not supported, set LSOL = .FALSE."),
    # Quantities that are not computed.
    "LEPSILON": (bool, "response functions are not supported"),
    "LCALCEPS": (bool, "response functions are not supported"),
    "LCALCPOL": (bool, "polarization is not supported"),
    "LPEAD": (bool, "derivatives of orbitals are not supported"),
    "LBERRY": (bool, "Berry phases are not supported"),
    "LOPTICS": (bool, "optical properties are not supported, set LOPTICS = .FALSE."),
    "LNABLA": (bool, "optical properties are not supported, set LNABLA = .FALSE."),
    "LVEL": (bool, "optical properties are not supported, set LVEL = .FALSE."),
    "LCHIMAG": (bool, "chemical shifts are not supported"),
    "LEFG": (bool, "electric field gradients are not supported"),
    "LHYPERFINE": (bool, "hyperfine tensors are not supported"),
    "LDMATRIX": (bool, "zero-field splittings are not supported"),
    "ICORELEVEL": (_any_not_zero, "core levels are not supported"),
    "LPARD": (bool, "partial densities are not supported"),
    "STM": (lambda value: True, "STM images are not supported"),
    "LKPROJ": (bool, "projections onto other k-points are not supported"),
    "LOCPROJ": (lambda value: True, "projections onto local functions are not supported"),
    "LWANNIER90": (bool, "Wannier functions are not supported"),
    "LWANNIER90_RUN": (bool, "Wannier functions are not supported"),
    "LSCDM": (bool, "Wannier functions are not supported"),
    "LINTPOL_WPOT": (bool, "interpolated potentials are not supported"),
    "LPHON_DISPERSION": (bool, "phonons are not supported"),
    "LPHON_POLAR": (bool, "phonons are not supported"),
    "LMUSIC": (bool, "this analysis is not supported"),
    "ELPH_RUN": (bool, "electron-phonon coupling is not supported"),
    "ML_LMLFF": (bool, "machine-learned force fields are not supported"),
    "ML_FF_LMLFF": (bool, "machine-learned force fields are not supported"),
    "LKPOINTS_OPT": (bool, "a second list of k-points is not supported"),
}

_SILENT = HONORED.union(*WITHOUT_MEANING.values())


def is_known(tag: str) -> bool:
    """Tell whether a tag is honored, without meaning, or refused only for some of its values.

    Parameters
    ----------
    tag
        In capitals.

    Returns
    -------
    bool
        False for tags that are refused because they are not known.

    Examples
    --------
    >>> is_known("ENCUT"), is_known("NCORE"), is_known("ML_MODE"), is_known("ENCTU")
    (True, True, True, False)
    """
    return (
        tag in _SILENT
        or tag in OUTPUT_FILES
        or tag in INEFFECTIVE
        or tag in REFUSED
        or tag.startswith(WITHOUT_MEANING_BY_PREFIX)
    )


def meant_tag(tag: str) -> str | None:
    """Find the tag that a misspelled one may stand for.

    Parameters
    ----------
    tag
        In capitals, not a known one: patches of VASP have tags of their own.

    Returns
    -------
    str or None
        A known tag that differs by a letter or two; None if there is none.

    Examples
    --------
    >>> meant_tag("ENCUTT"), meant_tag("ICHAIN")
    ('ENCUT', None)
    """
    known = sorted({*_SILENT, *OUTPUT_FILES, *INEFFECTIVE, *REFUSED})
    return next(iter(get_close_matches(tag, known, 1, 0.85)), None)


def check_tags(incar: Mapping[str, Any]) -> list[str]:
    """Refuse what cannot be computed.

    Parameters
    ----------
    incar
        Tags as read from the INCAR.

    Returns
    -------
    list of str
        One line per tag that asks for a file that is not written, or that has no influence though
        VASP may take other steps because of it.

    Raises
    ------
    UnsupportedInputError
        If a tag asks for physics that is not computed here, or is not known.

    Examples
    --------
    >>> check_tags({"ENCUT": 520.0, "LAECHG": True})
    ['INCAR: LAECHG: no AECCAR is written']
    """
    for tag, value in incar.items():
        if not is_known(tag):
            raise UnsupportedInputError(
                f"INCAR: {one_line(tag, 40)} is not known, correct it or remove it"
            )
        if tag not in REFUSED:
            continue
        asks_too_much, reason = REFUSED[tag]
        shown = one_line(" ".join(map(str, value)) if isinstance(value, list) else value, 40)
        try:
            refused = asks_too_much(value)
        except TypeError:
            raise UnsupportedInputError(f"INCAR: {tag} = {shown} cannot be understood") from None
        if refused:
            remedy = f", remove {tag}" if reason.endswith("not supported") else ""
            raise UnsupportedInputError(f"INCAR: {tag} = {shown}: {reason}{remedy}")
    files = [
        f"INCAR: {tag}: no {name} is written"
        for tag, name in OUTPUT_FILES.items()
        if incar.get(tag)
    ]
    ineffective = [
        f"INCAR: {tag} has no influence: {reason}"
        for tag, reason in INEFFECTIVE.items()
        if tag in incar
    ]
    return files + ineffective


def tags_without_meaning(incar: Mapping[str, Any]) -> list[str]:
    """Name the tags of an INCAR that change nothing here.

    Parameters
    ----------
    incar
        Tags as read from the INCAR.

    Returns
    -------
    list of str
        One line for stdout, or none.

    Examples
    --------
    >>> tags_without_meaning({"LREAL": False, "ENCUT": 520.0, "LASPH": True, "NCORE": 4})
    ['gpaw-vasp: without meaning here: LASPH LREAL NCORE']
    """
    known = frozenset[str]().union(*WITHOUT_MEANING.values())
    found = sorted(
        tag for tag in incar if tag in known or tag.startswith(WITHOUT_MEANING_BY_PREFIX)
    )
    return [f"gpaw-vasp: without meaning here: {' '.join(found)}"] if found else []
