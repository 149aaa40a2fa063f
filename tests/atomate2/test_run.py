import json
from contextlib import nullcontext
from pathlib import Path

import pytest
from atomate2.vasp.jobs.core import StaticMaker
from atomate2.vasp.powerups import update_user_incar_settings
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp import Incar

from mlcharge_flows.atomate2.jobs.count import count
from mlcharge_flows.atomate2.jobs.run import RunFromStartMaker
from mlcharge_flows.atomate2.provenance import StartRecord
from mlcharge_flows.atomate2.sets.comparison import ComparisonSetGenerator
from mlcharge_flows.settings import Settings
from mlcharge_flows.sources.start import StartDocument, StartError

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
def start(tmp_path):
    path = tmp_path / "CHGCAR"
    path.write_text("a density\n")
    return StartDocument(kind="file", path=str(path), comment="c", grid=GRID, seconds=2.0)


def static(**incar):
    # No POTCAR is needed to look at the inputs; no VASP either.
    return StaticMaker(
        input_set_generator=ComparisonSetGenerator(
            user_incar_settings={"NGXF": 20, "NGYF": 20, "NGZF": 20, **incar}
        ),
        write_input_set_kwargs={"potcar_spec": True},
        run_vasp_kwargs={"job_type": "direct", "vasp_cmd": "false"},
    )


def run(maker, structure, start=None):
    return maker.make.original(maker, structure, None, start=start)


def test_the_chgcar_is_there_before_vasp_starts(folder, helium, start):
    maker = RunFromStartMaker(maker=static(), on_error="record")
    run(maker, helium, start)
    incar = Incar.from_file("INCAR")
    assert (incar["ICHARG"], incar["ISTART"], incar["LMAXMIX"]) == (1, 0, 4)
    assert (incar["NGXF"], incar["NGYF"], incar["NGZF"]) == GRID
    assert Path("CHGCAR").read_text() == "a density\n"
    assert StartRecord.read(folder).start == start


def test_arms_differ_in_icharg_only(folder, helium, start):
    incars = []
    for icharg, given in ((2, None), (1, start)):
        maker = RunFromStartMaker(maker=static(), icharg=icharg, on_error="record")
        run(maker, helium, given)
        incars.append(dict(Incar.from_file("INCAR")))
    assert [incar.pop("ICHARG") for incar in incars] == [2, 1]
    assert incars[0] == incars[1]


def test_the_grid_is_pinned_where_the_user_did_not(folder, helium):
    plain = static()
    plain.input_set_generator.user_incar_settings = {}
    run(RunFromStartMaker(maker=plain, icharg=2, on_error="record"), helium)
    assert Incar.from_file("INCAR")["NGXF"] == 28
    assert plain.input_set_generator.user_incar_settings == {}, "the inner Maker stays as it is"


@pytest.mark.parametrize(
    ("given", "reason"),
    [
        (None, "no start was written"),
        (StartDocument(kind="file", failure="x: no such file"), "x: no such file"),
        (StartDocument(kind="file", path="p", grid=(1, 2, 3)), "on grid (1, 2, 3)"),
    ],
)
def test_without_its_start_nothing_runs(folder, helium, given, reason):
    with pytest.raises(StartError) as error:
        run(RunFromStartMaker(maker=static()), helium, given)
    assert reason in str(error.value)
    assert not Path("INCAR").exists()


def test_a_failed_run_can_be_counted(folder, helium):
    given = StartDocument(kind="file", failure="x: no such file")
    response = run(RunFromStartMaker(maker=static(), on_error="record"), helium, given)
    counted = count.original(response.output.dir_name)
    assert counted.failure == "no start: x: no such file"
    assert counted.folder == str(folder)


def test_a_crash_is_told_with_its_cause(folder, helium, start):
    maker = static()
    maker.run_vasp_kwargs |= {"job_type": "normal", "handlers": ()}
    response = run(RunFromStartMaker(maker=maker, on_error="record"), helium, start)
    counted = count.original(response.output.dir_name)
    assert "Validation failed" in StartRecord.read(folder).failure, "what adds nothing"
    assert counted.failure == "the executable wrote nothing"
    assert counted.preparation_time == 2.0
    assert counted.expected_comment == "c"


@pytest.mark.parametrize(
    ("written", "raised", "failure"),
    [
        ("", "ValueError: x", "the executable wrote nothing: ValueError: x"),
        ("something", "ValueError: x", "no electronic step: ValueError: x"),
        ("something", "ValidationError: Validation failed: Some", "no electronic step"),
        ("something", "ValidationError: 1 error for X", "no electronic step: ValidationError: 1"),
        (" ERROR: bad\n", "ValueError: x", "stopped: ERROR: bad"),
    ],
)
def test_what_python_raised_is_a_detail_of_what_vasp_wrote(folder, written, raised, failure):
    (folder / "vasp.out").write_text(written)
    StartRecord(icharg=2, failure=raised).write(folder)
    assert count.original(str(folder)).failure.startswith(failure)
    (folder / "std_err.txt").write_text("forrtl: why\n")
    if not written:
        failure = "the executable wrote nothing: forrtl: why; ValueError: x"
        assert count.original(str(folder)).failure == failure


def test_no_document_at_all():
    assert count.original(None).failure == "the run left no document"


def test_makers_survive_serialization_and_power_ups():
    maker = RunFromStartMaker(maker=static(), icharg=11)
    again = RunFromStartMaker.from_dict(json.loads(json.dumps(maker.as_dict(), default=str)))
    assert again.icharg == 11
    assert isinstance(again.maker, StaticMaker)
    changed = update_user_incar_settings(maker, {"ENCUT": 400})
    assert changed.maker.input_set_generator.user_incar_settings["ENCUT"] == 400
