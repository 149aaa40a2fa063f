"""SCDP, ready to predict complete starts."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlcharge_flows.models.checkpoint import network_of
from mlcharge_flows.models.orbital.model import OrbitalModel
from mlcharge_flows.models.scdp.config import ScdpConfig
from mlcharge_flows.models.scdp.network import ScdpNetwork

if TYPE_CHECKING:
    from mlcharge_flows.models.checkpoint import Checkpoint


def load(checkpoint: Checkpoint) -> OrbitalModel:
    """Build the model of a checkpoint; it predicts as the orbital model does.

    Raises
    ------
    CheckpointError
        Its weights do not fit its card, or it lacks the free atoms.
    """
    network = network_of(checkpoint, lambda given: ScdpNetwork(ScdpConfig.model_validate(given)))
    return OrbitalModel(checkpoint.card, network, checkpoint.atoms)
