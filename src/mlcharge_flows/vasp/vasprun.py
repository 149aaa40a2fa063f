"""vasprun.xml up to the electronic steps of ionic step 1: crystal, settings and energies.

References
----------
VASP wiki, vasprun.xml, https://www.vasp.at/wiki/index.php/Vasprun.xml; elements of real files.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np

from mlcharge_flows.io import open_text
from mlcharge_flows.vasp.fortran import parse_column

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path
    from xml.etree.ElementTree import Element

_WHOLE = {"incar", "generation", "parameters", "atominfo", "structure", "scstep"}


@dataclass(eq=False)
class VasprunStart:
    """What the beginning of a vasprun.xml says; None or empty where the file ends before.

    Parameters
    ----------
    symbols
        Element of each ion.
    titels
        TITEL of each data set.
    lattice
        Lattice vectors as rows, angstrom, shape (3, 3).
    positions
        Fractional coordinates of the ions, shape (ions, 3).
    incar
        Tags of INCAR as text.
    has_incar
        Whether the file goes as far as these, which come first.
    parameters
        Tags that the run used, as text.
    kpoint_scheme
        ``Gamma``, ``Monkhorst-Pack``, ``listgenerated`` (line mode), ..; empty for a list.
    divisions
        Divisions of a mesh of k-points; empty without one.
    shift
        Shift of the mesh, in units of its spacing.
    energies
        Free energy of each electronic step of ionic step 1, eV; further loops are included.
    """

    symbols: tuple[str, ...] = ()
    titels: tuple[str, ...] = ()
    lattice: np.ndarray | None = None
    positions: np.ndarray | None = None
    incar: dict[str, str] = field(default_factory=dict)
    has_incar: bool = False
    parameters: dict[str, str] = field(default_factory=dict)
    kpoint_scheme: str = ""
    divisions: tuple[int, ...] = ()
    shift: tuple[float, ...] = ()
    energies: list[float] = field(default_factory=list)


def read_vasprun_start(path: str | Path) -> VasprunStart:
    """Read the beginning of a vasprun.xml.

    Parameters
    ----------
    path
        The file, plain or compressed, also of a run that was killed.

    Returns
    -------
    VasprunStart
        What it says.

    Raises
    ------
    OSError
        The file cannot be read.
    ValueError
        A number is none.
    """
    found = VasprunStart()
    for element in _elements(path):
        if element.tag in ("incar", "parameters"):
            # Of a tag that is there twice, such as NELM, the later one is of another algorithm.
            setattr(found, element.tag, {**_tags(element), **getattr(found, element.tag)})
            found.has_incar = found.has_incar or element.tag == "incar"
        elif element.tag == "generation":
            found.kpoint_scheme = element.get("param", "")
            found.divisions = tuple(map(int, _words(element, "divisions")))
            found.shift = tuple(map(parse_column, _words(element, "usershift")))
        elif element.tag == "atominfo":
            found.symbols = tuple(_cells(element, "atoms", 0))
            found.titels = tuple(_cells(element, "atomtypes", -1))
        elif element.tag == "structure":
            found.lattice = _rows(element.find("crystal/varray[@name='basis']"))
            found.positions = _rows(element.find("varray[@name='positions']"))
        else:
            energy = element.find("energy/i[@name='e_fr_energy']")
            if energy is not None and energy.text:
                found.energies.append(parse_column(energy.text))
    return found


def _elements(path: str | Path) -> Iterator[Element]:
    """Elements that are read, up to the end of the electronic steps; a cut file ends early."""
    in_step = False
    with open_text(path, "latin-1") as file, suppress(ElementTree.ParseError):
        for event, element in ElementTree.iterparse(file, events=("start", "end")):
            if event == "start":
                in_step = in_step or element.tag == "calculation"
                if in_step and element.tag in ("structure", "eigenvalues", "dos"):
                    return
            elif element.tag in _WHOLE:
                yield element
                element.clear()


def _tags(section: Element) -> dict[str, str]:
    tags: dict[str, str] = {}
    for entry in section.iter("i"):
        tags.setdefault(entry.get("name", "").upper(), (entry.text or "").strip())
    return tags


def _cells(info: Element, array: str, column: int) -> list[str]:
    rows = info.findall(f"array[@name='{array}']/set/rc")
    return [(row.findall("c")[column].text or "").strip() for row in rows]


def _words(section: Element, name: str) -> list[str]:
    return (section.findtext(f"v[@name='{name}']") or "").split()


def _rows(block: Element | None) -> np.ndarray | None:
    if block is None:
        return None
    return np.array([[parse_column(word) for word in (row.text or "").split()] for row in block])
