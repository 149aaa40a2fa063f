"""``mlcharge bands``: refusals, and what it does with finished materials."""

from contextlib import nullcontext
from pathlib import Path

import pytest
from pymatgen.core import Lattice, Structure
from test_cli import mlcharge, refused

from mlcharge_flows import settings
from mlcharge_flows.atomate2.jobs.comparison import DOCUMENT
from mlcharge_flows.campaign import local
from mlcharge_flows.campaign.documents import read_nonscf
from mlcharge_flows.errors import note_renamed
from mlcharge_flows.scf.comparison import Comparison
from mlcharge_flows.scf.nonscf import FixedDensityErrors, NonSCFComparison, summarize_nonscf
from mlcharge_flows.scf.run import ScfRun

READ = {"started_from": "chgcar", "echoed_comment": "ml", "expected_comment": "ml"}


@pytest.fixture
def helium(tmp_path):
    path = tmp_path / "He.cif"
    Structure(Lattice.cubic(3.0), ["He"], [[0, 0, 0]]).to(filename=str(path))
    return path


@pytest.fixture
def nothing_runs(monkeypatch):
    monkeypatch.setenv("VASP_CMD", "vasp_std")
    monkeypatch.setattr(settings.Settings, "check", lambda self: None)
    monkeypatch.setattr(settings.Settings, "activated", lambda self: nullcontext())


def run_material(material, maker, folder):
    """A material in no time."""
    (folder / "nonscf").mkdir(parents=True)
    (folder / "structure.json").write_text(material.structure.to_json())
    run = {"folder": "/gone", "n_total": 6, "wall_time": 2.0}
    arms = {"default": ScfRun(**run, started_from="atoms"), "superposition": ScfRun(**run, **READ)}
    found = NonSCFComparison(
        material_id=material.id,
        formula="He",
        n_atoms=1,
        protocol=maker.protocol,
        arms=arms,
        errors={"superposition": FixedDensityErrors(dE_meV_per_atom=0.5)},
    )
    (folder / "nonscf" / DOCUMENT).write_text(found.model_dump_json())
    return Comparison.model_validate(found.model_dump())


def test_help_teaches_by_example():
    assert "mlcharge bands " in mlcharge("bands", "--help").output


def test_unknown_initial_densities_and_none(nothing_runs, helium, tmp_path):
    (line,) = refused("bands", helium, "--density", "magic")
    assert "'magic' is no source of densities; write DENSITY" in line
    for none in ("default", ","):
        (line,) = refused("bands", helium, "--density", none, "--out", tmp_path / "out")
        assert "name an initial density" in line
    assert not (tmp_path / "out").exists()


def test_bad_structures_stop_everything_before_it_starts(nothing_runs, tmp_path, helium):
    (tmp_path / "empty.cif").write_text("")
    lines = refused("bands", tmp_path, "--density", "superposition", "--out", tmp_path / "out")
    assert lines[0] == f"mlcharge: {tmp_path}/empty.cif: the file is empty"
    assert not (tmp_path / "out").exists()


def test_a_model_that_is_not_there(nothing_runs, tiny, helium):
    (line,) = refused("bands", helium, "--model", "nonsense")
    assert "nonsense" in line


def test_finished_materials_are_reported_not_run_again(nothing_runs, helium, tmp_path, monkeypatch):
    monkeypatch.setattr(local, "run_material", run_material)
    monkeypatch.setattr("mlcharge_flows.cli.runs.with_potcars", lambda m, maker: (m, []))
    out = tmp_path / "out"
    words = ("bands", helium, "--density", "superposition", "--workers", 1, "--out", out)
    first = mlcharge(*words)
    assert first.exit_code == 0, first.output
    assert "1 of 1" in first.output
    assert Path(out / "bands.html").is_file()
    assert "1 of 1 materials are finished already" in mlcharge(*words).output
    page = Path(out / "bands.html")
    page.unlink()
    again = mlcharge("report", out)
    assert again.exit_code == 0, again.output
    assert page.is_file()
    assert not (out / "report.html").exists()
    assert "1 of 1 materials are finished" in mlcharge(*words, "--line-density", 20).output
    for other in (9, 40):
        (line,) = refused(*words, "--line-density", other)
        assert "finished with other settings" in line


def test_a_lost_material_is_a_failure_with_its_cause(tmp_path):
    run = ScfRun(folder="", failure="its worker process was killed")
    lost = Comparison(
        material_id="a",
        formula="He",
        n_atoms=1,
        protocol="p",
        arms={"default": run, "learned": run},
    )
    learned = summarize_nonscf([read_nonscf(tmp_path, lost)]).arms["learned"]
    assert (learned.n_attempted, learned.n_materials) == (1, 0)
    assert learned.failures == {"its worker process was killed": 1}


def test_the_former_name_of_the_density(nothing_runs, helium):
    note_renamed.cache_clear()
    lines = refused("bands", helium, "--start", "magic")
    assert lines[0] == "mlcharge: --start is now --density"
    assert "'magic'" in lines[1]
