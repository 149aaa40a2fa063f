"""A training, as its YAML file describes it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from mlcharge_flows.models.checkpoint import checksum


class ConfigError(ValueError):
    """A training that cannot be done; one line that names the file and the key."""


class LossConfig(BaseModel):
    """Weights of the terms; each is relative to the superposition's error of the material."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    waves: float = Field(0.0, ge=0, description="Root mean square error of the plane waves.")
    grid: float = Field(1.0, ge=0, description="Mean absolute error on the grid, as in the NMAE.")
    shells: float = Field(
        0.0,
        ge=0,
        description="Root mean square error of the plane waves, shell by shell of their length: "
        "each shell counts the same, also the sharp ones that hold little charge.",
    )
    coulomb: float = Field(
        0.0,
        ge=0,
        description="Wave number (1/angstrom) below which waves count more, as in the Hartree "
        "energy: the weight is 1 + (coulomb / G)^2.",
    )
    thinning: int = Field(
        1,
        ge=1,
        description="Of the waves beyond the last shell, nine in ten of all, a step looks at every "
        "so many-th, from a first one that is drawn; the grid then holds the others alone.",
    )


class TrainingConfig(BaseModel):
    """What is trained, on what, and for how long.

    Examples
    --------
    >>> TrainingConfig(name="demo", data="dataset.h5").epochs
    100
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str = Field(
        pattern=r"^[A-Za-z0-9][\w.+-]*$", description="Name of the checkpoint that comes out."
    )
    data: Path = Field(description="Data set, relative to the YAML file.")
    architecture: Literal["orbital", "charge3net", "superres", "scdp"] = Field(
        "orbital", description="Package of models/."
    )
    model: dict[str, Any] = Field(
        default_factory=dict,
        description="Options of the architecture, such as n_channels; of charge3net, superres and "
        "scdp also `preset`, which they change.",
    )
    start_from: Path | None = Field(
        None,
        description="Checkpoint whose weights the training begins with, relative to the YAML file: "
        "that of an earlier stage.",
    )
    description: str = Field("", description="One sentence for the card.")
    data_name: str = Field("", description="What the data set is, in words, for the card.")
    licence: str = Field("MIT", description="Of the weights.")
    validation_share: float = Field(
        0.08, gt=0, lt=1, description="Of the materials, held out besides those marked so."
    )
    train_share: float = Field(
        1.0, gt=0, le=1, description="Of the others, trained on: for learning curves."
    )
    loss: LossConfig = Field(default_factory=lambda: LossConfig())
    epochs: int = Field(100, ge=1, description="Passes over the data.")
    batch_size: int = Field(8, ge=1, description="Materials per step.")
    probes: int = Field(
        200, ge=1, description="Grid points of each material and step; charge3net alone."
    )
    optimiser: Literal["adamw", "muon"] = Field(
        "adamw",
        description="muon, for orbital and scdp, takes steps of orthogonal matrices with all "
        "weights that multiply features; the others stay with AdamW.",
    )
    learning_rate: float = Field(3e-3, gt=0, description="Highest; then down as a cosine.")
    warm_up: int = Field(100, ge=0, description="Steps of rising learning rate.")
    weight_decay: float = Field(1e-3, ge=0, description="Of AdamW.")
    clip: float = Field(1.0, gt=0, description="Largest norm of the gradient.")
    average: float = Field(0.998, ge=0, lt=1, description="Decay of the averaged weights (EMA).")
    validate_every: int = Field(5, ge=1, description="Epochs between validations.")
    patience: int = Field(
        20, ge=1, description="Validations without a better one after which training stops."
    )
    seed: int = Field(0, description="Of weights and order.")
    device: str = Field("auto", description="auto takes a GPU where there is one.")

    @field_validator("optimiser")
    @classmethod
    def _of_matrices(cls, value: str, others: ValidationInfo) -> str:
        # Weights of the other architectures are kernels, or one long vector.
        architecture = others.data.get("architecture", "orbital")
        if value == "muon" and architecture not in ("orbital", "scdp"):
            raise ValueError(f"muon is not for {architecture}, choose adamw")
        return value

    @property
    def identity(self) -> str:
        """What must not change while a training goes on, as JSON.

        With the checksum of the checkpoint that it began with. The patience may be changed on the
        way; the number of epochs may not, because the learning rate follows from it.
        """
        free = {"device", "patience", "data", "description", "start_from"}
        if self.architecture != "charge3net":
            free.add("probes")
        settings = self.model_dump_json(exclude=free)
        if self.start_from is None:
            return settings
        return f"{settings} {checksum(self.start_from)}"


def read_config(path: str | Path) -> TrainingConfig:
    """Read the YAML file of a training.

    Raises
    ------
    ConfigError
        It is missing, no YAML, or says what cannot be.
    """
    path = Path(path)
    try:
        content = yaml.safe_load(path.read_text())
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: no YAML ({' '.join(str(error).split())})") from None
    if not isinstance(content, dict):
        raise ConfigError(f"{path}: expected keys and values, such as `data: dataset.h5`")
    try:
        config = TrainingConfig.model_validate(content)
    except ValidationError as error:
        first = error.errors()[0]
        key = ".".join(map(str, first["loc"]))
        message = first["msg"].removeprefix("Value error, ")
        raise ConfigError(f"{path}: {key}: {message}") from None
    found = {"data": path.parent / config.data}
    if config.start_from is not None:
        found["start_from"] = path.parent / config.start_from
        if not found["start_from"].is_file():
            raise ConfigError(
                f"{path}: start_from: there is no {found['start_from']}; train the earlier stage "
                "first"
            )
    return config.model_copy(update=found)
