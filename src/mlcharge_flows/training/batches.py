"""Batches of a training, by epoch, step and process: in memory, or read ahead from disk."""

from __future__ import annotations

import pickle
import random
from dataclasses import fields, is_dataclass, replace
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeAlias, TypeVar, overload

import torch
from torch.utils.data import DataLoader, Dataset
from typing_extensions import override

from mlcharge_flows.training.devices import Batch

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from lightning_fabric import Fabric

    from mlcharge_flows.training.config import TrainingConfig
    from mlcharge_flows.training.dataset import DensityDataset
    from mlcharge_flows.training.header import MaterialHeader
    from mlcharge_flows.training.sample import DensitySample

Sample = TypeVar("Sample")

FITTED_PER_ELEMENT = 500
"""Materials of each element that scales and responses are fitted to in a streamed set."""


class SamplesOnDisk(Generic[Sample]):
    """Samples that are read and prepared at every access; nothing is kept.

    Parameters
    ----------
    dataset
        The data set.
    names
        Identifiers of the materials.
    prepare
        Makes tensors of a sample.
    """

    def __init__(
        self,
        dataset: DensityDataset,
        names: Sequence[str],
        prepare: Callable[[DensitySample], Sample],
    ) -> None:
        self.dataset, self.names, self.prepare = dataset, names, prepare

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, index: int) -> Sample:
        return self.prepare(self.dataset[self.names[index]])

    def __iter__(self) -> Iterator[Sample]:
        for index in range(len(self)):
            yield self[index]


Samples: TypeAlias = "Sequence[Sample] | SamplesOnDisk[Sample]"
"""A training set or validation set."""


class Step(NamedTuple):
    """What one process does in one step of an epoch.

    Parameters
    ----------
    last
        Whether the weights are updated after this batch; gradients are accumulated else.
    weight
        Fraction of the materials of this update that are in the batch; zero for a batch that only
        keeps the process in step with others.
    batch
        Samples and seeds.
    """

    last: bool
    weight: float
    batch: Batch


class _Seeded(Dataset[tuple[Any, int]]):
    """Samples by index and seed: what preparing draws at random depends on the seed alone."""

    def __init__(self, samples: Samples[Any]) -> None:
        self.samples = samples

    @override
    def __getitem__(self, key: tuple[int, int]) -> tuple[Any, int]:
        index, seed = key
        if not isinstance(self.samples, SamplesOnDisk):
            return self.samples[index], seed
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return self.samples[index], seed


def batches(
    samples: Samples[Any],
    config: TrainingConfig,
    epoch: int,
    fabric: Fabric,
) -> Iterator[Step]:
    """Batches of one process in one epoch.

    An update takes ``batch_size`` materials of each process, ``accumulate`` times; the last one of
    an epoch takes what is left. Order and seeds depend on epoch and position alone, not on the
    number of processes or on interruptions.

    Parameters
    ----------
    samples
        Training set.
    config
        Seed, sizes of batches, and number of processes that read ahead.
    epoch
        Epochs done.
    fabric
        Number and rank of the processes.

    Yields
    ------
    Step
        The same number of times in every process.
    """
    order = list(range(len(samples)))
    random.Random(f"{config.seed} {epoch}").shuffle(order)
    rank, n_processes = fabric.global_rank, fabric.world_size
    at_once = config.batch_size * n_processes
    keys: list[list[tuple[int, int]]] = []
    shares: list[tuple[bool, float]] = []
    for first in range(0, len(order), at_once * config.accumulate):
        update = range(first, min(first + at_once * config.accumulate, len(order)))
        for begin in range(0, len(update), at_once):
            together = update[begin : begin + at_once]
            mine = together[rank::n_processes]
            weight = len(mine) / len(update)
            # A process without a material takes part with another one's, which then counts nothing.
            keys.append([(order[at], _seed(config, epoch, at)) for at in mine or together[:1]])
            shares.append((begin + at_once >= len(update), weight))
    ahead = isinstance(samples, SamplesOnDisk) and config.workers > 0
    loader = DataLoader(
        _Seeded(samples),
        batch_sampler=keys,
        collate_fn=pickle.dumps if ahead else list,
        num_workers=config.workers if ahead else 0,
    )
    for (last, weight), loaded in zip(shares, loader, strict=True):
        # Pickled: tensors in shared memory take a file descriptor each.
        pairs = pickle.loads(loaded) if ahead else loaded
        on_device = [to_device(sample, fabric.device) for sample, _ in pairs]
        yield Step(last, weight, Batch(on_device, [seed for _, seed in pairs]))


def _seed(config: TrainingConfig, epoch: int, position: int) -> int:
    return random.Random(f"{config.seed} {epoch} {position}").getrandbits(63)


@overload
def to_device(sample: torch.Tensor, device: torch.device) -> torch.Tensor: ...


@overload
def to_device(sample: Sample, device: torch.device) -> Sample: ...


def to_device(sample: Any, device: torch.device) -> Any:
    """Copy the tensors of a sample to a device.

    Parameters
    ----------
    sample
        A tensor, or a dataclass that holds some, to any depth.
    device
        The device; that of the CPU leaves a sample as it is.

    Returns
    -------
    object
        The same with tensors there.
    """
    if device.type == "cpu":
        return sample
    if isinstance(sample, torch.Tensor):
        return sample.to(device)
    if is_dataclass(sample) and not isinstance(sample, type):
        values = {field.name: getattr(sample, field.name) for field in fields(sample) if field.init}
        moved = {name: to_device(value, device) for name, value in values.items()}
        return replace(sample, **moved)
    return sample


def covering(headers: Iterable[MaterialHeader], per_element: int = FITTED_PER_ELEMENT) -> list[str]:
    """Choose materials that hold each element often enough.

    Parameters
    ----------
    headers
        All materials.
    per_element
        Materials of each element; fewer only where there are no more.

    Returns
    -------
    list of str
        Identifiers; at most as many as elements times `per_element`.
    """
    counts: dict[str, int] = {}
    chosen = []
    for header in headers:
        elements = set(header.crystal.symbols)
        if all(counts.get(element, 0) >= per_element for element in elements):
            continue
        chosen.append(header.id)
        for element in elements:
            counts[element] = counts.get(element, 0) + 1
    return chosen
