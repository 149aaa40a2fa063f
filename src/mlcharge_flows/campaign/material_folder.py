"""The folder of one material: its structure, its result, and what a killed run left in it.

``comparison.json`` is written atomically when the material is finished. While arms are added to it,
``adding.json`` lists what the folder held before; none of that is removed.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pymatgen.core.structure import Structure

from mlcharge_flows.io import atomic_write
from mlcharge_flows.scf.comparison import Comparison

if TYPE_CHECKING:
    from pathlib import Path

    from mlcharge_flows.campaign.request import CampaignRequest

RESULT = "comparison.json"
STRUCTURE = "structure.json"
ADDING = "adding.json"


@dataclass(frozen=True)
class MaterialFolder:
    """Folder of one material within the folder of a campaign.

    Parameters
    ----------
    path
        Where it is; it need not exist.
    """

    path: Path

    def read_result(self) -> Comparison | None:
        """Read the result.

        Returns
        -------
        Comparison or None
            None if the material is not finished.
        """
        try:
            return Comparison.model_validate_json((self.path / RESULT).read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None

    def write_result(self, comparison: Comparison) -> None:
        """Write the result atomically: a reader finds all of it or, until then, the one before.

        Parameters
        ----------
        comparison
            Counted runs of all arms.

        Raises
        ------
        OSError
            It cannot be written.
        """
        self.path.mkdir(exist_ok=True)
        atomic_write(self.path / RESULT, comparison.model_dump_json(indent=1) + "\n")
        (self.path / ADDING).unlink(missing_ok=True)

    def conflict(self, request: CampaignRequest, structure: Structure) -> str | None:
        """Reason why the result is not that of a request and must not be replaced.

        Parameters
        ----------
        request
            What the campaign requests.
        structure
            Structure that is to be run.

        Returns
        -------
        str or None
            None if there is no result, or if it can be taken and completed.
        """
        found = self.read_result()
        if found is None:
            return None
        if reason := request.conflicts_with(found):
            return reason
        if not self._is_of(structure):
            return "finished with another structure"
        if not request.is_complete(found) and (self.path / "pack").exists():
            return "of a data set, its run is packed and takes no further arms"
        return None

    def is_foreign(self) -> bool:
        """Whether something is in this place that no campaign made.

        Returns
        -------
        bool
            True for a file, and for a folder with content but without a structure.
        """
        if not self.path.is_dir():
            return self.path.exists()
        return any(self.path.iterdir()) and not (self.path / STRUCTURE).exists()

    def is_unfinished(self) -> bool:
        """Whether a run began here and did not finish.

        Returns
        -------
        bool
            True for a first run without result, and while arms are added.
        """
        return (self.path / ADDING).exists() or (self.path.exists() and self.read_result() is None)

    def begin(self, structure: Structure, finished: Comparison | None) -> None:
        """Create the folder of a material; of a finished one, list its content.

        Parameters
        ----------
        structure
            Structure of the material.
        finished
            Arms that are finished; None for a first run.
        """
        if finished is None:
            self.path.mkdir(parents=True)
            (self.path / STRUCTURE).write_text(structure.to_json(), encoding="utf-8")
        else:
            existing = sorted(path.name for path in self.path.iterdir())
            content = {"arms": list(finished.arms), "existing": existing}
            atomic_write(self.path / ADDING, json.dumps(content, indent=1) + "\n")

    def remove_unfinished(self) -> None:
        """Remove what a killed run left; what was finished before it stays as it is."""
        finished = self.read_result()
        if finished is None:
            if self.path.exists():
                shutil.rmtree(self.path)
            return
        existing = self._existing_before_adding(finished)
        if existing is not None:
            for path in list(self.path.iterdir()):
                if path.name in existing:
                    continue
                if path.is_symlink():
                    path.unlink()
                elif path.name.startswith("job_"):  # anything else is not of a flow
                    shutil.rmtree(path)
        (self.path / ADDING).unlink(missing_ok=True)

    def _is_of(self, structure: Structure) -> bool:
        try:
            content = json.loads((self.path / STRUCTURE).read_text(encoding="utf-8"))
            return bool(Structure.from_dict(content) == structure)
        except (OSError, ValueError, KeyError):
            return False

    def _existing_before_adding(self, finished: Comparison) -> set[str] | None:
        """Content before arms were added to a result; None if none are being added."""
        try:
            content = json.loads((self.path / ADDING).read_text(encoding="utf-8"))
            # Killed after the result was written: the list is of the result before.
            if content["arms"] != list(finished.arms):
                return None
            return set(content["existing"] if "existing" in content else content["held"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
