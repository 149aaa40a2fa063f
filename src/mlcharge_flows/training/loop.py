"""The training loop: optimizers, steps, validation, averaged weights, resumption after a stop."""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, field
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel

from mlcharge_flows.io import atomic_path
from mlcharge_flows.training.config import TrainingError
from mlcharge_flows.training.files import load_initial_weights

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from pathlib import Path

    from mlcharge_flows.training.config import TrainingConfig
    from mlcharge_flows.training.task import Prepared, Task, Training


_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of x, x^3 and x^5 in one step (Jordan)."""
_NEWTON_SCHULZ_STEPS = 5
_ADAMW_RMS = 0.2
"""Root mean square of the entries of an update of AdamW (Liu et al.)."""


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
                f"epoch {epoch + 1}: the loss is no finite number any more; {_remedy(config)}"
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

    Raises
    ------
    TrainingError
        An error is infinite or not a number: the training diverged.
    """
    network.eval()
    with torch.inference_mode():
        rows = [task.errors(network, sample) for sample in samples]
    network.train()
    summary: dict[str, float] = {}
    for name in rows[0] if rows else ():
        values = [row[name] for row in rows]
        summary[name], summary[f"{name}_mean"] = float(np.median(values)), float(np.mean(values))
        if not math.isfinite(summary[f"{name}_mean"]):
            raise TrainingError(
                f"validation: {name} is no finite number any more; {_remedy(task.config)}"
            )
    return summary


def _remedy(config: TrainingConfig) -> str:
    """What to do about a training that diverged."""
    return f"train anew with a learning_rate smaller than {config.learning_rate:g}"


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


class Muon(torch.optim.Optimizer):
    r"""Muon for stacks of matrices, shape (..., a, b); ``torch.optim.Muon`` takes single ones only.

    It updates a matrix W, a x b, with gradient G by an orthogonal matrix,

    .. math::
        M \leftarrow \mu M + (1 - \mu) G , \qquad
        W \leftarrow (1 - \gamma \lambda) W
            - 0.2 \gamma \sqrt{\max(a, b)}\; \mathrm{orth}\big(\mu M + (1 - \mu) G\big)

    with the learning rate :math:`\gamma`, the weight decay :math:`\lambda`, and orth the nearest
    matrix whose singular values are all (nearly) one, by five Newton-Schulz steps. All directions
    of a matrix are learned at the same rate, also those of small gradients. The prefactor makes an
    update as large as one of AdamW, whose learning rates then apply.

    Parameters
    ----------
    params
        Weights.
    lr
        Learning rate, as of AdamW.
    weight_decay
        Decoupled weight decay, as of AdamW.
    momentum
        Decay of the average of the gradients.

    References
    ----------
    K. Jordan, "Muon: an optimizer for hidden layers" (2024),
    https://kellerjordan.github.io/posts/muon; J. Liu et al., arXiv:2502.16982, equation 4.
    """

    def __init__(
        self,
        params: Iterable[nn.Parameter],
        lr: float,
        weight_decay: float,
        momentum: float = 0.95,
    ) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay, "momentum": momentum})

    @torch.no_grad()
    def step(self, closure: None = None) -> None:  # type: ignore[override]
        """Update the weights.

        Parameters
        ----------
        closure
            Not supported: the gradients must be computed already.
        """
        assert closure is None
        for group in self.param_groups:
            rate, momentum = group["lr"], group["momentum"]
            for weight in group["params"]:
                if weight.grad is None:
                    continue
                state = self.state[weight]
                if not state:
                    state["mean"] = torch.zeros_like(weight)
                mean = state["mean"].lerp_(weight.grad, 1 - momentum)
                direction = orthogonal(weight.grad.lerp(mean, momentum))
                size = _ADAMW_RMS * max(weight.shape[-2:]) ** 0.5
                weight.mul_(1 - rate * group["weight_decay"]).sub_(rate * size * direction)


def orthogonal(matrices: torch.Tensor) -> torch.Tensor:
    """Bring all singular values close to one (0.7 to 1.2), and keep the singular vectors.

    Parameters
    ----------
    matrices
        Shape (..., a, b).

    Returns
    -------
    torch.Tensor
        Shape (..., a, b).

    Examples
    --------
    >>> rotation = orthogonal(torch.tensor([[0.0, 5.0], [2.0, 0.0]]))
    >>> rotation.round().tolist()
    [[0.0, 1.0], [1.0, 0.0]]
    """
    a, b, c = _NEWTON_SCHULZ
    tall = matrices.shape[-2] > matrices.shape[-1]
    x: torch.Tensor = matrices.mT if tall else matrices
    x = x / (torch.linalg.matrix_norm(x, keepdim=True) + 1e-7)
    for _ in range(_NEWTON_SCHULZ_STEPS):
        square = x @ x.mT
        x = a * x + (b * square + c * square @ square) @ x
    result: torch.Tensor = x.mT if tall else x
    return result


def optimizers_of(network: nn.Module, config: TrainingConfig) -> list[torch.optim.Optimizer]:
    """Optimizers of a training.

    Parameters
    ----------
    network
        Its parameters are optimized.
    config
        Learning rate, weight decay and kind of optimizer.

    Returns
    -------
    list of torch.optim.Optimizer
        AdamW; or Muon for all weights that multiply features, and AdamW for biases and embeddings.
    """
    rate, decay = config.learning_rate, config.weight_decay
    if config.optimizer == "adamw":
        return [torch.optim.AdamW(network.parameters(), lr=rate, weight_decay=decay)]
    embeddings = {id(m.weight) for m in network.modules() if isinstance(m, nn.Embedding)}
    matrices: list[nn.Parameter] = []
    others: list[nn.Parameter] = []
    for weight in network.parameters():
        (matrices if weight.ndim > 1 and id(weight) not in embeddings else others).append(weight)
    return [
        Muon(matrices, lr=rate, weight_decay=decay),
        torch.optim.AdamW(others, lr=rate, weight_decay=decay),
    ]
