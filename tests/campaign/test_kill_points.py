"""Campaigns that are killed at random points: all resume, and nothing is lost or left running.

A dozen points, half of them of each kind; MLCHARGE_KILL_POINTS in the environment sets another
number, such as 300.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from cluster import CRYSTALS

from mlcharge_flows.settings import Settings

pytestmark = [pytest.mark.gpaw, pytest.mark.slow]

POINTS = int(os.environ.get("MLCHARGE_KILL_POINTS", "12"))

FINISHED = """
import sys
from atomate2.vasp.jobs.core import StaticMaker
from kill_points import campaign_maker
from pymatgen.core import Structure
from mlcharge_flows.atomate2.jobs.run import RunFromDensityMaker
maker = campaign_maker().static_maker
maker.run_vasp_kwargs["handlers"] = ()
maker.input_set_generator.user_incar_settings["LCHARG"] = False
run = RunFromDensityMaker(maker=maker, icharg=2)
run.make.original(run, Structure.from_file(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def outputs(tmp_path_factory):
    """Folder of a finished run of gpaw-vasp."""
    pytest.importorskip("gpaw", reason="needs the gpaw extra")
    folder = tmp_path_factory.mktemp("finished")
    here = os.pathsep.join([str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "MLCHARGE_VASP_CMD": "gpaw-vasp", "PYTHONPATH": here}
    command = [sys.executable, "-c", FINISHED, str(CRYSTALS / "Si.vasp")]
    subprocess.run(command, cwd=folder, env=environment, check=True, capture_output=True)
    return folder


@pytest.mark.parametrize("kind", ["local", "fireworks"])
def test_campaigns_that_are_killed_at_random_points(kind, outputs):
    if kind == "fireworks":
        pytest.importorskip("fireworks", reason="needs the fireworks extra")
    library = Settings(vasp_cmd="gpaw-vasp").potcar_library
    program = Path(__file__).with_name("kill_points.py")
    command = [sys.executable, program, kind, str(POINTS // 2), "--outputs", outputs]
    environment = {**os.environ, "PMG_VASP_PSP_DIR": str(library), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 faults" in done.stdout
