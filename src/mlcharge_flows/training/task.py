"""What the training loop asks of an architecture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import torch
    from torch import nn

    from mlcharge_flows.training.config import TrainingConfig
    from mlcharge_flows.training.record import Record
    from mlcharge_flows.training.store import Store


class Task(Protocol):
    """An architecture being trained; each has a module of its own in this package."""

    network: nn.Module

    @property
    def options(self) -> Mapping[str, Any]:
        """Options of the architecture, for the card."""
        ...

    def example(self, record: Record) -> Any:
        """Turn a material into tensors, once."""
        ...

    def lessons(self, examples: Iterable[Any]) -> list[Any]:
        """Take scales of input and output from the examples to train on, before the first step.

        Returns what losses look at of each.
        """
        ...

    def losses(self, network: nn.Module, examples: Sequence[Any]) -> dict[str, torch.Tensor]:
        """Terms of the loss, each a mean over materials; ``loss`` is their weighted sum.

        What is random in them comes from torch's own generator, which the loop seeds anew for every
        step: a training that was interrupted draws the same.
        """
        ...

    def finish(self, lessons: Iterable[Any]) -> None:
        """Take from the lessons what the trained network has left to say, once it is trained."""
        ...

    def errors(self, network: nn.Module, example: Any) -> dict[str, float]:
        """Errors of one material: ``nmae`` in percent, and shares that are left of the start's.

        These are ``density_left``, and ``occupancies_left`` if the architecture predicts any.
        """
        ...


def task_of(config: TrainingConfig, store: Store, device: torch.device) -> Task:
    """Task of the architecture that a configuration names."""
    if config.architecture == "charge3net":
        from mlcharge_flows.training.charge3net import ChargE3NetTask

        return ChargE3NetTask(config, store, device)
    if config.architecture == "superres":
        from mlcharge_flows.training.superres import SuperResTask

        return SuperResTask(config, store, device)
    if config.architecture == "scdp":
        from mlcharge_flows.training.scdp import ScdpTask

        return ScdpTask(config, store, device)
    from mlcharge_flows.training.orbital import OrbitalTask

    return OrbitalTask(config, store, device)
