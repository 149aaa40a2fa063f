"""Starts that a trained model predicts."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from mlcharge_flows.density.superposition import superpose
from mlcharge_flows.jobs.existing import ConvergedStartMaker, fitted
from mlcharge_flows.jobs.start import StartError, StartMaker
from mlcharge_flows.jobs.superposition import superposed
from mlcharge_flows.models.checkpoint import SUFFIX, read_card
from mlcharge_flows.models.model import CompletesDensities, ModelError
from mlcharge_flows.models.registry import DEFAULT, LoadedModel, Registry
from mlcharge_flows.models.scope import check_atoms, check_paw, check_scope
from mlcharge_flows.settings import Settings

if TYPE_CHECKING:
    from mlcharge_flows.density.density import Density
    from mlcharge_flows.jobs.inputs import VaspInputs
    from mlcharge_flows.jobs.start import StartDocument

OWN = ("learned", "atomic", "converged")
"""Sources of occupancies that need no second model and no file."""
ELEMENT_MEAN = "element-mean"

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
    def kind(self) -> str:  # type: ignore[override]
        """Learned, or mixed where a half is not."""
        exchanged = self.occupancies in ("atomic", "converged") or _is_chgcar(self.occupancies)
        return "mixed" if exchanged or self.grid != "learned" else "learned"

    @property
    def policy(self) -> str:  # type: ignore[override]
        """Where the occupancies come from."""
        if self.occupancies in (*OWN, ELEMENT_MEAN):
            return self.occupancies
        if _is_chgcar(self.occupancies):
            return "from file"
        return f"learned by {Path(self.occupancies).name.removesuffix(SUFFIX)}"

    @property
    def needs_run(self) -> bool:  # type: ignore[override]
        """Whether a converged run is needed."""
        return "converged" in (self.grid, self.occupancies)

    @property
    def checkpoint(self) -> str | None:
        """SHA-256 of the model's checkpoint, or of both; None where a model is not to be had."""
        names = [self.model]
        try:
            if self.occupancies == ELEMENT_MEAN:
                names.append(_with_occupancies(self.model))
            elif self.occupancies not in OWN and not _is_chgcar(self.occupancies):
                names.append(self.occupancies)
            return "+".join(_registry().checksum(name) for name in dict.fromkeys(names))
        except ModelError:
            return None

    def check(self) -> None:
        """Load what is named, so that it is known before any run whether it can be had.

        Raises
        ------
        ModelError
            There is no such model, it cannot be loaded, or it has no occupancies to give.
        """
        loaded = _load(self.model)
        if self.occupancies == ELEMENT_MEAN:
            loaded = _load(_with_occupancies(self.model))
            if not isinstance(loaded.model, CompletesDensities):
                raise ModelError(f"the model {loaded.card.name} knows no means of elements")
        elif not _is_chgcar(self.occupancies) and self.occupancies not in ("atomic", "converged"):
            if self.occupancies != "learned":
                loaded = _load(self.occupancies)
            if loaded.card.occupancies == "none":
                raise ModelError(
                    f"the model {loaded.card.name} predicts no occupancies: take those of a model "
                    f"that does ({DEFAULT}), {ELEMENT_MEAN} or atomic ones"
                )

    def write(
        self, inputs: VaspInputs, folder: Path, prev_dir: str | Path | None = None
    ) -> StartDocument:
        """Write the CHGCAR into a folder, and say which checkpoint it is from."""
        document = super().write(inputs, folder, prev_dir)
        document.model, document.checkpoint = _load(self.model).card.name, self.checkpoint
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
        self._loaded = _load(maker.model)
        self._check(self._loaded)

    def joined(self) -> Density:
        """Density of one source with the occupancies of another, or the same."""
        grid, occupancies = self._maker.grid, self._maker.occupancies
        if occupancies == ELEMENT_MEAN:
            return self._with_element_means(self._of(grid))
        if _is_chgcar(occupancies):
            file = fitted(Path(occupancies), self._inputs, self._messages)
            return replace(self._of(grid), occupancies=file.occupancies)
        density = self._of(grid)
        if grid == occupancies:
            return density
        if occupancies not in ("atomic", "converged") and grid != "atomic":
            predictor = self._predictor(occupancies)
            if isinstance(predictor.model, CompletesDensities):
                self._check(predictor)
                return predictor.model.complete(density)
        return replace(density, occupancies=self._of(occupancies).occupancies)

    def _with_element_means(self, density: Density) -> Density:
        predictor = _load(_with_occupancies(self._maker.model))
        if predictor is not self._loaded:
            self._check(predictor)
        assert isinstance(predictor.model, CompletesDensities)
        return predictor.model.with_element_means(density)

    def _of(self, source: str) -> Density:
        if source == "atomic":
            return self._atomic
        if source == "converged":
            return ConvergedStartMaker().density(self._inputs, self._prev_dir, self._messages)
        predictor = self._predictor(source)
        if predictor is self._loaded:
            return self._own
        self._check(predictor)
        return predictor.model.predict(self._inputs.crystal, self._inputs.grid)

    def _predictor(self, source: str) -> LoadedModel:
        return self._loaded if source == "learned" else _load(source)

    @cached_property
    def _own(self) -> Density:
        return self._loaded.model.predict(self._inputs.crystal, self._inputs.grid)

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
            run = {symbol: potcar.atomic_start() for symbol, potcar in inputs.potcars.items()}
            check_atoms(card, loaded.atoms, run)
        check_scope(card, inputs.crystal, inputs.grid, inputs.n_electrons)


def _is_chgcar(occupancies: str) -> bool:
    """Whether the name of a source of occupancies is a file that is no checkpoint."""
    return not occupancies.endswith(SUFFIX) and Path(occupancies).is_file()


def _with_occupancies(model: str) -> str:
    """Name of the model itself if it knows occupancies, else of the default one."""
    return DEFAULT if read_card(_registry().path(model)).occupancies == "none" else model


def _registry() -> Registry:
    return Registry(Settings().models)


def _load(name: str) -> LoadedModel:
    return _registry().load(name)
