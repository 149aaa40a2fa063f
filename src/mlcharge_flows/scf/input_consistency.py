"""Whether INCAR, POTCAR, KPOINTS and IBZKPT in a folder are those of the run of its OUTCAR.

OUTCAR and vasprun.xml repeat the tags, data sets and k-points that VASP has read. Which tags they
repeat depends on the version of VASP; a tag that they would repeat, and do not, was not set.
"""

from __future__ import annotations

import re
from contextlib import suppress
from math import isfinite, prod
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.errors import one_line
from mlcharge_flows.io import UNREADABLE
from mlcharge_flows.scf.run_files import read_titels
from mlcharge_flows.vasp.fortran import FortranNumberError
from mlcharge_flows.vasp.incar import read_incar
from mlcharge_flows.vasp.incar_values import tag_value
from mlcharge_flows.vasp.input_text import read_text, split_lines
from mlcharge_flows.vasp.irreducible_kpoints import irreducible_kpoints
from mlcharge_flows.vasp.kpoints import KPointSet, from_file, read_kpoints

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from mlcharge_flows.scf.run_files import RunFiles
    from mlcharge_flows.vasp.outcar import Outcar
    from mlcharge_flows.vasp.vasprun import VasprunStart

T = TypeVar("T")

ENCUT_PRECISION = 0.06
"""OUTCAR prints ENCUT with one decimal, eV."""
_EDIFF_FACTOR = 1.6
"""OUTCAR prints EDIFF with one digit."""
_PRINTED_PRECISION = 0.006
"""OUTCAR prints SIGMA with two decimals, NELECT and NUPDOWN with four."""
_VASPRUN_PRECISION = 0.6e-8
"""vasprun.xml prints numbers with 8 decimals."""
_KPOINT_PRECISION = 1e-6
"""OUTCAR prints fractional coordinates of k-points with 8 decimals."""
_TITLE_LENGTH = 40
_ALWAYS_REPEATED = frozenset(
    "ISTART ICHARG ISPIN PREC ALGO IALGO NELM NELMIN ENCUT EDIFF EDIFFG NSW IBRION ISIF ISYM ISMEAR"
    " SIGMA LREAL GGA METAGGA LHFCALC LDAU".split()
)
"""Tags that every vasprun.xml repeats if INCAR has them; others depend on the version of VASP."""


def other_inputs(files: RunFiles, outcar: Outcar, vasprun: VasprunStart) -> str | None:
    """In what the inputs of a folder are not those that a run has read.

    Parameters
    ----------
    files
        Where they are.
    outcar
        OUTCAR of the run.
    vasprun
        vasprun.xml of the folder; empty without one.

    Returns
    -------
    str or None
        ``what: values in the files``; None if they are, as far as the files tell.
    """
    incar = if_readable(read_incar, files.incar)
    return (
        _other_settings(incar or {}, outcar, vasprun, is_known=incar is not None)
        or _other_tags(incar, vasprun.incar, "vasprun.xml")
        or _other_tags(incar, outcar.incar, "OUTCAR")
        or _other_datasets(files, outcar, vasprun)
        or _other_kpoints(files, outcar, vasprun)
    )


def if_readable(read: Callable[[Path], T], path: Path | None) -> T | None:
    """Read a file that may be missing or damaged.

    Parameters
    ----------
    read
        Its reader.
    path
        The file; None without one.

    Returns
    -------
    object
        What the reader returns; None if the file cannot be read.
    """
    with suppress(*UNREADABLE, TypeError, IndexError):
        return None if path is None else read(path)
    return None


def _other_settings(
    incar: Mapping[str, Any], outcar: Outcar, vasprun: VasprunStart, *, is_known: bool
) -> str | None:
    """In which tag INCAR or vasprun.xml differ from what OUTCAR prints as used; None if in none."""
    noncollinear = incar.get("LNONCOLLINEAR") or incar.get("LSORBIT")
    used: dict[str, Any] = {
        "ENCUT": outcar.encut,
        "ISPIN": None if noncollinear else outcar.ispin,  # VASP sets 1
        "NELM": outcar.nelm,
        "EDIFF": outcar.ediff,
        "LMAXMIX": outcar.lmaxmix,
        "ICHARG": outcar.icharg,
        "NSW": outcar.nsw,
        "IBRION": outcar.ibrion if outcar.nsw else None,  # VASP sets -1
        "ISIF": outcar.isif,
        "ISMEAR": outcar.ismear,
    }
    if "ENMAX" in incar:
        incar = {"ENCUT": incar["ENMAX"], **incar}
    if found := _other_tag(incar, used, "INCAR"):
        return found
    if found := _other_printed(incar, outcar):
        return found
    own = str(incar.get("PREC", "")).lower()
    if own and outcar.prec and own[0] != outcar.prec[0].lower():
        return f"PREC: {own} in INCAR, {outcar.prec} in OUTCAR"
    parameters = {"ENCUT": vasprun.parameters.get("ENMAX"), **vasprun.parameters}
    if found := _other_tag(parameters, {**used, "ICHARG": None}, "vasprun.xml"):
        return found
    repeated = _metagga(vasprun.incar.get("METAGGA", "")) if vasprun.incar else None
    repeated = repeated if outcar.metagga is None else _metagga(outcar.metagga)
    own = _metagga(incar.get("METAGGA", ""))
    if is_known and repeated is not None and own != repeated:
        source = "vasprun.xml" if outcar.metagga is None else "OUTCAR"
        return f"METAGGA: {own or 'none'} in INCAR, {repeated or 'none'} in {source}"
    return None


def _other_tag(tags: Mapping[str, Any], used: Mapping[str, Any], name: str) -> str | None:
    """First tag whose value in a file is not the one that OUTCAR prints."""
    for tag, value in used.items():
        try:
            own = float(tags[tag])
        except (KeyError, ValueError, TypeError):
            continue
        if value is None or not isfinite(own + value):
            continue
        if tag == "EDIFF":
            is_same = own <= 0 or value <= 0 or 1 / _EDIFF_FACTOR < own / value < _EDIFF_FACTOR
        else:
            is_same = abs(own - value) <= (ENCUT_PRECISION if tag == "ENCUT" else 0)
        if not is_same:
            return f"{tag}: {own:g} in {name}, {value:g} in OUTCAR"
    return None


def _other_printed(incar: Mapping[str, Any], outcar: Outcar) -> str | None:
    """First tag of INCAR that is not the one in OUTCAR's list of all settings."""
    if incar.get("LDAU") is True and outcar.printed and not outcar.ldaul:
        return "LDAU: on in INCAR, no DFT+U in OUTCAR"
    for tag, n in zip(("NGXF", "NGYF", "NGZF"), outcar.grid or (), strict=False):
        own = incar.get(tag)
        # Numbers with other prime factors are changed by some builds.
        if own != n and isinstance(own, int) and own > 0 and 210**9 % own == 0:
            return f"{tag}: {own} in INCAR, {n} in OUTCAR"
    for tag, printed in outcar.printed.items():
        own = incar.get(tag)
        if tag == "GGA" and printed == "--" and str(own).upper() == outcar.lexch:
            continue  # what the data sets have anyway
        if own is not None and not _is_printed_as(tag, own, printed):
            return f"{tag}: {_shown(own)} in INCAR, {printed} in OUTCAR"
    return None


def _is_printed_as(tag: str, own: object, printed: str) -> bool:
    """Whether OUTCAR prints a value of INCAR so."""
    if tag == "GGA":
        return str(own).upper()[:2] == printed.upper()
    if printed in ("T", "F"):  # LREAL is also On and Auto
        return (str(own).strip(".")[:1].upper() == "F") is (printed == "F")
    with suppress(ValueError, TypeError):
        return abs(float(str(own)) - float(printed)) <= _PRINTED_PRECISION
    return True


def _metagga(value: object) -> str:
    name = str(value).strip().upper()
    return "" if name in ("NONE", "--", "F", ".FALSE.", "FALSE") else name


def _other_tags(
    incar: Mapping[str, Any] | None, repeated: Mapping[str, str], name: str
) -> str | None:
    """First tag of INCAR that a file repeats differently, or repeats though it is not there."""
    if incar is None or not repeated:
        return None
    for tag in dict.fromkeys((*incar, *repeated)):
        own, text = incar.get(tag), repeated.get(tag)
        if text is None:
            if tag in _ALWAYS_REPEATED:
                return f"{tag}: {_shown(own)} in INCAR, not set in {name}"
            continue
        try:
            other = tag_value(tag, text)
        except FortranNumberError:  # VASP 5 writes LORBIT = F for 11
            continue
        if own is None:
            # VASP 5 lists some logical tags that are not set.
            if tag in _ALWAYS_REPEATED and other is not False:
                return f"{tag}: not set in INCAR, {_shown(other)} in {name}"
        elif tag != "SYSTEM" and not _is_same(own, other):
            return f"{tag}: {_shown(own)} in INCAR, {_shown(other)} in {name}"
    return None


def _is_same(own: object, other: object) -> bool:
    """Whether two values of a tag are the same, within what vasprun.xml prints."""
    if isinstance(own, list) and isinstance(other, list):
        return len(own) != len(other) or all(map(_is_same, own, other))
    if isinstance(own, int | float) and isinstance(other, int | float):
        return abs(own - other) <= _VASPRUN_PRECISION + 1e-6 * abs(own)
    words = [str(value).lower() for value in (own, other)]
    return type(own) is not type(other) or words[0].startswith(words[1])


def _shown(value: object) -> str:
    return one_line(f"{value:g}" if isinstance(value, float) else value, 40)


def _other_datasets(files: RunFiles, outcar: Outcar, vasprun: VasprunStart) -> str | None:
    titels = {"POTCAR": if_readable(read_titels, files.potcar), "vasprun.xml": vasprun.titels}
    for name, own_titels in titels.items():
        if own_titels and outcar.titels and own_titels != outcar.titels:
            listed = ", ".join(own_titels), ", ".join(outcar.titels)
            return f"PAW data sets: {listed[0]} in {name}, {listed[1]} in OUTCAR"
    return None


def _other_kpoints(files: RunFiles, outcar: Outcar, vasprun: VasprunStart) -> str | None:
    """In what KPOINTS or IBZKPT are not those of OUTCAR and vasprun.xml; None if they are."""
    title = if_readable(_title, files.kpoints)
    if title and outcar.kpoints_title and title.split() != outcar.kpoints_title.split():
        return f"title {one_line(title, 40)!r} in KPOINTS, {outcar.kpoints_title!r} in OUTCAR"
    given = _given_kpoints(files, outcar)
    if given and (difference := _other_mesh(given, vasprun)):
        return difference
    points = outcar.kpoints
    if points is None:
        return None
    if given and (difference := _other_points(given, outcar, points)):
        return difference
    # VASP writes IBZKPT for a mesh only: beside a list it is of an earlier run.
    listed = None if given and not given.is_mesh else if_readable(_read_ibzkpt, files.ibzkpt)
    return None if listed is None else _difference("IBZKPT", listed, points)


def _title(path: Path) -> str:
    """What VASP keeps and prints of the first line of KPOINTS."""
    return split_lines(read_text(path))[0][:_TITLE_LENGTH]


def _given_kpoints(files: RunFiles, outcar: Outcar) -> KPointSet | None:
    lattice = outcar.first.lattice
    kpoints = if_readable(read_kpoints, files.kpoints)
    with suppress(ValueError):
        return None if kpoints is None or lattice is None else from_file(kpoints, lattice)
    return None


def _other_mesh(given: KPointSet, vasprun: VasprunStart) -> str | None:
    """In what a mesh differs from that of vasprun.xml; None if in nothing, or either has none."""
    meshes = ("Gamma", "Monkhorst-Pack")
    if given.scheme not in meshes or vasprun.kpoint_scheme not in meshes or not vasprun.divisions:
        return None
    own: tuple[Any, ...] = given.scheme, given.divisions, given.shift
    shift = vasprun.shift or given.shift
    other: tuple[Any, ...] = vasprun.kpoint_scheme, vasprun.divisions, shift
    if own == other:
        return None
    described = (f"{s} {' x '.join(map(str, d or ()))} {_shifted(by)}" for s, d, by in (own, other))
    return "k-points: {} in KPOINTS, {} in vasprun.xml".format(*map(str.strip, described))


def _shifted(by: tuple[float, ...]) -> str:
    return f"shifted by {' '.join(f'{x:g}' for x in by)}" if any(by) else ""


def _other_points(given: KPointSet, outcar: Outcar, points: np.ndarray) -> str | None:
    """In what the points that KPOINTS gives are not those of a run; None if they may be."""
    if given.points is not None:
        return _difference("KPOINTS", given.points, points)
    mesh, lattice = given.divisions or (), outcar.first.lattice
    if lattice is None:
        return None
    # No run has more symmetry than its lattice.
    bare = Crystal(lattice, ("X",), np.zeros((1, 3)))
    fewest = irreducible_kpoints(bare, mesh, given.first, symprec=1e-2)
    if not fewest.is_symmetric:  # VASP changes such a mesh
        return None
    steps = (points - given.first) * mesh
    on_mesh = np.abs(steps - np.rint(steps)).max() < _KPOINT_PRECISION * max(mesh)
    if on_mesh and len(fewest.points) <= len(points) <= prod(mesh):
        return None
    return f"k-points: {' x '.join(map(str, mesh))} in KPOINTS, {len(points)} others in OUTCAR"


def _read_ibzkpt(path: Path) -> np.ndarray:
    """Fractional coordinates of the points in an IBZKPT, shape (k, 3)."""
    lines = split_lines(read_text(path))
    rows = lines[3 : 3 + int(lines[1])]
    return np.array([[float(word) for word in re.split(r"\s+", row.strip())[:3]] for row in rows])


def _difference(name: str, own: np.ndarray, points: np.ndarray) -> str | None:
    if len(own) != len(points):
        return f"k-points: {len(own)} in {name}, {len(points)} in OUTCAR"
    apart = own - points
    if np.abs(apart - np.rint(apart)).max() > _KPOINT_PRECISION:
        return f"coordinates of the k-points in {name} and OUTCAR"
    return None
