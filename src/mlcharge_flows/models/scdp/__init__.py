"""SCDP: orbitals of a quantum chemistry basis set on the atoms and bonds of molecules in boxes.

Network, G vectors and augmentation response are those of :mod:`mlcharge_flows.models.orbital`.

References
----------
X. Fu et al., A Recipe for Charge Density Prediction, NeurIPS 2024, arXiv:2405.19276.
"""

from mlcharge_flows.models.scdp.config import PRESETS, ScdpConfig
from mlcharge_flows.models.scdp.network import ScdpNetwork, load

__all__ = ["PRESETS", "ScdpConfig", "ScdpNetwork", "load"]
