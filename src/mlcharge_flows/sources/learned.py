"""Starts that a trained model predicts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mlcharge_flows.density.superposition import superpose
from mlcharge_flows.models.model import CompletesDensities, ModelError
from mlcharge_flows.models.registry import DEFAULT, LoadedModel
from mlcharge_flows.models.scope import check_atoms, check_paw, check_scope, other_cutoff
from mlcharge_flows.sources.existing import ConvergedStartMaker, fitted
from mlcharge_flows.sources.known_models import known_models
from mlcharge_flows.sources.occupancy_source import ELEMENT_MEAN, OccupancySource
from mlcharge_flows.sources.start import StartError, StartMaker
from mlcharge_flows.sources.superposition import superposed

if TYPE_CHECKING:
    from mlcharge_flows.density.density import Density
    from mlcharge_flows.sources.inputs import VaspInputs
    from mlcharge_flows.sources.start import StartDocument

NO_POTCAR = "no POTCAR here: whether the run has the model's PAW data sets is not checked"


@dataclass
class LearnedStartMaker(StartMaker):
    """Predict density and occupancies with a model; nothing of a converged run is used.

    The model is loaded once per process. Each half can be exchanged for that of the free atoms or
    of a converged run, which shows what the other is worth.

    Parameters
    ----------
    model
        Name of a model, or path of its checkpoint.
    grid
        Density on the grid: ``"learned"``, ``"atomic"`` or ``"converged"``.
    occupancies
        On-site occupancies: ``"learned"``, ``"atomic"``, ``"converged"``; ``"element-mean"`` of the
        ions that the model (or, if it has no occupancies, the default one) was trained on; the name
        or path of another model; or the path of a CHGCAR, such as that of an earlier run. A model
        that completes densities gives the grid's density those that belong to it; of others, and
        with an atomic grid, it is those that go with its own prediction.
    """

    name: str = "learned start"
    model: str = DEFAULT
    grid: Literal["learned", "atomic", "converged"] = "learned"
    occupancies: str = "learned"

    @property
    def source(self) -> OccupancySource:
        """Where the occupancies come from."""
        return OccupancySource.of(self.occupancies, self.model)

    @property
    def kind(self) -> str:  # type: ignore[override]
        """Learned, or mixed where a half is not."""
        return "learned" if self.grid == "learned" and self.source.is_learned else "mixed"

    @property
    def policy(self) -> str:  # type: ignore[override]
        """Where the occupancies come from, in words."""
        return self.source.policy

    @property
    def needs_run(self) -> bool:  # type: ignore[override]
        """Whether a converged run is needed."""
        return "converged" in (self.grid, self.occupancies)

    @property
    def checkpoint(self) -> str | None:
        """SHA-256 of the model's checkpoint, or of both; None where a model is not to be had."""
        models = known_models()
        try:
            names = [self.model, *([self.source.model()] if self.source.is_learned else [])]
            return "+".join(dict.fromkeys(models.checksum(name) for name in names))
        except ModelError:
            return None

    def check(self) -> None:
        """Load what is named, so that it is known before any run whether it can be had.

        Raises
        ------
        ModelError
            There is no such model, it cannot be loaded, or it has no occupancies to give.
        """
        known_models().load(self.model)
        self.source.check()

    def write(
        self, inputs: VaspInputs, folder: Path, prev_dir: str | Path | None = None
    ) -> StartDocument:
        """Write the CHGCAR into a folder, and say which checkpoint it is from."""
        document = super().write(inputs, folder, prev_dir)
        document.model = known_models().load(self.model).card.name
        document.checkpoint = self.checkpoint
        document.paw = {symbol: inputs.paw[symbol].titel for symbol in set(inputs.crystal.symbols)}
        return document

    def density(
        self, inputs: VaspInputs, prev_dir: str | Path | None, messages: list[str]
    ) -> Density:
        """Predicted density on the run's grid.

        Raises
        ------
        StartError
            The model cannot be loaded, or refuses: unknown elements or PAW data sets, a charged
            cell, distances that it was not trained on, a grid too coarse.
        """
        try:
            return _Halves(self, inputs, prev_dir, messages).joined()
        except ModelError as error:
            raise StartError(str(error)) from None


class _Halves:
    """What the halves of a start can be taken from, each made when it is needed."""

    def __init__(
        self,
        maker: LearnedStartMaker,
        inputs: VaspInputs,
        prev_dir: str | Path | None,
        messages: list[str],
    ) -> None:
        self._maker, self._inputs, self._messages = maker, inputs, messages
        self._prev_dir = prev_dir
        maker.check()
        self._loaded = known_models().load(maker.model)
        self._check(self._loaded)

    def joined(self) -> Density:
        """Density of one source with the occupancies of another, or the same."""
        density = {
            "learned": lambda: self._own,
            "atomic": lambda: self._atomic,
            "converged": lambda: self._converged,
        }[self._maker.grid]()
        source = self._maker.source
        match source.kind:
            case "atomic":
                given = self._atomic
            case "converged":
                given = self._converged
            case "file":
                given = fitted(Path(source.name), self._inputs, self._messages)
            case _:
                given = self._learned(density, source)
        return replace(density, augmentation=given.augmentation)

    def _learned(self, density: Density, source: OccupancySource) -> Density:
        """Any density with the occupancies that a model gives to this one."""
        predictor = known_models().load(source.model())
        own = predictor is self._loaded
        if not own:
            self._check(predictor)
        if isinstance(predictor.model, CompletesDensities):
            if source.kind == ELEMENT_MEAN:
                return predictor.model.with_element_means(density)
            if self._maker.grid == "converged" or (self._maker.grid == "learned" and not own):
                return predictor.model.complete(density)
        if own:
            return self._own
        return predictor.model.predict(self._inputs.crystal, self._inputs.grid)

    @cached_property
    def _own(self) -> Density:
        return self._loaded.model.predict(self._inputs.crystal, self._inputs.grid)

    @cached_property
    def _converged(self) -> Density:
        return ConvergedStartMaker().density(self._inputs, self._prev_dir, self._messages)

    @cached_property
    def _atomic(self) -> Density:
        atoms = self._loaded.atoms
        if atoms.keys() >= set(self._inputs.crystal.symbols):
            return superpose(self._inputs.crystal, atoms, self._inputs.grid)
        return superposed(self._inputs)

    def _check(self, loaded: LoadedModel) -> None:
        """Compare the run with what a model knows; without POTCARs the first model's data count."""
        inputs, card = self._inputs, loaded.card
        elements = set(inputs.crystal.symbols)
        if not elements <= card.paw.keys():
            check_scope(card, inputs.crystal, inputs.grid)
        known = inputs.has_potcars()
        if not known and loaded is self._loaded:
            self._messages.append(NO_POTCAR)
            inputs.paw = {symbol: card.paw[symbol] for symbol in elements}
        check_paw(card, inputs.paw)
        if known:
            check_atoms(card, loaded.atoms, inputs.potcars)
        check_scope(card, inputs.crystal, inputs.grid, inputs.n_electrons)
        if message := other_cutoff(card, inputs.incar.get("ENCUT")):
            self._messages.append(message)
