"""A stage of a training: weights that begin as another checkpoint left them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlcharge_flows.models.checkpoint import read_checkpoint
from mlcharge_flows.models.model import ModelError
from mlcharge_flows.models.orbital.interaction import Coupling, Interaction
from mlcharge_flows.training.config import ConfigError

if TYPE_CHECKING:
    from pathlib import Path

    import torch
    from torch import nn

    from mlcharge_flows.training.config import TrainingConfig

RESPONSE = "occupancies."
"""Of the parts of a network whose names begin so, nothing is trained."""


def take_weights(network: nn.Module, config: TrainingConfig) -> None:
    """Begin with the weights of an earlier stage, if the training names one.

    Parts of the network that the earlier stage did not have, such as scaling factors, stay as they
    are; a further round of messages changes nothing before it is trained. The response of the
    occupancies stays, too: it is no trained weight but follows from the examples at hand. Whatever
    else the earlier stage had must fit. Where several checkpoints are named, those after the first
    are for the further networks, ``others``, one for each.

    Parameters
    ----------
    network
        Changed in place.
    config
        The training; ``start_from`` names the checkpoints.

    Raises
    ------
    ConfigError
        One is no checkpoint, or of another network; a further network has none.
    """
    if not config.start_from:
        return
    own = network.state_dict()
    taken: dict[str, torch.Tensor] = {}
    for number, path in enumerate(config.start_from):
        place = f"others.{number - 1}." if number else ""
        taken |= {f"{place}{name}": weight for name, weight in _weights(path, config).items()}
        for name in taken:
            if name not in own or own[name].shape != taken[name].shape:
                raise ConfigError(
                    f"start_from: {path} is another network ({name}); both stages need the same "
                    "options of the model, but for those that the second adds, and elements"
                )
    names = {name.split(".")[1] for name in own if name.startswith("others.")}
    if lacking := sorted(
        names - {name.split(".")[1] for name in taken if name.startswith("others.")}
    ):
        raise ConfigError(
            f"start_from: names no checkpoint for model.others[{lacking[0]}]; list one for each"
        )
    network.load_state_dict({**own, **taken})
    for name, module in network.named_modules():
        new = not any(key.startswith(f"{name}.") for key in taken)
        if new and isinstance(module, Coupling | Interaction):
            module.silence()


def _weights(path: Path, config: TrainingConfig) -> dict[str, torch.Tensor]:
    """Trained weights of a checkpoint of the architecture."""
    try:
        checkpoint = read_checkpoint(path)
    except ModelError as error:
        raise ConfigError(f"start_from: {error}") from None
    if (architecture := checkpoint.card.architecture) != config.architecture:
        raise ConfigError(f"start_from: {path} is of architecture {architecture}")
    return {
        name: weight for name, weight in checkpoint.weights.items() if not name.startswith(RESPONSE)
    }
