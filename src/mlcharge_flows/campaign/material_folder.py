"""The folder of one material: its structure, its result, and what a killed run left in it.

``comparison.json`` is written atomically when the material is finished. While arms are added to it,
``adding.json`` lists what the folder held before; none of that is removed. Folders appear whole and
disappear whole (they are renamed, then removed), so that a kill at any point leaves either.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from pydantic import ValidationError
from pymatgen.core.structure import Structure

from mlcharge_flows.errors import one_line
from mlcharge_flows.io import atomic_write, read_bytes
from mlcharge_flows.scf.comparison import Comparison
from mlcharge_flows.yaml_files import validation_problems

if TYPE_CHECKING:
    from collections.abc import Collection

    from mlcharge_flows.campaign.request import CampaignRequest

RESULT = "comparison.json"
STRUCTURE = "structure.json"
REQUEST = "request-{}.json"
ADDING = "adding.json"

_SCRAPS = (".begun-*", ".removed-*", ".*.partial")
"""Names in a campaign folder that only a killed campaign leaves."""
_OURS = re.compile(
    r"job_.*|flow\.log|\..*\.partial|request-\d+\.json|adding\.json|comparison\.json(\.unreadable)?"
)
"""What lies in the folder of a material whose structure is missing, apart from links."""


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Values of a JSON object; of two with the same key, a reader would keep the last."""
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a key stands twice")
    return values


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
            None if the material is not finished, or if its result cannot be read.
        """
        try:
            return self._result()
        except (OSError, ValueError):
            return None

    def result_issue(self) -> str | None:
        """Tell why the result cannot be read.

        Returns
        -------
        str or None
            One line that names the file; None if it can be read, or if there is none.
        """
        try:
            self._result()
        except OSError as error:
            return f"{self.path / RESULT}: cannot be read ({error.strerror or error})"
        except ValueError as error:
            return f"{self.path / RESULT}: is half-written, or no result ({one_line(error)})"
        return None

    def has_broken_result(self) -> bool:
        """Whether the file of the result can be read and is none.

        Returns
        -------
        bool
            False, too, where the file system refuses: the file may be whole.
        """
        try:
            self._result()
        except OSError:
            return False
        except ValueError:
            return True
        return False

    def _result(self) -> Comparison | None:
        try:
            content = read_bytes(self.path / RESULT)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            values = json.loads(content.decode("utf-8"), object_pairs_hook=_without_duplicates)
            found = Comparison.model_validate(values)
        except ValidationError as error:
            raise ValueError("; ".join(validation_problems(error, Comparison)[:2])) from None
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        if found.contradiction:
            raise ValueError(found.contradiction)
        return found

    def write_result(self, comparison: Comparison, structure: Structure) -> None:
        """Write the result atomically: a reader finds all of it or, until then, the one before.

        Parameters
        ----------
        comparison
            Counted runs of all arms.
        structure
            Structure of the material, which the result names by its hash.

        Raises
        ------
        OSError
            It cannot be written.
        """
        if not self.path.exists():  # its worker was killed before it began
            self._create(structure)
        comparison.structure = structure_hash(structure)
        atomic_write(self.path / RESULT, comparison.model_dump_json(indent=1) + "\n")
        (self.path / ADDING).unlink(missing_ok=True)

    def structure_hash(self) -> str | None:
        """Hash of the structure in the folder.

        Returns
        -------
        str or None
            None if there is none, or none that can be read.
        """
        try:
            content = json.loads((self.path / STRUCTURE).read_text(encoding="utf-8"))
            return structure_hash(Structure.from_dict(content))
        except (OSError, ValueError, KeyError):
            return None

    def drop_arms(self, arms: Collection[str], *, keep_others: bool) -> None:
        """Remove arms from the result, so that they run again.

        Parameters
        ----------
        arms
            Their names.
        keep_others
            Whether the other arms stay; else the material is run again as a whole.
        """
        found = self.read_result()
        if found is None:
            return
        others = {arm: run for arm, run in found.arms.items() if arm not in arms}
        if not (keep_others and others):
            (self.path / RESULT).unlink()
            return
        models = {arm: sha for arm, sha in found.models.items() if arm in others}
        kept = found.model_copy(update={"arms": others, "models": models})
        atomic_write(self.path / RESULT, kept.model_dump_json(indent=1) + "\n")

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
        if self.is_foreign():
            return "exists and is not of a campaign"
        found = self.read_result()
        if found is None:
            return None
        if reason := request.conflicts_with(found):
            return reason
        if not self.is_of(structure, found):
            if found.structure is None and self.structure_hash() is None:
                return f"its {STRUCTURE} cannot be read, and its result does not tell of what it is"
            return "finished with another structure"
        if not request.is_complete(found) and (self.path / "pack").exists():
            return "of a data set, its run is packed and takes no further arms"
        return None

    def is_foreign(self) -> bool:
        """Whether something is in this place that no campaign made.

        Returns
        -------
        bool
            True for a file, and for a folder with content but without a structure, unless all of it
            is what a campaign leaves that was killed while it removed the folder.
        """
        if not self.path.is_dir():
            return self.path.exists() or self.path.is_symlink()
        if (self.path / STRUCTURE).exists():
            return False
        return not all(
            _OURS.fullmatch(path.name)
            or (path.is_symlink() and str(path.readlink()).startswith("job_"))
            for path in self.path.iterdir()
        )

    def begin(
        self, request: CampaignRequest, structure: Structure, finished: Comparison | None
    ) -> None:
        """Create the folder of a material; of a finished one, list its content.

        Parameters
        ----------
        request
            What is run.
        structure
            Structure of the material.
        finished
            Arms that are finished; None for a first run.
        """
        if finished is None:
            self._create(structure)
        else:
            existing = sorted(path.name for path in self.path.iterdir())
            content = {"arms": list(finished.arms), "existing": existing}
            atomic_write(self.path / ADDING, json.dumps(content, indent=1) + "\n")
        number = len(list(self.path.glob(REQUEST.format("*"))))
        atomic_write(
            self.path / REQUEST.format(number + 1), json.dumps(asdict(request), indent=1) + "\n"
        )

    def _create(self, structure: Structure) -> None:
        """Make the folder, with its structure in it from the first moment on."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".begun-", dir=self.path.parent) as begun:
            made = Path(begun, self.path.name)
            made.mkdir()
            atomic_write(made / STRUCTURE, structure.to_json())
            made.rename(self.path)

    def remove_unfinished(self) -> None:
        """Remove what a killed run left; what was finished before it stays as it is."""
        finished = self.read_result()
        if finished is None:
            remove_folder(self.path)
            return
        existing = self._existing_before_adding(finished)
        if existing is not None:
            for path in list(self.path.iterdir()):
                if path.name in existing:
                    continue
                if path.is_symlink():
                    path.unlink()
                elif path.name.startswith("job_"):  # anything else is not of a flow
                    shutil.rmtree(path, ignore_errors=True)
        (self.path / ADDING).unlink(missing_ok=True)

    def is_of(self, structure: Structure, found: Comparison | None = None) -> bool:
        """Whether the folder is of a structure.

        Parameters
        ----------
        structure
            Structure that is to be run.
        found
            Its result, which may name the structure by its hash.

        Returns
        -------
        bool
            False, too, if the file of the structure cannot be read.
        """
        if found is not None and found.structure == structure_hash(structure):
            return True
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


def structure_hash(structure: Structure) -> str:
    """Hash of a crystal: cell, species, positions, moments and charge.

    Parameters
    ----------
    structure
        Structure.

    Returns
    -------
    str
        Twelve hexadecimal digits; lengths and coordinates are rounded to six decimals, so that it
        does not depend on the library that has read them.
    """
    sites = [
        [
            site.species_string,
            *(np.round(site.frac_coords, 6) % 1.0 + 0.0).tolist(),
            str(site.properties.get("magmom")),
        ]
        for site in structure
    ]
    cell = (np.round(structure.lattice.matrix, 6) + 0.0).tolist()
    charge = structure.as_dict(verbosity=0)["charge"]  # without a warning that it is charged
    text = json.dumps([cell, sites, float(charge or 0.0)])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def link_name(job: str) -> str:
    """Name of the link to the folder of a job.

    Parameters
    ----------
    job
        Name of the job.

    Returns
    -------
    str
        Without blanks and slashes.

    Examples
    --------
    >>> link_name("converged/atomic run")
    'converged-atomic-run'
    """
    return job.replace(" ", "-").replace("/", "-")


def remove_folder(path: Path) -> None:
    """Remove a folder at once, under another name: a kill leaves all of it, or nothing here.

    Parameters
    ----------
    path
        The folder; it need not exist.
    """
    if not path.exists():
        return
    trash = Path(tempfile.mkdtemp(prefix=".removed-", dir=path.parent))
    path.rename(trash / path.name)
    shutil.rmtree(trash, ignore_errors=True)


def remove_scraps(folder: Path) -> None:
    """Remove what killed campaigns left beside the folders of materials.

    Parameters
    ----------
    folder
        Campaign folder, in which no other campaign runs.
    """
    for pattern in _SCRAPS:
        for path in folder.glob(pattern):
            if path.is_dir():
                shutil.rmtree(path, ignore_errors=True)
            else:
                path.unlink(missing_ok=True)
