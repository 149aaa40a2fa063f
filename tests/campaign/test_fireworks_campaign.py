"""A campaign on workers that FireWorks itself starts, one of which dies."""

import csv
import json
from collections import Counter
from pathlib import Path

import pytest
from cluster import CHEAP, kill_all, until, write_spec, write_structures

pytestmark = [pytest.mark.gpaw, pytest.mark.slow]

MATERIALS = 12


def following(launchpad, fw_id):
    """Jobs that come after another in its workflow."""
    links = launchpad.get_wf_by_fw_id(fw_id).links
    found = set()
    waiting = list(links[fw_id])
    while waiting:
        found.add(child := waiting.pop())
        waiting += links.get(child, [])
    return found


def test_a_worker_is_killed_and_every_material_is_reported_once(cluster, tmp_path):
    pytest.importorskip("gpaw", reason="needs the gpaw extra")
    write_structures(tmp_path / "structures.json", MATERIALS)
    spec = write_spec(
        tmp_path, name="twelve", structures="structures.json", arms=["superposition"], **CHEAP
    )
    assert "12 workflows added" in cluster.mlcharge("campaign", "submit", spec)
    assert "0 workflows added, 12 were there" in cluster.mlcharge("campaign", "submit", spec)

    cluster.worker("gpu", "gpu")
    victim = cluster.worker("cpu-1", "cpu")
    cluster.worker("cpu-2", "cpu")
    launchpad = cluster.launchpad
    running = {"state": "RUNNING", "fworker.name": "cpu-1"}

    def in_vasp():
        for launch in launchpad.launches.find(running):
            job = launchpad.fireworks.find_one({"fw_id": launch["fw_id"]}, {"name": True})
            # Not before the executable speaks: a worker that dies while it still takes the job
            # leaves its workflow locked, and that is FireWorks' own affair.
            spoken = Path(launch["launch_dir"]).rglob("vasp.out")
            if job["name"].endswith(" run") and any(file.stat().st_size for file in spoken):
                return launch
        return None

    done = {"state": "COMPLETED", "fworker.name": "cpu-1"}
    until(lambda: launchpad.launches.count_documents(done) > 2)
    lost = until(in_vasp)
    kill_all(victim)

    # Its run is called lost when nothing was heard of it for a while, and given to another.
    ours = json.dumps({"fw_id": lost["fw_id"]})
    words = ["detect_lostruns", "--time", 5, "--rerun", "--query", ours]
    given_up = {"launch_id": lost["launch_id"], "state": "FIZZLED"}

    def rerun():
        cluster.command("lpad", *words)
        return launchpad.launches.count_documents(given_up)

    until(rerun, seconds=60)
    finished = {"metadata.campaign": "twelve", "state": "COMPLETED"}
    until(lambda: launchpad.workflows.count_documents(finished) == MATERIALS)

    printed = cluster.mlcharge("campaign", "report", spec, "--out", tmp_path / "report")
    assert "not finished" not in printed
    with (tmp_path / "report" / "materials.csv").open() as file:
        rows = list(csv.DictReader(file))
    reported = sorted((row["material_id"], row["arm"]) for row in rows)
    names = [f"m{number:02d}" for number in range(MATERIALS)]
    assert reported == [(name, arm) for name in names for arm in ("default", "superposition")]
    assert {(row["verified"], row["failure"]) for row in rows} == {("True", "")}
    summary = json.loads((tmp_path / "report" / "summary.json").read_text())
    assert summary["arms"]["superposition"]["n_materials"] == MATERIALS

    # Predictions ran on the one worker, VASP on the others; the lost run was run again.
    launches = list(launchpad.launches.find({"state": "COMPLETED"}))
    jobs = {job["fw_id"]: job for job in launchpad.fireworks.find({})}
    for launch in launches:
        expected = jobs[launch["fw_id"]]["spec"]["_category"]
        assert launch["fworker"]["name"].startswith(expected)
    # Between giving the lost run up and running it again FireWorks may take what follows it, which
    # may run after a failure; that is run again, too. Everything else ran once.
    times = Counter(launch["fw_id"] for launch in launches)
    assert times.keys() == jobs.keys()
    assert {fw_id for fw_id, n in times.items() if n > 1} <= following(launchpad, lost["fw_id"])
    again = launchpad.launches.find_one({"fw_id": lost["fw_id"], "state": "COMPLETED"})
    assert again["launch_dir"] != lost["launch_dir"]
    status = cluster.mlcharge("campaign", "status", spec)
    assert "12 of 12 materials submitted, 12 finished" in status
