"""A stage of a training: weights that begin as another checkpoint left them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlcharge_flows.models.checkpoint import read_checkpoint
from mlcharge_flows.models.model import ModelError
from mlcharge_flows.models.orbital.interaction import Coupling
from mlcharge_flows.training.config import ConfigError

if TYPE_CHECKING:
    from torch import nn

    from mlcharge_flows.training.config import TrainingConfig

RESPONSE = "augmentation."
"""Of the parts of a network whose names begin so, nothing is trained."""


def take_weights(network: nn.Module, config: TrainingConfig) -> None:
    """Begin with the weights of an earlier stage, if the training names one.

    Parts of the network that the earlier stage did not have, such as scaling factors, stay as they
    are; a further round of messages, or a coupling in an old one, changes nothing before it is
    trained. The response of the occupancies stays, too: it is no trained weight but follows from
    the examples at hand. Whatever else the earlier stage had must fit.

    Parameters
    ----------
    network
        Changed in place.
    config
        The training; ``start_from`` names the checkpoint.

    Raises
    ------
    ConfigError
        It is no checkpoint, or of another network.
    """
    if config.start_from is None:
        return
    try:
        checkpoint = read_checkpoint(config.start_from)
    except ModelError as error:
        raise ConfigError(f"start_from: {error}") from None
    card = checkpoint.card
    if card.architecture != config.architecture:
        raise ConfigError(f"start_from: {config.start_from} is of architecture {card.architecture}")
    own = network.state_dict()
    taken = {name: w for name, w in checkpoint.weights.items() if not name.startswith(RESPONSE)}
    for name, weight in taken.items():
        if name not in own or own[name].shape != weight.shape:
            raise ConfigError(
                f"start_from: {config.start_from} is another network ({name}); both stages need "
                "the same options of the model, but for those that the second adds, and elements"
            )
    network.load_state_dict({**own, **taken})
    for name, module in network.named_modules():
        if isinstance(module, Coupling) and not any(key.startswith(f"{name}.") for key in taken):
            module.zero_init()
