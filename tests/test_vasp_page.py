"""The page for VASP groups: its commands run as they stand in a world of foreign data sets."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "vasp.md").read_text(encoding="utf-8")
COMMANDS = re.findall(r"^\$ (.*)$", PAGE, re.M)
STAND_IN = '''
from datetime import UTC, datetime

from pymatgen.io.vasp.outputs import Chgcar


class MPRester:
    """Serves the density of a run in the types of mp-api's client."""

    def __init__(self, api_key, use_document_model=True, mute_progress_bars=False):
        assert api_key == "key"

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def get_charge_density_from_material_id(self, material_id, inc_task_doc=False):
        assert material_id == "mp-149"
        titel = open("archive/Si/POTCAR").readline().strip()
        inputs = {
            "incar": {"ENCUT": 350, "ISPIN": 1, "LMAXMIX": 4},
            "potcar_spec": [{"titel": titel, "hash": None, "summary_stats": None}],
        }
        task = {"task_id": "mp-1", "last_updated": datetime(2024, 1, 2, tzinfo=UTC)}
        return Chgcar.from_file("archive/Si/CHGCAR"), task | {
            "input": inputs, "output": {"energy": -10.8}
        }
'''


def test_commands_of_the_page_exist():
    from typer.main import get_command

    from mlcharge_flows.cli.app import app

    assert len(COMMANDS) == 9
    for line in COMMANDS:
        if not line.startswith("mlcharge "):
            continue
        command, words = get_command(app), line.split()[1:]
        while hasattr(command, "commands"):
            command = command.commands[words.pop(0)]
        known = {word for option in command.params for word in option.opts}
        assert {word for word in words if word.startswith("-")} <= known, line
    for text in re.findall(r"^```python\n(.*?)^```$", PAGE, re.M | re.S):
        compile(text, "vasp.md", "exec")


@pytest.mark.gpaw
@pytest.mark.slow
def test_commands_of_the_page_run(tmp_path):
    pytest.importorskip("gpaw", reason="needs the gpaw extra")
    pytest.importorskip("torch", reason="needs the models extra")
    pytest.importorskip("h5py", reason="needs the train extra")
    work = tmp_path
    (work / "test_files").symlink_to(ROOT / "test_files")
    (work / "stand_in" / "mp_api").mkdir(parents=True)
    (work / "stand_in" / "mp_api" / "__init__.py").touch()
    (work / "stand_in" / "mp_api" / "client.py").write_text(STAND_IN)
    own = Path(sys.executable).parent
    paths = [str(work / "stand_in"), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = os.environ | {
        "HOME": str(work),
        "PATH": f"{own}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": os.pathsep.join(paths),
        "PMG_VASP_PSP_DIR": str(work / "potcars"),
        "MLCHARGE_VASP_CMD": "gpaw-vasp",
        "MLCHARGE_MODELS": str(work / "models"),
        "MLCHARGE_MODEL_POTCARS": str(work / "model-potcars"),
        "MLCHARGE_CACHE": str(work / "cache"),
        "MP_API_KEY": "key",
        "OMP_NUM_THREADS": "1",
    }

    def run(command, folder=work):
        done = subprocess.run(
            ["/bin/bash", "-c", command],
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            timeout=1800,
        )
        shown = done.stdout[-3000:] + done.stderr[-3000:]
        assert done.returncode == 0, f"{command}\n{shown}"
        return " ".join(shown.split())

    run("gpaw-vasp generate-family family Mg O Si && gpaw-vasp potcar potcars --family family")
    _runs(work, run)
    outputs = [run(command) for command in COMMANDS]
    said = dict(zip(COMMANDS, outputs, strict=True))
    assert "the PAW data sets of Si are not those of the model orbital" in outputs[1]
    assert (work / "predicted" / "Si" / "CHGCAR").is_file()
    assert "2 elements" not in outputs[3]
    assert any("1 of 1 densities in mp" in output for output in outputs)
    counts = re.findall(r"Si: default (\d+)", " ".join(outputs))
    assert counts
    first = next(text for line, text in said.items() if "--arms learned,converged" in line)
    default, learned = map(int, re.search(r"default (\d+), learned (\d+)", first).groups())
    assert learned < default


def _runs(work: Path, run) -> None:
    """An archive of two finished runs, and a folder with the inputs of a run."""
    from pymatgen.io.vasp import Kpoints, Poscar

    for name, elements in (("Si", ["Si"]), ("MgO", ["Mg", "O"])):
        folder = work / "archive" / name
        folder.mkdir(parents=True)
        shutil.copy(ROOT / "test_files" / "crystals" / f"{name}.vasp", folder / "POSCAR")
        assert list(Poscar.from_file(folder / "POSCAR").site_symbols) == elements
        (folder / "INCAR").write_text(
            "ENCUT = 350\nPREC = Normal\nISMEAR = 0\nSIGMA = 0.1\nLMAXMIX = 4\nEDIFF = 1e-4\n"
        )
        Kpoints.gamma_automatic((3, 3, 3)).write_file(folder / "KPOINTS")
        library = next((work / "potcars").iterdir())
        files = " ".join(str(library / f"POTCAR.{element}.gz") for element in elements)
        run(f"zcat {files} > POTCAR && gpaw-vasp", folder)
    shutil.copytree(work / "archive" / "Si", work / "run", ignore=shutil.ignore_patterns("CHG*"))
