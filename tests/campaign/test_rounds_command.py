"""``rounds:`` of a SPEC.yaml on the command line: bad input, plan, progress, report."""

import json
import re
import subprocess
import sys

import pytest
from cluster import until, write_spec
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

pytest.importorskip("torch", reason="needs the models extra")
pytest.importorskip("h5py", reason="needs the train extra")

from round_stand_ins import crystals, fit, one_by_one, run_material

from mlcharge_flows.campaign import local, rounds
from mlcharge_flows.campaign.round_calibration import read_calibration_runs
from mlcharge_flows.campaign.round_record import ROUNDS, read_records, record_path
from mlcharge_flows.cli.app import app
from mlcharge_flows.models.calibration import read_calibration

ROCK_SALT = {"MgO": 4.25, "CaO": 4.84, "MgS": 5.23, "CaS": 5.72, "LiF": 4.06, "NaF": 4.70}


def campaign(*words):
    return CliRunner().invoke(app, ["campaign", *map(str, words)], env={"COLUMNS": "200"})


def write_crystals(path, named):
    entries = [{"material_id": name, "structure": s.as_dict()} for name, s in named.items()]
    path.write_text(json.dumps({"structures": entries}))


@pytest.fixture
def spec(tmp_path):
    """A campaign of eight binary crystals in two rounds."""
    found = {m.id: m.structure for m in crystals(8, metals=("Mg",))}
    write_crystals(tmp_path / "structures.json", found)
    return write_spec(
        tmp_path, name="grows", structures="structures.json", rounds={"number": 2, "control": 0.5}
    )


@pytest.mark.parametrize(
    ("given", "line"),
    [
        ({"rounds": 0}, "rounds.number: Input should be greater than or equal to 1, not 0"),
        ({"rounds": "many"}, "rounds: write a number of rounds, or number, size, control"),
        ({"rounds": None}, "rounds: write a number of rounds"),
        ({"rounds": True}, "rounds: write a number of rounds"),
        ({"rounds": [2]}, "rounds: write a number of rounds"),
        ({"rounds": {"number": 2, "size": 3}}, "rounds: give number or size, not both"),
        ({"rounds": {"number": 2.5}}, "rounds.number: Input should be a valid integer, not 2.5"),
        ({"rounds": {"size": 0}}, "rounds.size: Input should be greater than or equal to 1"),
        ({"rounds": {"control": 0}}, "rounds.control: Input should be greater than 0, not 0"),
        ({"rounds": {"control": 1.5}}, "rounds.control: Input should be less than or equal to 1"),
        ({"rounds": {"control": float("nan")}}, "rounds.control: Input should be "),
        ({"rounds": {"control": "20 %"}}, "rounds.control: Input should be a valid number"),
        ({"rounds": {"confidence": 1}}, "rounds.confidence: Input should be less than 1"),
        ({"rounds": {"seed": -1}}, "rounds.seed: Input should be greater than or equal to 0"),
        ({"rounds": {"min_runs": 20}}, "rounds: max_runs = 12 is below min_runs = 20"),
        ({"rounds": {"measured_only": "yes"}}, "rounds.measured_only: Input should be a valid"),
        ({"rounds": {"share": 0.2}}, "rounds.share: unknown key; the keys are number, size"),
        ({"rounds": 2, "workflow": "bands"}, "rounds: are of 'workflow: compare', not of bands"),
        ({"rounds": 2, "arms": ["converged"]}, "arms: converged needs a finished run of the same"),
        ({"rounds": 2, "arms": ["superposition"]}, "arms: rounds calibrate a model; name learned"),
    ],
    ids=lambda value: str(value) if isinstance(value, dict) else "",
)
def test_what_is_wrong_with_rounds_is_said_in_one_line(tmp_path, given, line):
    write_crystals(tmp_path / "structures.json", {"m": crystals(1)[0].structure})
    path = write_spec(tmp_path, structures="structures.json", **given)
    left = campaign("run", path, "--out", tmp_path / "out")
    assert left.exit_code == 2, left.output
    (only,) = left.stderr.splitlines()
    assert only.startswith(f"mlcharge: {path}: {line}")
    assert not (tmp_path / "out").exists()


def test_a_launchpad_takes_no_rounds(spec):
    left = campaign("submit", spec)
    assert left.exit_code == 2
    (line,) = [line for line in left.stderr.splitlines() if line]
    assert f"{spec}: rounds: a round needs the results of the one before" in line
    assert "'mlcharge campaign run'" in line


def test_plan_progress_and_report_of_a_campaign_in_rounds(tmp_path, spec, monkeypatch):
    pytest.importorskip("gpaw", reason="needs the gpaw extra, for the POTCARs")
    monkeypatch.setattr(local, "run_material", run_material)
    monkeypatch.setattr(local, "run_in_workers", one_by_one)
    monkeypatch.setattr(rounds, "calibrate_round", fit())
    out = tmp_path / "out"
    plan = campaign("run", spec, "--out", out, "--dry-run")
    assert plan.exit_code == 0, plan.output
    assert "Round 1 of 2: 4 materials, 2 of them control; new elements: Mg, O, S" in plan.output
    assert "Round 2 of 2: 4 materials, 2 of them control; new elements: none" in plan.output
    assert not out.exists()

    done = campaign("run", spec, "--out", out)
    assert done.exit_code == 0, done.output
    assert "Round 1 of 2: 4 materials, 2 of them control; learned for 4" in done.output
    assert "Round 2 of 2: 4 materials, 2 of them control; learned+calibration-1 for 4" in (
        done.output
    )
    assert "Calibration after round 2: 8 runs, 4 elements" in done.output
    assert "Electronic steps saved by round" in done.output
    assert re.search(r"steps saved\s+30.0 %\s+50.0 %", done.output)
    assert re.search(r"calibrated with\s+–\s+4 runs, 4 elements", done.output)

    told = campaign("status", spec, "--out", out)
    assert "8 of 8 materials are finished" in told.output
    assert "Round 2 of 2: 4 of 4 materials are finished" in told.output
    numbers = json.loads(campaign("status", spec, "--out", out, "--json").stdout)
    assert numbers["rounds"][1] == {"round": 2, "materials": 4, "finished": 4}

    found = json.loads(campaign("report", spec, "--out", out, "--json").stdout)
    assert found["arms"]["learned+calibration-1"]["n_materials"] == 2
    assert [one["saving"] for one in found["rounds"]] == pytest.approx([0.3, 0.5])
    first, second = found["rounds"]
    assert first["calibration_runs"] == []
    assert sorted(second["calibration_runs"]) == sorted(read_records(out)[0].materials)
    assert json.loads((out / "summary.json").read_text())["rounds"] == found["rounds"]
    page = (out / "report.html").read_text()
    assert "<h2>Steps saved by round</h2>" in page
    assert "4 runs, 4 elements" in page


def _is_free(folder):
    """Whether the workers of a killed campaign have ended."""
    try:
        with local.locked(folder), local.locked(folder / ROUNDS):
            return True
    except local.FolderError:
        return False


@pytest.mark.gpaw
@pytest.mark.slow
def test_six_crystals_in_two_rounds(tmp_path):
    """The whole of it, killed once, with runs at a cutoff that the model was not trained with."""
    pytest.importorskip("gpaw", reason="needs the gpaw extra")
    found = {}
    for name, edge in ROCK_SALT.items():
        elements = re.findall("[A-Z][a-z]?", name)
        cell = Structure.from_spacegroup(
            "Fm-3m", Lattice.cubic(edge), elements, [[0, 0, 0], [0.5, 0.5, 0.5]]
        )
        found[name] = Structure.from_sites(cell.get_primitive_structure())
    write_crystals(tmp_path / "structures.json", found)
    keys = {"incar": {"ENCUT": 420}, "kpoints": {"reciprocal_density": 8}}
    spec = write_spec(
        tmp_path, structures="structures.json", rounds={"number": 2, "control": 0.5}, **keys
    )
    out = tmp_path / "out"
    command = [sys.executable, "-c", "from mlcharge_flows.cli.app import main; main()"]
    command += ["campaign", "run", str(spec), "--workers", "1", "--out", str(out)]
    killed = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    until(lambda: record_path(out, 2).exists() or killed.poll() is not None)
    killed.kill()
    killed.wait()
    before = {p: p.read_bytes() for p in [*out.glob("rounds/*"), *out.glob("*/comparison.json")]}
    assert len(before) >= 4 + 3
    until(lambda: _is_free(out))
    done = campaign("run", spec, "--workers", 2, "--out", out)
    assert done.exit_code == 0, done.output
    assert {path: path.read_bytes() for path in before} == before
    first, second = read_records(out)
    assert {a.arm for a in first.materials.values()} == {"default"}, "another cutoff"
    reasons = {a.reason for a in first.materials.values()}
    assert all("was trained at ENCUT = 350 eV, the run has 420 eV" in one for one in reasons)
    made = read_calibration_runs(out, 1)
    assert made.runs.keys() == first.materials.keys()
    calibration = read_calibration(out / ROUNDS / "calibration-1.json")
    assert calibration.encut == 420
    assert {run.name for run in calibration.runs} <= first.materials.keys()
    assert "learned+calibration-1" in second.sources
    results = json.loads((out / "summary.json").read_text())
    assert results["n_materials"] == 6
    assert results["rounds"][1]["n_control"] == 2
    again = campaign("run", spec, "--workers", 1, "--out", out)
    assert again.exit_code == 0
    assert again.output.count("3 of 3 materials are finished already") == 2
