"""The folder of one material: its result, and what a killed run left in it.

``comparison.json`` is written whole, once the material is finished, and stays while arms are added
to it. ``adding.json`` then lists what the folder held before: nothing of that is ever removed.
"""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

from pymatgen.core import Structure

from mlcharge_flows.io import atomic_write
from mlcharge_flows.scf.comparison import Comparison

if TYPE_CHECKING:
    from pathlib import Path

RESULT = "comparison.json"
STRUCTURE = "structure.json"
ADDING = "adding.json"


def read_result(folder: Path) -> Comparison | None:
    """Comparison of a finished material; None if it is not finished."""
    try:
        return Comparison.model_validate_json((folder / RESULT).read_text())
    except (OSError, ValueError):
        return None


def same_structure(folder: Path, structure: Structure) -> bool:
    """Whether the folder is of this structure."""
    try:
        return Structure.from_dict(json.loads((folder / STRUCTURE).read_text())) == structure
    except (OSError, ValueError, KeyError):
        return False


def is_foreign(folder: Path) -> bool:
    """Whether something is in this place that no campaign made."""
    if not folder.is_dir():
        return folder.exists()
    return any(folder.iterdir()) and not (folder / STRUCTURE).exists()


def begin(folder: Path, structure: Structure, before: Comparison | None) -> None:
    """Make the folder of a material; of a finished one, note what it holds.

    Parameters
    ----------
    folder
        Folder of the material.
    structure
        Its structure.
    before
        What is finished already.
    """
    if before is None:
        folder.mkdir(parents=True)
        (folder / STRUCTURE).write_text(structure.to_json())
    else:
        held = sorted(path.name for path in folder.iterdir())
        note = {"arms": list(before.arms), "held": held}
        atomic_write(folder / ADDING, json.dumps(note, indent=1) + "\n")


def has_begun(folder: Path) -> bool:
    """Whether a run began here that is not finished."""
    return (folder / ADDING).exists() or (folder.exists() and read_result(folder) is None)


def clear(folder: Path) -> None:
    """Remove what a killed run left; what was finished before it began stays as it is."""
    before = read_result(folder)
    if before is None:
        if folder.exists():
            shutil.rmtree(folder)
        return
    held = _held(folder, before)
    if held is not None:
        for path in list(folder.iterdir()):
            if path.name in held:
                continue
            if path.is_symlink():
                path.unlink()
            elif path.name.startswith("job_"):  # anything else is not of a flow
                shutil.rmtree(path)
    (folder / ADDING).unlink(missing_ok=True)


def keep(folder: Path, comparison: Comparison) -> None:
    """Write the result so that a reader finds all of it or, until then, the one before."""
    folder.mkdir(exist_ok=True)
    atomic_write(folder / RESULT, comparison.model_dump_json(indent=1) + "\n")
    (folder / ADDING).unlink(missing_ok=True)


def _held(folder: Path, before: Comparison) -> set[str] | None:
    """What was there before arms were added to this result; None if none are being added."""
    try:
        note = json.loads((folder / ADDING).read_text())
        # Killed after the result was written: the note is of the result before, all is finished.
        return set(note["held"]) if note["arms"] == list(before.arms) else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
