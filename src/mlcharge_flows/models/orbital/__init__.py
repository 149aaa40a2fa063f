"""Gaussian orbitals on sites, with coefficients and occupancies from an equivariant network."""

from mlcharge_flows.models.orbital.config import OrbitalConfig
from mlcharge_flows.models.orbital.model import OrbitalModel, load

__all__ = ["OrbitalConfig", "OrbitalModel", "load"]
