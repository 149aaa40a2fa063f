"""A result that cannot be read, restored from the runs that it was counted from."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

from mlcharge_flows.atomate2.jobs.comparison import OUTCOME_FILE, Outcome, count
from mlcharge_flows.campaign.material_folder import REQUEST, RESULT, link_name
from mlcharge_flows.io import atomic_path
from mlcharge_flows.scf.comparison import Comparison

if TYPE_CHECKING:
    from pymatgen.core.structure import Structure

    from mlcharge_flows.campaign.material_folder import MaterialFolder

UNREADABLE = f"{RESULT}.unreadable"
"""Name under which the unreadable file is kept."""


def recover_result(place: MaterialFolder, structure: Structure) -> Comparison | None:
    """Restore the result of a material.

    Parameters
    ----------
    place
        Folder of the material.
    structure
        Structure that is to be run.

    Returns
    -------
    Comparison or None
        Of the arms whose runs are in the folder, now also its result; None if the folder does not
        tell what was run, or nothing of it is left.
    """
    try:
        with atomic_path(place.path / UNREADABLE) as kept:
            shutil.copyfile(place.path / RESULT, kept)
        found = _recounted(place, structure) if place.is_of(structure) else None
    except (ValueError, KeyError, TypeError, FileNotFoundError):
        return None
    if found is not None:
        place.write_result(found, structure)
    return found


def _recounted(place: MaterialFolder, structure: Structure) -> Comparison | None:
    outcome = place.path / "outcome" / OUTCOME_FILE
    if outcome.is_file():
        return Outcome.model_validate_json(outcome.read_text(encoding="utf-8"))
    requests = [json.loads(path.read_text()) for path in place.path.glob(REQUEST.format("*"))]
    if not requests or not all(request["can_add_arms"] for request in requests):
        return None  # other flows have results beside their counted runs
    names = [arm for request in requests for arm in request["arms"]]
    folders = {arm: place.path / link_name(f"{arm} run") for arm in names}
    present = {arm: path.resolve() for arm, path in folders.items() if path.is_dir()}
    recount: Any = count
    arms = {arm: recount.original(str(path)) for arm, path in present.items()}
    if not arms:
        return None
    models = {arm: sha for request in requests for arm, sha in request["models"].items()}
    return Comparison(
        material_id=place.path.name,
        formula=structure.composition.reduced_formula,
        n_atoms=len(structure),
        protocol=requests[0]["protocol"],
        arms=arms,
        models={arm: sha for arm, sha in models.items() if arm in arms},
    )
