"""A chain of sources of initial densities, tried in turn."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from typing_extensions import override

from mlcharge_flows.sources.source import Evaluated, Source, SourceError, joined
from mlcharge_flows.vasp.potcar import PotcarError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.sources.run_inputs import RunInputs


@dataclass(frozen=True)
class Fallback(Source):
    """The first of several sources that does not refuse a run.

    For production runs: an arm of a comparison has to be of one kind for all materials.

    Parameters
    ----------
    sources
        In the order in which they are tried.
    """

    sources: tuple[Source, ...]
    word: ClassVar[str] = "fallback"

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("a fallback chain needs a source")
        object.__setattr__(self, "sources", tuple(self.sources))  # JSON knows lists only

    @property
    def uses_model(self) -> bool:
        """Whether a trained model is behind one of the sources."""
        return any(source.uses_model for source in self.sources)

    @property
    def needs_reference_run(self) -> bool:
        """Whether one of the sources needs a finished run."""
        return any(source.needs_reference_run for source in self.sources)

    @property
    def model_name(self) -> str | None:
        """Names of the models behind the sources, joined by a plus sign."""
        return joined(source.model_name for source in self.sources)

    @property
    def checkpoint(self) -> str | None:
        """SHA-256 of the checkpoints behind the sources, joined by a plus sign."""
        return joined(source.checkpoint for source in self.sources)

    @property
    def calibration(self) -> str:
        """Path of the first calibration of a source; empty without one."""
        return next((source.calibration for source in self.sources if source.calibration), "")

    @override
    def calibrated(self, calibration: str) -> Fallback:
        return Fallback(tuple(source.calibrated(calibration) for source in self.sources))

    def load_model(self) -> None:
        """Load the models behind the sources, once per process."""
        for source in self.sources:
            source.load_model()

    def check(self, augmentation: bool = False) -> None:
        """Load what the sources name.

        Parameters
        ----------
        augmentation
            Whether augmentation occupancies are wanted.

        Raises
        ------
        ModelError
            A model cannot be loaded, or predicts no augmentation occupancies.
        """
        for source in self.sources:
            source.check(augmentation)

    def known_datasets(self, elements: frozenset[str]) -> Mapping[str, PawDataset] | None:
        """PAW data sets of the first source that knows those of all elements.

        Parameters
        ----------
        elements
            Symbols.

        Returns
        -------
        mapping of str to PawDataset, or None
            None if no source knows all of them.
        """
        for source in self.sources:
            try:
                known = source.known_datasets(elements)
            except SourceError:
                continue
            if known is not None:
                return known
        return None

    def evaluate(self, inputs: RunInputs, given: Evaluated | None = None) -> Evaluated:
        """Evaluate the sources in turn.

        Parameters
        ----------
        inputs
            Inputs of the run.
        given
            Density that augmentation occupancies are wanted for.

        Returns
        -------
        Evaluated
            Of the first source that does not refuse, which is named; the warnings begin with the
            refusals.

        Raises
        ------
        SourceError
            All sources refuse the run.
        """
        refusals: list[str] = []
        for source in self.sources:
            try:
                found = source.evaluate(inputs, given)
            except (SourceError, PotcarError) as error:
                refusals.append(str(error))
            else:
                warnings = (*refusals, *found.warnings)
                return replace(found, warnings=warnings, source=found.source or source)
        raise SourceError("; ".join(refusals))
