"""Densities of finished runs, moved by what a model says that the change of the crystal changes."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Self

from typing_extensions import override

from mlcharge_flows.models.registry import DEFAULT
from mlcharge_flows.sources.carried import Carried
from mlcharge_flows.sources.learned import Learned

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlcharge_flows.density.paw_dataset import PawDataset


@dataclass(frozen=True)
class Anchored(Carried):
    """The density of a finished run, moved by the difference of predictions for both crystals.

    What the model gets wrong in both crystals cancels. It has to know both of them: where it
    refuses one, :class:`~mlcharge_flows.sources.carried.Carried` needs no model.

    Parameters
    ----------
    run
        Folder of the finished run, with its CHGCAR; empty for the previous run of the flow. Jobs
        run in folders of their own: give an absolute path.
    model
        Name of a model, or path of its checkpoint.
    calibration
        Path of a calibration of the model; empty for runs like those of its training.

    Examples
    --------
    >>> str(Anchored("/runs/1")), str(Anchored("/runs/1", "other"))
    ('anchored@/runs/1', 'anchored@/runs/1@other')
    """

    model: str = DEFAULT
    calibration: str = ""
    word: ClassVar[str] = "anchored"

    @classmethod
    def from_argument(cls, argument: str) -> Self:
        """Make the source that ``anchored@RUN@MODEL`` names.

        Parameters
        ----------
        argument
            Folder of the finished run, empty for the previous run, then the name of a model or the
            path of its checkpoint behind an ``@``; without it, the default model.

        Returns
        -------
        Anchored
            Paths are made absolute.
        """
        run, at, model = argument.rpartition("@")
        folder = Carried.from_argument(run if at else argument).run
        return cls(folder, Learned.from_argument(model if at else "").model)

    @property
    def argument(self) -> str:
        """Folder of the finished run, and behind an ``@`` the model if it is not the default."""
        if self.model == DEFAULT and "@" not in self.run:
            return self.run
        return f"{self.run}@{self.model}"

    @property
    def can_be_misread(self) -> bool:
        """Whether a part of a path can be the word of a source, or the name of a model."""
        return bool(self.argument)

    @property
    def identity(self) -> tuple[str, str]:
        """Kind, and the path without links and dots with what determines the prediction."""
        return self.word, f"{super().identity[1]}@{self.baseline.identity[1]}"

    @property
    def baseline(self) -> Learned:
        """The prediction of the model."""
        return Learned(self.model, self.calibration)

    @property
    def uses_model(self) -> bool:
        """True: a model is loaded."""
        return True

    @property
    def model_name(self) -> str | None:
        """Name on the card of the model; None if there is no such model."""
        return self.baseline.model_name

    @property
    def checkpoint(self) -> str | None:
        """SHA-256 of the checkpoint, and of the calibration; None if the model is lost."""
        return self.baseline.checkpoint

    @override
    def calibrated(self, calibration: str) -> Anchored:
        return self if self.calibration else replace(self, calibration=calibration)

    @override
    def load_model(self) -> None:
        self.baseline.load_model()

    @override
    def check(self, augmentation: bool = False) -> None:
        super().check(augmentation)
        self.baseline.check(augmentation=True)  # those of both crystals are compared

    @override
    def known_datasets(self, elements: frozenset[str]) -> Mapping[str, PawDataset] | None:
        return self.baseline.known_datasets(elements)
