"""A residual convolutional network on the superposition of atoms as a periodic image."""

from mlcharge_flows.models.superres.config import PRESETS, SuperResConfig
from mlcharge_flows.models.superres.image import Asymmetry, asymmetry
from mlcharge_flows.models.superres.network import SuperResModel, SuperResNetwork, load

__all__ = [
    "PRESETS",
    "Asymmetry",
    "SuperResConfig",
    "SuperResModel",
    "SuperResNetwork",
    "asymmetry",
    "load",
]
