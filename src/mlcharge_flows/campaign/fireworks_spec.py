"""FireWorks categories and priorities of the jobs of a campaign, as a SPEC.yaml gives them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from mlcharge_flows.errors import note_renamed

if TYPE_CHECKING:
    from collections.abc import Mapping

Role = Literal["density", "run", "other"]

_CATEGORIES: dict[Role, str] = {"density": "gpu", "run": "cpu", "other": "cpu"}
# What finishes a material has priority over what begins the next one.
_PRIORITIES: dict[Role, int] = {"density": 20, "run": 10, "other": 30}


class Strict(BaseModel):
    """Model that refuses unknown keys: a misspelled key is none that was left out."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


def _by_role(defaults: Mapping[Role, Any]) -> BeforeValidator:
    """Validator of a mapping that names only the roles that differ from the defaults."""

    def complete(given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        return {**defaults, **renamed_key(given, "start", "density")}

    return BeforeValidator(complete)


def renamed_key(given: dict[str, Any], old: str, new: str) -> dict[str, Any]:
    """Keys of a mapping of which one had another name in the first release.

    Parameters
    ----------
    given
        As read from a SPEC.yaml.
    old, new
        The two names.

    Returns
    -------
    dict
        With the new name; a line on standard error tells of it.
    """
    if old not in given or new in given:
        return given
    note_renamed(f"{old}:", f"{new}:")
    return {new if key == old else key: value for key, value in given.items()}


class FireWorksSpec(Strict):
    """FireWorks categories and priorities of the jobs.

    Jobs have three roles: ``density`` (prediction and writing of initial densities), ``run``
    (VASP), ``other`` (counting, joining: moments each).
    """

    categories: Annotated[dict[Role, str], _by_role(_CATEGORIES)] = Field(
        default_factory=lambda: dict(_CATEGORIES),
        description="Category by role: a worker's my_fworker.yaml names those that it takes.",
    )
    priorities: Annotated[dict[Role, int], _by_role(_PRIORITIES)] = Field(
        default_factory=lambda: dict(_PRIORITIES),
        description="Priority by role; higher comes first.",
    )
    shared_files: bool = Field(
        True,
        description="Whether all workers see the same file system. If not, jobs that pass files to "
        "each other stay with one worker, which needs one category for all.",
    )
