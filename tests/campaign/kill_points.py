"""Campaigns that are killed at random points, and what must hold of them afterwards.

    python tests/campaign/kill_points.py local 150 --seed 1

A stand-in for VASP takes a moment and leaves the outputs of a finished run. Campaigns run as copies
of this process (fork), so that a point takes seconds: the imports are done. A kill is a SIGKILL, at
a random time, of the campaign, of one of its workers, of the executable, or of all at once.
"""

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
import traceback
from functools import partial
from pathlib import Path

import psutil
import yaml
from cluster import CRYSTALS, HERE
from pymatgen.core import Structure

from mlcharge_flows.atomate2.flows.compare import CompareDensitiesMaker
from mlcharge_flows.atomate2.run_processes import MARK
from mlcharge_flows.atomate2.sets.comparison import ComparisonSetGenerator
from mlcharge_flows.campaign import pool
from mlcharge_flows.campaign.local import FolderError, read_results, run_locally
from mlcharge_flows.sources import parse_arms
from mlcharge_flows.structures import Material
from mlcharge_flows.testing import fake_vasp

#: At most so many seconds for a campaign that nothing disturbs: one that takes longer is stuck.
PATIENCE = 180
#: Longest time until a kill, s: a campaign clears what was left, begins, runs.
DELAYS = (0.4, 2.0, 8.0)
VICTIMS = ("campaign", "campaign", "worker", "worker", "executable", "all")

# Two executables of one local material at once would be a second try beside the first.
EXECUTABLE = """#!{python} -I
import fcntl, os, random, time
from pathlib import Path
lock = os.open(Path.cwd().parent / ".running", os.O_CREAT | os.O_WRONLY)
try:
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    Path("{log}").open("a").write(f"{{os.getcwd()}}\\n")
time.sleep(random.uniform(0.05, 0.4))
os.set_inheritable(lock, True)
os.execv("{vasp}", ["{vasp}"])
"""


def materials(count):
    crystal = Structure.from_file(CRYSTALS / "Si.vasp")
    strained = []
    for number in range(count):
        one = crystal.copy()
        one.scale_lattice(crystal.volume * (1 + 0.01 * number))
        strained.append(Material(f"m{number}", Structure.from_sites(one), Path("test")))
    return strained


def campaign_maker():
    maker = CompareDensitiesMaker(initial_densities=parse_arms(["superposition"]))
    maker.static_maker.input_set_generator = ComparisonSetGenerator(
        user_incar_settings={"ENCUT": 200, "EDIFF": 1e-3},
        user_kpoints_settings={"reciprocal_density": 1},
    )
    maker.static_maker.run_vasp_kwargs = {
        "custodian_kwargs": {"polling_time_step": 0.05, "monitor_freq": 1}
    }
    return maker


def install(folder, outputs):
    """The stand-in for VASP, in the environment of this process; its log of second tries."""
    folder.mkdir(exist_ok=True)
    log, vasp = folder / "second_tries", fake_vasp.install(folder)
    command = folder / "vasp_slow"
    command.write_text(EXECUTABLE.format(python=sys.executable, log=log, vasp=vasp))
    command.chmod(0o755)
    os.environ |= {"MLCHARGE_VASP_CMD": str(command), "FAKE_VASP_OUTPUTS": str(outputs)}
    os.environ["FAKE_VASP_FAULT"] = ""
    return log


def forked(work):
    """Process that does some work and ends; in a copy of this one."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            os.setsid()
            quiet = os.open(os.devnull, os.O_WRONLY)
            os.dup2(quiet, 1)
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(status)
    return psutil.Process(pid)


def ended(pid):
    """Exit status of a copy of this process; None while it runs."""
    try:
        found, status = os.waitpid(pid, os.WNOHANG)
    except ChildProcessError:  # it was waited for already
        return 0
    return None if found == 0 else status


def kill(main, victim, rng):
    """Kill a victim among the processes of a campaign; what was killed, None if there is none."""
    try:
        family = main.children(recursive=True)
        workers = main.children()
        executables = [p for p in family if "/vasp_s" in " ".join(p.cmdline())]
        choice = {"campaign": [main], "worker": workers, "executable": executables}
        targets = [main, *family] if victim == "all" else choice[victim]
        if not targets:
            return None
        for process in targets if victim == "all" else [rng.choice(targets)]:
            process.kill()
    except psutil.Error:
        return None
    return victim


def executables_below(folder):
    found = []
    for process in psutil.process_iter():
        try:
            mark = process.environ().get(MARK, "")
            if mark.startswith(str(folder)) and process.status() != psutil.STATUS_ZOMBIE:
                found.append((process.pid, process.cmdline()))
        except (psutil.Error, OSError):
            continue
    return found


def contents(folder):
    """Finished runs, but for those that failed by the fault of the machine and run again."""
    return {
        (found.material_id, arm): run.model_dump_json()
        for found in read_results(folder)
        for arm, run in found.arms.items()
        if not run.failed_by_machine
    }


class FaultError(AssertionError):
    """What must hold after a kill does not."""


def check(condition, text):
    if not condition:
        raise FaultError(text)


def kill_local(folder, rng, n_materials=3, n_kills=2):
    """Kill one campaign so many times at random points and resume it to its end.

    Gives the points: what was killed, and after how long.
    """
    pool.START_METHOD = "fork"
    asked, maker, points = materials(n_materials), campaign_maker(), []
    log = Path(os.environ["MLCHARGE_VASP_CMD"]).with_name("second_tries")
    before = {}

    def run():
        limit = time.monotonic() + 20
        while True:
            try:  # forked workers have a copy of the lock, and end a moment after the campaign
                return run_locally(asked, maker, folder, 2)
            except FolderError as error:
                if "another mlcharge" not in str(error) or time.monotonic() > limit:
                    raise
                time.sleep(0.05)

    for number in range(n_kills + 1):
        main = forked(run)
        started, status, killed = time.monotonic(), None, None
        delay = rng.uniform(0, rng.choice(DELAYS)) if number < n_kills else PATIENCE
        victim = rng.choice(VICTIMS)
        while status is None:
            status = ended(main.pid)
            passed = time.monotonic() - started
            if status is None and number < n_kills and killed is None and passed >= delay:
                killed = kill(main, victim, rng)
                if killed:
                    points.append((killed, round(passed, 2)))
            if passed > PATIENCE:
                for process in [main, *main.children(recursive=True)]:
                    process.kill()
                raise FaultError(f"stuck after {points}")
            time.sleep(0.01)
        if killed not in ("campaign", "all"):
            check(status == 0, f"status {status} after {points}: it does not resume")
        now = contents(folder)
        check(before.items() <= now.items(), f"a result was lost or changed after {points}")
        before = now
    found = read_results(folder)
    check([c.material_id for c in found] == [m.id for m in asked], f"lost materials: {points}")
    check(all(c.arms.keys() == set(maker.arms) for c in found), f"arms are lost: {points}")
    check_runs(found)
    check(not log.exists(), f"two tries at once: {log.read_text() if log.exists() else ''}")
    limit = time.monotonic() + 5
    while (left := executables_below(folder)) and time.monotonic() < limit:
        time.sleep(0.1)
    check(not left, f"left running: {left} after {points}")
    left = [path.name for path in folder.iterdir() if path.name.startswith((".begun", ".removed"))]
    check(not left, f"left in the folder: {left}")
    return points


class Server:
    """A MongoDB server for LaunchPads and job stores, each campaign with its own."""

    def __init__(self, folder):
        self.process = subprocess.Popen(
            [sys.executable, HERE / "mongo_server.py"], stdout=subprocess.PIPE, text=True
        )
        self.port = int(self.process.stdout.readline())
        self.count = 0
        settings = {"PING_TIME_SECS": 1, "WFLOCK_EXPIRATION_SECS": 10}
        (folder / "FW_config.yaml").write_text(
            yaml.safe_dump(settings | {"WFLOCK_EXPIRATION_KILL": True})
        )
        os.environ["FW_CONFIG_FILE"] = str(folder / "FW_config.yaml")

    def campaign(self):
        """Functions that connect a process to a LaunchPad and a job store of their own."""
        from fireworks import LaunchPad
        from jobflow import JobStore
        from maggma.stores import MongoStore

        self.count += 1
        server, name = {"host": "127.0.0.1", "port": self.port}, f"campaign{self.count}"

        def launchpad():
            made = LaunchPad(name=name, strm_lvl="CRITICAL", **server)
            made.m_logger.setLevel("CRITICAL")
            return made

        def store():
            docs, data = (
                MongoStore(database=name, collection_name=kind, **server)
                for kind in ("outputs", "data")
            )
            made = JobStore(docs, additional_stores={"data": data})
            made.connect()
            return made

        launchpad().reset(None, require_password=False)
        return launchpad, store


def check_runs(found):
    """Every arm has run, and no failure of the machine is final."""
    failures = {arm: run.failure for c in found for arm, run in c.arms.items()}
    runs = [run for comparison in found for run in comparison.arms.values()]
    check(all(run.n_total and not run.failed_by_machine for run in runs), f"final: {failures}")


def disturbed(workers, rng, finished, n_kills):
    """Let FireWorks' workers work, and kill one, an executable, or all, again and again."""
    started = last = time.monotonic()
    delay, victim, points = rng.uniform(0, rng.choice((0.5, 2, 4))), rng.choice(VICTIMS[2:]), []
    while workers := [one for one in workers if ended(one.pid) is None]:
        now = time.monotonic()
        if len(points) < n_kills and now - last >= delay:
            target = "campaign" if victim == "worker" else victim
            if kill(rng.choice(workers), target, rng):
                points.append((f"fw {victim}", round(now - started, 2)))
                last, delay, victim = now, rng.uniform(0, 3), rng.choice(VICTIMS[2:])
        if now - last > 12 or finished():  # what is left may wait for what died
            for one in workers:
                one.terminate()
                one.wait()
        time.sleep(0.05)
    return points


def kill_fireworks(folder, rng, server, n_materials=2, n_kills=8, lost_after=2):
    """Kill workers and submissions of one campaign so many times, and resume it to its end."""
    from fireworks import FWorker
    from fireworks.core.rocket_launcher import rapidfire
    from jobflow import SETTINGS

    from mlcharge_flows.campaign.documents import find_results
    from mlcharge_flows.campaign.fireworks_spec import FireWorksSpec
    from mlcharge_flows.campaign.launchpad import submit
    from mlcharge_flows.campaign.recovery import recover, retry

    asked, maker, points = materials(n_materials), campaign_maker(), []
    launchpad, store = server.campaign()
    folder.mkdir()

    def submission():
        submit(launchpad(), "killed", asked, maker, FireWorksSpec())

    def worker(number):
        def run():
            own = folder / f"worker-{number}"
            own.mkdir(exist_ok=True)
            SETTINGS.JOB_STORE = store()
            options = {"m_dir": str(own), "nlaunches": 0, "sleep_time": 1, "strm_lvl": "CRITICAL"}
            rapidfire(launchpad(), FWorker(name=str(number), category=["gpu", "cpu"]), **options)

        return forked(run)

    def results():
        return {c.material_id: c.model_dump_json() for c in find_results(store(), "killed")}

    def finished():
        states = [wf["state"] for wf in launchpad().workflows.find({}, {"state": True})]
        return len(states) == n_materials and set(states) == {"COMPLETED"}

    if rng.random() < 0.3:
        process, delay = forked(submission), rng.uniform(0, 0.3)
        time.sleep(delay)
        if ended(process.pid) is None:
            process.kill()
            os.waitpid(process.pid, 0)
            points.append(("submission", round(delay, 2)))
    began, before, tries, cut = time.monotonic(), {}, 0, 0
    while True:
        submission()
        recover(launchpad(), "killed", lost_after)
        retry(launchpad(), "killed", find_results(store(), "killed"), maker)
        if finished() and len(results()) == n_materials:
            break
        tries += 1
        check(tries < 2 * n_kills, f"stuck after {points}")
        workers = [worker(2 * tries + number) for number in range(2)]
        cut += len(found := disturbed(workers, rng, finished, n_kills - cut))
        points += found
        limit = time.monotonic() + lost_after
        while (left := executables_below(folder)) and time.monotonic() < limit:
            time.sleep(0.1)
        check(not left, f"left running: {left} after {points}")
        time.sleep(max(0.0, limit - time.monotonic()))
        now = results()
        counted = {name: text for name, text in before.items() if "killed" not in text}
        check(counted.items() <= now.items(), f"a result was lost or changed after {points}")
        before = now
        check(time.monotonic() - began < 4 * PATIENCE, f"stuck after {points}")
    found = find_results(store(), "killed")
    check_runs(found)
    return points


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kind", choices=["local", "fireworks"])
    parser.add_argument("points", type=int)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--outputs", type=Path, required=True, help="Folder of a finished run.")
    parser.add_argument("--log", type=Path)
    given = parser.parse_args()
    rng, points, faults, campaigns = random.Random(given.seed), [], [], 0
    with tempfile.TemporaryDirectory() as scratch:
        install(Path(scratch) / "bin", given.outputs)
        server = Server(Path(scratch)) if given.kind == "fireworks" else None
        runner = partial(kill_fireworks, server=server) if server else kill_local
        while len(points) < given.points:
            folder = Path(scratch) / f"campaign-{campaigns}"
            campaigns += 1
            try:
                points += (found := runner(folder, rng))
                text = f"{campaigns} campaigns, {len(points)} points: {found}"
            except Exception as error:
                faults.append(error)
                points.append(("fault", 0))
                text = f"{campaigns} FAULT {type(error).__name__}: {error}"
                kept = Path(tempfile.gettempdir()) / f"kill-fault-{given.seed}-{campaigns}"
                shutil.copytree(folder, kept, symlinks=True, dirs_exist_ok=True)
                (Path(scratch) / "bin" / "second_tries").unlink(missing_ok=True)
            shutil.rmtree(folder, ignore_errors=True)
            print(f"{time.strftime('%H:%M:%S')} {text}", flush=True)
        if server:
            server.process.kill()
    print(f"{len(points)} points in {campaigns} campaigns, {len(faults)} faults")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main())
