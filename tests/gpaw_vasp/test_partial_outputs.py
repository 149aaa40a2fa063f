"""Files of a run whose ions move, while it goes on: no solver is needed."""

from __future__ import annotations

import re
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pymatgen.io.vasp.outputs import Oszicar, Outcar, Vasprun, Xdatcar
from synthetic_runs import electronic_steps, silicon

from mlcharge_flows.gpaw_vasp.oszicar import OszicarWriter, format_final
from mlcharge_flows.gpaw_vasp.outputs import PartialOutputs, contcar, write_outputs, xdatcar
from mlcharge_flows.gpaw_vasp.result import IonicStep, Motion
from mlcharge_flows.scf.count import count_run

if TYPE_CHECKING:
    from pathlib import Path

    from mlcharge_flows.gpaw_vasp.result import Run


def ionic_step(run: Run, number: int) -> IonicStep:
    """A geometry that is strained a little more in each step."""
    crystal = replace(run.crystal, lattice=run.crystal.lattice * (1 + 0.01 * number))
    steps = electronic_steps(9 - number)
    return IonicStep(
        crystal, steps, True, run.forces, run.stress, drift=np.full(3, 1e-4), change=-0.1 * number
    )


@pytest.fixture
def relaxation() -> Run:
    run = silicon()
    path = [ionic_step(run, number) for number in (1, 2, 3)]
    last = path[-1]
    return replace(run, crystal=last.crystal, steps=last.steps, path=path, relaxed=True)


def until(run: Run, count: int) -> Run:
    """What was known after a number of ionic steps."""
    last = run.path[count - 1]
    return replace(
        run, crystal=last.crystal, steps=last.steps, path=run.path[:count], relaxed=False
    )


def test_a_killed_run_leaves_its_complete_steps(tmp_path: Path, relaxation: Run) -> None:
    files = PartialOutputs(tmp_path)
    for count in (1, 2):
        files.write(until(relaxation, count))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        vasprun = Vasprun(
            tmp_path / "vasprun.xml", parse_potcar_file=False, exception_on_bad_xml=False
        )
        outcar = Outcar(tmp_path / "OUTCAR")
    assert [len(step["electronic_steps"]) for step in vasprun.ionic_steps] == [8, 7]
    assert outcar.final_energy == pytest.approx(relaxation.path[1].steps[-1].energy_zero)
    assert len(Xdatcar(tmp_path / "XDATCAR").structures) == 2
    assert (tmp_path / "CONTCAR").read_text() == contcar(until(relaxation, 2))
    counted = count_run(tmp_path)
    assert counted.n_total == 8
    assert counted.failure is not None
    assert counted.failure.startswith("did not finish")


def test_partial_files_are_the_beginning_of_the_whole_ones(tmp_path: Path, relaxation: Run) -> None:
    files = PartialOutputs(tmp_path)
    for count in (1, 2):
        files.write(until(relaxation, count))
    partial = {name: (tmp_path / name).read_text() for name in ("OUTCAR", "vasprun.xml")}
    write_outputs(tmp_path, relaxation)
    for name, text in partial.items():
        assert (tmp_path / name).read_text().startswith(text)


def test_every_ionic_step_is_parsed(tmp_path: Path, relaxation: Run) -> None:
    write_outputs(tmp_path, relaxation)
    with OszicarWriter(tmp_path / "OSZICAR") as oszicar:
        for number, step in enumerate(relaxation.path, 1):
            if number > 1:
                oszicar.begin()
            for electronic in step.steps:
                oszicar.write(electronic)
            oszicar.finish(step.steps[-1], number, step.change)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        vasprun = Vasprun(tmp_path / "vasprun.xml", parse_potcar_file=False)
        outcar = Outcar(tmp_path / "OUTCAR")
    steps = Oszicar(tmp_path / "OSZICAR")
    assert [len(electronic) for electronic in steps.electronic_steps] == [8, 7, 6]
    assert [step["dE"] for step in steps.ionic_steps] == pytest.approx([-0.1, -0.2, -0.3])
    volumes = [step.crystal.volume for step in relaxation.path]
    np.testing.assert_allclose([s.volume for s in vasprun.structures], volumes)
    assert outcar.data["drift"] == [[1e-4] * 3] * 3
    assert vasprun.initial_structure.volume == pytest.approx(volumes[0])
    assert vasprun.final_structure.volume == pytest.approx(volumes[-1])
    assert vasprun.eigenvalues is not None
    counted = count_run(tmp_path)
    assert (counted.n_total, counted.failure) == (8, None)


def test_motion_closes_the_ionic_step_as_vasp_does() -> None:
    step = electronic_steps()[-1]
    line = format_final(step, 7, motion=Motion(0.0775, 300.4, -0.012))
    assert re.fullmatch(
        r"    7 T=   300\. E= -\.\d{8}E\+02 F= -\.\d{8}E\+02 E0= -\.\d{8}E\+02"
        r"  EK= 0\.77500E-01 SP= -\.12E-01 SK= 0\.00E\+00",
        line,
    )


def test_xdatcar_repeats_the_cell_only_where_it_changes(relaxation: Run) -> None:
    still = [replace(step, crystal=relaxation.crystal) for step in relaxation.path]
    assert xdatcar(relaxation).count("   Si\n") == 3
    text = xdatcar(replace(relaxation, path=still))
    assert text.count("   Si\n") == 1
    assert text.count("Direct configuration=") == 3
    assert len(text.splitlines()) == 7 + 3 * 3
    every_second = replace(relaxation, path=still, parameters={"NBLOCK": 2})
    assert xdatcar(every_second).count("Direct configuration=     2") == 1
    assert xdatcar(replace(relaxation, path=())) == ""
