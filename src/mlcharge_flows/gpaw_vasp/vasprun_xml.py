"""The vasprun.xml: the whole run for machines.

One-space indentation and one row per line, as in VASP's files. Three of VASP's blocks are left out:
single contributions to the energy, symmetry, and the copy of the eigenvalues inside the
projections. No library writes this format; pymatgen and ASE read it.

References
----------
VASP wiki, vasprun.xml.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any
from xml.etree import ElementTree as ET

import numpy as np

from mlcharge_flows.gpaw_vasp.parameters import grouped_parameters, typed
from mlcharge_flows.gpaw_vasp.result import FORMAT_VERSION, program

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.gpaw_vasp.result import ElectronicStep, IonicStep, Run

_ORBITALS = (
    *("s", "py", "pz", "px", "dxy", "dyz", "dz2", "dxz", "x2-y2"),
    *("fy3x2", "fxyz", "fyz2", "fz3", "fxz2", "fzx2", "fx3"),
)


def vasprun_xml(run: Run) -> str:
    """Format the vasprun.xml.

    Parameters
    ----------
    run
        The run.

    Returns
    -------
    str
        Text of the file.
    """
    last = len(run.ionic_steps) - 1
    steps = "".join(vasprun_ionic_step(run, index) for index in range(last))
    end = ET.Element("modeling")
    _calculation(end, run.ionic_steps[last])
    _electronic_structure(end[0], run)
    _structure(end, run.crystal, name="finalpos")
    return f"{vasprun_opening(run)}{steps}{_children(end)}</modeling>\n"


def vasprun_opening(run: Run) -> str:
    """Format what stands in the vasprun.xml before the first ionic step.

    Parameters
    ----------
    run
        The run, or what was computed of it so far.

    Returns
    -------
    str
        Beginning of the file.
    """
    root = ET.Element("modeling")
    _generator(root, run)
    _tags(ET.SubElement(root, "incar"), typed(run.incar))
    _kpoints(root, run)
    _parameters(root, run)
    _atominfo(root, run)
    _structure(root, run.ionic_steps[0].crystal, name="initialpos")
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<modeling>\n{_children(root)}'


def vasprun_ionic_step(run: Run, index: int) -> str:
    """Format an ionic step that another one follows.

    Parameters
    ----------
    run
        The run, or what was computed of it so far.
    index
        Index of the ionic step, from 0.

    Returns
    -------
    str
        The part of the file; as in VASP's files, eigenvalues and densities of states are left to
        the last ionic step.
    """
    parent = ET.Element("modeling")
    _calculation(parent, run.ionic_steps[index])
    return _children(parent)


def _children(parent: ET.Element) -> str:
    """Text of the elements within another one, indented by one space."""
    ET.indent(parent, space=" ")
    for child in parent:
        child.tail = "\n"
    return "".join(" " + ET.tostring(child, "unicode") for child in parent)


def _generator(root: ET.Element, run: Run) -> None:
    started = time.localtime(run.started)
    values = {
        "program": "gpaw-vasp",
        "version": FORMAT_VERSION,
        "subversion": f"{program()}, in the layout of VASP {FORMAT_VERSION}, not VASP",
        "platform": "Python",
        "date": time.strftime("%Y %m %d", started),
        "time": time.strftime("%H:%M:%S", started),
    }
    _tags(ET.SubElement(root, "generator"), values)


def _kpoints(root: ET.Element, run: Run) -> None:
    block = ET.SubElement(root, "kpoints")
    if run.kpoint_scheme == "listgenerated" and run.divisions and run.line_ends is not None:
        generation = ET.SubElement(block, "generation", param="listgenerated")
        _tags(generation, {"divisions": run.divisions[0]})
        _rows(generation, "v", run.line_ends)
    elif run.divisions:
        generation = ET.SubElement(block, "generation", param=run.kpoint_scheme)
        vectors = np.diag(1 / np.asarray(run.divisions, dtype=float))
        staggered = run.kpoint_scheme == "Monkhorst-Pack"
        values: dict[str, Any] = {"divisions": run.divisions, "usershift": run.shift}
        values |= {f"genvec{i}": vector for i, vector in enumerate(vectors, 1)}
        values["shift"] = [0.5 * (staggered and n % 2 == 0) for n in run.divisions]
        _tags(generation, values)
    _varray(block, "kpointlist", run.kpoints)
    _varray(block, "weights", run.weights[:, None])


def _parameters(root: ET.Element, run: Run) -> None:
    block = ET.SubElement(root, "parameters")
    groups = {"": block}
    for name, tags in grouped_parameters(run).items():
        parent = groups["electronic"] if name.startswith("electronic ") else block
        groups[name] = ET.SubElement(parent, "separator", name=name) if name else block
        _tags(groups[name], tags)


def _atominfo(root: ET.Element, run: Run) -> None:
    block = ET.SubElement(root, "atominfo")
    species = run.crystal.species
    ET.SubElement(block, "atoms").text = f"{len(run.crystal):8d} "
    ET.SubElement(block, "types").text = f"{len(species):8d} "
    ions = [(symbol, i) for i, (symbol, count) in enumerate(species, 1) for _ in range(count)]
    types = [
        (count, symbol, f"{data.mass:.8f}", f"{data.zval:.8f}", data.titel)
        for (symbol, count), data in zip(species, run.datasets, strict=True)
    ]
    fields = {"element": "string", "atomtype": "int"}
    _table(block, "atoms", "ion", fields, ions)
    fields = {"atomspertype": "int", "element": "string", "mass": "", "valence": ""}
    _table(block, "atomtypes", "type", {**fields, "pseudopotential": "string"}, types)


def _structure(parent: ET.Element, crystal: Crystal, **name: str) -> None:
    block = ET.SubElement(parent, "structure", name)
    cell = ET.SubElement(block, "crystal")
    _varray(cell, "basis", crystal.lattice)
    _tags(cell, {"volume": crystal.volume})
    _varray(cell, "rec_basis", crystal.reciprocal / (2 * np.pi))
    _varray(block, "positions", crystal.positions)


def _calculation(root: ET.Element, ionic_step: IonicStep) -> None:
    block = ET.SubElement(root, "calculation")
    for step in ionic_step.steps:
        scstep = ET.SubElement(block, "scstep")
        _time(scstep, "dav", step.seconds)
        _time(scstep, "total", step.seconds)
        _energy(scstep, step)
    _structure(block, ionic_step.crystal)
    if ionic_step.forces is not None:
        _varray(block, "forces", ionic_step.forces)
    if ionic_step.stress is not None:
        _varray(block, "stress", ionic_step.stress)
    _energy(block, ionic_step.steps[-1])
    if (motion := ionic_step.motion) is not None:
        total = ionic_step.free_energy + motion.kinetic_energy + motion.thermostat_energy
        values = {
            "kinetic": motion.kinetic_energy,
            "lattice kinetic": 0.0,
            "nosepot": motion.thermostat_energy,
            "nosekinetic": 0.0,
            "total": total,
        }
        _tags(block[-1], values)
    _time(block, "totalsc", sum(step.seconds for step in ionic_step.steps))


def _electronic_structure(block: ET.Element, run: Run) -> None:
    _eigenvalues(block, run)
    _dos(block, run)
    if run.projections is not None:
        _projections(block, run.projections)


def _energy(parent: ET.Element, step: ElectronicStep) -> None:
    values = {
        "e_fr_energy": step.free_energy,
        "e_wo_entrp": step.energy_without_entropy,
        "e_0_energy": step.energy_zero,
    }
    _tags(ET.SubElement(parent, "energy"), values)


def _time(parent: ET.Element, name: str, seconds: float) -> None:
    ET.SubElement(parent, "time", name=name).text = f"{seconds:8.2f}{seconds:8.2f}"


def _eigenvalues(parent: ET.Element, run: Run) -> None:
    block = ET.SubElement(parent, "eigenvalues")
    spins = _array(block, ("band", "kpoint", "spin"), ("eigene", "occ"))
    # VASP's four decimals: readers call a band occupied from 1e-8 on, and a smearing tail of 1e-6
    # above the gap would turn every insulator into a metal.
    rows = np.stack([run.eigenvalues, run.occupations.round(4)], axis=-1)
    for s, points in enumerate(rows, 1):
        spin = ET.SubElement(spins, "set", comment=f"spin {s}")
        for k, point in enumerate(points, 1):
            _rows(ET.SubElement(spin, "set", comment=f"kpoint {k}"), "r", point)


def _dos(parent: ET.Element, run: Run) -> None:
    block = ET.SubElement(parent, "dos")
    _tags(block, {"efermi": run.fermi_level})
    fields: tuple[str, ...] = ("energy", "total", "integrated")
    spins = _array(ET.SubElement(block, "total"), ("gridpoints", "spin"), fields)
    for s, (states, integral) in enumerate(zip(run.dos, run.integrated_dos, strict=True), 1):
        rows = np.stack([run.dos_energies, states, integral], axis=-1)
        _rows(ET.SubElement(spins, "set", comment=f"spin {s}"), "r", rows)
    if run.projected_dos is None:
        return
    fields = ("energy", *_ORBITALS[: run.projected_dos.shape[2]])
    ions = _array(ET.SubElement(block, "partial"), ("gridpoints", "spin", "ion"), fields)
    for i, of_spins in enumerate(run.projected_dos.swapaxes(0, 1), 1):
        ion = ET.SubElement(ions, "set", comment=f"ion {i}")
        for s, states in enumerate(of_spins, 1):
            rows = np.column_stack([run.dos_energies, states.T])
            _rows(ET.SubElement(ion, "set", comment=f"spin {s}"), "r", rows)


def _projections(parent: ET.Element, projections: np.ndarray) -> None:
    dimensions = ("ion", "band", "kpoint", "spin")
    spins = _array(
        ET.SubElement(parent, "projected"), dimensions, _ORBITALS[: projections.shape[-1]]
    )
    for s, points in enumerate(projections, 1):
        spin = ET.SubElement(spins, "set", comment=f"spin{s}")
        for k, bands in enumerate(points, 1):
            point = ET.SubElement(spin, "set", comment=f"kpoint {k}")
            for b, rows in enumerate(bands, 1):
                _rows(ET.SubElement(point, "set", comment=f"band {b}"), "r", rows)


# XML elements that recur -------------------------------------------------------------------------


def _tags(parent: ET.Element, tags: Mapping[str, Any]) -> None:
    """Named values: ``i`` for one, ``v`` for several, with VASP's type names."""
    kinds = {"b": "logical", "i": "int", "u": "int", "f": ""}
    for name, value in tags.items():
        several = isinstance(value, list | tuple | np.ndarray)
        items = np.atleast_1d(np.asarray(value))
        kind = kinds.get(items.dtype.kind, "string")
        attributes = {"type": kind, "name": name} if kind else {"name": name}
        element = ET.SubElement(parent, "v" if several else "i", attributes)
        element.text = " ".join(_text(item) for item in items)


def _text(item: Any) -> str:
    match np.asarray(item).dtype.kind:
        case "b":
            return " T " if item else " F "
        case "i" | "u":
            return f"{item:6d}"
        case "f":
            return f"{item:16.8f}"
        case _:
            return "".join(letter for letter in str(item) if letter.isprintable())


def _varray(parent: ET.Element, name: str, rows: np.ndarray) -> None:
    _rows(ET.SubElement(parent, "varray", name=name), "v", rows)


def _rows(parent: ET.Element, tag: str, rows: Iterable[Iterable[float]]) -> None:
    for row in rows:
        ET.SubElement(parent, tag).text = "".join(f"{x:17.8f}" for x in row) + " "


def _array(parent: ET.Element, dimensions: Sequence[str], fields: Sequence[str]) -> ET.Element:
    """Head of a numeric array; returns the set that takes its rows."""
    array = ET.SubElement(parent, "array")
    for i, dimension in enumerate(dimensions, 1):
        ET.SubElement(array, "dimension", dim=str(i)).text = dimension
    for field in fields:
        ET.SubElement(array, "field").text = field
    return ET.SubElement(array, "set")


def _table(
    parent: ET.Element,
    name: str,
    dimension: str,
    fields: Mapping[str, str],
    rows: Iterable[Iterable[Any]],
) -> None:
    table = ET.SubElement(parent, "array", name=name)
    ET.SubElement(table, "dimension", dim="1").text = dimension
    for field, kind in fields.items():
        ET.SubElement(table, "field", {"type": kind} if kind else {}).text = field
    body = ET.SubElement(table, "set")
    for row in rows:
        cells = ET.SubElement(body, "rc")
        for cell in row:
            ET.SubElement(cells, "c").text = f"{cell:4d}" if isinstance(cell, int) else cell
