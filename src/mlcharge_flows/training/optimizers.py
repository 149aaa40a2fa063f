"""Optimizers of a training: AdamW, Muon for stacks of matrices, and the learning rate."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from mlcharge_flows.training.config import TrainingConfig

_NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)
"""Coefficients of x, x^3 and x^5 in one step (Jordan)."""
_NEWTON_SCHULZ_STEPS = 5
_ADAMW_RMS = 0.2
"""Root mean square of the entries of an update of AdamW (Liu et al.)."""


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


def learning_rate_factor(warm_up: int, total: int) -> Callable[[int], float]:
    """Linear warm-up, then a cosine decay to a thousandth.

    Parameters
    ----------
    warm_up
        Steps of rising learning rate.
    total
        Steps of the whole training.

    Returns
    -------
    Callable
        Factor of the learning rate by the number of steps done.

    Examples
    --------
    >>> factor = learning_rate_factor(1, 4)
    >>> [round(factor(step), 3) for step in range(5)]
    [0.5, 0.855, 0.501, 0.147, 0.001]
    """

    def factor(step: int) -> float:
        rise = min(1.0, (step + 1) / (warm_up + 1))
        return rise * (0.5 * (1 + math.cos(math.pi * min(1.0, step / total))) + 1e-3)

    return factor
