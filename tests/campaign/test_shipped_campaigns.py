"""The campaigns in workflows/ are what their README says."""

import json
import os
import subprocess
import sys

import pytest
import yaml
from cluster import HERE
from typer.testing import CliRunner

from mlcharge_flows.campaign.spec import SpecError, campaign_maker, read_spec
from mlcharge_flows.cli.app import app
from mlcharge_flows.structures import read_structures

WORKFLOWS = HERE.parents[1] / "workflows"
CAMPAIGNS = ["charge3net_mp_benchmark", "static_campaign", "band_structures"]
BENCHMARK = WORKFLOWS / "charge3net_mp_benchmark"


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_a_campaign_is_complete_and_short(name):
    folder = WORKFLOWS / name
    assert len((folder / "README.md").read_text(encoding="utf-8").splitlines()) <= 12
    for script in ("slurm.sh", "fireworks.sh"):
        text = (folder / script).read_text(encoding="utf-8")
        subprocess.run(["bash", "-n", folder / script], check=True)
        for words in (line.split() for line in text.splitlines() if "mlcharge campaign" in line):
            words = words[words.index("campaign") :]
            assert words[1] in ("run", "submit", "status", "report")
            assert (folder / words[2]).is_file()


@pytest.mark.parametrize("path", sorted(WORKFLOWS.glob("*/SPEC*.yaml")), ids=str)
def test_a_spec_can_be_built(path):
    spec = read_spec(path)
    try:
        maker = campaign_maker(spec)
    except SpecError as error:
        assert "learned" in " ".join(spec.arms)
        pytest.skip(f"no model is installed: {error}")
    assert maker.arms
    assert len(maker.protocol) == 12


def test_the_crystals_of_a_campaign_in_rounds(tmp_path):
    pytest.importorskip("torch", reason="needs the models extra")
    folder, out = WORKFLOWS / "campaign_rounds", tmp_path / "structures.json.gz"
    pool = HERE.parents[1] / "test_files" / "benchmark" / "test_structures.json.gz"
    subprocess.run(["sh", "-n", folder / "run.sh"], check=True)
    words = [sys.executable, folder / "choose.py", pool, "--number", "3", "--out", out]
    subprocess.run(words, check=True)
    chosen, problems = read_structures([out])
    assert (len(chosen), problems) == (3, [])
    assert all(len(material.structure) <= 8 for material in chosen)


def test_the_configuration_of_a_cluster_is_what_fireworks_and_jobflow_read():
    pytest.importorskip("fireworks", reason="needs the fireworks extra")
    from fireworks.core.fworker import FWorker
    from fireworks.user_objects.queue_adapters.common_adapter import CommonAdapter
    from jobflow import JobStore

    folder = WORKFLOWS / "cluster"
    for name in ("gpu", "cpu"):
        worker = FWorker.from_file(str(folder / f"{name}_fworker.yaml"))
        assert (worker.name, worker.category) == (name, name)
    adapter = CommonAdapter.from_file(str(folder / "my_qadapter.yaml"))
    assert "rlaunch -l my_launchpad.yaml" in adapter.get_script_str("/tmp")
    settings = yaml.safe_load((folder / "jobflow.yaml").read_text())
    assert "data" in JobStore.from_dict_spec(settings["JOB_STORE"]).additional_stores
    assert set(yaml.safe_load((folder / "FW_config.yaml").read_text())) == {
        "PING_TIME_SECS",
        "RUN_EXPIRATION_SECS",
    }


def test_fetching_needs_a_key(tmp_path):
    (tmp_path / "mp").mkdir()
    (tmp_path / "mp" / "split.json").write_text('{"test": [0]}')
    (tmp_path / "mp" / "filelist.txt").write_text("mp-1\n")
    (tmp_path / "mpid_to_task_id_map.json").write_text('{"mp-1": "mp-2"}')
    environment = {k: v for k, v in os.environ.items() if k != "MP_API_KEY"}
    done = subprocess.run(
        [sys.executable, BENCHMARK / "fetch.py", tmp_path, "--out", tmp_path / "out.json"],
        env={**environment, "HOME": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("fetch.py: ")
    assert "mp-api" in done.stderr or "MP_API_KEY" in done.stderr
    assert not (tmp_path / "out.json").exists()


@pytest.mark.gpaw
@pytest.mark.slow
def test_the_published_benchmark_on_three_materials(tmp_path):
    pytest.importorskip("gpaw", reason="needs the gpaw extra")
    keys = yaml.safe_load((BENCHMARK / "SPEC.nonmagnetic.yaml").read_text())
    keys["structures"] = str(BENCHMARK / keys["structures"])
    keys |= {"arms": ["superposition", "converged"], "limit": 3}
    keys["incar"] |= {"ENCUT": 200, "ISMEAR": 0}  # a third of the time; one k-point
    keys["kpoints"] = {"reciprocal_density": 1}
    spec = tmp_path / "SPEC.yaml"
    spec.write_text(yaml.safe_dump(keys))
    out = tmp_path / "out"
    done = CliRunner().invoke(app, ["campaign", "run", str(spec), "--out", str(out)])
    assert done.exit_code == 0, done.output
    summary = json.loads((out / "summary.json").read_text())
    assert summary["arms"]["superposition"]["n_materials"] == 3
    assert summary["arms"]["converged"]["ratio_of_medians"] > 0.2
    table = subprocess.run(
        [sys.executable, BENCHMARK / "table.py", out / "summary.json"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert table.startswith("| steps | published | superposition | converged |")
    (row,) = (line for line in table.splitlines() if line.startswith("| median |"))
    assert "15 → 11" in row
