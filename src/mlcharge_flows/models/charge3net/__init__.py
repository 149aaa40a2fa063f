"""ChargE3Net: an equivariant network that predicts the density point by point."""

from mlcharge_flows.models.charge3net.config import PRESETS, ChargE3NetConfig
from mlcharge_flows.models.charge3net.field import PointModel
from mlcharge_flows.models.charge3net.model import (
    ChargE3NetModel,
    load,
    load_published,
    published_checkpoint,
)
from mlcharge_flows.models.charge3net.network import ChargE3Net

__all__ = [
    "PRESETS",
    "ChargE3Net",
    "ChargE3NetConfig",
    "ChargE3NetModel",
    "PointModel",
    "load",
    "load_published",
    "published_checkpoint",
]
