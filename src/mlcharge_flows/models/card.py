"""Card of a checkpoint: training data, PAW data sets, applicability domain, errors, license."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date  # noqa: TC003, pydantic needs it
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import (
    AliasChoices,
    BaseModel,
    ConfigDict,
    Field,
    GetCoreSchemaHandler,
    GetPydanticSchema,
)
from pydantic_core import core_schema

from mlcharge_flows.density.paw_dataset import PawDataset, n_electrons
from mlcharge_flows.models.domain import Domain, GeometryBounds, cutoffs
from mlcharge_flows.models.expected_error import MAX_EXPECTED_ERROR

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
    free_atom_sha256: str | None = Field(
        None, description="Fingerprint of the data set, if the checkpoint lacks the free atom."
    )


def _to_entries(datasets: Any) -> Any:
    """Entries of a card for PAW data sets; anything else is left for pydantic to check."""
    if not isinstance(datasets, Mapping):
        return datasets
    return {
        symbol: {
            name: value
            for name in _PawEntry.model_fields
            if (value := getattr(dataset, name)) is not None or name == "q_step"
        }
        if isinstance(dataset, PawDataset)
        else dataset
        for symbol, dataset in datasets.items()
    }


def _validate(datasets: Any, handler: core_schema.ValidatorFunctionWrapHandler) -> Any:
    """Data sets of the entries of a card; a data set that is given stays as it is."""
    entries: dict[str, _PawEntry] = handler(_to_entries(datasets))
    return {
        symbol: datasets[symbol]
        if isinstance(datasets[symbol], PawDataset)
        else PawDataset(symbol=symbol, **dict(entry))
        for symbol, entry in entries.items()
    }


def _paw_schema(_source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
    """Check and write data sets by way of their entries."""
    return core_schema.no_info_wrap_validator_function(
        _validate,
        handler.generate_schema(dict[str, _PawEntry]),
        serialization=core_schema.plain_serializer_function_ser_schema(_to_entries),
    )


PawDatasets = Annotated[dict[str, PawDataset], GetPydanticSchema(_paw_schema)]
"""PAW data set of each element; in JSON without its free atom, whose arrays are tensors."""


class DataCard(BaseModel):
    """The data that a model was trained on."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = Field(description="What it is, in words; no path.")
    train: int = Field(ge=0, description="Materials in the training set.")
    pseudo_labeled: int = Field(
        0,
        ge=0,
        validation_alias=AliasChoices("pseudo_labeled", "recalled"),  # cards before 0.2
        description="Materials of these whose labels an earlier checkpoint predicted.",
    )
    validation: int = Field(ge=0, description="Materials in the validation set.")
    sha256: str = Field("", description="Of the data set; empty if it is not one file.")
    protocol: str = Field("", description="Hash of the settings of its runs.")
    encut: tuple[float, float] | None = Field(
        None, description="Lowest and highest plane-wave cutoff of its runs, eV, if known."
    )
    per_element: dict[str, int] = Field(
        default_factory=dict,
        validation_alias=AliasChoices("per_element", "examples"),  # cards before 0.2
        description="Training materials with each element.",
    )

    @property
    def cutoffs(self) -> str:
        """Plane-wave cutoffs of its runs, such as ``350 to 400 eV``; empty if unknown."""
        return "" if self.encut is None else cutoffs(self.encut)


class TrainingCard(BaseModel):
    """Cost of a training."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    epochs: int = Field(ge=0, description="Passes over the data.")
    hours: float = Field(ge=0, description="Wall time of all epochs, validations included.")
    device: str = Field(description="Such as cpu or cuda.")
    threads: int = Field(ge=1, description="Threads of the CPU.")


class ExpectedErrorCard(BaseModel):
    """How reliable the expected error of a model is, and up to which it predicts.

    The figures are of crystals outside of the training, each predicted by a fit to others.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    materials: int = Field(ge=0, description="Crystals of the fit.")
    correlation: float = Field(description="Of the logarithms of expected and found errors.")
    coverage_50: float = Field(ge=0, le=1, description="Fraction in their 50 % intervals.")
    coverage_90: float = Field(ge=0, le=1, description="Fraction in their 90 % intervals.")
    above_high: float = Field(ge=0, le=1, description="Fraction above their 90 % quantiles.")
    spread: float = Field(ge=0, description="Median standard deviation of the natural logarithm.")
    limit: float = Field(
        MAX_EXPECTED_ERROR,
        gt=0,
        description="Part of the superposition's error that a crystal may leave with a probability "
        "of more than 10 %; crystals beyond are refused.",
    )


class Card(BaseModel):
    """Card of a checkpoint, kept as JSON in the file itself.

    Examples
    --------
    >>> from datetime import date
    >>> from mlcharge_flows.models.domain import GeometryBounds
    >>> card = Card(
    ...     name="demo",
    ...     architecture="orbital",
    ...     data=DataCard(name="two crystals", train=1, validation=1),
    ...     paw_family="GPAW",
    ...     paw={"Si": PawDataset("Si", "PAW_PBE Si test", 4.0, (0, 0, 1, 1))},
    ...     geometry=GeometryBounds(volume=(19.0, 21.0), neighbors=(28, 34)),
    ...     license="MIT",
    ...     created=date(2026, 1, 1),
    ...     version="0.1.0",
    ... )
    >>> card.elements, card.n_electrons(["Si", "Si"])
    (('Si',), 8.0)
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: Literal[1] = Field(1, description="Version of the card's own format.")
    name: str = Field(
        pattern=r"^[A-Za-z0-9][\w.+-]*$", description="Name of the model, and of its file."
    )
    architecture: str = Field(
        pattern=r"^[a-z][a-z0-9_]*$", description="Package of ``mlcharge_flows.models``."
    )
    config: dict[str, Any] = Field(
        default_factory=dict, description="Options of the architecture, read by it alone."
    )
    description: str = Field("", description="One sentence.")
    data: DataCard = Field(description="What it was trained on.")
    paw_family: str = Field(description="Origin of the PAW data sets.")
    paw: PawDatasets = Field(min_length=1, description="PAW data set of each element.")
    occupancies: Literal["own", "none"] = Field(
        "own", description="Whether the model predicts augmentation occupancies."
    )
    units: dict[str, str] = Field(default_factory=lambda: dict(UNITS))
    geometry: GeometryBounds = Field(
        validation_alias=AliasChoices("geometry", "range"),  # cards before 0.2
        description="Bounds of the training set; crystals far outside are refused.",
    )
    errors: dict[str, float] = Field(
        default_factory=dict,
        description="On the validation set, such as nmae_median and nmae_mean (percent), "
        "density_removed and occupancies_removed (fractions of the superposition's error).",
    )
    expected_error: ExpectedErrorCard | None = Field(
        None,
        exclude_if=lambda known: known is None,  # then as cards without one
        description="Reliability of the error that is expected of a crystal, if it is.",
    )
    training: TrainingCard | None = Field(None, description="Cost of the training, if known.")
    license: str = Field(
        validation_alias=AliasChoices("license", "licence"),  # cards before 0.2
        description="Of the weights, as an SPDX identifier.",
    )
    citation: str = Field("", description="What to cite.")
    created: date = Field(description="Day of training.")
    version: str = Field(description="Version of mlcharge_flows that wrote it.")

    @property
    def elements(self) -> tuple[str, ...]:
        """Elements that the model knows, in alphabetical order."""
        return tuple(sorted(self.paw))

    @property
    def free_atoms(self) -> dict[str, PawDataset]:
        """PAW data sets whose free atom is known: of a whole checkpoint, if it holds them."""
        return {symbol: dataset for symbol, dataset in self.paw.items() if dataset.has_free_atom}

    @property
    def domain(self) -> Domain:
        """Applicability domain of the model; free atoms are compared where they are known."""
        return Domain(self.name, self.paw, self.paw_family, self.geometry, self.data.encut)

    def n_electrons(self, symbols: Iterable[str]) -> float:
        """Valence electrons of a neutral cell.

        Parameters
        ----------
        symbols
            Element of each ion.

        Returns
        -------
        float
            Sum of ZVAL.
        """
        return n_electrons(self.paw[symbol] for symbol in symbols)
