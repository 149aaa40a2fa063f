"""What killed processes leave goes when the same file is written again."""

import os
import subprocess
import sys
from time import time

import pytest

from mlcharge_flows.io import atomic_path, atomic_write
from mlcharge_flows.partial_files import new_partial

KILLED = """
import os, signal, sys
from mlcharge_flows.io import atomic_path
with atomic_path(sys.argv[1]) as partial:
    partial.write_text("half")
    os.kill(os.getpid(), signal.SIGKILL)
"""


def partials(folder):
    return sorted(path.name for path in folder.iterdir() if path.name.endswith(".partial"))


def killed(path):
    assert subprocess.run([sys.executable, "-c", KILLED, str(path)]).returncode == -9
    (left,) = partials(path.parent)
    return left


def test_parts_of_killed_processes_do_not_accumulate(tmp_path):
    path = tmp_path / "dataset.h5"
    first = killed(path)
    assert killed(path) != first
    atomic_write(tmp_path / "other.json", "{}")
    assert len(partials(tmp_path)) == 1, "of another file"
    atomic_write(path, "whole")
    assert partials(tmp_path) == []
    assert path.read_text() == "whole"


def test_parts_that_are_being_written_stay(tmp_path):
    path = tmp_path / "CHGCAR"
    own = new_partial(path)
    running = own.with_name(own.name.replace(f"-{os.getpid()}-", f"-{os.getppid()}-"))
    elsewhere = own.with_name(f".0badcafe{own.name[9:]}")
    assert running != own != elsewhere
    for partial in (running, elsewhere):
        partial.write_text("half")
    with atomic_path(path) as partial:
        partial.write_text("whole")
        assert new_partial(path) == partial
        assert partial.exists()
    assert partials(tmp_path) == sorted([running.name, elsewhere.name])


@pytest.mark.parametrize("name", [".0badcafe{}", ".77-{}"], ids=["elsewhere", "earlier"])
@pytest.mark.parametrize("is_folder", [False, True])
def test_parts_of_unknown_machines_go_after_a_day(tmp_path, name, is_folder):
    path = tmp_path / "CHGCAR"
    ending = new_partial(path).name
    left = tmp_path / name.format(ending[9:] if "cafe" in name else ending[-16:])
    left.mkdir() if is_folder else left.write_text("half")
    assert new_partial(path)
    assert left.exists()
    os.utime(left, (time() - 90_000, time() - 90_000))
    assert new_partial(path)
    assert not left.exists()
