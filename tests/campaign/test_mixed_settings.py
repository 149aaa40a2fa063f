"""What decides the numbers is recorded, and results that differ in it are never one report."""

import json
import shutil
from pathlib import Path

import pytest
from atomate2 import SETTINGS
from cluster import write_spec, write_structures
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from mlcharge_flows.atomate2.execution import execution, potcar_hash
from mlcharge_flows.atomate2.flows.compare import CompareDensitiesMaker
from mlcharge_flows.atomate2.flows.workflow import WorkflowFromDensityMaker
from mlcharge_flows.atomate2.schemas import RunProvenance
from mlcharge_flows.atomate2.sets.comparison import ComparisonSetGenerator
from mlcharge_flows.campaign import local
from mlcharge_flows.campaign.documents import select_results
from mlcharge_flows.campaign.local import FolderError, run_locally
from mlcharge_flows.campaign.material_folder import MaterialFolder, structure_hash
from mlcharge_flows.campaign.request import dropped_properties
from mlcharge_flows.campaign.spec import campaign_maker, read_spec
from mlcharge_flows.cli.app import app
from mlcharge_flows.scf.comparison import Comparison, mixed
from mlcharge_flows.scf.count import count_run
from mlcharge_flows.scf.run import ScfRun
from mlcharge_flows.sources import parse_arms
from mlcharge_flows.structures import Material, read_structures


def mlcharge(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def helium(name="a", a=3.0, **given):
    return Material(name, Structure(Lattice.cubic(a), ["He"], [[0, 0, 0]], **given), Path("He.cif"))


@pytest.fixture
def maker():
    return CompareDensitiesMaker(initial_densities=parse_arms(["superposition"]))


def result(name, maker, checkpoint=None, **recorded):
    run = ScfRun(folder="", n_total=9, energy=-1.0, converged=True, started_from="atoms")
    run.execution = recorded
    arms = dict.fromkeys(maker.arms, run)
    models = {"superposition": checkpoint} if checkpoint else {}
    return Comparison(
        material_id=name, formula="He", n_atoms=1, protocol=maker.protocol, arms=arms, models=models
    )


# --- The protocol.


@pytest.mark.parametrize("kind", [CompareDensitiesMaker, WorkflowFromDensityMaker])
def test_incar_updates_of_atomate2_are_part_of_the_protocol(kind, monkeypatch):
    plain = kind().protocol
    monkeypatch.setenv("ATOMATE2_VASP_INCAR_UPDATES", '{"ALGO": "All"}')
    of_environment = kind().protocol
    monkeypatch.delenv("ATOMATE2_VASP_INCAR_UPDATES")
    monkeypatch.setattr(SETTINGS, "VASP_INCAR_UPDATES", {"ALGO": "All"})
    assert kind().protocol == of_environment != plain
    monkeypatch.setattr(SETTINGS, "VASP_INCAR_UPDATES", {"ALGO": "Damped"})
    assert kind().protocol not in (of_environment, plain)


@pytest.mark.parametrize(
    "options",
    [
        {"vasp_cmd": "another_vasp"},
        {"vasp_job_kwargs": {"settings_override": [{"dict": "INCAR", "action": {}}]}},
        {"job_type": "double_relaxation"},
    ],
    ids=lambda options: next(iter(options)),
)
def test_options_of_the_run_are_part_of_the_protocol(options):
    changed = CompareDensitiesMaker()
    changed.static_maker.run_vasp_kwargs.update(options)
    assert changed.protocol != CompareDensitiesMaker().protocol


def test_how_often_custodian_looks_is_no_part_of_it():
    polled = CompareDensitiesMaker()
    polled.static_maker.run_vasp_kwargs["custodian_kwargs"] = {"polling_time_step": 3}
    assert polled.protocol == CompareDensitiesMaker().protocol


# --- What a run records.


def test_a_run_records_executable_version_and_data_sets(tmp_path, monkeypatch):
    monkeypatch.setenv("ATOMATE2_VASP_INCAR_UPDATES", '{"NCORE": 4}')

    class DataSet:
        element = "Si"

        def __str__(self):
            return "PAW_PBE Si 05Jan2001\n"

    found = execution("mpirun -n 4 /opt/vasp_std", [DataSet()])
    assert found == {
        "executable": "vasp_std",
        "INCAR updates": '{"NCORE": 4}',
        "POTCAR of Si": potcar_hash("PAW_PBE Si 05Jan2001"),
    }
    RunProvenance(icharg=2, execution=found).write(tmp_path)
    assert RunProvenance.read(tmp_path).execution == found
    for text, version in (
        (" vasp.6.4.3 19Mar24 (build May 20 2024 10:00:00) complex   \n", "vasp.6.4.3 19Mar24"),
        (" vasp.5.2.2 15Apr09 complex \n", "vasp.5.2.2 15Apr09"),
        (
            " vasp.6.4.3 layout, written by gpaw-vasp 0.1.0 (GPAW 26.7.0), not by VASP\n",
            "gpaw-vasp 0.1.0 (GPAW 26.7.0)",
        ),
    ):
        (tmp_path / "OUTCAR").write_text(text)
        (tmp_path / "OSZICAR").write_text("")
        assert count_run(tmp_path).execution["version"] == version


# --- One report.


def test_results_of_different_origin_are_not_mixed(maker):
    one = result("a", maker, version="vasp.6.4.3")
    assert mixed([one, result("b", maker, version="vasp.6.4.3")]) == []
    assert mixed([one, result("b", maker)]) == [], "results of version 0.1 do not tell"
    assert mixed([one, result("b", maker, version="vasp.6.5.1")]) == [
        "2 different values of version"
    ]
    other = result("b", maker, **{"POTCAR of He": "0badcafe"})
    same_element = result("c", maker, **{"POTCAR of He": "c0ffee"})
    assert mixed([other, same_element]) == ["2 different values of POTCAR of He"]
    learned = [result(name, maker, checkpoint=name) for name in "ab"]
    assert mixed(learned) == ["2 different checkpoints of 'superposition'"]


def write(folder, *results):
    for one in results:
        MaterialFolder(folder / one.material_id).write_result(
            one, helium(one.material_id).structure
        )


@pytest.mark.parametrize(
    ("recorded", "text"),
    [
        ({"version": "vasp.6.5.1"}, "2 different values of version"),
        ({"checkpoint": "sha"}, "2 different checkpoints of 'superposition'"),
    ],
    ids=["version", "checkpoint"],
)
def test_a_folder_that_mixes_is_refused(tmp_path, maker, recorded, text):
    write(tmp_path, result("a", maker, version="vasp.6.4.3"), result("b", maker, **recorded))
    refused = mlcharge("report", tmp_path)
    assert refused.exit_code == 2
    assert text in refused.stderr
    assert not (tmp_path / "report.html").exists()


def test_runs_are_not_added_to_those_of_another_library(tmp_path, maker, monkeypatch):
    write(tmp_path, result("a", maker, **{"POTCAR of He": "0badcafe"}))
    monkeypatch.setattr(local, "installed", lambda *_: {"POTCAR of He": "c0ffee"})
    with pytest.raises(FolderError, match=r"of another POTCAR of He \(0badcafe, now c0ffee\)"):
        run_locally([helium("b")], maker, tmp_path)
    assert not (tmp_path / "b").exists()


# --- Reports follow their SPEC.


def test_a_report_shows_what_its_spec_asks_for(tmp_path):
    write_structures(tmp_path / "structures.json", 3)
    spec = write_spec(tmp_path, name="x", structures="structures.json", arms=["superposition"])
    maker = campaign_maker(read_spec(spec))
    (materials, _), out = read_structures([tmp_path / "structures.json"]), tmp_path / "out"
    out.mkdir()
    (out / ".lock").touch()
    further = CompareDensitiesMaker()
    for material in materials:
        found = result(material.id, further, version="vasp.6.4.3")
        MaterialFolder(out / material.id).write_result(found, material.structure)
    write(out, result("elsewhere", maker))
    other = result("m01", maker).model_copy(update={"protocol": "another"})
    MaterialFolder(out / "m01").write_result(other, materials[1].structure)
    # m02 becomes another crystal after its run.
    entries = json.loads((tmp_path / "structures.json").read_text())
    crystal = Structure.from_dict(entries["structures"][2]["structure"])
    crystal.scale_lattice(crystal.volume * 1.1)
    entries["structures"][2]["structure"] = crystal.as_dict()
    (tmp_path / "structures.json").write_text(json.dumps(entries))
    (out / "broken").mkdir()
    (out / "broken" / "comparison.json").write_text("{")

    told = mlcharge("campaign", "report", spec, "--out", out)
    assert told.exit_code == 0, told.output
    lines = told.output.replace("\n", " ")
    for text in (
        "1 results of materials that are not in it",
        "1 results finished with other settings",
        "1 results of structures that were changed since",
        "arm 'converged' of 1 materials",
        "broken/comparison.json: is half-written",
        "2 of 3 materials are not finished",
    ):
        assert text in lines
    page = (out / "report.html").read_text()
    assert "Not shown: 1 results of structures that were changed since" in page
    summary = json.loads((out / "summary.json").read_text())
    assert summary["n_materials"] == 1
    assert list(summary["arms"]) == ["default", "superposition"]
    status = mlcharge("campaign", "status", spec, "--out", out).output.replace("\n", " ")
    assert "1 of 3 materials are finished" in status
    assert "2 results" not in status


def test_a_report_needs_no_executable(maker, monkeypatch):
    """Results of another machine's executable belong to the same SPEC."""
    monkeypatch.setenv("MLCHARGE_VASP_CMD", "vasp_std")
    of_vasp = result("a", maker, executable="vasp_std")
    monkeypatch.setenv("MLCHARGE_VASP_CMD", "gpaw-vasp")
    assert select_results([of_vasp], [helium("a")], maker).results == [of_vasp]
    of_vasp.protocol = "another"
    assert select_results([of_vasp], [helium("a")], maker).results == []


def test_a_folder_whose_structure_was_changed_is_not_shown(tmp_path, maker):
    write(tmp_path, result("a", maker), result("b", maker))
    assert "changed since" not in mlcharge("report", tmp_path).output
    (tmp_path / "b" / "structure.json").write_text(helium(a=4.0).structure.to_json())
    told = mlcharge("report", tmp_path)
    assert "b: its structure was changed since" in told.output.replace("\n", "")
    assert json.loads((tmp_path / "summary.json").read_text())["n_materials"] == 1


def test_a_copied_folder_is_named_and_the_rest_reported(tmp_path, maker):
    write(tmp_path, result("a", maker), result("b", maker))
    shutil.copytree(tmp_path / "b", tmp_path / "a-copy-of-b")
    told = mlcharge("report", tmp_path)
    assert told.exit_code == 0
    lines = told.output.replace("\n", "")
    assert f"{tmp_path}/a-copy-of-b: holds a result of 'b', as {tmp_path}/b does" in lines
    assert json.loads((tmp_path / "summary.json").read_text())["n_materials"] == 2


def test_the_hash_of_a_structure_survives_its_file(tmp_path):
    structure = helium(charge=1, site_properties={"magmom": [0.5]}).structure
    structure.properties["split"] = "train"
    again = Structure.from_dict(json.loads(structure.to_json()))
    assert structure_hash(again) == structure_hash(structure)
    assert structure_hash(helium(a=3.0001).structure) != structure_hash(helium().structure)


# --- Bad inputs.


def test_skip_bad_leaves_out_what_lies_in_the_way(tmp_path, maker, monkeypatch):
    for name in ("a", "b"):
        helium().structure.to(filename=str(tmp_path / f"{name}.cif"))
    (tmp_path / "out" / "a").mkdir(parents=True)
    (tmp_path / "out" / "a" / "thesis.tex").write_text("years of work")
    monkeypatch.setattr(
        "mlcharge_flows.sources.potcar_library.elements_without_potcar", lambda *_: set()
    )
    monkeypatch.setattr("mlcharge_flows.settings.Settings.check", lambda self: None)
    monkeypatch.setattr("mlcharge_flows.settings._fill", lambda library: None)

    def in_this_process(materials, run, maker, folder, workers):
        yield from ((m, result(m.id, maker)) for m in materials)

    monkeypatch.setattr(local, "run_in_workers", in_this_process)
    words = ("compare", tmp_path, "--out", tmp_path / "out", "--arms", "superposition")
    refused = mlcharge(*words)
    assert refused.exit_code == 2
    assert "a: exists and is not of a campaign" in refused.stderr
    told = mlcharge(*words, "--skip-bad")
    assert "left out:" in told.output
    assert (tmp_path / "out" / "b" / "comparison.json").exists()
    assert (tmp_path / "out" / "a" / "thesis.tex").exists()


def test_skip_bad_is_an_option_of_every_campaign_command(tmp_path):
    write_structures(tmp_path / "structures.json", 1)
    (tmp_path / "bad.cif").write_text("")
    spec = write_spec(tmp_path, name="x", structures=["structures.json", "bad.cif"])
    for command in ("report", "status"):
        assert "bad.cif" in mlcharge("campaign", command, spec, "--out", tmp_path / "o").stderr
        told = mlcharge("campaign", command, spec, "--skip-bad", "--out", tmp_path / "o")
        assert "left out:" in told.output
        assert "bad.cif" not in told.stderr


@pytest.mark.parametrize(
    ("given", "text"),
    [
        ({}, None),
        ({"charge": 1}, "He.cif: a runs neutral, without its charge of +1"),
        ({"site_properties": {"magmom": [0.0]}}, None),
        (
            {"site_properties": {"magmom": [2.0]}},
            "He.cif: a runs without spin, and without its magnetic moments",
        ),
        (
            {"charge": -2, "site_properties": {"magmom": [2.0]}},
            "He.cif: a runs neutral, without its charge of -2, and without spin, and without its "
            "magnetic moments",
        ),
    ],
    ids=["neither", "charge", "zero moments", "moments", "both"],
)
def test_a_charge_or_moments_that_are_dropped_are_told(given, text):
    assert dropped_properties(helium(**given), ComparisonSetGenerator()) == text
    kept = ComparisonSetGenerator(user_incar_settings={"ISPIN": 2}, use_structure_charge=True)
    assert dropped_properties(helium(**given), kept) is None


@pytest.mark.parametrize(
    ("species", "own", "text"),
    [
        (["Cs+", "Cl-"], None, None),
        (["Cs+", "Cl"], None, "salt.json: salt runs neutral, without its charge of +1"),
        (["Cs+", "Cl"], 0, "salt.json: salt runs neutral, without its charge of +1"),
        (["Cs+", "Cl-"], 2, "salt.json: salt runs neutral, without its charge of +2"),
    ],
)
def test_oxidation_states_may_charge_a_cell(tmp_path, species, own, text):
    cell = Structure(Lattice.cubic(4.1), species, [[0, 0, 0], [0.5] * 3])
    content = {**cell.as_dict(), "charge": own}
    (tmp_path / "salt.json").write_text(json.dumps(content))
    (material,), _ = read_structures([tmp_path / "salt.json"])
    told = dropped_properties(material, ComparisonSetGenerator())
    assert told == (text and f"{tmp_path}/{text}")


def test_a_pseudo_hydrogen_that_runs_as_hydrogen_is_told(tmp_path):
    cell = "x\n4\n1 0 0\n0 1 0\n0 0 1\nGa_d H1.25 H.5/0fc7\n1 1 1\nD\n0 0 0\n.5 .5 0\n0 .5 .5\n"
    (tmp_path / "dot.vasp").write_text(cell)
    (material,), _ = read_structures([tmp_path / "dot.vasp"])
    assert dropped_properties(material, ComparisonSetGenerator()) == (
        f"{tmp_path}/dot.vasp: dot runs with H in place of H1.25, and with H in place of H.5/0fc7"
    )


def test_a_data_set_that_is_broken_costs_itself_alone(tmp_path):
    pytest.importorskip("h5py", reason="needs the train extra")
    whole = Path(__file__).parents[2] / "test_files" / "molecules" / "molecules.h5"
    broken = tmp_path / "out" / "m" / "pack" / "record.h5"
    broken.parent.mkdir(parents=True)
    broken.write_bytes(whole.read_bytes()[:500])
    words = ("dataset", "merge", whole, tmp_path / "out", "--out", tmp_path / "all.h5")
    refused = mlcharge(*words)
    assert refused.exit_code == 2
    assert "record.h5" in refused.stderr
    told = mlcharge(*words, "--skip-bad")
    assert told.exit_code == 0, told.output
    assert "left out: " in told.output
    assert (tmp_path / "all.h5").exists()


def test_compare_says_what_else_its_folder_holds(tmp_path, maker, capsys):
    from rich.console import Console

    from mlcharge_flows.cli.report import results_to_show

    write(tmp_path, result("a", maker), result("earlier", maker))
    write(tmp_path, result("b", maker).model_copy(update={"protocol": "another"}))
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "comparison.json").write_text("{")
    console = Console(width=1000)
    shown, left_out = results_to_show(console, tmp_path, [helium("a")], maker)
    assert [found.material_id for found in shown] == ["a", "earlier"]
    printed = capsys.readouterr().out
    assert "1 results finished with other settings" in printed
    assert "1 results finished with other settings" in left_out
    assert "broken/comparison.json: is half-written" in printed
    assert "also shows 1 materials of earlier commands" in printed
