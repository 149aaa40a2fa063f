"""The training loop: steps, validation, averaged weights, log; it resumes after an interruption."""

from __future__ import annotations

import csv
import math
import random
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel

from mlcharge_flows.io import atomic_path
from mlcharge_flows.training.checkpoint import load_initial_weights
from mlcharge_flows.training.config import TrainingError
from mlcharge_flows.training.optimizers import optimizers_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

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
    samples: tuple[Sequence[Training], Sequence[Prepared]],
    config: TrainingConfig,
    state: Path,
    watch: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Train until all epochs are done or validation stops improving.

    The final weights are the averaged ones (EMA) of the best validation. The state of the training
    is one file, written atomically after every epoch; the same call resumes from it.

    Parameters
    ----------
    task
        Architecture, with its network.
    samples
        Training set and validation set.
    config
        The training.
    state
        File of the state; a training resumes from it if it exists.
    watch
        Called after every epoch.

    Returns
    -------
    Progress
        All epochs.

    Raises
    ------
    TrainingError
        The state is of another training, the initial weights cannot be used, or the loss diverged.
    """
    training, validation = samples
    steps = math.ceil(len(training) / config.batch_size)
    network = task.network
    load_initial_weights(network, config)
    torch.manual_seed(config.seed)
    optimizers = optimizers_of(network, config)
    averaged = AveragedModel(network, avg_fn=_average(config.ema_decay))
    rate = _schedule(config.warm_up, config.epochs * steps)
    schedules = [torch.optim.lr_scheduler.LambdaLR(optimizer, rate) for optimizer in optimizers]
    parts: dict[str, Any] = {"network": network, "averaged": averaged}
    parts |= {f"optimizer {index}": optimizer for index, optimizer in enumerate(optimizers)}
    parts |= {f"schedule {index}": schedule for index, schedule in enumerate(schedules)}
    progress, best = Progress(), None
    identity = config.identity
    if state.exists():
        saved = torch.load(state, map_location="cpu", weights_only=True)
        if saved["identity"] != identity:
            raise TrainingError(
                f"{state}: belongs to a training with other settings; choose another folder with "
                "--out, or delete it"
            )
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        progress, best = Progress(**saved["progress"]), saved["best"]
    while progress.epoch < config.epochs and progress.stale < config.patience:
        began = monotonic()
        losses = _epoch(task, training, config, progress.epoch, optimizers, schedules, averaged)
        progress.epoch += 1
        row = {"epoch": float(progress.epoch), "rate": float(schedules[0].get_last_lr()[0])}
        row |= losses
        if progress.epoch % config.validate_every == 0 or progress.epoch == config.epochs:
            errors = validate(task, averaged.module, validation)
            row |= errors
            score = errors["density_left"] + errors.get("occupancies_left", 0.0)
            progress.stale += 1
            if score < progress.best:
                progress.best, progress.stale = score, 0
                best = {
                    name: tensor.clone() for name, tensor in averaged.module.state_dict().items()
                }
        row["seconds"] = monotonic() - began
        progress.rows.append(row)
        _save(
            state,
            {
                "identity": identity,
                "progress": vars(progress),
                "best": best,
                **{name: part.state_dict() for name, part in parts.items()},
            },
        )
        watch(progress)
    if best is not None:
        network.load_state_dict(best)
    return progress


def _epoch(
    task: Task[Prepared, Training],
    samples: Sequence[Training],
    config: TrainingConfig,
    epoch: int,
    optimizers: Sequence[torch.optim.Optimizer],
    schedules: Sequence[torch.optim.lr_scheduler.LRScheduler],
    averaged: AveragedModel,
) -> dict[str, float]:
    """One pass over the training set; the mean of each term of the loss."""
    network = task.network
    order = list(range(len(samples)))
    random.Random(f"{config.seed} {epoch}").shuffle(order)
    values: dict[str, list[float]] = {}
    for first in range(0, len(order), config.batch_size):
        batch = [samples[index] for index in order[first : first + config.batch_size]]
        # Random numbers depend on the step alone, not on interruptions.
        torch.manual_seed(random.Random(f"{config.seed} {epoch} {first}").getrandbits(63))
        terms = task.losses(network, batch)
        network.zero_grad()
        torch.autograd.backward(terms["loss"])
        norm = torch.nn.utils.clip_grad_norm_(network.parameters(), config.clip)
        if not torch.isfinite(norm):
            raise TrainingError(
                f"epoch {epoch + 1}: the loss is no finite number any more; train anew with a "
                f"learning_rate smaller than {config.learning_rate:g}"
            )
        for optimizer, schedule in zip(optimizers, schedules, strict=True):
            optimizer.step()
            schedule.step()
        averaged.update_parameters(network)
        for name, term in terms.items():
            values.setdefault(name, []).append(term.item())
    return {name: float(np.mean(each)) for name, each in values.items()}


def validate(
    task: Task[Prepared, Training], network: torch.nn.Module, samples: Sequence[Prepared]
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

    Returns
    -------
    dict
        Median of each error, and its mean with ``_mean`` appended to the name.
    """
    network.eval()
    with torch.inference_mode():
        rows = [task.errors(network, sample) for sample in samples]
    network.train()
    summary: dict[str, float] = {}
    for name in rows[0] if rows else ():
        values = [row[name] for row in rows]
        summary[name], summary[f"{name}_mean"] = float(np.median(values)), float(np.mean(values))
    return summary


def write_log(path: Path, rows: Sequence[dict[str, float]]) -> None:
    """Write the log of a training as CSV, one line per epoch.

    Parameters
    ----------
    path
        The file.
    rows
        Those of :class:`Progress`; a column is empty for epochs without validation.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, names)
        table.writeheader()
        table.writerows({k: f"{v:.6g}" for k, v in row.items()} for row in rows)


def draw_curves(path: Path, rows: Sequence[dict[str, float]]) -> None:
    """Draw the learning curves: the fraction of the superposition's error that remains.

    Parameters
    ----------
    path
        File of the figure.
    rows
        Those of :class:`Progress`.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for name, label, style in (
        ("grid", "density, training", "C0--"),
        ("coefficients", "G-vector coefficients, training", "C2--"),
        ("density_left", "density, validation", "C0-"),
        ("occupancies_left", "occupancies, validation", "C1-"),
    ):
        points = [(row["epoch"], 100 * row[name]) for row in rows if name in row]
        if points:
            axes.plot(*zip(*points, strict=True), style, label=label)
    axes.set(xlabel="epoch", ylabel="superposition's error left (%)", yscale="log")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=130)


def _schedule(warm_up: int, total: int) -> Callable[[int], float]:
    """Linear warm-up, then a cosine decay to a thousandth."""

    def factor(step: int) -> float:
        rise = min(1.0, (step + 1) / (warm_up + 1))
        return rise * (0.5 * (1 + math.cos(math.pi * min(1.0, step / total))) + 1e-3)

    return factor


def _average(
    decay: float,
) -> Callable[[torch.Tensor, torch.Tensor, torch.Tensor | int], torch.Tensor]:
    """Exponential moving average with a smaller decay in the first steps."""

    def update(average: torch.Tensor, new: torch.Tensor, count: torch.Tensor | int) -> torch.Tensor:
        kept = min(decay, (1 + int(count)) / (10 + int(count)))
        return average * kept + new * (1 - kept)

    return update


def _save(path: Path, content: dict[str, Any]) -> None:
    with atomic_path(path) as partial:
        torch.save(content, partial)
