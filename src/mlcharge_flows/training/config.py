"""A training, as its YAML file describes it."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - pydantic evaluates annotations
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeVar

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from mlcharge_flows.errors import MlchargeError, note_renamed
from mlcharge_flows.io import file_sha256
from mlcharge_flows.yaml_files import read_yaml, validation_problems

if TYPE_CHECKING:
    from collections.abc import Container

Options = TypeVar("Options", bound=BaseModel)

Precision = Literal["32", "tf32", "bf16"]
"""Of matrix products and, for bf16, of the network's features."""


class TrainingError(MlchargeError, ValueError):
    """A training that cannot be done; one line that names the file or the key."""


class _Renaming(BaseModel):
    """Keys of earlier versions are read, with a line that names the new key."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    renamed: ClassVar[Mapping[str, str]] = {}
    """New key by old key."""

    @model_validator(mode="before")
    @classmethod
    def _read_old_keys(cls, content: Any) -> Any:
        if not isinstance(content, dict):
            return content
        content = dict(content)
        for old, new in cls.renamed.items():
            if old in content:
                if new in content:
                    raise ValueError(f"{old} is the old name of {new}; remove it")
                content[new] = content.pop(old)
                note_renamed(f"{old}:", f"{new}:")
        return content


class LossConfig(_Renaming):
    """Weights of the terms; each is relative to the superposition's error of the material."""

    renamed: ClassVar[Mapping[str, str]] = {"waves": "coefficients"}

    coefficients: float = Field(
        0.0, ge=0, description="Root mean square error of the G-vector coefficients."
    )
    grid: float = Field(1.0, ge=0, description="Mean absolute error on the grid, as in the NMAE.")
    shells: float = Field(
        0.0,
        ge=0,
        description="Root mean square error of the G-vector coefficients in shells of |G|. All "
        "shells have equal weight, also those of high |G|, which hold little charge.",
    )
    coulomb: float = Field(
        0.0,
        ge=0,
        description="Wave number, 1/angstrom, below which G vectors have more weight, as in the "
        "Hartree energy: the weight is 1 + (coulomb / |G|)^2.",
    )
    spin: float = Field(
        1.0,
        ge=0,
        description="Error of the magnetization, by the terms above, and of the sizes of the "
        "moments; for `model: {spin: true}`.",
    )
    thinning: int = Field(
        1,
        ge=1,
        description="Every so many-th G vector beyond the last shell, nine in ten of all, enters "
        "a step, the first one drawn at random; the grid then holds the others alone.",
    )


class TrainingConfig(_Renaming):
    """Model, data, loss and schedule of a training.

    Examples
    --------
    >>> TrainingConfig(name="demo", data="dataset.h5").epochs
    100
    """

    renamed: ClassVar[Mapping[str, str]] = {
        "start_from": "finetune_from",
        "optimiser": "optimizer",
        "licence": "license",
        "validation_share": "validation_fraction",
        "train_share": "train_fraction",
        "average": "ema_decay",
    }

    name: str = Field(pattern=r"^[A-Za-z0-9][\w.+-]*$", description="Name of the checkpoint.")
    data: Path = Field(description="Data set, relative to the YAML file.")
    architecture: Literal["orbital", "charge3net", "superres", "scdp"] = Field(
        "orbital", description="Package of models/."
    )
    model: dict[str, Any] = Field(
        default_factory=dict,
        description="Options of the architecture, such as n_channels; of charge3net, superres and "
        "scdp also `preset`, whose options the others override.",
    )
    finetune_from: Path | None = Field(
        None,
        description="Checkpoint with the initial weights, relative to the YAML file: that of an "
        "earlier stage.",
    )
    description: str = Field("", description="One sentence for the card.")
    data_name: str = Field("", description="The data set in words, for the card.")
    license: str = Field("MIT", description="License of the weights.")
    free_atoms: bool = Field(
        True,
        description="Whether the checkpoint holds the free atoms of the data set; false where the "
        "license of its POTCARs forbids that, for orbital and scdp, with `profiles: false` in "
        "`model`. Predictions then need the POTCAR of the run.",
    )
    validation_fraction: float = Field(
        0.08, gt=0, lt=1, description="Of the materials, besides those marked validation."
    )
    train_fraction: float = Field(
        1.0, gt=0, le=1, description="Of the others, in the training set: for learning curves."
    )
    loss: LossConfig = Field(default_factory=lambda: LossConfig())
    epochs: int = Field(100, ge=1, description="Passes over the training set.")
    batch_size: int = Field(8, ge=1, description="Materials per step and process.")
    accumulate: int = Field(
        1, ge=1, description="Batches whose gradients are averaged before the weights change."
    )
    precision: Precision = Field(
        "32",
        description="32; tf32, matrix products with 10 bits on GPUs that have them; bf16, also the "
        "network's features with 8 bits. Weights, and sums over G vectors, stay in 32 bits.",
    )
    stream: bool = Field(
        False,
        description="Whether materials are read anew for each step: for data sets larger than the "
        "memory.",
    )
    workers: int = Field(
        0, ge=0, description="Processes that read ahead, for each device, with `stream`."
    )
    probes: int = Field(
        200, ge=1, description="Grid points of each material and step; charge3net alone."
    )
    optimizer: Literal["adamw", "muon"] = Field(
        "adamw",
        description="muon, for orbital and scdp, updates weight matrices by orthogonal matrices; "
        "biases and embeddings stay with AdamW.",
    )
    learning_rate: float = Field(3e-3, gt=0, description="Maximum; followed by a cosine decay.")
    warm_up: int = Field(100, ge=0, description="Steps of rising learning rate.")
    weight_decay: float = Field(1e-3, ge=0, description="Decoupled weight decay.")
    clip: float = Field(1.0, gt=0, description="Largest norm of the gradient.")
    ema_decay: float = Field(
        0.998, ge=0, lt=1, description="Decay of the exponential moving average of the weights."
    )
    validate_every: int = Field(5, ge=1, description="Epochs between validations.")
    patience: int = Field(
        20, ge=1, description="Validations without improvement after which training stops."
    )
    seed: int = Field(0, description="Random seed of weights and order.")
    device: str = Field("auto", description="cpu, cuda, ..; auto is a GPU if there is one.")

    @field_validator("free_atoms")
    @classmethod
    def _not_needed(cls, value: bool, info: ValidationInfo) -> bool:
        architecture = info.data.get("architecture", "orbital")
        if not value and architecture not in ("orbital", "scdp"):
            raise ValueError(f"a checkpoint of {architecture} needs them")
        return value

    @field_validator("optimizer")
    @classmethod
    def _has_matrices(cls, value: str, info: ValidationInfo) -> str:
        # Weights of the other architectures are kernels, or one long vector.
        architecture = info.data.get("architecture", "orbital")
        if value == "muon" and architecture not in ("orbital", "scdp"):
            raise ValueError(f"muon is not for {architecture}, choose adamw")
        return value

    @property
    def identity(self) -> str:
        """Settings that an interrupted training in one process must keep, as JSON."""
        return self.identity_with(1)

    def materials_per_step(self, processes: int = 1) -> int:
        """Materials between two changes of the weights.

        Parameters
        ----------
        processes
            Number of processes.

        Returns
        -------
        int
            Those of all processes and accumulated batches.
        """
        return self.batch_size * self.accumulate * processes

    def identity_with(self, processes: int) -> str:
        """Settings that an interrupted training must keep, as JSON.

        With the checksum of the checkpoint of the initial weights. The patience may change; the
        number of epochs may not, because the learning rate depends on it. The number of processes
        may change if an update takes as many materials as before.

        Parameters
        ----------
        processes
            Number of processes.

        Returns
        -------
        str
            Equal for trainings that do the same.
        """
        free = {"device", "patience", "data", "description", "finetune_from", "free_atoms"}
        free |= {"accumulate", "stream", "workers"}
        if self.architecture != "charge3net":
            free.add("probes")
        if self.precision == "32":
            free.add("precision")
        materials = self.materials_per_step(processes)
        left_out: dict[str, Any] = dict.fromkeys(free, True)
        if not self.model.get("spin"):
            left_out["loss"] = {"spin"}
        same = self.model_copy(update={"batch_size": materials})
        settings = same.model_dump_json(exclude=left_out)
        if self.finetune_from is None:
            return settings
        return f"{settings} {file_sha256(self.finetune_from)}"


def read_config(path: str | Path) -> TrainingConfig:
    """Read the YAML file of a training.

    Parameters
    ----------
    path
        The file; paths in it are relative to its folder.

    Returns
    -------
    TrainingConfig
        With paths relative to the working directory.

    Raises
    ------
    YamlError
        The file is missing, no YAML, or a key or value is impossible.
    TrainingError
        The checkpoint to finetune from is missing.
    """
    path = Path(path)
    config = read_yaml(path, TrainingConfig)
    found = {"data": path.parent / config.data}
    if config.finetune_from is not None:
        found["finetune_from"] = path.parent / config.finetune_from
        if not found["finetune_from"].is_file():
            raise TrainingError(
                f"{path}: finetune_from: there is no {found['finetune_from']}; train the earlier "
                "stage first"
            )
    return config.model_copy(update=found)


def model_options(
    model: type[Options],
    presets: Mapping[str, Options | Mapping[str, Any]],
    config: TrainingConfig,
    terms: Container[str] = ("grid",),
    **from_data: Any,
) -> Options:
    """Options of an architecture: a preset, overridden by those given, and those of the data set.

    Parameters
    ----------
    model
        Pydantic model of the options.
    presets
        Options by name of the preset.
    config
        The training. ``model`` may name a preset beside the options that override it.
    terms
        Terms of the loss that the architecture has; by default that of the grid.
    **from_data
        Options that the data set determines.

    Returns
    -------
    pydantic.BaseModel
        An instance of `model`.

    Raises
    ------
    TrainingError
        A preset or an option is unknown, or the architecture has no such term of the loss.

    Examples
    --------
    >>> from mlcharge_flows.models.superres.config import PRESETS, SuperResConfig
    >>> from mlcharge_flows.training.config import TrainingConfig
    >>> config = TrainingConfig(
    ...     name="demo", data="d.h5", model={"preset": "paper", "channels": 8}
    ... )
    >>> options = model_options(SuperResConfig, PRESETS, config)
    >>> options.target, options.channels, options.blocks
    ('density', 8, 32)
    """
    if others := sorted(name for name in config.loss.model_fields_set if name not in terms):
        raise TrainingError(
            f"loss.{others[0]}: {config.architecture} knows no such term, its loss is the grid's "
            "alone; remove it"
        )
    aliases = {
        str(choice): name
        for name, entry in model.model_fields.items()
        if isinstance(entry.validation_alias, AliasChoices)
        for choice in entry.validation_alias.choices
    }
    given = {aliases.get(key, key): value for key, value in config.model.items()}
    if taken := sorted(given.keys() & from_data.keys()):
        raise TrainingError(f"model.{taken[0]}: the data set decides it; remove it")
    name = given.pop("preset", None)
    if name is not None:
        if not presets:
            raise TrainingError(f"model.preset: {config.architecture} has no presets; remove it")
        if name not in presets:
            raise TrainingError(
                f"model.preset: there is no {name!r}; choose from {', '.join(presets)}"
            )
        preset = presets[name]
        defaults = preset.model_dump() if isinstance(preset, BaseModel) else preset
        given = {**defaults, **given}
    try:
        return model(**given, **from_data)
    except ValidationError as error:
        raise TrainingError(f"model.{validation_problems(error, model)[0]}") from None
