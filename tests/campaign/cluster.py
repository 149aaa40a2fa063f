"""A small cluster on one machine: database, job store, workers; and campaigns to run on it."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import yaml
from pymatgen.core import Structure

HERE = Path(__file__).parent
CRYSTALS = HERE.parents[1] / "test_files" / "crystals"

#: What gpaw-vasp does in a second or two.
CHEAP = {"incar": {"ENCUT": 200, "EDIFF": 1e-3}, "kpoints": {"reciprocal_density": 1}}


def until(condition, seconds=900):
    limit = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < limit, "nothing happened"
        time.sleep(0.1)
    return value


def write_structures(path, count, names=("Si",)):
    """Crystals of test_files, strained to as many materials."""
    entries = []
    for number in range(count):
        crystal = Structure.from_file(CRYSTALS / f"{names[number % len(names)]}.vasp")
        crystal.scale_lattice(crystal.volume * (1 + 0.01 * (number // len(names))))
        crystal = Structure.from_sites(crystal)
        entries.append({"material_id": f"m{number:02d}", "structure": crystal.as_dict()})
    path.write_text(json.dumps({"structures": entries}))


def write_spec(folder, **keys):
    path = folder / "SPEC.yaml"
    path.write_text(yaml.safe_dump(keys))
    return path


class Cluster:
    """Configuration files of a LaunchPad and a job store on a server, and processes that use them.

    Parameters
    ----------
    folder
        Where the files go.
    port
        Of the server.
    """

    def __init__(self, folder, port):
        self.folder = folder
        server = {"host": "127.0.0.1", "port": port}
        self.launchpad_file = folder / "my_launchpad.yaml"
        self.launchpad_file.write_text(yaml.safe_dump({**server, "name": "fireworks"}))
        # A run is lost when its worker has not been heard of: workers speak every second here.
        # A lock that a dead worker left is broken after seconds, not minutes.
        settings = {"PING_TIME_SECS": 1, "LAUNCHPAD_LOC": str(self.launchpad_file)}
        settings |= {"WFLOCK_EXPIRATION_SECS": 10, "WFLOCK_EXPIRATION_KILL": True}
        (folder / "FW_config.yaml").write_text(yaml.safe_dump(settings))
        store = {**server, "database": "jobflow"}
        docs = {**store, "type": "MongoStore", "collection_name": "outputs"}
        blobs = {**store, "type": "GridFSStore", "collection_name": "blobs"}
        (folder / "jobflow.yaml").write_text(
            yaml.safe_dump(
                {"JOB_STORE": {"docs_store": docs, "additional_stores": {"data": blobs}}}
            )
        )
        self.environment = {
            **os.environ,
            "FW_CONFIG_FILE": str(folder / "FW_config.yaml"),
            "JOBFLOW_CONFIG_FILE": str(folder / "jobflow.yaml"),
            "OMP_NUM_THREADS": "1",
        }
        self.processes = []

    def command(self, name, *words):
        """Run a program of the environment; what it printed."""
        return subprocess.run(
            [Path(sys.executable).parent / name, *map(str, words)],
            cwd=self.folder,
            env=self.environment,
            check=True,
            capture_output=True,
            text=True,
            timeout=120,
        ).stdout

    def mlcharge(self, *words):
        return self.command("mlcharge", *words)

    def worker(self, name, category):
        """A real ``rlaunch`` that takes the jobs of a category until it is killed."""
        folder = self.folder / name
        folder.mkdir()
        worker = {"name": name, "category": category, "query": "{}"}
        (folder / "my_fworker.yaml").write_text(yaml.safe_dump(worker))
        words = ["-l", self.launchpad_file, "-w", folder / "my_fworker.yaml", "--silencer"]
        words += ["rapidfire", "--nlaunches", "infinite", "--sleep", "1"]
        process = subprocess.Popen(
            [Path(sys.executable).parent / "rlaunch", *map(str, words)],
            cwd=folder,
            env=self.environment,
            stdout=(folder / "rlaunch.log").open("w"),
            stderr=subprocess.STDOUT,
        )
        self.processes.append(process)
        return process

    @property
    def launchpad(self):
        from fireworks import LaunchPad

        return LaunchPad.from_file(str(self.launchpad_file))


def kill_all(process):
    """SIGKILL a process and all that it started, which its death alone would not end."""
    import psutil

    try:
        family = [
            psutil.Process(process.pid),
            *psutil.Process(process.pid).children(recursive=True),
        ]
    except psutil.NoSuchProcess:
        return
    for member in family:
        try:
            member.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()
