"""A POTCAR library in pymatgen's layout, filled with exports of GPAW's data sets."""

from __future__ import annotations

from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from gpaw import setup_paths
from pymatgen.core import Element

from mlcharge_flows.gpaw_vasp.potcar import compressed, potcar_text
from mlcharge_flows.io import atomic_path

if TYPE_CHECKING:
    from collections.abc import Callable

#: Folders under which pymatgen looks for the PBE families that input sets ask for.
FAMILIES = (
    "POT_GGA_PAW_PBE",
    "POT_GGA_PAW_PBE_52",
    "POT_GGA_PAW_PBE_54",
    "POT_PAW_PBE_64",
)


def available_elements() -> list[str]:
    """Elements that have a default PBE data set, by atomic number."""
    names = {
        path.name.split(".")[0] for folder in setup_paths for path in Path(folder).glob("*.PBE.gz")
    }
    return sorted(
        (name for name in names if Element.is_valid_symbol(name)), key=lambda name: Element(name).Z
    )


def potcar_symbols() -> dict[str, set[str]]:
    """POTCAR symbols that pymatgen's input sets ask for, by element: ``Ca -> {Ca, Ca_sv, ..}``."""
    symbols: dict[str, set[str]] = {element: {element} for element in available_elements()}
    for file in resources.files("pymatgen.io.vasp").iterdir():
        if not file.name.endswith(".yaml"):
            continue
        potcars = (yaml.safe_load(file.read_text()) or {}).get("POTCAR")
        for element, symbol in (potcars or {}).items():
            if element in symbols and isinstance(symbol, str):
                symbols[element].add(symbol)
    return symbols


def fill_library(folder: Path, progress: Callable[[str, int, int], None] | None = None) -> int:
    """Write ``POTCAR.<symbol>.gz`` files for every element and symbol that input sets ask for.

    GPAW has one default data set per element, so ``Ca`` and ``Ca_sv`` name the same content.
    Existing files are replaced one by one, each whole.

    Parameters
    ----------
    folder
        Library folder, to be given to pymatgen as ``PMG_VASP_PSP_DIR``.
    progress
        Called with (element, done, total).

    Returns
    -------
    int
        Number of elements.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    symbols = potcar_symbols()
    for family in FAMILIES:
        (folder / family).mkdir(parents=True, exist_ok=True)
    for done, (element, names) in enumerate(symbols.items(), start=1):
        content = compressed(potcar_text(element))
        for name in sorted(names):
            for family in FAMILIES:
                target = folder / family / f"POTCAR.{name}.gz"
                with atomic_path(target) as partial:
                    partial.write_bytes(content)
        if progress is not None:
            progress(element, done, len(symbols))
    return len(symbols)
