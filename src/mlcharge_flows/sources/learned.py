"""What trained models give: a predicted density, and means of the elements of their training."""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

from typing_extensions import override

from mlcharge_flows.io import file_sha256, is_file
from mlcharge_flows.models.checkpoint import SUFFIX
from mlcharge_flows.models.deformation import predict_on_atoms, predict_spin_on_atoms
from mlcharge_flows.models.model import ModelError
from mlcharge_flows.models.registry import DEFAULT, LoadedModel, Registry
from mlcharge_flows.settings import Settings
from mlcharge_flows.sources.calibrated import (
    calibration_of,
    complete_calibrated,
    no_response,
    predict_calibrated,
)
from mlcharge_flows.sources.gate import gated
from mlcharge_flows.sources.magmom import predicted_spin
from mlcharge_flows.sources.other_datasets import predict_on_other_datasets, refusals
from mlcharge_flows.sources.source import Evaluated, Source, SourceError, Superposition, joined
from mlcharge_flows.vasp.potcar import PotcarError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.sources.run_inputs import RunInputs

NO_POTCAR = "no POTCAR here: whether the run has the model's PAW data sets is not checked"


def known_models() -> Registry:
    """Give the models that are shipped, and those of the user's settings.

    Returns
    -------
    Registry
        Models by name.
    """
    return Registry(Settings().models)


class _OfModel(Source):
    """What the sources of a model have in common.

    The model is loaded once per process.
    """

    model: str

    @classmethod
    def from_argument(cls, argument: str) -> Self:
        """Make the source that ``word@MODEL`` names.

        Parameters
        ----------
        argument
            Name of a model, or path of its checkpoint; empty for the default model.

        Returns
        -------
        Source
            The source; a path is made absolute.
        """
        if argument.endswith(SUFFIX) or is_file(argument):
            argument = str(Path(argument).absolute())
        return cls(argument or DEFAULT)  # type: ignore[call-arg] # a dataclass

    @property
    def argument(self) -> str:
        """Name of the model, or path of its checkpoint; empty for the default model."""
        return "" if self.model == DEFAULT else self.model

    @property
    def augmentation_word(self) -> str:
        """Name of the source, with that of the model but without the folder of its checkpoint."""
        name = Path(self.argument).name.removesuffix(SUFFIX)
        return f"{self.word}@{name}" if name else self.word

    @override
    def behind(self, density: Source) -> str:
        inherited = density.model if isinstance(density, Learned) else DEFAULT
        return self.word if self.model == inherited else f"{self.word}@{self.model}"

    @property
    def identity(self) -> tuple[str, str]:
        """Kind, and SHA-256 of the checkpoint that is evaluated, if there is one."""
        return self.word, self.checkpoint or self.model + self.calibration

    @property
    def uses_model(self) -> bool:
        """True: a model is loaded."""
        return True

    @property
    def predictor(self) -> str:
        """Name or path of the model that is evaluated."""
        return self.model

    @property
    def model_name(self) -> str | None:
        """Name on the card of the model; None if there is no such model."""
        try:
            return known_models().card(self.predictor).name
        except ModelError:
            return None

    @property
    def checkpoint(self) -> str | None:
        """SHA-256 of the checkpoint; None if there is no such model."""
        try:
            return known_models().checksum(self.predictor)
        except ModelError:
            return None

    def load_model(self) -> None:
        """Load the model, once per process; a missing one is no error here."""
        with suppress(ModelError):
            known_models().load(self.predictor)

    def check(self, augmentation: bool = False) -> None:
        """Load the model, and see that it predicts what is wanted.

        Parameters
        ----------
        augmentation
            Whether the model is to predict augmentation occupancies.

        Raises
        ------
        ModelError
            The model cannot be loaded, or predicts no augmentation occupancies.
        """
        loaded = known_models().load(self.predictor)
        if augmentation and loaded.card.occupancies == "none":
            raise ModelError(_no_augmentation(loaded))

    def known_datasets(self, elements: frozenset[str]) -> Mapping[str, PawDataset] | None:
        """PAW data sets that the model was trained with, with their free atoms where it has them.

        Parameters
        ----------
        elements
            Symbols.

        Returns
        -------
        mapping of str to PawDataset, or None
            None if the model does not know an element.

        Raises
        ------
        SourceError
            The model cannot be loaded.
        """
        known = self._load().card.paw
        if not elements <= known.keys():
            return None
        return {element: known[element] for element in elements}

    def _load(self) -> LoadedModel:
        try:
            return known_models().load(self.predictor)
        except ModelError as error:
            raise SourceError(str(error)) from None

    @staticmethod
    def _has_other_datasets(loaded: LoadedModel, inputs: RunInputs) -> bool:
        """Whether the POTCAR of a run has other PAW data sets than the model, for its elements."""
        if not inputs.elements <= loaded.card.paw.keys() or not inputs.has_potcar:
            return False
        return bool(refusals(loaded, inputs.datasets))

    def _checked(self, loaded: LoadedModel, inputs: RunInputs) -> tuple[RunInputs, tuple[str, ...]]:
        """Compare a run with what the model knows.

        Returns
        -------
        RunInputs
            With the model's PAW data sets if the run's POTCAR is not available.
        tuple of str
            What could not be checked, or makes the prediction less useful.

        Raises
        ------
        SourceError
            The run is outside of the applicability domain.
        """
        domain = loaded.domain
        try:
            if (known := self.known_datasets(inputs.elements)) is None:
                domain.check(inputs.crystal)  # names the unknown elements
            else:
                inputs = inputs.with_datasets(known)
            domain.check(inputs.crystal, inputs.grid, inputs.n_electrons, inputs.datasets)
        except (ModelError, PotcarError) as error:
            raise SourceError(str(error)) from None
        warnings = (None if inputs.has_potcar else NO_POTCAR, domain.encut_warning(inputs.encut))
        return inputs, tuple(warning for warning in warnings if warning)


def _no_augmentation(loaded: LoadedModel) -> str:
    return (
        f"the model {loaded.card.name} predicts no occupancies: calibrate it with finished runs "
        f"(mlcharge calibrate), or take the occupancies of a model that does ({DEFAULT}), "
        f"{ElementMean.word} or atomic ones"
    )


@dataclass(frozen=True)
class Learned(_OfModel):
    """Density and augmentation occupancies that a model predicts from the structure alone.

    Parameters
    ----------
    model
        Name of a model, or path of its checkpoint.
    calibration
        Path of a calibration of the model, for runs with its PAW data sets and its cutoff; empty
        for runs like those of the training.
    """

    model: str = DEFAULT
    calibration: str = ""
    word: ClassVar[str] = "learned"

    @override
    def calibrated(self, calibration: str) -> Learned:
        return self if self.calibration else replace(self, calibration=calibration)

    @property
    def checkpoint(self) -> str | None:
        """SHA-256 of the checkpoint, and of the calibration; None if the model is lost."""
        known, sha256 = super().checkpoint, None
        if known and self.calibration:
            with suppress(OSError):
                sha256 = file_sha256(self.calibration)
        return joined((known, sha256))

    @override
    def check(self, augmentation: bool = False) -> None:
        if not self.calibration:
            super().check(augmentation)
            return
        loaded = known_models().load(self.model)
        calibration = calibration_of(self.calibration, loaded)
        if augmentation and loaded.card.occupancies == "none" and not calibration.response.elements:
            raise ModelError(f"{self.calibration}: has no responses; {_no_augmentation(loaded)}")

    def evaluate(self, inputs: RunInputs, given: Evaluated | None = None) -> Evaluated:
        """Predict the converged density of a run.

        Parameters
        ----------
        inputs
            Inputs of the run.
        given
            Density that augmentation occupancies are wanted for. A model that completes densities,
            or a calibration of a model of the density alone, gives those that belong to it. Every
            other model, and every model for a superposition of free atoms, gives those of its own
            prediction.

        Returns
        -------
        Evaluated
            Predicted density, or `given` with predicted augmentation occupancies.

        Raises
        ------
        SourceError
            The model cannot be loaded, or refuses the run: unknown elements, PAW data sets to which
            its occupancies cannot be converted, a charged cell, distances outside of its
            training, a grid that is too coarse, an expected error beyond the limit.
        """
        loaded = self._load()
        try:
            if self.calibration:
                found = self._calibrated(loaded, inputs, given)
            else:
                found = self._uncalibrated(loaded, inputs, given)
            return gated(loaded, inputs, found) if given is None else found
        except (ModelError, PotcarError) as error:
            raise SourceError(str(error)) from None

    def _uncalibrated(
        self, loaded: LoadedModel, inputs: RunInputs, given: Evaluated | None
    ) -> Evaluated:
        model = loaded.model
        if self._has_other_datasets(loaded, inputs):
            density, warnings = predict_on_other_datasets(loaded, inputs)
            issue = _no_augmentation(loaded) if density.augmentation is None else None
            return Evaluated(density, warnings, augmentation_issue=issue)
        inputs, warnings = self._checked(loaded, inputs)
        if given is not None and not given.is_superposition and model.completes_densities:
            return Evaluated(model.complete(given.density, inputs.datasets), warnings)
        if (prediction := predicted_spin(model, inputs)) is not None:
            density, lines = predict_spin_on_atoms(prediction, loaded.card.paw, inputs.datasets)
            return Evaluated(density, (*warnings, *lines))
        density = predict_on_atoms(model, inputs.crystal, inputs.grid, inputs.datasets)
        issue = _no_augmentation(loaded) if density.augmentation is None else None
        return Evaluated(density, warnings, augmentation_issue=issue)

    def _calibrated(
        self, loaded: LoadedModel, inputs: RunInputs, given: Evaluated | None
    ) -> Evaluated:
        calibration, issue = calibration_of(self.calibration, loaded), None
        if loaded.card.occupancies == "none":
            issue = no_response(loaded, calibration, inputs)
            if given is not None and not given.is_superposition and not issue:
                return Evaluated(*complete_calibrated(loaded, calibration, inputs, given.density))
        density, warnings = predict_calibrated(loaded, calibration, inputs)
        issue = issue if density.augmentation is None else None
        return Evaluated(density, warnings, augmentation_issue=issue)


@dataclass(frozen=True)
class ElementMean(_OfModel):
    """Mean augmentation occupancies of the ions of each element in the training of a model.

    Parameters
    ----------
    model
        Name of a model, or path of its checkpoint. For a model of the density alone, the means of
        the default model are taken.
    """

    model: str = DEFAULT
    word: ClassVar[str] = "element-mean"

    @property
    def augmentation_word(self) -> str:
        """``element-mean``, without the model."""
        return self.word

    @property
    def predictor(self) -> str:
        """The model, or the default model if it predicts no augmentation occupancies."""
        has_none = known_models().card(self.model).occupancies == "none"
        return DEFAULT if has_none else self.model

    def check(self, augmentation: bool = False) -> None:
        """Load the model.

        Parameters
        ----------
        augmentation
            Whether augmentation occupancies are wanted.

        Raises
        ------
        ModelError
            The model cannot be loaded, or has no means of elements.
        """
        super().check(augmentation)
        loaded = known_models().load(self.predictor)
        if not loaded.model.completes_densities:
            raise ModelError(_no_means(loaded))

    def evaluate(self, inputs: RunInputs, given: Evaluated | None = None) -> Evaluated:
        """Give a density the mean augmentation occupancies of its elements.

        Parameters
        ----------
        inputs
            Inputs of the run.
        given
            The density; the superposition of free atoms if there is none.

        Returns
        -------
        Evaluated
            The density with mean augmentation occupancies.

        Raises
        ------
        SourceError
            The model cannot be loaded, refuses the run, or has no means of elements.
        """
        loaded = self._load()
        inputs, warnings = self._checked(loaded, inputs)
        if not loaded.model.completes_densities:
            raise SourceError(_no_means(loaded))
        before = given or Superposition().evaluate(inputs)
        try:
            density = loaded.model.with_element_means(before.density, inputs.datasets)
        except ModelError as error:
            raise SourceError(str(error)) from None
        return Evaluated(density, warnings, is_superposition=before.is_superposition)


def _no_means(loaded: LoadedModel) -> str:
    return f"the model {loaded.card.name} knows no means of elements"
