"""The executable of a killed worker is ended, in whatever session it is."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from mlcharge_flows.atomate2.run_processes import MARK, end_processes, run_processes

WORKER = """
import subprocess, sys, time
from pathlib import Path
from mlcharge_flows.atomate2.run_processes import run_processes
with run_processes(Path(sys.argv[1])):
    # A launcher with a rank of its own, in a session of their own, as custodian starts them.
    launcher = "sleep 300 & echo $! $$ > pids; wait"
    subprocess.Popen(["sh", "-c", launcher], start_new_session=True, cwd=sys.argv[1])
    time.sleep(300)
"""


def until(condition, seconds=30):
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit, "nothing happened"
        time.sleep(0.05)


def alive(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


@pytest.fixture
def worker(tmp_path):
    """A worker process whose executable runs, and the processes of that."""
    process = subprocess.Popen([sys.executable, "-c", WORKER, str(tmp_path)])
    until(lambda: (tmp_path / "pids").exists() and (tmp_path / "pids").read_text().endswith("\n"))
    pids = [int(word) for word in (tmp_path / "pids").read_text().split()]
    yield process, pids
    process.kill()
    process.wait()
    end_processes(tmp_path)


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_the_executable_of_a_killed_worker_is_ended(worker, number):
    process, pids = worker
    assert all(alive(pid) for pid in pids)
    process.send_signal(number)
    process.wait()
    until(lambda: not any(alive(pid) for pid in pids))


def test_processes_of_a_folder_are_ended_and_no_others(worker, tmp_path):
    _, pids = worker
    assert end_processes(tmp_path / "other") == 0
    assert end_processes(tmp_path.with_name(tmp_path.name[:-1])) == 0
    assert end_processes(tmp_path, of_campaign=True) == 0
    assert end_processes(tmp_path.parent.parent, of_campaign=True) == 0, "of a campaign in it"
    assert all(alive(pid) for pid in pids)
    assert end_processes(tmp_path.parent, of_campaign=True) >= len(pids)
    assert not any(alive(pid) for pid in pids)


def test_the_environment_is_as_before(tmp_path):
    before, children = dict(os.environ), psutil.Process().children()
    with run_processes(tmp_path):
        assert os.environ[MARK] == str(tmp_path)
        watched = psutil.Process().children()
        assert len(watched) == len(children) + 1
        with run_processes(tmp_path / "job"):
            assert psutil.Process().children() == watched, "one watcher for all runs of a material"
    assert dict(os.environ) == before
    assert psutil.Process().children() == children
