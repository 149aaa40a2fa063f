"""What a campaign is, as its user writes it: a SPEC.yaml, checked before anything runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

WorkflowName = Literal["compare", "static", "bands"]
Role = Literal["start", "run", "other"]

_CATEGORIES: dict[Role, str] = {"start": "gpu", "run": "cpu", "other": "cpu"}
# What ends a material comes before what begins the next one.
_PRIORITIES: dict[Role, int] = {"start": 20, "run": 10, "other": 30}


class SpecError(ValueError):
    """A SPEC.yaml cannot be used; each problem is one line: the file, the key, what to do."""

    def __init__(self, *problems: str) -> None:
        self.problems = problems
        super().__init__("; ".join(problems))


class _Strict(BaseModel):
    """A misspelt key must not pass for one that was left out."""

    model_config = ConfigDict(extra="forbid", str_strip_whitespace=True)


def _listed(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _complete(defaults: Mapping[str, Any]) -> Any:
    """Let a mapping name only the entries that differ from the defaults."""
    return BeforeValidator(
        lambda given: {**defaults, **given} if isinstance(given, dict) else given
    )


class FireWorksSpec(_Strict):
    """Which FireWorks worker takes which job, and in which order.

    Jobs play one of three parts: ``start`` (predicting and writing starts), ``run`` (VASP),
    ``other`` (counting, joining: moments each).
    """

    categories: Annotated[dict[Role, str], _complete(_CATEGORIES)] = Field(
        default_factory=lambda: dict(_CATEGORIES),
        description="Category of each part: a worker's my_fworker.yaml names those that it takes.",
    )
    priorities: Annotated[dict[Role, int], _complete(_PRIORITIES)] = Field(
        default_factory=lambda: dict(_PRIORITIES),
        description="Priority of each part; higher comes first.",
    )
    shared_files: bool = Field(
        True,
        description="Whether all workers see the same file system. If not, all jobs that hand each "
        "other files stay with the worker that began them, which needs one category for all.",
    )


class CampaignSpec(_Strict):
    """A campaign: one small flow per material.

    Examples
    --------
    >>> spec = CampaignSpec(name="first", structures="crystals")
    >>> spec.structures, spec.workflow, spec.arms
    (['crystals'], 'compare', ['superposition', 'converged'])
    """

    name: str = Field(
        min_length=1,
        max_length=100,
        description="Name that all documents of the campaign carry; unique in your job store.",
    )
    structures: Annotated[list[str], BeforeValidator(_listed)] = Field(
        min_length=1,
        description="CIF, POSCAR or JSON files, and folders of them; relative to the SPEC.yaml.",
    )
    workflow: WorkflowName = Field(
        "compare",
        description="compare: the same static run from atoms and from each arm; static, bands: one "
        "workflow from one start.",
    )
    arms: Annotated[list[str], BeforeValidator(_listed)] = Field(
        default_factory=lambda: ["superposition", "converged"],
        description="compare: starts to compare with the default, which always runs.",
    )
    start: str = Field(
        "superposition",
        description="static, bands: the start, or the path of a CHGCAR.",
    )
    model: str | None = Field(None, description="Model of the learned starts: a name or a path.")
    occupancies: str = Field(
        "learned",
        description="Of the learned starts: learned, element-mean, the name of another model, or "
        "the path of a CHGCAR.",
    )
    maker: str | None = Field(
        None,
        description="Import path of an atomate2 Maker to use instead of this package's settings, "
        "such as atomate2.vasp.jobs.mp.MPGGAStaticMaker.",
    )
    incar: dict[str, Any] = Field(
        default_factory=dict, description="INCAR tags over those of the Maker; null removes one."
    )
    kpoints: dict[str, Any] = Field(
        default_factory=dict, description="k-point settings over those of the Maker's."
    )
    potcar_functional: str | None = Field(
        None, description="POTCAR set, such as PBE_54; that of the Maker if not given."
    )
    max_atoms: int | None = Field(None, ge=1, description="Leave out structures with more atoms.")
    limit: int | None = Field(None, ge=1, description="Take only the first so many structures.")
    skip_bad: bool = Field(False, description="Go on without structures that cannot be used.")
    workers: int = Field(
        0, ge=0, description="Materials at a time; 0: one per CPU, or 1 with VASP."
    )
    fireworks: FireWorksSpec = Field(default_factory=FireWorksSpec, description="Only for submit.")

    @property
    def start_is_file(self) -> bool:
        """Whether the start is named by the path of a CHGCAR."""
        return "/" in self.start or "CHGCAR" in self.start

    @field_validator("incar")
    @classmethod
    def _tags(cls, incar: dict[str, Any]) -> dict[str, Any]:
        if small := [tag for tag in incar if tag != tag.upper()]:
            raise ValueError(f"INCAR tags are upper-case: write {small[0].upper()}")
        if {"ICHARG", "ISTART"} & incar.keys():
            raise ValueError("ICHARG and ISTART are set by the start of each run; leave them out")
        return incar


def read_spec(path: Path) -> CampaignSpec:
    """Read a SPEC.yaml; the name of the campaign is that of its folder if it gives none.

    Parameters
    ----------
    path
        The file. Paths in it are relative to its folder.

    Raises
    ------
    SpecError
        It cannot be read, or is not a campaign; one line per problem.
    """
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise SpecError(f"{path}: cannot be read ({error.strerror or error})") from None
    except UnicodeDecodeError:
        raise SpecError(f"{path}: is not a text file") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f"line {mark.line + 1}: " if mark else ""
        problem = getattr(error, "problem", None) or str(error)
        raise SpecError(f"{path}: {place}not YAML: {' '.join(problem.split())}") from None
    if not isinstance(content, dict):
        raise SpecError(f"{path}: holds no keys; write at least 'structures: FILE_OR_FOLDER'")
    folder = path.absolute().parent
    try:
        spec = CampaignSpec.model_validate({"name": folder.name or "campaign", **content})
    except ValidationError as error:
        raise SpecError(*(f"{path}: {_said(item)}" for item in error.errors())) from None
    spec.structures = [str(folder / name) for name in spec.structures]
    if spec.start_is_file:
        spec.start = str(folder / spec.start)
    if spec.model is not None and (folder / spec.model).is_file():
        spec.model = str(folder / spec.model)
    if (folder / spec.occupancies).is_file():
        spec.occupancies = str(folder / spec.occupancies)
    return spec


def _said(item: Any) -> str:
    """One line of a pydantic error: the key, what is wrong with it, what to do."""
    key = ".".join(str(part) for part in item["loc"] if part != "[key]")
    match item["type"]:
        case "extra_forbidden":
            model = FireWorksSpec if item["loc"][0] == "fireworks" else CampaignSpec
            return f"{key}: unknown key; the keys are {', '.join(model.model_fields)}"
        case "missing":
            return f"{key}: is missing; add it"
        case "literal_error":
            return f"{key}: {item['input']!r} is none of {item['ctx']['expected']}"
        case "value_error":
            return f"{key}: {item['ctx']['error']}"
        case _:
            return f"{key}: {item['msg']}, not {item['input']!r}"
