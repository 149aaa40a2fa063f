import json
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from atomate2.vasp.jobs.core import StaticMaker
from atomate2.vasp.powerups import update_user_incar_settings
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp import Incar, Poscar

from mlcharge_flows.atomate2.execution import potcar_hash
from mlcharge_flows.atomate2.handlers import DivergedDensityHandler, DivergedOrbitalsHandler
from mlcharge_flows.atomate2.jobs.comparison import count
from mlcharge_flows.atomate2.jobs.run import RunFromDensityMaker, _leave_out_added_tags
from mlcharge_flows.atomate2.schemas import RunProvenance
from mlcharge_flows.atomate2.sets.comparison import ComparisonSetGenerator
from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.density import Density
from mlcharge_flows.settings import Settings
from mlcharge_flows.sources import (
    InitialDensity,
    InitialDensityDocument,
    SourceError,
    Superposition,
)
from mlcharge_flows.vasp.chgcar_writer import write_chgcar

GRID = (20, 20, 20)


@pytest.fixture
def helium():
    return Structure(Lattice.cubic(3.0), ["He"], [[0, 0, 0]])


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A run folder, on a machine where nothing is needed but what the test gives."""
    monkeypatch.setattr(Settings, "activated", lambda self: nullcontext())
    run = tmp_path / "run"
    run.mkdir()
    monkeypatch.chdir(run)
    return run


@pytest.fixture
def document(tmp_path, helium):
    path = tmp_path / "CHGCAR"
    crystal = Crystal.from_structure(helium)
    write_chgcar(path, Density(crystal, np.full(GRID, 2.0 / crystal.volume), (np.zeros(15),)))
    return InitialDensityDocument(
        density_source="file", path=str(path), comment="c", grid=GRID, preparation_time=2.0
    )


def static(**incar):
    # No POTCAR is needed to look at the inputs; no VASP either.
    return StaticMaker(
        input_set_generator=ComparisonSetGenerator(
            user_incar_settings={"NGXF": 20, "NGYF": 20, "NGZF": 20, **incar}
        ),
        write_input_set_kwargs={"potcar_spec": True},
        run_vasp_kwargs={"job_type": "direct", "vasp_cmd": "false"},
    )


def run(maker, structure, document=None):
    return maker.make.original(maker, structure, None, document=document)


def test_the_chgcar_is_there_before_vasp_starts(folder, helium, document):
    maker = RunFromDensityMaker(maker=static(), on_error="record")
    run(maker, helium, document)
    incar = Incar.from_file("INCAR")
    assert (incar["ICHARG"], incar["ISTART"], incar["LMAXMIX"]) == (1, 0, 4)
    assert (incar["NGXF"], incar["NGYF"], incar["NGZF"]) == GRID
    assert Path("CHGCAR").read_bytes() == Path(document.path).read_bytes()
    assert RunProvenance.read(folder).initial_density == document


def test_arms_differ_in_icharg_only(folder, helium, document):
    incars = []
    for icharg, given in ((2, None), (1, document)):
        maker = RunFromDensityMaker(maker=static(), icharg=icharg, on_error="record")
        run(maker, helium, given)
        incars.append(dict(Incar.from_file("INCAR")))
    assert [incar.pop("ICHARG") for incar in incars] == [2, 1]
    assert incars[0] == incars[1]


def test_the_grid_is_pinned_where_the_user_did_not(folder, helium):
    plain = static()
    plain.input_set_generator.user_incar_settings = {}
    run(RunFromDensityMaker(maker=plain, icharg=2, on_error="record"), helium)
    assert Incar.from_file("INCAR")["NGXF"] == 28
    assert plain.input_set_generator.user_incar_settings == {}, "the inner Maker stays as it is"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (None, "no initial density was written"),
        ({"failure": "x: no such file"}, "x: no such file"),
        ({"path": "p", "grid": (1, 2, 3)}, "on grid (1, 2, 3)"),
    ],
)
def test_without_its_initial_density_nothing_runs(folder, helium, given, reason):
    if given is not None:
        given = InitialDensityDocument(density_source="file", **given)
    with pytest.raises(SourceError) as error:
        run(RunFromDensityMaker(maker=static()), helium, given)
    assert reason in str(error.value)
    assert not Path("INCAR").exists()


def test_a_failed_run_can_be_counted(folder, helium):
    given = InitialDensityDocument(density_source="file", failure="x: no such file")
    response = run(RunFromDensityMaker(maker=static(), on_error="record"), helium, given)
    counted = count.original(response.output.dir_name)
    assert counted.failure == "no initial density: x: no such file"
    assert counted.folder == str(folder)


def test_a_crash_is_told_with_its_cause(folder, helium, document):
    maker = static()
    maker.run_vasp_kwargs |= {"job_type": "normal", "handlers": ()}
    response = run(RunFromDensityMaker(maker=maker, on_error="record"), helium, document)
    counted = count.original(response.output.dir_name)
    assert "Validation failed" in RunProvenance.read(folder).failure, "what adds nothing"
    assert counted.failure == "the executable wrote nothing"
    assert counted.preparation_time == 2.0
    assert counted.expected_comment == "c"


BOX = """
 -----------------------------------------------------------------------------
|                                                                             |
|     EEEEEEE  RRRRRR   RRRRRR   OOOOOOO  RRRRRR      ###     ###     ###     |
|                                                                             |
|     Error reading item NCORE from file INCAR.                               |
|                                                                             |
|       ---->  I REFUSE TO CONTINUE WITH THIS SICK JOB ... BYE!!! <----       |
 -----------------------------------------------------------------------------
"""


@pytest.mark.parametrize(
    ("stdout", "stderr", "words"),
    [
        (BOX, "", "no electronic step: Error reading item NCORE from file INCAR."),
        ("running\n", "slurmstepd: error: oom_kill event\n", "slurmstepd: error: oom_kill event"),
        (
            "running on 4 cores\n",
            "forrtl: severe (174): SIGSEGV\nImage    PC       Routine\nvasp_std 00A1 Unknown\n",
            "no electronic step: forrtl: severe (174): SIGSEGV",
        ),
    ],
)
def test_a_failed_run_shows_the_last_words_of_the_executable(
    folder, helium, document, tmp_path, stdout, stderr, words
):
    """Not those of the validator, which finds no vasprun.xml."""
    program = tmp_path / "vasp_std"
    program.write_text(f"#!/bin/sh\ncat <<'E'\n{stdout}E\ncat >&2 <<'E'\n{stderr}E\nexit 1\n")
    program.chmod(0o755)
    maker = static()
    maker.run_vasp_kwargs = {"vasp_cmd": str(program), "handlers": ()}
    with pytest.raises(Exception, match="Validation failed") as error:
        run(RunFromDensityMaker(maker=maker), helium, document)
    (note,) = error.value.__notes__
    assert words in note
    assert RunProvenance.read(folder).failure.startswith(note.removeprefix("mlcharge: "))
    counted = count.original(str(folder))
    assert words in counted.failure
    assert "Validation" not in counted.failure


@pytest.mark.parametrize(
    ("written", "raised", "failure"),
    [
        ("", "ValueError: x", "the executable wrote nothing: ValueError: x"),
        ("something", "ValueError: x", "no electronic step: something; ValueError: x"),
        ("something", "ValidationError: Validation failed: Some", "no electronic step"),
        (
            "something",
            "ValidationError: 1 error for X",
            "no electronic step: something; ValidationError: 1",
        ),
        (" ERROR: bad\n", "ValueError: x", "stopped: ERROR: bad"),
    ],
)
def test_what_python_raised_is_a_detail_of_what_vasp_wrote(folder, written, raised, failure):
    (folder / "vasp.out").write_text(written)
    RunProvenance(icharg=2, failure=raised).write(folder)
    assert count.original(str(folder)).failure.startswith(failure)
    (folder / "std_err.txt").write_text("forrtl: why\n")
    if not written:
        failure = "the executable wrote nothing: forrtl: why; ValueError: x"
        assert count.original(str(folder)).failure == failure


def test_no_document_at_all():
    assert count.original(None).failure == "the run left no document"


def test_makers_survive_serialization_and_power_ups():
    maker = RunFromDensityMaker(maker=static(), icharg=11)
    again = RunFromDensityMaker.from_dict(json.loads(json.dumps(maker.as_dict(), default=str)))
    assert again.icharg == 11
    assert isinstance(again.maker, StaticMaker)
    changed = update_user_incar_settings(maker, {"ENCUT": 400})
    assert changed.maker.input_set_generator.user_incar_settings["ENCUT"] == 400


@pytest.mark.parametrize("own", [{}, {"NELMDL": -7}, {"NELMDL": -1}])
@pytest.mark.parametrize("handler", [DivergedOrbitalsHandler, DivergedDensityHandler])
def test_a_restart_has_the_delay_of_the_input_set(folder, helium, document, own, handler):
    """The delay of orbitals is too short without them; a delay of the user's own is not lost."""
    initial = InitialDensity(Superposition(), n_delay=1)
    maker = RunFromDensityMaker(maker=static(**own), initial_density=initial, on_error="record")
    run(maker, helium, document)
    assert Incar.from_file("INCAR")["NELMDL"] == -1
    handler().correct(str(folder))
    assert Incar.from_file("INCAR").get("NELMDL") == own.get("NELMDL")
    provenance = RunProvenance.read(folder)
    assert "NELMDL" not in {**provenance.added_tags, **provenance.replaced_tags}


def test_a_run_that_inherits_an_incar_has_the_delay_of_the_input_set(folder, helium, document):
    initial = InitialDensity(Superposition(), n_delay=1)
    maker = RunFromDensityMaker(maker=static(NELMDL=-7), initial_density=initial, on_error="record")
    run(maker, helium, document)
    for inherited, delay in ((True, -7), (["NELMDL"], -7), (["ENCUT"], None), (False, None)):
        generator = ComparisonSetGenerator()
        generator.inherit_incar = inherited
        _leave_out_added_tags(generator, folder)
        assert generator.user_incar_settings.get("NELMDL") == delay
        assert not generator.inherit_incar or "NELMDL" not in generator.inherit_incar


class _DataSet(str):
    """A PAW data set as pymatgen holds it: its text, and the element."""

    element = "He"


@pytest.mark.parametrize("icharg", [2, None, 1])
def test_two_data_sets_of_one_element_run_from_atoms(folder, helium, icharg, tiny, monkeypatch):
    """Only what needs an initial density is refused, with a line that says why."""
    datasets = [replace(tiny.atom("He", 2.0), titel=f"PAW_PBE {name} test") for name in "ab"]
    monkeypatch.setattr(
        "mlcharge_flows.sources.run_inputs.datasets_of_text",
        lambda text: [datasets["ab".find(text)]],
    )
    made = {"POSCAR": Poscar(helium), "POTCAR": [_DataSet("a"), _DataSet("b")]}
    made["INCAR"] = Incar({"ENCUT": 200, "PREC": "Normal"})
    provenance = RunProvenance(icharg=icharg)
    maker = RunFromDensityMaker(initial_density=InitialDensity(Superposition()), icharg=icharg)
    if icharg == 1:
        with pytest.raises(SourceError, match="two PAW data sets of He"):
            maker._stage(made, provenance, folder, None)
        return
    maker._stage(made, provenance, folder, None)
    assert provenance.execution["POTCAR of He"] == f"{potcar_hash('a')}+{potcar_hash('b')}"
    assert made["INCAR"].get("ICHARG", 2) == 2
    if icharg is None:
        assert "two PAW data sets of He" in provenance.initial_density.failure
