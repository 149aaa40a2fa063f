"""The card of a checkpoint: what a user has to know of a model, and what the model has to check."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date  # noqa: TC003, pydantic needs it
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, GetCoreSchemaHandler, GetPydanticSchema
from pydantic_core import core_schema

from mlcharge_flows.density.paw_dataset import PawDataset, n_electrons
from mlcharge_flows.models.range import TrainingRange  # noqa: TC001, pydantic needs it

if TYPE_CHECKING:
    from collections.abc import Iterable

UNITS = {"length": "angstrom", "density": "electrons/angstrom^3", "occupancies": "electrons"}


class _PawEntry(BaseModel):
    """The PAW data set of one element as a card's JSON holds it, without its free atom."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    titel: str = Field(description="TITEL of the POTCAR.")
    zval: float = Field(gt=0, description="Valence electrons.")
    channels: tuple[int, ...] = Field(description="l of each projector channel.")
    q_step: float | None = Field(
        None,
        description="Step of the mesh of the form factor, 1/angstrom; None if the checkpoint "
        "does not hold the free atom.",
    )


def _to_entries(datasets: Any) -> Any:
    """Entries of a card for PAW data sets; anything else is left for pydantic to check."""
    if not isinstance(datasets, Mapping):
        return datasets
    return {
        symbol: {name: getattr(dataset, name) for name in _PawEntry.model_fields}
        if isinstance(dataset, PawDataset)
        else dataset
        for symbol, dataset in datasets.items()
    }


def _from_entries(entries: dict[str, _PawEntry]) -> dict[str, PawDataset]:
    """PAW data sets of the entries of a card."""
    return {symbol: PawDataset(symbol=symbol, **dict(entry)) for symbol, entry in entries.items()}


def _paw_schema(_source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
    """Check and write data sets by way of their entries."""
    entries = handler.generate_schema(dict[str, _PawEntry])
    return core_schema.no_info_before_validator_function(
        _to_entries,
        core_schema.no_info_after_validator_function(_from_entries, entries),
        serialization=core_schema.plain_serializer_function_ser_schema(_to_entries),
    )


PawDatasets = Annotated[dict[str, PawDataset], GetPydanticSchema(_paw_schema)]
"""PAW data set of each element; in JSON TITEL, valence, channels and mesh step of each."""


class DataCard(BaseModel):
    """The data that a model was trained on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="What it is, in words; no path.")
    train: int = Field(ge=0, description="Materials trained on.")
    recalled: int = Field(
        0, ge=0, description="Of these, materials as an earlier checkpoint predicted them."
    )
    validation: int = Field(ge=0, description="Materials that chose among models.")
    sha256: str = Field("", description="Of the data set; empty if it is not one file.")
    protocol: str = Field("", description="Hash of the settings of its runs.")
    encut: tuple[float, float] | None = Field(
        None, description="Lowest and highest plane-wave cut-off of its runs, eV, if known."
    )
    examples: dict[str, int] = Field(
        default_factory=dict, description="Training materials with each element."
    )

    @property
    def cutoffs(self) -> str:
        """Plane-wave cut-offs of its runs in words, such as ``350 to 400 eV``; empty if unknown."""
        if self.encut is None:
            return ""
        return " to ".join(f"{cutoff:g}" for cutoff in sorted(set(self.encut))) + " eV"


class TrainingCard(BaseModel):
    """What a training took."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: int = Field(ge=0, description="Passes over the data.")
    hours: float = Field(ge=0, description="Wall time of all epochs, validations included.")
    device: str = Field(description="Such as cpu or cuda.")
    threads: int = Field(ge=1, description="Of the processor.")


class Card(BaseModel):
    """Card of a checkpoint, kept as JSON in the file itself.

    Examples
    --------
    >>> from datetime import date
    >>> from mlcharge_flows.models.range import TrainingRange
    >>> card = Card(
    ...     name="demo",
    ...     architecture="orbital",
    ...     data=DataCard(name="two crystals", train=1, validation=1),
    ...     paw_family="GPAW",
    ...     paw={"Si": PawDataset("Si", "PAW_PBE Si test", 4.0, (0, 0, 1, 1))},
    ...     range=TrainingRange(volume=(19.0, 21.0), neighbors=(28, 34)),
    ...     licence="MIT",
    ...     created=date(2026, 1, 1),
    ...     version="0.1.0",
    ... )
    >>> card.elements, card.n_electrons(["Si", "Si"])
    (('Si',), 8.0)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: Literal[1] = Field(1, description="Version of the card's own format.")
    name: str = Field(
        pattern=r"^[A-Za-z0-9][\w.+-]*$", description="What the model is called by; also its file."
    )
    architecture: str = Field(
        pattern=r"^[a-z][a-z0-9_]*$", description="Package of ``mlcharge_flows.models``."
    )
    config: dict[str, Any] = Field(
        default_factory=dict, description="Options of the architecture, for it alone."
    )
    description: str = Field("", description="One sentence.")
    data: DataCard = Field(description="What it was trained on.")
    paw_family: str = Field(description="Where the PAW data sets come from.")
    paw: PawDatasets = Field(min_length=1, description="PAW data set of each element.")
    occupancies: Literal["own", "none"] = Field(
        "own", description="Whether the model predicts on-site occupancies."
    )
    units: dict[str, str] = Field(default_factory=lambda: dict(UNITS))
    range: TrainingRange = Field(description="Crystals beyond are refused.")
    errors: dict[str, float] = Field(
        default_factory=dict,
        description="On the validation set, such as nmae_median and nmae_mean (percent), "
        "density_removed and occupancies_removed (shares of the superposition's error).",
    )
    training: TrainingCard | None = Field(None, description="What it took, if known.")
    licence: str = Field(description="Of the weights, as an SPDX identifier.")
    citation: str = Field("", description="What to cite.")
    created: date = Field(description="Day of training.")
    version: str = Field(description="Version of mlcharge_flows that wrote it.")

    @property
    def elements(self) -> tuple[str, ...]:
        """Elements that the model knows, in alphabetical order."""
        return tuple(sorted(self.paw))

    def n_electrons(self, symbols: Iterable[str]) -> float:
        """Valence electrons of a neutral cell with these ions."""
        return n_electrons(self.paw[symbol] for symbol in symbols)
