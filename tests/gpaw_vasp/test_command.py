"""The executable as a user or a workflow manager meets it: exit status, messages, bad input."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("gpaw", reason="needs the gpaw extra")

from pymatgen.io.vasp.inputs import Kpoints

from mlcharge_flows.vasp.chgcar import read_chgcar
from mlcharge_flows.vasp.chgcar_writer import write_chgcar

pytestmark = pytest.mark.gpaw

COMMAND = [sys.executable, "-c", "from mlcharge_flows.gpaw_vasp.command import main; main()"]


#: A run of a second: what it computes does not matter here.
QUICK = {"ENCUT": 150, "kpoints": Kpoints.gamma_automatic((1, 1, 1))}


@pytest.fixture
def finished(run_folder, gpaw_vasp):
    folder = run_folder("Si", "finished", **QUICK)
    assert gpaw_vasp(folder).exit_code == 0
    return folder


def refused(result):
    """The one line of a refusal."""
    assert result.exit_code == 2, result.stderr
    assert "Traceback" not in result.stderr + result.stdout
    (line,) = result.stderr.strip().splitlines()
    return line


@pytest.mark.parametrize(
    ("name", "content"),
    # An INCAR without tags is not bad input: it means VASP's defaults.
    [("INCAR", None)]
    + [(name, text) for name in ("POSCAR", "POTCAR") for text in (None, "", "nonsense\n\x00")],
)
def test_missing_empty_and_garbled_inputs(name, content, run_folder, gpaw_vasp):
    folder = run_folder("Si")
    (folder / name).unlink()
    if content is not None:
        (folder / name).write_text(content)
    assert name in refused(gpaw_vasp(folder))


def test_overlapping_ions(run_folder, gpaw_vasp):
    folder = run_folder("Si")
    lines = (folder / "POSCAR").read_text().splitlines()
    lines[-1] = lines[-2]
    (folder / "POSCAR").write_text("\n".join(lines) + "\n")
    assert "POSCAR" in refused(gpaw_vasp(folder))


def test_potcar_of_another_element(run_folder, gpaw_vasp):
    folder = run_folder("Si")
    (folder / "POTCAR").write_text((run_folder("Cu", "other") / "POTCAR").read_text())
    assert "POTCAR" in refused(gpaw_vasp(folder))


def test_unsupported_physics(run_folder):
    """In a process of its own, as a workflow manager starts it."""
    result = subprocess.run(
        COMMAND,
        cwd=run_folder("Si", LSORBIT=True),
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert result.returncode == 2
    (line,) = result.stderr.strip().splitlines()
    assert "LSORBIT" in line
    assert f" ERROR: {line.removeprefix('gpaw-vasp: ')}" in result.stdout.splitlines()


def test_initial_densities_are_announced_as_by_vasp(finished, run_folder, gpaw_vasp):
    good = read_chgcar(finished / "CHGCAR")

    def run_with(folder_name, icharg=1, prepare=lambda path: None):
        folder = run_folder("Si", folder_name, ICHARG=icharg, NELM=6, **QUICK)
        prepare(folder / "CHGCAR")
        return gpaw_vasp(folder)

    read = run_with("read", prepare=lambda path: write_chgcar(path, good))
    line = f" charge-density read from file: {good.comment.split()[0]}"
    assert line in read.stdout.splitlines()

    missing = run_with("missing")
    assert missing.exit_code == 0
    assert "WARNING: chargedensity file is incomplete" in missing.stdout
    assert "read from file" not in missing.stdout

    def truncated(path):
        write_chgcar(path, good)
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])

    assert "chargedensity file is incomplete" in run_with("truncated", prepare=truncated).stdout

    def coarser(path):
        from dataclasses import replace

        write_chgcar(path, replace(good, total=good.total[::2, ::2, ::2]))

    assert "dimensions on CHGCAR file are different" in run_with("coarser", prepare=coarser).stdout

    def without_records(path):
        from dataclasses import replace

        write_chgcar(path, replace(good, augmentation=None))

    bare = run_with("bare", prepare=without_records)
    assert "PAW occupancies are missing on CHGCAR" in bare.stdout
    assert "charge-density read from file" not in bare.stdout

    def one_number_short(path):
        from dataclasses import replace

        records = (good.augmentation[0][:-1], *good.augmentation[1:])
        write_chgcar(path, replace(good, augmentation=records))

    assert "RD_RHO_PAW: ion  1 data corrupt" in run_with("short", prepare=one_number_short).stdout

    fixed = run_with("fixed", icharg=11)
    assert "charge density could not be read from file CHGCAR for ICHARG>10" in refused(fixed)


def test_the_chgcar_that_was_read_stays_until_the_run_ended(finished, run_folder, gpaw_vasp):
    good = read_chgcar(finished / "CHGCAR")
    folder = run_folder("Si", "again", ICHARG=1, LCHARG=False, **QUICK)
    write_chgcar(folder / "CHGCAR", good)
    assert gpaw_vasp(folder).exit_code == 0
    np.testing.assert_array_equal(read_chgcar(folder / "CHGCAR").total, good.total)


def test_a_killed_run_leaves_no_file_that_looks_whole(run_folder):
    folder = run_folder("TiO2", NELM=60, EDIFF=1e-14)
    process = subprocess.Popen(
        COMMAND, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    for line in process.stdout:
        if line.startswith("DAV:   1"):
            break
    process.kill()
    process.wait()
    assert (folder / "OSZICAR").exists()
    assert not (folder / "vasprun.xml").exists()
    assert not (folder / "OUTCAR").exists()
    for name in ("CHGCAR", "WAVECAR"):  # opened at the start, as by VASP
        assert (folder / name).read_bytes() == b""


def test_help_teaches():
    result = subprocess.run(
        [*COMMAND, "--help"], capture_output=True, text=True, check=True, timeout=60
    )
    assert "potcar" in result.stdout
    assert "PMG_VASP_PSP_DIR" in result.stdout


def test_the_short_form_of_help():
    result = subprocess.run(
        [*COMMAND, "potcar", "-h"], capture_output=True, text=True, check=True, timeout=60
    )
    assert "POTCAR" in result.stdout
