"""INCAR tags of a run as vasprun.xml groups them, with VASP's values for tags without influence.

Readers look tags up by name and expect the type that VASP gives them (an ENCUT of ``520`` is a
float, LORBIT an integer), so that the table carries the type with the value.

References
----------
VASP wiki, vasprun.xml; the groups are those of files that VASP 5.4 and 6 wrote.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlcharge_flows.gpaw_vasp.result import Run

Value = bool | int | float | str | tuple[float, ...]

GROUPS: dict[str, dict[str, Value]] = {
    "general": {"SYSTEM": "unknown system", "LCOMPAT": False},
    "electronic": {
        "PREC": "normal",
        "ENMAX": 0.0,
        "EDIFF": 1e-4,
        "IALGO": 38,
        "IWAVPR": 11,
        "NBANDS": 0,
        "NELECT": 0.0,
    },
    "electronic smearing": {"ISMEAR": 1, "SIGMA": 0.2, "KSPACING": 0.5, "KGAMMA": True},
    "electronic projectors": {"LREAL": False, "LMAXPAW": -100, "LMAXMIX": 2, "NLSPLINE": False},
    "electronic startup": {"ISTART": 0, "ICHARG": 2, "INIWAV": 1},
    "electronic spin": {
        "ISPIN": 1,
        "LNONCOLLINEAR": False,
        "MAGMOM": (),
        "NUPDOWN": -1.0,
        "LSORBIT": False,
        "SAXIS": (0.0, 0.0, 1.0),
    },
    "electronic exchange-correlation": {
        "LASPH": False,
        "LMETAGGA": False,
        "GGA": "PE",
        "VOSKOWN": 0,
        "LHFCALC": False,
        "AEXX": 0.0,
        "ALDAX": 1.0,
        "AGGAX": 1.0,
        "ALDAC": 1.0,
        "AGGAC": 1.0,
        "HFSCREEN": 0.0,
        "LMAXFOCK": 0,
    },
    "electronic convergence": {
        "NELM": 60,
        "NELMDL": -5,
        "NELMIN": 2,
        "ENINI": 0.0,
        "LDIAG": True,
        "WEIMIN": 0.001,
        "DEPER": 0.3,
        "TIME": 0.4,
    },
    "electronic mixer": {
        "AMIX": 0.4,
        "BMIX": 1.0,
        "AMIN": 0.1,
        "AMIX_MAG": 1.6,
        "BMIX_MAG": 1.0,
        "IMIX": 4,
        "MAXMIX": -45,
    },
    "electronic dipolcorrection": {"LDIPOL": False, "LMONO": False, "IDIPOL": 0, "EPSILON": 1.0},
    "grids": {"NGX": 0, "NGY": 0, "NGZ": 0, "NGXF": 0, "NGYF": 0, "NGZF": 0, "ADDGRID": False},
    "ionic": {
        "NSW": 0,
        "IBRION": -1,
        "ISIF": 2,
        "PSTRESS": 0.0,
        "EDIFFG": 1e-3,
        "NFREE": 0,
        "POTIM": 0.5,
        "SMASS": -3.0,
    },
    "ionic md": {"TEBEG": 1e-4, "TEEND": 1e-4, "NBLOCK": 1, "KBLOCK": 1},
    "symmetry": {"ISYM": 2, "SYMPREC": 1e-5},
    "dos": {
        "LORBIT": 0,
        "RWIGS": (),
        "NEDOS": 301,
        "EMIN": 10.0,
        "EMAX": -10.0,
        "EFERMI": 0.0,
    },
    "writing": {
        "NWRITE": 2,
        "LWAVE": False,
        "LCHARG": True,
        "LVTOT": False,
        "LVHAR": False,
        "LELF": False,
        "LOPTICS": False,
    },
    "miscellaneous": {"POMASS": (), "LCORR": True},
    "plus U": {"LDAU": False},
    "vdW DFT": {"LUSE_VDW": False},
    "linear response parameters": {"LEPSILON": False, "LRPA": False},
    "orbital magnetization": {"LCHIMAG": False},
}
"""Group -> tag -> value where neither the run nor the INCAR says otherwise."""

_KNOWN = {tag: value for tags in GROUPS.values() for tag, value in tags.items()}
_TYPES: dict[str, Value] = {**_KNOWN, "ENCUT": 0.0}

# Shown with LDAU only.
_PLUS_U = {"LDAUTYPE", "LDAUL", "LDAUU", "LDAUJ"}

# Left over in an INCAR, these would make readers take the run for a hybrid one.
_HYBRID = {"LHFCALC", "AEXX", "ALDAX", "AGGAX", "ALDAC", "AGGAC", "HFSCREEN", "LMAXFOCK"}


def grouped_parameters(run: Run) -> dict[str, dict[str, Any]]:
    """Collect every tag of the run by group, typed as VASP types it.

    Parameters
    ----------
    run
        Its ``parameters`` take precedence over its ``incar``, and both over the table.

    Returns
    -------
    dict
        Group to tag to value; the group ``""`` holds the tags that are in no other.
    """
    shown = (_KNOWN.keys() - _HYBRID) | (_PLUS_U if run.incar.get("LDAU") else set())
    given: dict[str, Any] = {
        "MAGMOM": (1.0,) * len(run.crystal),
        "RWIGS": (-1.0,) * len(run.datasets),
        **{tag: value for tag, value in run.incar.items() if tag in shown},
        **{tag: value for tag, value in run.parameters.items() if value is not None},
        "POMASS": tuple(data.mass for data in run.datasets),
        "NELECT": run.electrons,
        "NBANDS": run.eigenvalues.shape[-1],
        "NEDOS": len(run.dos_energies),
    }
    given.setdefault("ENMAX", given.get("ENCUT", 0.0))
    given.setdefault("ENINI", given["ENMAX"])
    given.setdefault("EDIFFG", 10 * given.get("EDIFF", 1e-4))
    groups = {
        group: {tag: given.get(tag, value) for tag, value in tags.items()}
        for group, tags in GROUPS.items()
    }
    if given.get("LDAU"):
        groups["plus U"] |= {tag: given.pop(tag) for tag in sorted(_PLUS_U) if tag in given}
    groups[""] = {tag: value for tag, value in given.items() if tag not in _KNOWN}
    return {group: typed(tags) for group, tags in groups.items()}


def typed(tags: Mapping[str, Any]) -> dict[str, Any]:
    """Give the numbers among known tags the type that VASP gives them.

    Parameters
    ----------
    tags
        INCAR tags and values.

    Returns
    -------
    dict
        The same tags; values of unknown tags unchanged.

    Examples
    --------
    >>> typed({"ENCUT": 520, "NELM": 60, "LREAL": "Auto", "MAGMOM": [1, 2]})
    {'ENCUT': 520.0, 'NELM': 60, 'LREAL': 'Auto', 'MAGMOM': (1.0, 2.0)}
    """
    return {tag: _typed(_TYPES.get(tag), value) for tag, value in tags.items()}


def _typed(model: Value | None, value: Any) -> Any:
    if isinstance(model, tuple) and not isinstance(value, str):
        return tuple(float(number) for number in np.atleast_1d(value))
    if isinstance(model, bool | int | float) and isinstance(value, bool | int | float | np.generic):
        return type(model)(value)
    return value
