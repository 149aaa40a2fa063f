"""The training loop: steps, validation, averaged weights; safe to kill and to start again."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.optim.swa_utils import AveragedModel

from mlcharge_flows.io import atomic_path
from mlcharge_flows.training.config import ConfigError
from mlcharge_flows.training.muon import optimisers_of
from mlcharge_flows.training.stage import take_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from mlcharge_flows.training.config import TrainingConfig
    from mlcharge_flows.training.task import Task


@dataclass
class Progress:
    """Where a training is, one row per epoch.

    Parameters
    ----------
    epoch
        Epochs done.
    rows
        Losses of each epoch, and errors where it was validated.
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
    task: Task,
    examples: tuple[Sequence[Any], Sequence[Any]],
    config: TrainingConfig,
    state: Path,
    watch: Callable[[Progress], None] = lambda _: None,
) -> Progress:
    """Train until the epochs are done or validation stops getting better.

    The weights of the network at the end are the averaged ones (EMA) of the best validation; what
    is fitted to what they leave, :meth:`Task.finish` does. All that is needed to go on after a kill
    is in one file, written whole after every epoch.

    Parameters
    ----------
    task
        Architecture, with its network.
    examples
        To train on, and to validate on.
    config
        The training.
    state
        File that holds the state; taken up if it is there.
    watch
        Called after every epoch.

    Returns
    -------
    Progress
        All epochs.

    Raises
    ------
    ConfigError
        The state is of another training; there are no weights to begin with; the loss ran away.
    """
    training, validation = examples
    steps = math.ceil(len(training) / config.batch_size)
    network = task.network
    take_weights(network, config)
    torch.manual_seed(config.seed)
    optimisers = optimisers_of(network, config)
    averaged = AveragedModel(network, avg_fn=_average(config.average))
    rate = _schedule(config.warm_up, config.epochs * steps)
    schedules = [torch.optim.lr_scheduler.LambdaLR(optimiser, rate) for optimiser in optimisers]
    parts: dict[str, Any] = {"network": network, "averaged": averaged}
    parts |= {f"optimiser {index}": optimiser for index, optimiser in enumerate(optimisers)}
    parts |= {f"schedule {index}": schedule for index, schedule in enumerate(schedules)}
    progress, best = Progress(), None
    identity = config.identity
    if state.exists():
        saved = torch.load(state, map_location="cpu", weights_only=True)
        if saved["identity"] != identity:
            raise ConfigError(
                f"{state}: belongs to a training with other settings; choose another folder with "
                "--out, or delete it"
            )
        for name, part in parts.items():
            part.load_state_dict(saved[name])
        progress, best = Progress(**saved["progress"]), saved["best"]
    while progress.epoch < config.epochs and progress.stale < config.patience:
        began = monotonic()
        order = list(range(len(training)))
        random.Random(f"{config.seed} {progress.epoch}").shuffle(order)
        sums: dict[str, list[float]] = {}
        for first in range(0, len(order), config.batch_size):
            batch = [training[index] for index in order[first : first + config.batch_size]]
            # What a task draws belongs to the step, whether or not the training was interrupted.
            torch.manual_seed(_seed(config.seed, progress.epoch, first))
            terms = task.losses(network, batch)
            network.zero_grad()
            terms["loss"].backward()
            norm = torch.nn.utils.clip_grad_norm_(network.parameters(), config.clip)
            if not torch.isfinite(norm):
                raise ConfigError(
                    f"epoch {progress.epoch + 1}: the loss is no finite number any more; train "
                    f"anew with a learning_rate smaller than {config.learning_rate:g}"
                )
            for optimiser, schedule in zip(optimisers, schedules, strict=True):
                optimiser.step()
                schedule.step()
            averaged.update_parameters(network)
            for name, term in terms.items():
                sums.setdefault(name, []).append(term.item())
        progress.epoch += 1
        row: dict[str, float] = {
            "epoch": float(progress.epoch),
            "rate": float(schedules[0].get_last_lr()[0]),
        }
        row |= {name: float(np.mean(values)) for name, values in sums.items()}
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


def validate(task: Task, network: torch.nn.Module, examples: Sequence[Any]) -> dict[str, float]:
    """Errors over materials: medians under their own names, means with ``_mean`` appended."""
    network.eval()
    with torch.inference_mode():
        rows = [task.errors(network, example) for example in examples]
    network.train()
    summary: dict[str, float] = {}
    for name in rows[0] if rows else ():
        values = [row[name] for row in rows]
        summary[name], summary[f"{name}_mean"] = float(np.median(values)), float(np.mean(values))
    return summary


def _seed(seed: int, epoch: int, first: int) -> int:
    return random.Random(f"{seed} {epoch} {first}").getrandbits(63)


def _schedule(warm_up: int, total: int) -> Callable[[int], float]:
    """Linear rise, then half a cosine down to a thousandth."""

    def factor(step: int) -> float:
        rise = min(1.0, (step + 1) / (warm_up + 1))
        return rise * (0.5 * (1 + math.cos(math.pi * min(1.0, step / total))) + 1e-3)

    return factor


def _average(
    decay: float,
) -> Callable[[torch.Tensor, torch.Tensor, torch.Tensor | int], torch.Tensor]:
    """Exponential average that forgets the first steps faster than later ones."""

    def update(average: torch.Tensor, new: torch.Tensor, count: torch.Tensor | int) -> torch.Tensor:
        kept = min(decay, (1 + int(count)) / (10 + int(count)))
        return average * kept + new * (1 - kept)

    return update


def _save(path: Path, content: dict[str, Any]) -> None:
    with atomic_path(path) as partial:
        torch.save(content, partial)
