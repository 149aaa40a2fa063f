"""SCDP: orbitals of a quantum chemist's basis on atoms and bonds, of molecules in boxes.

X. Fu et al., A Recipe for Charge Density Prediction, NeurIPS 2024. Network, plane waves and
occupancies are those of :mod:`mlcharge_flows.models.orbital`.
"""

from mlcharge_flows.models.scdp.config import PRESETS, ScdpConfig
from mlcharge_flows.models.scdp.model import load
from mlcharge_flows.models.scdp.network import ScdpNetwork

__all__ = ["PRESETS", "ScdpConfig", "ScdpNetwork", "load"]
