"""Processes and devices of a training, by Lightning Fabric; several share each step."""

from __future__ import annotations

import os
import warnings
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from typing_extensions import override

from mlcharge_flows.training.config import TrainingError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np
    from lightning_fabric import Fabric
    from lightning_fabric.wrappers import _FabricModule

    from mlcharge_flows.training.config import Precision, TrainingConfig
    from mlcharge_flows.training.task import Task

_PRECISION: dict[str, Any] = {"32": "32-true", "tf32": "32-true", "bf16": "bf16-mixed"}
"""Fabric's name of each precision; tf32 is a setting of torch's matrix products."""
_PROCESSES_OF_A_JOB = ("WORLD_SIZE", "SLURM_STEP_NUM_TASKS")
"""Number of processes as torchrun and srun tell it to each of them."""
_RANK_OF_A_NODE = ("NODE_RANK", "GROUP_RANK")
"""Set on each node by who starts a command on all of them without torchrun or srun."""


def device_of(name: str) -> torch.device:
    """Device that a configuration names.

    Parameters
    ----------
    name
        Such as ``cpu``, ``cuda`` or ``cuda:1``; ``auto`` is a GPU if there is one.

    Returns
    -------
    torch.device
        The device of a single process.

    Raises
    ------
    TrainingError
        There is no such device.

    Examples
    --------
    >>> device_of("cpu")
    device(type='cpu')
    """
    try:
        device = torch.device(
            ("cuda" if torch.cuda.is_available() else "cpu") if name == "auto" else name
        )
    except RuntimeError:
        raise TrainingError(f"device: {name!r} is none; give cpu, cuda, cuda:1 or auto") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise TrainingError(f"device: there is no GPU for {name!r}; give cpu or auto")
    return device


def fabric_of(config: TrainingConfig, devices: int = 1, nodes: int = 1) -> Fabric:
    """Fabric of a training.

    The processes are those that torchrun or srun started, one for each device of all nodes; on a
    single node without either, ``launch`` starts them.

    Parameters
    ----------
    config
        Device and precision.
    devices
        Devices of each node: GPUs, or processes on the CPU.
    nodes
        Number of nodes.

    Returns
    -------
    lightning_fabric.Fabric
        Not launched; gradients are averaged over all processes (DDP).

    Raises
    ------
    TrainingError
        There is no such device, this is one of several processes although one device is given, or
        nothing starts the processes of the other nodes.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment
    from lightning_fabric.strategies.ddp import DDPStrategy

    device = device_of(config.device)
    precision = fabric_precision(config.precision)
    if devices * nodes == 1:
        for name in _PROCESSES_OF_A_JOB:
            if (number := os.environ.get(name, "1")).isdigit() and int(number) > 1:
                raise TrainingError(
                    f"{name} says that {number} processes were started for this training; give "
                    "their numbers with --devices and --nodes, or start one"
                )
        return single_device(device, config.precision)
    if device.index is not None:
        raise TrainingError(f"device: {config.device} is one device; give its kind, {device.type}")
    # Buffers are fitted to the same training set in all processes.
    strategy = DDPStrategy(broadcast_buffers=False)
    try:
        fabric = Fabric(
            accelerator=device.type,
            devices=devices,
            num_nodes=nodes,
            strategy=strategy,
            precision=precision,
        )
    except (ValueError, RuntimeError) as error:
        raise TrainingError(f"--devices {devices} --nodes {nodes}: {error}") from None
    is_alone = isinstance(strategy.cluster_environment, LightningEnvironment)
    if nodes > 1 and is_alone and os.environ.keys().isdisjoint(_RANK_OF_A_NODE):
        raise TrainingError(  # it would wait for the other nodes
            f"--nodes {nodes}: nothing starts the processes of the other nodes; start all of them "
            "with torchrun or srun"
        )
    return fabric


def single_device(device: torch.device, precision: Precision = "32") -> Fabric:
    """Fabric of one process, whatever job it runs in.

    Parameters
    ----------
    device
        The device.
    precision
        See :class:`~mlcharge_flows.training.config.TrainingConfig`.

    Returns
    -------
    lightning_fabric.Fabric
        On that device.
    """
    from lightning_fabric import Fabric
    from lightning_fabric.plugins.environments.lightning import LightningEnvironment

    devices: Any = 1 if device.index is None else [device.index]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*srun.*")
        return Fabric(
            accelerator=device.type,
            devices=devices,
            precision=fabric_precision(precision),
            plugins=LightningEnvironment(),
        )


def fabric_precision(precision: Precision) -> Any:
    """Fabric's name of a precision; tf32 is switched on, or off, for all matrix products.

    Parameters
    ----------
    precision
        See :class:`~mlcharge_flows.training.config.TrainingConfig`.

    Returns
    -------
    str
        Such as ``bf16-mixed``.
    """
    torch.set_float32_matmul_precision("highest" if precision == "32" else "high")
    return _PRECISION[precision]


class Batch:
    """Samples of one process, as one argument that Fabric does not look into.

    Parameters
    ----------
    samples
        At least one.
    seeds
        Seed of the random numbers of each sample.
    """

    __slots__ = ("samples", "seeds")

    def __init__(self, samples: Sequence[Any], seeds: Sequence[int]) -> None:
        self.samples, self.seeds = samples, seeds


class Losses(nn.Module):
    """Terms of the loss as a module: its gradients are averaged over all processes.

    Parameters
    ----------
    task
        Architecture, with its network.
    """

    def __init__(self, task: Task[Any, Any]) -> None:
        super().__init__()
        self.network = task.network
        self._losses = task.losses

    @override
    def forward(self, batch: Batch) -> Mapping[str, torch.Tensor]:
        return self._losses(self.network, batch.samples, batch.seeds)


def distributed_losses(fabric: Fabric, task: Task[Any, Any]) -> _FabricModule:
    """Loss of a task, on the devices of a fabric.

    Parameters
    ----------
    fabric
        Launched.
    task
        Architecture; its network is on the device of this process.

    Returns
    -------
    torch.nn.Module
        A function of a :class:`Batch`.
    """
    module: _FabricModule = fabric.setup_module(Losses(task))
    return module


def summed(fabric: Fabric, values: np.ndarray) -> np.ndarray:
    """Sum of an array over all processes.

    Parameters
    ----------
    fabric
        Launched.
    values
        The part of this process, any shape.

    Returns
    -------
    numpy.ndarray
        The same in all processes.
    """
    if fabric.world_size == 1:
        return values
    sums = fabric.all_reduce(torch.from_numpy(values).to(fabric.device), reduce_op="sum")
    assert isinstance(sums, torch.Tensor)
    return sums.cpu().numpy()
