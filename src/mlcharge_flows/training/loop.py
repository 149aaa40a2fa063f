"""The training loop: steps, validation, averaged weights, resumption after a stop."""

from __future__ import annotations

import math
import sys
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.optim.lr_scheduler import LambdaLR
from torch.optim.swa_utils import AveragedModel

from mlcharge_flows.io import atomic_path
from mlcharge_flows.training.batches import batches, to_device
from mlcharge_flows.training.config import TrainingError
from mlcharge_flows.training.devices import distributed_losses, single_device, summed
from mlcharge_flows.training.files import load_initial_weights
from mlcharge_flows.training.optimizers import learning_rate_factor, optimizers_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from lightning_fabric import Fabric

    from mlcharge_flows.training.batches import Samples
    from mlcharge_flows.training.config import TrainingConfig
    from mlcharge_flows.training.task import Prepared, Task, Training


@dataclass
class Progress:
    """State of a training, one row per epoch.

    Parameters
    ----------
    epoch
        Epochs done.
    rows
        Losses of each epoch, and errors of its validation, if any.
    best
        Lowest validation score so far.
    stale
        Validations since.
    """

    epoch: int = 0
    rows: list[dict[str, float]] = field(default_factory=list)
    best: float = math.inf
    stale: int = 0


def train(
    task: Task[Prepared, Training],
    samples: tuple[Samples[Training], Samples[Prepared]],
    config: TrainingConfig,
    state: Path,
    watch: Callable[[Progress], None] = lambda _: None,
    fabric: Fabric | None = None,
) -> Progress:
    """Train until all epochs are done or validation stops improving.

    The final weights are the averaged ones (EMA) of the best validation. The state of the training
    is one file, written atomically after every epoch; the same call resumes from it. The processes
    of a fabric share each step and each validation; the first of them alone writes.

    Parameters
    ----------
    task
        Architecture, with its network.
    samples
        Training set and validation set, the same in all processes.
    config
        The training.
    state
        File of the state; a training resumes from it if it exists.
    watch
        Called after every epoch, in the first process.
    fabric
        Processes and devices, launched; one process on the device of the task if not given.

    Returns
    -------
    Progress
        All epochs.

    Raises
    ------
    TrainingError
        The state is of another training, the initial weights cannot be used, or the loss diverged.
    """
    fabric = fabric or single_device(task.device, config.precision)
    training, validation = samples
    for note in load_initial_weights(task.network, config, task.dataset):
        fabric.print(f"mlcharge: finetune_from: {note}", file=sys.stderr)
    torch.manual_seed(config.seed)
    optimization = _Optimization(task, config, fabric, len(training))
    progress, best = Progress(), None
    identity = config.identity_with(fabric.world_size)
    if state.exists():
        saved = torch.load(state, map_location="cpu", weights_only=True)
        if saved["identity"] != identity:
            raise TrainingError(
                f"{state}: belongs to a training with other settings; choose another folder with "
                "--out, or delete it"
            )
        for name, part in optimization.parts.items():
            part.load_state_dict(saved[name])
        progress, best = Progress(**saved["progress"]), saved["best"]
    while progress.epoch < config.epochs and progress.stale < config.patience:
        began = monotonic()
        losses = optimization.epoch(training, progress.epoch)
        progress.epoch += 1
        rate = float(optimization.schedules[0].get_last_lr()[0])
        row = {"epoch": float(progress.epoch), "rate": rate, **losses}
        if progress.epoch % config.validate_every == 0 or progress.epoch == config.epochs:
            network = optimization.averaged.module
            errors = validate(task, network, validation, fabric)
            row |= errors
            scored = ("occupancies_left", "magnetization_left", "spin_occupancies_left")
            score = errors["density_left"] + sum(errors.get(name, 0.0) for name in scored)
            progress.stale += 1
            if score < progress.best:
                progress.best, progress.stale = score, 0
                best = {name: tensor.clone() for name, tensor in network.state_dict().items()}
        row["seconds"] = monotonic() - began
        progress.rows.append(row)
        if fabric.is_global_zero:
            content = {"identity": identity, "progress": vars(progress), "best": best}
            states = {name: part.state_dict() for name, part in optimization.parts.items()}
            with atomic_path(state) as partial:
                torch.save({**content, **states}, partial)
            watch(progress)
    if best is not None:
        task.network.load_state_dict(best)
    return progress


class _Optimization:
    """Network, optimizers, learning rates and averaged weights of a training.

    Parameters
    ----------
    task
        Architecture, with its network.
    config
        The training.
    fabric
        Processes and devices.
    n_materials
        Size of the training set.
    """

    def __init__(
        self, task: Task[Any, Any], config: TrainingConfig, fabric: Fabric, n_materials: int
    ) -> None:
        self.network, self.config, self.fabric = task.network, config, fabric
        steps = math.ceil(n_materials / config.materials_per_step(fabric.world_size))
        rate = learning_rate_factor(config.warm_up, config.epochs * steps)
        self.optimizers = optimizers_of(self.network, config)
        self.averaged = AveragedModel(self.network, avg_fn=_average(config.ema_decay))
        self.schedules = [LambdaLR(optimizer, rate) for optimizer in self.optimizers]
        self.losses = distributed_losses(fabric, task)

    @property
    def parts(self) -> dict[str, Any]:
        """All that has a state, by name in the file."""
        parts: dict[str, Any] = {"network": self.network, "averaged": self.averaged}
        parts |= {f"optimizer {index}": one for index, one in enumerate(self.optimizers)}
        return parts | {f"schedule {index}": one for index, one in enumerate(self.schedules)}

    def epoch(self, samples: Samples[Any], epoch: int) -> dict[str, float]:
        """One pass over the training set; the mean of each term of the loss over the steps."""
        fabric, steps = self.fabric, []
        names: list[str] = []
        terms: dict[str, float] = {}
        self.network.zero_grad()
        for last, share, batch in batches(samples, self.config, epoch, fabric):
            with fabric.no_backward_sync(self.losses, enabled=not last):
                found = self.losses(batch)
                # The gradient is the mean over processes, whatever their shares.
                fabric.backward(found["loss"] * (share * fabric.world_size))
            for name, term in found.items():
                terms[name] = terms.get(name, 0.0) + share * term.item()
            if last:
                self._step(epoch)
                steps.append(list(terms.values()))
                names = list(terms)
                terms = {}
        values = summed(fabric, np.array(steps))
        return {name: float(np.mean(each)) for name, each in zip(names, values.T, strict=True)}

    def _step(self, epoch: int) -> None:
        """Change the weights by the gradients."""
        norm = torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.config.clip)
        if not torch.isfinite(norm):
            raise TrainingError(
                f"epoch {epoch + 1}: the loss is no finite number any more; {_remedy(self.config)}"
            )
        for optimizer, schedule in zip(self.optimizers, self.schedules, strict=True):
            optimizer.step()
            schedule.step()
        self.network.zero_grad()
        self.averaged.update_parameters(self.network)


def validate(
    task: Task[Prepared, Training],
    network: torch.nn.Module,
    samples: Samples[Prepared],
    fabric: Fabric | None = None,
) -> dict[str, float]:
    """Errors over a set of materials.

    Parameters
    ----------
    task
        Architecture.
    network
        Its network, or a copy with averaged weights.
    samples
        The materials.
    fabric
        Processes that share the materials; one if not given.

    Returns
    -------
    dict
        Median of each error, and its mean with ``_mean`` appended to the name.

    Raises
    ------
    TrainingError
        An error is infinite or not a number: the training diverged.
    """
    first, step = (0, 1) if fabric is None else (fabric.global_rank, fabric.world_size)
    network.eval()
    with torch.inference_mode():
        rows = [
            task.errors(network, to_device(samples[index], task.device))
            for index in range(first, len(samples), step)
        ]
    network.train()
    names = list(rows[0]) if rows else []
    table = np.array([[row[name] for name in names] for row in rows], dtype=float)
    if fabric is not None and step > 1:
        names = fabric.broadcast(names)
        own = table.reshape(len(rows), len(names))
        table = np.zeros((len(samples), len(names)))
        table[first::step] = own
        table = summed(fabric, table)
    summary: dict[str, float] = {}
    for name, column in zip(names, table.T, strict=True):
        values = column
        if name in task.optional_errors:
            values = column[~np.isnan(column)]
            if not len(values):
                continue
        summary[name], summary[f"{name}_mean"] = float(np.median(values)), float(np.mean(values))
        if not math.isfinite(summary[f"{name}_mean"]):
            raise TrainingError(
                f"validation: {name} is no finite number any more; {_remedy(task.config)}"
            )
    return summary


def _remedy(config: TrainingConfig) -> str:
    """What to do about a training that diverged."""
    return f"train anew with a learning_rate smaller than {config.learning_rate:g}"


def _average(
    decay: float,
) -> Callable[[torch.Tensor, torch.Tensor, torch.Tensor | int], torch.Tensor]:
    """Exponential moving average with a smaller decay in the first steps."""

    def update(average: torch.Tensor, new: torch.Tensor, count: torch.Tensor | int) -> torch.Tensor:
        kept = min(decay, (1 + int(count)) / (10 + int(count)))
        return average * kept + new * (1 - kept)

    return update
