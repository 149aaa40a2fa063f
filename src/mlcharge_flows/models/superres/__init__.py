"""A residual convolutional network on the superposition of atoms as a periodic image."""

from mlcharge_flows.models.superres.config import PRESETS, SuperResConfig
from mlcharge_flows.models.superres.model import SuperResModel, load
from mlcharge_flows.models.superres.network import SuperResNetwork
from mlcharge_flows.models.superres.symmetry import Asymmetry, asymmetry

__all__ = [
    "PRESETS",
    "Asymmetry",
    "SuperResConfig",
    "SuperResModel",
    "SuperResNetwork",
    "asymmetry",
    "load",
]
