"""Who may import whom, and how long a file may be."""

import ast
import sys
from pathlib import Path

import pytest

import mlcharge_flows

ROOT = Path(mlcharge_flows.__file__).parent
LONGEST = 400

# Rooms of the project that a room may import besides itself. Rooms that are not listed (sources,
# atomate2, campaign, cli) join the others and may import all of them.
MAY_IMPORT = {
    "density": set(),
    "vasp": {"density"},
    "gpaw_vasp": {"density", "vasp"},
    "models": {"density"},
    "training": {"density", "vasp", "models"},
    "scf": {"vasp"},
    "reports": {"scf"},
}
OF_NO_ROOM = {"__version__", "errors", "io"}
# Third parties: the only ones that a room may import, or those that it must not.
ONLY = {"density": {"numpy", "scipy"}}
NEVER = {
    "vasp": {"torch", "e3nn", "gpaw"},
    "gpaw_vasp": {"torch", "e3nn"},
    "models": {"gpaw", "atomate2", "jobflow"},
    "scf": {"torch", "e3nn", "gpaw"},
    "reports": {"torch", "e3nn", "gpaw"},
}


def modules(room=""):
    return sorted((ROOT / room).rglob("*.py"))


def imports(path):
    """Full names of all imported modules, wherever in the file they are imported."""
    names = set()
    package = ("mlcharge_flows", *path.relative_to(ROOT).parent.parts)
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            above = package[: len(package) - node.level + 1] if node.level else ()
            base = ".".join([*above, *([node.module] if node.module else [])])
            names |= {f"{base}.{alias.name}" for alias in node.names}
    return names


def rooms_imported(path):
    parts = [name.split(".") for name in imports(path) if name.startswith("mlcharge_flows.")]
    return {name[1] for name in parts if len(name) > 1}


def third_parties(path):
    tops = {name.split(".")[0] for name in imports(path)}
    return tops - set(sys.stdlib_module_names) - {"mlcharge_flows", "__future__"}


def identity(path):
    return str(path.relative_to(ROOT)) if isinstance(path, Path) else None


IN_ROOMS = [(room, path) for room in MAY_IMPORT for path in modules(room)]


@pytest.mark.parametrize(("room", "path"), IN_ROOMS, ids=identity)
def test_a_room_knows_only_the_rooms_below_it(room, path):
    others = rooms_imported(path) - {room, *OF_NO_ROOM}
    assert others <= MAY_IMPORT[room], f"{path.name} may not import {others - MAY_IMPORT[room]}"


@pytest.mark.parametrize(("room", "path"), IN_ROOMS, ids=identity)
def test_a_room_keeps_to_its_third_parties(room, path):
    found = third_parties(path)
    assert found <= ONLY.get(room, found)
    assert not found & NEVER.get(room, set())


@pytest.mark.parametrize("path", modules(), ids=identity)
def test_no_module_is_longer_than_a_reader_can_hold(path):
    assert len(path.read_text().splitlines()) <= LONGEST


def test_imports_are_seen_wherever_they_are(tmp_path, monkeypatch):
    monkeypatch.setitem(globals(), "ROOT", tmp_path)
    path = tmp_path / "scf" / "count.py"
    path.parent.mkdir()
    path.write_text(
        "from mlcharge_flows.vasp import oszicar\n"
        "from . import run\n"
        "from ..gpaw_vasp.states import x\n"
        "def f():\n    import mlcharge_flows.atomate2.jobs.run, torch.nn\n"
    )
    assert rooms_imported(path) == {"vasp", "scf", "gpaw_vasp", "atomate2"}
    assert third_parties(path) == {"torch"}
