"""Structures and inputs of published splits from Materials Project, through mp-api.

ChargE3Net's repository ships, under ``data``, ``mp/split.json`` (rows of the members of each
part), ``mp/filelist.txt`` (identifier of each row) and ``mpid_to_task_id_map.json`` (the task
whose charge density was taken). Nothing of them is part of this package.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from importlib import import_module
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from pymatgen.core import Structure

from mlcharge_flows.atomate2.sets.materials_project import INCAR, KPOINTS, POTCAR
from mlcharge_flows.io import atomic_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence
    from pathlib import Path

SMALLEST_MOMENT = 0.1
"""From here on, in total or on any ion, a moment makes a material magnetic (muB), as published."""

MACHINE = {"NPAR", "NCORE", "KPAR", "NSIM", "LPLANE", "SYSTEM", "ICHARG", "ISTART", "MAGMOM"}
"""INCAR tags of the machine, or of the start, that are not taken from a task."""

FIELDS = ["task_id", "input", "orig_inputs", "output", "calcs_reversed"]
AT_ONCE = 50


class SourceError(ValueError):
    """A file or the service cannot be used; the message is one line: what, and what to do."""


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

    Raises
    ------
    SourceError
        A file is missing, or is not of this kind.
    """
    parts = _json(split)
    if not isinstance(parts, dict) or part not in parts:
        known = ", ".join(parts) if isinstance(parts, dict) else "nothing"
        raise SourceError(f"{split}: there is no part {part!r} in it, but {known}")
    try:
        names = rows.read_text().split()
    except OSError as error:
        raise SourceError(f"{rows}: cannot be read ({error.strerror})") from None
    try:
        return [names[row] for row in parts[part]]
    except (IndexError, TypeError):
        raise SourceError(
            f"{rows}: has {len(names)} lines, {split} names others; are both of one repository?"
        ) from None


def task_of_each(path: Path) -> dict[str, str]:
    """Task whose charge density was published, by material: ``mpid_to_task_id_map.json``."""
    tasks = _json(path)
    if not isinstance(tasks, dict):
        raise SourceError(f"{path}: is not a mapping of materials to tasks")
    return tasks


def open_rester() -> Any:
    """Client of Materials Project, with the key from ``MP_API_KEY`` or pymatgen's settings.

    Raises
    ------
    SourceError
        mp-api is not installed, or there is no key.
    """
    if find_spec("mp_api") is None:
        raise SourceError("mp-api is not installed: pip install mp-api")
    from pymatgen.core import SETTINGS

    key = os.environ.get("MP_API_KEY") or SETTINGS.get("PMG_MAPI_KEY")
    if not key:
        raise SourceError(
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
    """Structures with the inputs of their tasks, of the materials that are not magnetic.

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
    entries, left_out
        Entries for a structures file; how many materials were left out, by reason.
    """
    entries, left_out = [], Counter[str]()
    for first in range(0, len(materials), AT_ONCE):
        names = materials[first : first + AT_ONCE]
        wanted = {tasks[name]: name for name in names if name in tasks}
        left_out["no task is known"] += len(names) - len(wanted)
        found = rester.materials.tasks.search(task_ids=list(wanted), fields=FIELDS)
        documents = {str(document["task_id"]): document for document in map(_plain, found)}
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
    """Why a task does not belong to the published comparison; None if it does.

    Non-magnetic is, as published, a total moment and a moment of every ion below 0.1 muB at the
    end of the run. Without any moments in the document a spin-polarized task is left out.
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
    magnetic = abs(total or 0.0) >= SMALLEST_MOMENT or max(moments, default=0) >= SMALLEST_MOMENT
    return "magnetic" if magnetic else None


def entry(material: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """Entry of a structures file: the structure that the task ran, its inputs as properties."""
    inputs = _inputs(document)
    structure = Structure.from_dict(inputs.get("structure") or document["input"]["structure"])
    # Velocities, moments and the like of a finished run are none of the next one's inputs.
    structure = Structure(structure.lattice, structure.species, structure.frac_coords)
    titles = [spec.get("titel") or "" for spec in inputs.get("potcar_spec") or []]
    symbols = [title.split()[1] for title in titles if len(title.split()) > 1]
    structure.properties = {
        INCAR: {tag: value for tag, value in inputs["incar"].items() if tag not in MACHINE},
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
            return outputs["outcar"]
    return {}


def _plain(document: Any) -> dict[str, Any]:
    """Document as plain data, whichever form the client gives it in."""
    if hasattr(document, "model_dump"):
        return document.model_dump(mode="json")
    from monty.json import jsanitize

    return jsanitize(document, strict=True)


def _json(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except OSError as error:
        raise SourceError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError:
        raise SourceError(f"{path}: is not JSON; is the file complete?") from None


def write_structures(path: Path, entries: Iterable[Mapping[str, Any]]) -> None:
    """Write a structures file, whole or not at all; gzipped if its name says so."""
    import gzip

    text = json.dumps({"structures": list(entries)}).encode()
    with atomic_path(path) as partial:
        partial.write_bytes(gzip.compress(text, mtime=0) if path.suffix == ".gz" else text)
