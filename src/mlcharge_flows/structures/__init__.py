"""Crystals from the files and folders that a user names, each under a unique identifier."""

from mlcharge_flows.structures.cif import StructureError
from mlcharge_flows.structures.read import (
    CLOSEST,
    MAX_IONS,
    Material,
    check_structure,
    read_structures,
)

__all__ = [
    "CLOSEST",
    "MAX_IONS",
    "Material",
    "StructureError",
    "check_structure",
    "read_structures",
]
