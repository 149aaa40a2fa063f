"""``mlcharge campaign run``: what is killed is run again, what is finished is not."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from cluster import CHEAP, until, write_spec, write_structures
from typer.testing import CliRunner

from mlcharge_flows.campaign.local import read_results
from mlcharge_flows.cli.app import app
from mlcharge_flows.settings import Settings

MATERIALS = 5


def campaign(*words):
    return CliRunner().invoke(app, ["campaign", *map(str, words)])


@pytest.fixture
def environment(tmp_path):
    """A stand-in for VASP that takes a moment, notes that it ran, and gives up with an error."""
    pytest.importorskip("gpaw", reason="needs the gpaw extra, for the POTCARs")
    library = Settings(vasp_cmd=str(Path(sys.executable).with_name("gpaw-vasp")))
    with library.activated():
        pass  # it is filled now
    command = tmp_path / "vasp_std"
    command.write_text(
        f"#!/bin/sh\necho $PPID >> {tmp_path}/runs\nsleep 0.3\n"
        "echo ' ERROR: there is nothing to compute'\n"
    )
    command.chmod(0o755)
    own = {"MLCHARGE_VASP_CMD": str(command), "PMG_VASP_PSP_DIR": str(library.potcar_library)}
    return {**os.environ, **own, "OMP_NUM_THREADS": "1"}


@pytest.mark.gpaw
@pytest.mark.slow
def test_a_campaign_killed_in_the_middle_loses_what_was_running(tmp_path, environment):
    write_structures(tmp_path / "structures.json", MATERIALS)
    spec = write_spec(tmp_path, structures="structures.json", arms=["superposition"], **CHEAP)
    out = tmp_path / "out"
    command = [sys.executable, "-c", "from mlcharge_flows.cli.app import main; main()"]
    command += ["campaign", "run", str(spec), "--workers", "2", "--out", str(out)]
    first = subprocess.Popen(
        command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    until(lambda: len(read_results(out)) >= 2 or first.poll() is not None)
    first.send_signal(signal.SIGKILL)
    first.wait()
    before = {path: path.stat().st_mtime_ns for path in out.glob("*/comparison.json")}
    assert 2 <= len(before) < MATERIALS

    # Its workers end themselves: the folder is free at once.
    again = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240)
    assert f"{len(before)} of {MATERIALS} materials are finished already" in again.stdout
    assert "/min" in again.stdout, "rate"
    assert again.returncode == 1, "the stand-in gives no result"
    assert [c.material_id for c in read_results(out)] == [f"m{n:02d}" for n in range(MATERIALS)]
    for path, time in before.items():
        assert path.stat().st_mtime_ns == time
    runs = (tmp_path / "runs").read_text().splitlines()
    lost = len(runs) - 2 * MATERIALS
    assert lost <= 2 * 2, "at most both runs of both running materials are repeated"

    status = campaign("status", spec, "--out", out)
    assert f"{MATERIALS} of {MATERIALS} materials are finished" in status.output
    report = campaign("report", spec, "--out", out)
    assert report.exit_code == 0, report.output
    assert json.loads((out / "summary.json").read_text())["n_materials"] == MATERIALS


@pytest.mark.gpaw
@pytest.mark.slow
@pytest.mark.parametrize("workflow", ["static", "bands"])
def test_a_started_workflow(tmp_path, workflow):
    pytest.importorskip("gpaw", reason="needs the gpaw extra")
    write_structures(tmp_path / "structures.json", 1)
    keys = {**CHEAP, "kpoints": {"reciprocal_density": 1}}
    if workflow == "bands":
        keys["kpoints"]["line_density"] = 2
    spec = write_spec(tmp_path, structures="structures.json", workflow=workflow, **keys)
    done = campaign("run", spec, "--workers", 1, "--out", tmp_path / "out")
    assert done.exit_code == 0, done.output
    assert "1 of 1 materials ran from 'superposition', median" in done.output
    header, row = (tmp_path / "out" / "outcomes.csv").read_text().splitlines()
    outcome = dict(zip(header.split(","), row.split(","), strict=True))
    assert (outcome["initial_density"], outcome["started_from"]) == ("superposition", "chgcar")
    assert outcome["exclusion_reason"] == ""
    assert abs(float(outcome["energy_per_atom"])) < 10
    assert float(outcome["band_gap"]) >= 0
    assert (tmp_path / "out" / "report.html").exists()


def test_a_report_of_nothing(tmp_path, monkeypatch):
    write_structures(tmp_path / "structures.json", 1)
    spec = write_spec(tmp_path, structures="structures.json")
    monkeypatch.chdir(tmp_path)
    for command in ("report", "status"):
        left = campaign(command, spec, "--out", tmp_path / "none")
        assert left.exit_code == 2
        (line,) = left.stderr.splitlines()
        assert "mlcharge: " in line
        assert f"{tmp_path / 'none'}: no campaign has run in it, and " in line


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"maker": "atomate2.no.Maker"}, "maker: 'atomate2.no.Maker' cannot be imported"),
        ({"arms": ["magic"]}, "arms: 'magic' is no source of densities; write DENSITY"),
        ({"structures": "none.cif"}, "none.cif: there is no such file"),
        (
            {"workflow": "static", "initial_density": "converged"},
            "initial_density: converged needs an earlier run",
        ),
        (
            {"workflow": "static", "initial_density": "default"},
            "initial_density: a run from free atoms",
        ),
        ({"maker": "atomate2.vasp.flows.core.DoubleRelaxMaker"}, "is not one VASP run"),
        ({"maker": "pathlib.Path"}, "maker: pathlib.Path is not a Maker class"),
        ({"model": "some"}, "model: none of superposition, converged uses a model"),
        ({"limit": 0}, "limit: "),
        ({"worflow": "static"}, "worflow: unknown key; the keys are name, structures"),
        ({"incar": {"encut": 3}}, "incar: INCAR tags are upper-case: write ENCUT"),
        ({"fireworks": {"priorities": {"vasp": 3}}}, "fireworks.priorities.vasp: 'vasp' is none"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_is_wrong_is_said_in_one_line(tmp_path, keys, message):
    write_structures(tmp_path / "structures.json", 1)
    spec = write_spec(tmp_path, **{"structures": "structures.json", **keys})
    left = campaign("run", spec, "--out", tmp_path / "out")
    assert left.exit_code == 2, left.output
    assert message in left.stderr.splitlines()[0]
    assert left.stderr.startswith("mlcharge: ")
    assert not (tmp_path / "out").exists()
