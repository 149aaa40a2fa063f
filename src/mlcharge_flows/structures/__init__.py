"""Crystals from the files and folders that a user names, each under a unique identifier."""

from mlcharge_flows.structures.cif import StructureError
from mlcharge_flows.structures.read import (
    MAX_IONS,
    MIN_DISTANCE,
    Material,
    check_structure,
    read_structures,
)

__all__ = [
    "MAX_IONS",
    "MIN_DISTANCE",
    "Material",
    "StructureError",
    "check_structure",
    "read_structures",
]
