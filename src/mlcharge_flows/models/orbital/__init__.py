"""Gaussian orbitals whose coefficients a network predicts, and the occupancies they imply."""

from mlcharge_flows.models.orbital.config import OrbitalConfig
from mlcharge_flows.models.orbital.model import OrbitalModel, load

__all__ = ["OrbitalConfig", "OrbitalModel", "load"]
