"""The specification of a campaign as its user writes it (SPEC.yaml), and the Maker it describes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Self

from pydantic import (
    BeforeValidator,
    Field,
    PrivateAttr,
    field_validator,
    model_validator,
)

from mlcharge_flows.campaign.fireworks_spec import FireWorksSpec, Strict, renamed_key
from mlcharge_flows.campaign.rounds_spec import RoundsSpec
from mlcharge_flows.errors import MlchargeError, one_line
from mlcharge_flows.gpaw_vasp.tags import is_known, meant_tag
from mlcharge_flows.io import is_file
from mlcharge_flows.vasp.incar_values import setting_value
from mlcharge_flows.yaml_files import read_yaml

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlcharge_flows.atomate2.flows.material import MaterialFlowMaker
    from mlcharge_flows.sources import InitialDensity

WorkflowName = Literal["compare", "static", "bands"]
_LARGEST_DENSITY = 1e7
# Those of pymatgen's input sets.
_KPOINT_SETTINGS = {
    *("added_kpoints", "explicit", "grid_density", "kpath_kwargs", "length", "line_density"),
    *("reciprocal_density", "zero_weighted_line_density", "zero_weighted_reciprocal_density"),
}


class SpecError(MlchargeError, ValueError):
    """What a SPEC.yaml describes cannot be built; the message begins with the key."""


def _as_list(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


class CampaignSpec(Strict):
    """A campaign: one small flow per material.

    Examples
    --------
    >>> spec = CampaignSpec(name="first", structures="crystals")
    >>> spec.structures, spec.workflow, spec.arms
    (['crystals'], 'compare', ['superposition', 'converged'])
    """

    _folder: Path = PrivateAttr(default_factory=Path.cwd)

    name: str = Field(
        min_length=1,
        max_length=100,
        description="Name that all documents of the campaign carry; unique in your job store.",
    )
    structures: Annotated[list[str], BeforeValidator(_as_list)] = Field(
        min_length=1,
        description="CIF, POSCAR or JSON files, and folders of them; relative to the SPEC.yaml.",
    )
    workflow: WorkflowName = Field(
        "compare",
        description="compare: the same static run from free atoms and from each arm; static, "
        "bands: one workflow from one initial density.",
    )
    arms: Annotated[list[str], BeforeValidator(_as_list)] = Field(
        default_factory=lambda: ["superposition", "converged"],
        description="compare: initial densities to compare with the default, which always runs.",
    )
    initial_density: str = Field(
        "superposition",
        description="static, bands: the initial density, or the path of a CHGCAR.",
    )
    explicit_kpoints: bool = Field(
        False,
        description="static, bands: list the irreducible k-points in KPOINTS where initial "
        "orbitals need it, as compare does.",
    )
    model: str | None = Field(None, description="Model of the learned densities: a name or a path.")
    occupancies: str = Field(
        "learned",
        description="Augmentation occupancies of the learned densities: learned, element-mean, the "
        "name of another model, or the path of a CHGCAR.",
    )
    calibration: str | None = Field(
        None,
        description="Calibration of the model of the learned densities: a file of 'mlcharge "
        "calibrate'; its hash is part of what identifies their arms.",
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
    skip_bad: bool = Field(False, description="Continue without structures that cannot be used.")
    workers: int = Field(
        0, ge=0, description="Materials at a time; 0: one per CPU, or 1 with VASP."
    )
    rounds: RoundsSpec | None = Field(
        None,
        description="Run the materials in rounds, each of which calibrates the model for the next; "
        "only for compare, on one machine.",
    )
    fireworks: FireWorksSpec = Field(default_factory=FireWorksSpec, description="Only for submit.")

    @model_validator(mode="before")
    @classmethod
    def _old_keys(cls, given: Any) -> Any:
        return renamed_key(given, "start", "initial_density") if isinstance(given, dict) else given

    @field_validator("name")
    @classmethod
    def _is_folder_name(cls, name: str) -> str:
        if not name.isprintable() or "/" in name or "\\" in name or name in (".", ".."):
            raise ValueError("cannot be the name of a folder; use letters, digits, '.', '_', '-'")
        return name

    @field_validator("rounds", mode="before")
    @classmethod
    def _are_rounds(cls, given: Any) -> Any:
        is_number = isinstance(given, int) and not isinstance(given, bool)
        if not (is_number or isinstance(given, dict | RoundsSpec)):
            keys = ", ".join(RoundsSpec.model_fields)
            raise ValueError(
                f"write a number of rounds, or {keys}, not {one_line(str(given), 40) or 'nothing'}"
            )
        return given

    @field_validator("incar")
    @classmethod
    def _tags(cls, incar: dict[str, Any]) -> dict[str, Any]:
        if lower_case := [tag for tag in incar if tag != tag.upper()]:
            raise ValueError(f"INCAR tags are upper-case: write {lower_case[0].upper()}")
        if {"ICHARG", "ISTART"} & incar.keys():
            raise ValueError("ICHARG and ISTART follow from the initial density; leave them out")
        for tag in incar:
            if not is_known(tag) and (meant := meant_tag(tag)):
                raise ValueError(f"{one_line(tag, 40)} is no tag of INCAR; is {meant} meant?")
        return {tag: setting_value(tag, value) for tag, value in incar.items()}

    @field_validator("kpoints")
    @classmethod
    def _kpoint_settings(cls, kpoints: dict[str, Any]) -> dict[str, Any]:
        if unknown := sorted(map(str, kpoints.keys() - _KPOINT_SETTINGS)):
            known = ", ".join(sorted(_KPOINT_SETTINGS))
            raise ValueError(f"{unknown[0]} is unknown; the settings are {known}")
        for name, value in kpoints.items():
            is_number = isinstance(value, int | float) and not isinstance(value, bool)
            is_density = name == "length" or name.endswith("_density")
            if is_density and not (is_number and 0 < value <= _LARGEST_DENSITY):
                raise ValueError(f"{name} = {one_line(value, 40)} is not between 0 and 1e7")
        return kpoints

    @model_validator(mode="after")
    def _in_rounds(self) -> Self:
        if self.rounds is None:
            return self
        if self.workflow != "compare":
            raise ValueError(f"rounds: are of 'workflow: compare', not of {self.workflow}")
        if "arms" not in self.model_fields_set:
            self.arms = ["learned"]
        return self

    @property
    def folder(self) -> Path:
        """Folder that paths in the words of initial densities are relative to."""
        return self._folder


def read_spec(path: Path) -> CampaignSpec:
    """Read a SPEC.yaml.

    Parameters
    ----------
    path
        The file. Paths in it are relative to its folder.

    Returns
    -------
    CampaignSpec
        With absolute paths; its name is that of the file's folder if it gives none.

    Raises
    ------
    YamlError
        It cannot be read, or is not a campaign; one line per problem.
    """
    folder = path.absolute().parent
    spec = read_yaml(path, CampaignSpec, {"name": folder.name or "campaign"})
    spec.structures = [str(folder / name) for name in spec.structures]
    spec._folder = folder
    if spec.model is not None and is_file(folder / spec.model):
        spec.model = str(folder / spec.model)
    if is_file(folder / spec.occupancies):
        spec.occupancies = str(folder / spec.occupancies)
    return spec


def campaign_maker(spec: CampaignSpec, to_run: bool = True) -> MaterialFlowMaker:
    """Build the Maker of one material's flow.

    Parameters
    ----------
    spec
        The campaign.
    to_run
        Whether the files that initial densities name have to be there, as for new runs.

    Returns
    -------
    MaterialFlowMaker
        Of a comparison, or of a workflow from one initial density.

    Raises
    ------
    SpecError
        A Maker, initial density or model that it names cannot be used; the message begins with the
        key.

    Examples
    --------
    >>> spec = CampaignSpec(name="bands", structures="crystals", workflow="bands")
    >>> campaign_maker(spec).arms
    ['superposition']
    """
    from mlcharge_flows.atomate2.flows.compare import CompareDensitiesMaker
    from mlcharge_flows.atomate2.flows.workflow import WorkflowFromDensityMaker
    from mlcharge_flows.campaign.spec_runs import static_maker, workflow_maker
    from mlcharge_flows.sources import FromFile

    if spec.workflow == "compare":
        densities = _initial_densities("arms", spec.arms, spec, to_run)
        if spec.rounds is not None:
            _check_rounds(densities)
        return CompareDensitiesMaker(static_maker=static_maker(spec), initial_densities=densities)
    maker = workflow_maker(spec)
    found = _initial_densities("initial_density", [spec.initial_density], spec, to_run)
    if not found:
        raise SpecError("initial_density: a run from free atoms needs no campaign; name another")
    ((arm, density),) = found.items()
    if density.needs_reference_run:
        raise SpecError(
            f"initial_density: {arm} needs an earlier run, which a single workflow has not"
        )
    try:
        return WorkflowFromDensityMaker(
            name=spec.workflow,
            workflow=maker,
            initial_density=density,
            arm="file" if isinstance(density.density, FromFile) else arm,
            explicit_kpoints=spec.explicit_kpoints,
        )
    except ValueError as error:
        raise SpecError(f"maker: {error}") from None


def _check_rounds(densities: Mapping[str, InitialDensity]) -> None:
    """See that the sources of a campaign in rounds can be used without a finished run."""
    from mlcharge_flows.campaign.rounds import learned_word

    for arm, density in densities.items():
        if density.needs_reference_run:
            raise SpecError(
                f"arms: {arm} needs a finished run of the same material, which rounds do not have"
            )
    if not learned_word(densities):
        raise SpecError(
            "arms: rounds calibrate a model; name learned, or another learned density without a "
            "calibration of its own"
        )


def _initial_densities(
    key: str, words: list[str], spec: CampaignSpec, to_run: bool
) -> dict[str, InitialDensity]:
    """Initial densities by their words, loaded with the model that the user chose."""
    from mlcharge_flows.models.model import ModelError
    from mlcharge_flows.models.registry import DEFAULT
    from mlcharge_flows.sources import calibrated_arms, parse_arms
    from mlcharge_flows.sources.source import SourceError

    try:
        densities = parse_arms(words, spec.model or DEFAULT, spec.occupancies, spec.folder)
    except (ValueError, OSError, ImportError) as error:
        raise SpecError(f"{key}: {error}") from None
    if spec.calibration is not None:
        try:
            densities = calibrated_arms(densities, spec.folder / spec.calibration)
        except SourceError as error:
            raise SpecError(f"calibration: {error}; leave it out") from None
    if spec.model is not None and not any(density.uses_model for density in densities.values()):
        raise SpecError(f"model: none of {', '.join(words)} uses a model; leave it out")
    for density in densities.values():  # before anything runs
        try:
            density.check()
        except SourceError as error:
            if to_run:
                raise SpecError(f"{key}: {one_line(error)}") from None
        except (ModelError, OSError) as error:
            raise SpecError(f"model: {one_line(error)}") from None
    return densities
