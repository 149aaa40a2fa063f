"""Structures and inputs of a published split of Materials Project, through mp-api.

The repository of ChargE3Net holds, under ``data``, ``mp/split.json`` (rows of the members of each
part), ``mp/filelist.txt`` (identifier of each row) and ``mpid_to_task_id_map.json`` (the task
whose charge density was taken). None of them is part of this package.

References
----------
Koker, Quigley, Taw, Tibbetts, Li, npj Comput. Mater. 10, 161 (2024).
"""

from __future__ import annotations

import gzip
import json
import os
from collections import Counter
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from monty.json import jsanitize
from pymatgen.core.structure import Structure

from mlcharge_flows.atomate2.sets.materials_project import INCAR, KPOINTS, POTCAR
from mlcharge_flows.errors import MlchargeError
from mlcharge_flows.io import atomic_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

MAGNETIC_MOMENT = 0.1
"""Smallest moment, total or of an ion, of a magnetic material as published, Bohr magnetons."""

TAGS_NOT_TAKEN = {"NPAR", "NCORE", "KPAR", "NSIM", "LPLANE", "SYSTEM", "ICHARG", "ISTART", "MAGMOM"}
"""INCAR tags of a task that belong to its machine or to its initial state."""

_FIELDS = ["task_id", "input", "orig_inputs", "output", "calcs_reversed"]
BATCH_SIZE = 50
"""Tasks of one request."""


class MaterialsProjectError(MlchargeError, ValueError):
    """A file of the split or the service cannot be used; the message is one line."""


def split_members(split: Path, rows: Path, part: str = "test") -> list[str]:
    """Identifiers of a part of a split, in its order.

    Parameters
    ----------
    split
        JSON: part -> row numbers, counted from 0.
    rows
        Text: one identifier per line.
    part
        ``train``, ``validation`` or ``test``.

    Returns
    -------
    list of str
        Identifiers of Materials Project.

    Raises
    ------
    MaterialsProjectError
        A file is missing, or is not of this kind.
    """
    parts = _json(split)
    if not isinstance(parts, dict) or part not in parts:
        known = ", ".join(parts) if isinstance(parts, dict) else "nothing"
        raise MaterialsProjectError(f"{split}: there is no part {part!r} in it, but {known}")
    try:
        names = rows.read_text().split()
    except OSError as error:
        raise MaterialsProjectError(f"{rows}: cannot be read ({error.strerror})") from None
    try:
        return [names[row] for row in parts[part]]
    except (IndexError, TypeError):
        raise MaterialsProjectError(
            f"{rows}: has {len(names)} lines, {split} names others; are both of one repository?"
        ) from None


def task_of_each(path: Path) -> dict[str, str]:
    """Task whose charge density was published, by material.

    Parameters
    ----------
    path
        ``mpid_to_task_id_map.json``.

    Returns
    -------
    dict of str to str
        Identifier of the task, by identifier of the material.

    Raises
    ------
    MaterialsProjectError
        The file is missing, or is no mapping.
    """
    tasks = _json(path)
    if not isinstance(tasks, dict):
        raise MaterialsProjectError(f"{path}: is not a mapping of materials to tasks")
    return tasks


def open_rester() -> Any:
    """Open a client of Materials Project.

    Returns
    -------
    MPRester
        With the key from ``MP_API_KEY`` or pymatgen's settings.

    Raises
    ------
    MaterialsProjectError
        mp-api is not installed, or there is no key.
    """
    if find_spec("mp_api") is None:
        raise MaterialsProjectError("mp-api is not installed: pip install mp-api")
    from pymatgen.core import SETTINGS

    key = os.environ.get("MP_API_KEY") or SETTINGS.get("PMG_MAPI_KEY")
    if not key:
        raise MaterialsProjectError(
            "there is no key for Materials Project: get one at "
            "https://next-gen.materialsproject.org/api and set MP_API_KEY"
        )
    client = import_module("mp_api.client")
    return client.MPRester(key, use_document_model=False, mute_progress_bars=True)


def fetch(
    materials: Sequence[str],
    tasks: Mapping[str, str],
    rester: Any,
    on_fetched: Callable[[int], None] = lambda count: None,
) -> tuple[list[dict[str, Any]], Counter[str]]:
    """Fetch structures with the inputs of their tasks; magnetic materials are left out.

    Parameters
    ----------
    materials
        Identifiers.
    tasks
        Task of each.
    rester
        Client, see :func:`open_rester`.
    on_fetched
        Called with the number of materials after each request.

    Returns
    -------
    entries : list of dict
        For :func:`write_structures`.
    left_out : Counter
        Number of materials that were left out, by reason.
    """
    entries, left_out = [], Counter[str]()
    for first in range(0, len(materials), BATCH_SIZE):
        names = materials[first : first + BATCH_SIZE]
        wanted = {tasks[name]: name for name in names if name in tasks}
        left_out["no task is known"] += len(names) - len(wanted)
        found = rester.materials.tasks.search(task_ids=list(wanted), fields=_FIELDS)
        documents = {str(document["task_id"]): document for document in map(as_plain, found)}
        for task, name in wanted.items():
            document = documents.get(task)
            reason = "the task is not served" if document is None else unusable(document)
            if document is None or reason:
                left_out[str(reason)] += 1
            else:
                entries.append(entry(name, document))
        on_fetched(len(names))
    return entries, +left_out


def unusable(document: Mapping[str, Any]) -> str | None:
    """Reason why a task does not belong to the published comparison.

    A material is non-magnetic, as published, if its total moment and the moment of every ion are
    below 0.1 Bohr magnetons at the end of the run. A spin-polarized task without moments in its
    document is left out.

    Parameters
    ----------
    document
        Document of the task.

    Returns
    -------
    str or None
        None if it belongs to it.
    """
    if not _inputs(document).get("incar"):
        return "the task has no INCAR"
    outcar = _outcar(document)
    moments = [abs(ion.get("tot", 0.0)) for ion in outcar.get("magnetization") or []]
    total = outcar.get("total_magnetization")
    if _inputs(document)["incar"].get("ISPIN", 1) == 1:
        return None
    if total is None and not moments:
        return "moments unknown"
    magnetic = abs(total or 0.0) >= MAGNETIC_MOMENT or max(moments, default=0) >= MAGNETIC_MOMENT
    return "magnetic" if magnetic else None


def entry(material: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """Entry of a structures file: the structure that the task ran, with its inputs as properties.

    Parameters
    ----------
    material
        Identifier.
    document
        Document of the task.

    Returns
    -------
    dict
        Identifier, split and structure.
    """
    inputs = _inputs(document)
    structure = Structure.from_dict(inputs.get("structure") or document["input"]["structure"])
    # Velocities, moments and the like belong to the finished run.
    structure = Structure(structure.lattice, structure.species, structure.frac_coords)
    titles = [spec.get("titel") or "" for spec in inputs.get("potcar_spec") or []]
    symbols = [title.split()[1] for title in titles if len(title.split()) > 1]
    structure.properties = {
        INCAR: {tag: value for tag, value in inputs["incar"].items() if tag not in TAGS_NOT_TAKEN},
        KPOINTS: inputs.get("kpoints"),
        POTCAR: {symbol.partition("_")[0]: symbol for symbol in symbols},
        "task_id": str(document["task_id"]),
    }
    return {"material_id": material, "split": "test", "structure": structure.as_dict()}


def _inputs(document: Mapping[str, Any]) -> dict[str, Any]:
    """Inputs as they were written; older tasks have them under another name."""
    original, used = document.get("orig_inputs") or {}, document.get("input") or {}
    return {**used, **{key: value for key, value in original.items() if value}}


def _outcar(document: Mapping[str, Any]) -> dict[str, Any]:
    calculations = document.get("calcs_reversed") or [{}]
    for outputs in (document.get("output") or {}, calculations[0].get("output") or {}):
        if outputs.get("outcar"):
            found: dict[str, Any] = outputs["outcar"]
            return found
    return {}


def as_plain(document: Any) -> dict[str, Any]:
    """Turn a document into plain data, whichever form the client gives it in.

    Parameters
    ----------
    document
        Document of the client: a model of emmet, or a mapping.

    Returns
    -------
    dict
        Of numbers, texts, lists and dictionaries.
    """
    if hasattr(document, "model_dump"):
        plain: dict[str, Any] = document.model_dump(mode="json")
    else:
        plain = jsanitize(document, strict=True)
    return plain


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise MaterialsProjectError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError:
        raise MaterialsProjectError(f"{path}: is not JSON; is the file complete?") from None


def write_structures(path: Path, entries: Iterable[Mapping[str, Any]]) -> None:
    """Write a structures file atomically.

    Parameters
    ----------
    path
        The file; gzipped if it ends in ``.gz``.
    entries
        As :func:`entry` gives them.
    """
    text = json.dumps({"structures": list(entries)}).encode()
    with atomic_path(path) as partial:
        partial.write_bytes(gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)
