"""The names that mlcharge_flows exports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import mlcharge_flows


def in_new_process(code):
    done = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120
    )
    return done.stdout.split()


def test_all_public_names_come_without_torch_and_gpaw():
    loaded = in_new_process(
        "from mlcharge_flows import *\n"
        "import mlcharge_flows, sys\n"
        "assert set(mlcharge_flows.__all__) <= set(globals())\n"
        "print(*sorted(sys.modules))\n"
    )
    assert "atomate2" in loaded
    assert not [name for name in loaded if name.split(".")[0] in ("torch", "e3nn")]
    # pymatgen.io.vasp imports ase, which asks every installed package for the file formats it
    # reads: of GPAW, that is its plug-in for ase and nothing else.
    assert {name for name in loaded if name.startswith("gpaw.")} <= {"gpaw.ase_plugin"}


def test_the_package_alone_imports_none_of_its_rooms():
    loaded = in_new_process(
        "import mlcharge_flows, sys\n"
        "print(*[n for n in sys.modules if 'mlcharge' in n or n == 'numpy'])"
    )
    assert loaded == ["mlcharge_flows"]


@pytest.mark.parametrize("name", mlcharge_flows.__all__)
def test_a_name_is_that_of_its_module_and_is_documented(name):
    value = getattr(mlcharge_flows, name)
    assert value.__name__ == name
    assert value.__doc__
    assert name in dir(mlcharge_flows)


def test_type_checkers_see_the_same_names():
    tree = ast.parse(Path(mlcharge_flows.__file__).read_text(encoding="utf-8"))
    (guard,) = (n for n in tree.body if isinstance(n, ast.If) and isinstance(n.test, ast.Name))
    imported = {alias.name for node in guard.body for alias in node.names}
    assert imported == set(mlcharge_flows.__all__) == set(mlcharge_flows._MODULES)


def test_another_name_is_refused():
    with pytest.raises(AttributeError, match="has no attribute 'Start'"):
        mlcharge_flows.Start  # noqa: B018


def test_a_name_that_needs_an_extra_says_which(monkeypatch):
    monkeypatch.setitem(sys.modules, "h5py", None)
    monkeypatch.delitem(sys.modules, "mlcharge_flows.training.dataset", raising=False)
    monkeypatch.delattr(mlcharge_flows, "DensityDataset", raising=False)
    with pytest.raises(ModuleNotFoundError, match=r"needs h5py: pip install 'mlcharge-flows\[tra"):
        mlcharge_flows.DensityDataset  # noqa: B018
