"""Interface between the training loop and an architecture."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import torch
    from torch import nn

    from mlcharge_flows.training.config import TrainingConfig
    from mlcharge_flows.training.dataset import DensityDataset
    from mlcharge_flows.training.sample import DensitySample

Prepared = TypeVar("Prepared")
"""A sample as tensors, for validation."""
Training = TypeVar("Training")
"""The part of it that the loss needs."""


class Task(Protocol[Prepared, Training]):
    """An architecture being trained; each has a module of its own in this package."""

    network: nn.Module

    @property
    def options(self) -> Mapping[str, Any]:
        """Options of the architecture, for the card."""
        ...

    def prepare(self, sample: DensitySample) -> Prepared:
        """Convert a sample to tensors, once.

        Parameters
        ----------
        sample
            A converged density.

        Returns
        -------
        Prepared
            Tensors.

        Raises
        ------
        TrainingError
            The architecture cannot be trained on it.
        """
        ...

    def initialize(self, samples: Iterable[Prepared]) -> list[Training]:
        """Take scales of input and output from the training set, before the first step.

        Parameters
        ----------
        samples
            The training set.

        Returns
        -------
        list
            The part of each sample that the loss needs.
        """
        ...

    def losses(self, network: nn.Module, samples: Sequence[Training]) -> dict[str, torch.Tensor]:
        """Terms of the loss.

        Random numbers come from torch's own generator, which the loop seeds anew for every step: an
        interrupted training continues with the same numbers.

        Parameters
        ----------
        network
            The network, or a copy with averaged weights.
        samples
            One batch.

        Returns
        -------
        dict
            Each term is a mean over the materials; ``loss`` is their weighted sum.
        """
        ...

    def fit_closed_form(self, samples: Iterable[Training]) -> None:
        """Fit parameters with a closed-form solution to what the trained network leaves.

        Parameters
        ----------
        samples
            The training set.
        """
        ...

    def errors(self, network: nn.Module, sample: Prepared) -> dict[str, float]:
        """Errors of one material.

        Parameters
        ----------
        network
            The network, or a copy with averaged weights.
        sample
            The material.

        Returns
        -------
        dict
            ``nmae`` in percent, ``density_left`` and, if the architecture predicts augmentation
            occupancies, ``occupancies_left``: the fractions of the superposition's error that
            remain.
        """
        ...


def task_of(
    config: TrainingConfig, dataset: DensityDataset, device: torch.device
) -> Task[Any, Any]:
    """Task of the architecture that a configuration names.

    Parameters
    ----------
    config
        The training.
    dataset
        Its data set.
    device
        Device of the network and of all tensors.

    Returns
    -------
    Task
        With an untrained network.

    Raises
    ------
    TrainingError
        The options of the model are impossible.
    """
    if config.architecture == "charge3net":
        from mlcharge_flows.training.charge3net import ChargE3NetTask

        return ChargE3NetTask(config, dataset, device)
    if config.architecture == "superres":
        from mlcharge_flows.training.superres import SuperResTask

        return SuperResTask(config, dataset, device)
    if config.architecture == "scdp":
        from mlcharge_flows.training.scdp import ScdpTask

        return ScdpTask(config, dataset, device)
    from mlcharge_flows.training.orbital import OrbitalTask

    return OrbitalTask(config, dataset, device)
