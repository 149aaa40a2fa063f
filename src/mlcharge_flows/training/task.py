"""Interface between the training loop and an architecture."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from pydantic import BaseModel
    from torch import nn

    from mlcharge_flows.training.config import TrainingConfig
    from mlcharge_flows.training.dataset import DensityDataset
    from mlcharge_flows.training.error_fit import Reliability
    from mlcharge_flows.training.sample import DensitySample

Prepared = TypeVar("Prepared")
"""A sample as tensors, for validation."""
Training = TypeVar("Training")
"""The part of it that the loss needs."""


class FittedEstimate(NamedTuple):
    """Fit of the error that the predictions of a trained network leave.

    Parameters
    ----------
    tensors
        For the checkpoint.
    reliability
        Each crystal predicted by a fit to others.
    """

    tensors: Mapping[str, torch.Tensor]
    reliability: Reliability


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
    dataset
        Data set of the training.

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
        self.config, self.device, self.dataset = config, device, dataset
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

    @property
    def optional_errors(self) -> tuple[str, ...]:
        """Names of errors that are not a number for materials to which they do not apply."""
        return ()

    @abstractmethod
    def prepare(self, sample: DensitySample) -> Prepared:
        """Convert a sample to tensors on the CPU.

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
        kept: list[Training] = []

        def one_by_one() -> Iterator[Prepared]:
            for sample in samples:
                yield sample
                kept.append(self.training_sample(sample))

        every = one_by_one()
        self.fit_scales(every)
        for _ in every:  # those that no scale was taken from
            pass
        return kept

    @abstractmethod
    def fit_scales(self, samples: Iterable[Prepared]) -> None:
        """Take scales of input and output from samples, which are not kept.

        Parameters
        ----------
        samples
            The training set, or as many of its materials as represent it.
        """

    @abstractmethod
    def training_sample(self, sample: Prepared) -> Training:
        """Select what the loss needs of a sample; what is random is drawn by torch's generator.

        Parameters
        ----------
        sample
            All of its tensors.

        Returns
        -------
        Training
            The part of it.
        """

    @abstractmethod
    def losses(
        self, network: nn.Module, samples: Sequence[Training], seeds: Sequence[int] | None = None
    ) -> dict[str, torch.Tensor]:
        """Terms of the loss.

        Parameters
        ----------
        network
            The network, or a copy with averaged weights.
        samples
            One batch.
        seeds
            Seed of the random numbers of each sample, which then depend neither on the others nor
            on an interruption; torch's own generator draws them if not given.

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

    def error_estimate(
        self, training: Iterable[Training], validation: Iterable[Prepared]
    ) -> FittedEstimate | None:
        """Fit the error that predictions of the trained network are expected to leave.

        Parameters
        ----------
        training
            The training set.
        validation
            Crystals outside of it, all of whose tensors are there.

        Returns
        -------
        FittedEstimate or None
            None where the architecture has no estimate, or there are too few crystals.
        """
        return None

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


def generators(
    seeds: Sequence[int] | None, samples: Sequence[object]
) -> list[torch.Generator | None]:
    """Generator of the random numbers of each sample.

    Parameters
    ----------
    seeds
        One per sample; None for torch's own generator.
    samples
        One batch.

    Returns
    -------
    list
        On the CPU; None is torch's own generator.
    """
    if seeds is None:
        return [None] * len(samples)
    return [torch.Generator().manual_seed(seed) for seed in seeds]


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
