"""Interface between the training loop and an architecture."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import torch
    from pydantic import BaseModel
    from torch import nn

    from mlcharge_flows.training.config import TrainingConfig
    from mlcharge_flows.training.dataset import DensityDataset
    from mlcharge_flows.training.sample import DensitySample

Prepared = TypeVar("Prepared")
"""A sample as tensors, for validation."""
Training = TypeVar("Training")
"""The part of it that the loss needs."""


class Task(ABC, Generic[Prepared, Training]):
    """An architecture being trained; the methods of its subclass are documented here.

    Parameters
    ----------
    config
        The training.
    dataset
        Its data set.
    device
        Device of the network and of all tensors.

    Attributes
    ----------
    model
        Options of the architecture.
    network
        The network being trained.

    Raises
    ------
    TrainingError
        The options of the model are impossible.
    """

    model: BaseModel
    network: nn.Module

    def __init__(
        self, config: TrainingConfig, dataset: DensityDataset, device: torch.device
    ) -> None:
        self.config, self.device = config, device
        self.model, network = self._build(config, dataset)
        self.network = network.to(device)

    @abstractmethod
    def _build(
        self, config: TrainingConfig, dataset: DensityDataset
    ) -> tuple[BaseModel, nn.Module]:
        """Options of the architecture and its untrained network."""

    @property
    def options(self) -> dict[str, Any]:
        """Options of the architecture, for the card."""
        return self.model.model_dump()

    @property
    def weights(self) -> Mapping[str, torch.Tensor]:
        """Tensors that a checkpoint holds, by name."""
        return self.network.state_dict()

    @abstractmethod
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

    @abstractmethod
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

    @abstractmethod
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

    def fit_closed_form(self, samples: Iterable[Training]) -> None:
        """Fit parameters with a closed-form solution to what the trained network leaves.

        Nothing, where all parameters are trained.

        Parameters
        ----------
        samples
            The training set.
        """

    @abstractmethod
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
    from mlcharge_flows.training.density_alone import ChargE3NetTask, SuperResTask
    from mlcharge_flows.training.orbital import OrbitalTask, ScdpTask

    tasks: dict[str, type[Task[Any, Any]]] = {
        "orbital": OrbitalTask,
        "scdp": ScdpTask,
        "charge3net": ChargE3NetTask,
        "superres": SuperResTask,
    }
    return tasks[config.architecture](config, dataset, device)
