"""The tutorials run as they stand, with gpaw-vasp in VASP's place."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
TUTORIALS = ROOT / "docs" / "tutorials"
PAGES = sorted(TUTORIALS.glob("*.md"))
NOTEBOOKS = sorted(TUTORIALS.glob("*.ipynb"))
BLOCK = re.compile(r'^```(console|python|yaml)(?: title="([^"]+)")?\n(.*?)^```$', re.M | re.S)


def blocks(page: Path) -> list[tuple[str, str, str]]:
    """Kind, file name and text of the blocks that are meant to be run or written."""
    return BLOCK.findall(page.read_text(encoding="utf-8"))


def environment(home: Path) -> dict[str, str]:
    """A user without any settings, for whom gpaw-vasp takes the place of VASP."""
    own = Path(sys.executable).parent
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path("~/.cache").expanduser())
    left_out = {"VASP_CMD", "ATOMATE2_VASP_CMD", "PMG_VASP_PSP_DIR", "MLCHARGE_MODELS"}
    kept = {name: value for name, value in os.environ.items() if name not in left_out}
    return kept | {
        "HOME": str(home),
        "XDG_CACHE_HOME": cache,
        "PATH": f"{own}{os.pathsep}{os.environ['PATH']}",
        "MLCHARGE_VASP_CMD": "gpaw-vasp",
        "MLCHARGE_MODELS": str(home / "models"),
        "OMP_NUM_THREADS": "1",
        "PYTHONWARNINGS": "ignore",
    }


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_commands_and_files_of_a_tutorial_can_be_read(page):
    import yaml
    from typer.main import get_command

    from mlcharge_flows.cli.app import app

    for kind, name, text in blocks(page):
        if kind == "yaml":
            assert name
            assert yaml.safe_load(text)
        elif kind == "python":
            compile(text, str(page), "exec")
        for line in text.splitlines() if kind == "console" else ():
            assert line.startswith("$ mlcharge "), line
            command, words = get_command(app), line.split()[2:]
            while hasattr(command, "commands"):
                command = command.commands[words.pop(0)]
            known = {word for option in command.params for word in option.opts}
            assert {word for word in words if word.startswith("-")} <= known, line


@pytest.mark.gpaw
@pytest.mark.slow
@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_tutorial_runs(page, tmp_path):
    pytest.importorskip("gpaw", reason="needs the gpaw extra")
    pytest.importorskip("torch", reason="needs the models extra")
    pytest.importorskip("h5py", reason="needs the train extra")
    home, work = tmp_path / "home", tmp_path / "work"
    for folder in (home, work):
        folder.mkdir()
    (work / "test_files").symlink_to(ROOT / "test_files")
    program = ""
    for kind, name, text in blocks(page):
        if kind == "yaml":
            place = home / name.removeprefix("~/") if name.startswith("~/") else work / name
            place.write_text(text, encoding="utf-8")
            continue
        if kind == "python":  # later blocks use names of earlier ones
            program += text
            (work / "block.py").write_text(program, encoding="utf-8")
        lines = [line[2:] for line in text.splitlines() if line.startswith("$ ")]
        for command in [f"{sys.executable} block.py"] if kind == "python" else lines:
            done = subprocess.run(
                ["/bin/bash", "-c", command],
                cwd=work,
                env=environment(home),
                capture_output=True,
                text=True,
                timeout=1800,
            )
            assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}\n{done.stderr[-3000:]}"


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_holds_its_outputs_and_no_error(path):
    import json

    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    assert sum(bool(cell["outputs"]) for cell in code) >= 3
    assert not [o for cell in code for o in cell["outputs"] if o["output_type"] == "error"]
    text = path.read_text(encoding="utf-8")
    assert not re.findall(r"/home/|/root/|/tmp/", text)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param(
            path,
            id=path.stem,
            marks=[pytest.mark.gpaw, pytest.mark.slow] if "without_vasp" in path.stem else [],
        )
        for path in NOTEBOOKS
    ],
)
def test_a_notebook_runs(path, tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat", reason="needs the docs extra")
    nbclient = pytest.importorskip("nbclient", reason="needs the docs extra")
    pytest.importorskip("ipykernel", reason="needs the docs extra")
    if "without_vasp" in path.stem:
        pytest.importorskip("gpaw", reason="needs the gpaw extra")
        pytest.importorskip("torch", reason="needs the models extra")
    for name in ("IPYTHONDIR", "MPLCONFIGDIR"):
        monkeypatch.setenv(name, str(tmp_path))
    notebook = nbformat.read(path, as_version=4)
    place = {"metadata": {"path": str(TUTORIALS)}}
    nbclient.NotebookClient(notebook, timeout=1800, resources=place).execute()
    printed = str([cell.get("outputs") for cell in notebook.cells])
    assert "verified: True" in printed
