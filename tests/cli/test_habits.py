"""What users expect of every command: short options, JSON, dry runs, silence."""

import hashlib
import json
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Event

import pytest
from atomate2 import SETTINGS
from rich.progress import Progress
from typer.testing import CliRunner

from mlcharge_flows.cli import steps_watch
from mlcharge_flows.cli.app import app
from mlcharge_flows.cli.options import chosen_static, default_arms
from mlcharge_flows.cli.steps_watch import current_step
from mlcharge_flows.cli.terminal import bar_columns
from mlcharge_flows.errors import MlchargeError
from mlcharge_flows.scf.comparison import Comparison
from mlcharge_flows.scf.run import ScfRun

CRYSTALS = Path(__file__).parents[2] / "test_files" / "crystals"


def mlcharge(*words, status=0):
    result = CliRunner().invoke(app, list(map(str, words)))
    assert result.exit_code == status, result.output
    return result


@pytest.mark.parametrize("words", [(), ("compare",), ("models",), ("campaign", "run")])
def test_the_short_help_option(words):
    assert mlcharge(*words, "-h").output == mlcharge(*words, "--help").output


def test_paragraphs_of_a_help_text_fill_the_lines():
    lines = mlcharge("dataset", "pack", "--help").output.splitlines()
    text = [line.strip() for line in lines[: lines.index(" Examples".ljust(80))] if line.strip()]
    ends = [n for n, line in enumerate(text) if line.endswith(".")]
    assert all(len(line) > 60 for n, line in enumerate(text[1:], 1) if n not in ends)


def test_completion_can_be_installed():
    assert "--install-completion" in mlcharge("--help").output


def test_options_of_all_commands_stand_anywhere(tmp_path):
    missing = str(tmp_path / "nothing")
    for words in (
        ["-q", "report", missing],
        ["report", missing, "--quiet"],
        ["report", "-v", missing],
    ):
        assert f"{missing}: there is no such folder" in mlcharge(*words, status=2).output


def test_models_are_listed_with_error_license_and_origin():
    pytest.importorskip("torch", reason="needs the models extra")
    (line,) = [x for x in mlcharge("models", "list").output.splitlines() if x.startswith("orbital")]
    assert line.endswith("; MIT; shipped")
    assert "82 elements" in line
    assert "error left density 14 %, occupancies 19 %" in line
    listed = json.loads(mlcharge("models", "list", "--json").output)
    assert listed["orbital"]["license"] == "MIT"


def test_a_model_is_removed_but_no_shipped_one(trained, tiny):
    path = Path(trained("mine"))
    assert mlcharge("models", "remove", "mine").output.startswith("removed mine: ")
    assert not path.exists()
    assert (
        "there is no model 'mine' of your own"
        in mlcharge("models", "remove", "mine", status=2).output
    )


def test_no_shipped_model_is_removed():
    pytest.importorskip("torch", reason="needs the models extra")
    assert "is shipped with" in mlcharge("models", "remove", "orbital", status=2).output


@pytest.fixture
def catalog(trained, tmp_path):
    """Folder of a catalog with one model, which the user does not have."""
    folder = tmp_path / "catalog"
    folder.mkdir()
    Path(trained("far")).rename(folder / "far.safetensors")
    sha256 = hashlib.sha256((folder / "far.safetensors").read_bytes()).hexdigest()
    entry = {"file": "far.safetensors", "sha256": sha256, "license": "MIT"}
    (folder / "models.json").write_text(json.dumps({"far": entry}))
    return folder


def test_a_model_is_fetched_from_a_folder(catalog, monkeypatch, tmp_path):
    assert "give --url" in mlcharge("models", "get", "far", status=2).output
    monkeypatch.setenv("MLCHARGE_MODELS_URL", str(catalog))
    assert (
        mlcharge("models", "get", "far").output == f"added far: {tmp_path}/models/far.safetensors\n"
    )
    assert "has no model 'near'; it has far" in mlcharge("models", "get", "near", status=2).output


def test_a_model_is_fetched_from_a_server(catalog, tmp_path):
    class Handler(SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=catalog)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}"
        assert "added far" in mlcharge("models", "get", "far", "--url", url).output
        (catalog / "models.json").unlink()
        failed = mlcharge("models", "get", "far", "--url", url, status=2).output
        server.shutdown()
    assert "models.json: cannot be fetched" in failed


def test_a_file_that_is_not_that_of_the_catalog_is_not_added(catalog, tmp_path):
    with (catalog / "far.safetensors").open("ab") as file:
        file.write(b"x")
    output = mlcharge("models", "get", "far", "--url", catalog, status=2).output
    assert "it was not added" in output
    assert not list((tmp_path / "models").glob("*"))


@pytest.mark.parametrize("text", ["nonsense", '{"far": {"file": "../far", "sha256": "0"}}'])
def test_a_catalog_that_is_none(text, catalog):
    (catalog / "models.json").write_text(text)
    output = mlcharge("models", "get", "far", "--url", catalog, status=2).output
    assert "models.json is no catalog of models" in output


@pytest.fixture
def finished(tmp_path):
    """Folder with one result."""
    run = ScfRun(folder="", n_total=10, energy=-1.0, converged=True, started_from="atoms")
    facts = {"material_id": "m", "formula": "He", "n_atoms": 1, "protocol": "p"}
    comparison = Comparison(**facts, arms={"default": run})
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "comparison.json").write_text(comparison.model_dump_json())
    return tmp_path


def test_results_as_json_are_alone_on_standard_output(finished):
    result = mlcharge("report", finished, "--json")
    assert json.loads(result.stdout)["n_materials"] == 1
    assert "Report: " in result.stderr
    quiet = mlcharge("report", finished, "--json", "--quiet")
    assert (quiet.stdout, quiet.stderr) == (result.stdout, "")
    assert mlcharge("report", finished, "-q").output == ""


def test_a_result_is_printed_in_short(finished):
    text = (finished / "m" / "comparison.json").read_text()
    printed = repr(Comparison.model_validate_json(text))
    assert printed.startswith("Comparison(material_id='m', formula='He', n_atoms=1, protocol='p'")
    assert "default=10" in printed


def test_the_bar_shows_the_time_that_has_passed_and_that_is_left():
    now = 0.0
    progress = Progress(*bar_columns(), get_time=lambda: now, auto_refresh=False)
    task = progress.add_task("materials", total=2)
    times = progress.columns[-1]
    now = 540.0  # one large cell: nothing is finished, nothing can be estimated
    assert times(progress.tasks[0]).plain == "0:09:00"
    now = 600.0
    progress.update(task, advance=2)
    assert times(progress.tasks[0]).plain == "0:10:00"


def test_the_learned_arm_is_a_default_of_compare():
    pytest.importorskip("torch", reason="needs the models extra")
    assert default_arms() == "superposition,learned,converged"


def test_settings_of_a_comparison_from_the_options(tmp_path):
    maker = chosen_static(
        "atomate2.vasp.jobs.mp.MPGGAStaticMaker",
        "ISPIN = 1; EDIFF = 1e-5",
        "reciprocal_density=64",
        520.0,
        gamma=False,
        nelmdl=3,
    )
    assert maker.name == "MP GGA static"
    tags = {"ISPIN": 1, "EDIFF": 1e-5, "ENCUT": 520.0, "NELMDL": -3}
    assert maker.input_set_generator.user_incar_settings == tags
    assert maker.input_set_generator.user_kpoints_settings == {"reciprocal_density": 64}
    kpoints, incar = tmp_path / "KPOINTS", tmp_path / "INCAR"
    kpoints.write_text("mesh\n0\nGamma\n4 4 4\n")
    incar.write_text("PREC = Accurate\n")
    maker = chosen_static(None, str(incar), str(kpoints), None, gamma=False, nelmdl=None)
    assert maker.input_set_generator.user_incar_settings == {"PREC": "Accurate"}
    assert chosen_static(None, "", None, None, gamma=False).name  # no tags
    assert maker.input_set_generator.user_kpoints_settings.kpts == [(4, 4, 4)]


def test_a_tag_that_is_given_twice_is_told(tmp_path, capsys):
    incar = tmp_path / "INCAR"
    incar.write_text("ENCUT = 300\nENCUT = 400\n")
    for given, name in ((str(incar), incar), ("ENCUT = 300; ENCUT = 400", "--incar")):
        maker = chosen_static(None, given, None, None, gamma=False)
        assert maker.input_set_generator.user_incar_settings == {"ENCUT": 300.0}
        assert f"mlcharge: {name}: ENCUT is given twice; VASP takes" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (("x.y.Z", None, None, None), "--maker: 'x.y.Z' cannot be imported"),
        ((None, "ICHARG = 1", None, None), "ICHARG and ISTART follow"),
        ((None, "some words = 1", None, None), "--incar: 'some words' before '='"),
        ((None, "no.incar", None, None), "--incar no.incar: there is no such file; tags as text"),
        ((None, "no.yaml", None, None), "--incar no.yaml: there is no such file"),
        ((None, "/", None, None), "--incar /: is a folder"),
        ((None, "x" * 5000, None, None), "--incar x+...: cannot be read"),
        (
            (None, None, "dense", None),
            "--kpoints dense: there is no such file; give",
        ),
        (("atomate2.vasp.flows.core.DoubleRelaxMaker", None, None, None), "give a static Maker"),
    ],
)
def test_settings_that_cannot_be_used(given, message):
    with pytest.raises(MlchargeError, match=message):
        chosen_static(*given, gamma=False, nelmdl=None)


@pytest.mark.parametrize("maker", [None, "atomate2.vasp.jobs.core.StaticMaker"])
def test_spin_and_settings_without_spin_exclude_each_other(maker, monkeypatch):
    with pytest.raises(MlchargeError, match="--spin: the runs would have ISPIN = 1"):
        chosen_static(maker, "ISPIN = 1", None, None, gamma=False, spin=True)
    assert chosen_static(maker, "ISPIN = 2", None, None, gamma=False, spin=True)
    assert chosen_static(maker, None, None, None, gamma=False, spin=True)
    monkeypatch.setattr(SETTINGS, "VASP_INCAR_UPDATES", {"ISPIN": 1})
    with pytest.raises(MlchargeError, match="--spin: the runs would have ISPIN = 1"):
        chosen_static(maker, None, None, None, gamma=False, spin=True)


@pytest.mark.gpaw
def test_a_dry_run_runs_nothing(tmp_path):
    pytest.importorskip("gpaw", reason="needs the gpaw extra")
    spec = tmp_path / "SPEC.yaml"
    spec.write_text(f"name: first\nstructures: [{CRYSTALS / 'Si.vasp'}, {CRYSTALS / 'Cu.vasp'}]\n")
    words = ("campaign", "run", spec, "--dry-run", "--executable", "gpaw-vasp")
    output = " ".join(mlcharge(*words, "--out", tmp_path / "out").output.split())
    assert "first: 2 materials of 1 to 2 ions, 0 of them finished" in output
    assert "Dry run: 2 materials would be run in" in output
    assert not (tmp_path / "out").exists()


def test_a_dry_run_as_json(tmp_path):
    pytest.importorskip("gpaw", reason="needs the gpaw extra")
    spec, out = tmp_path / "SPEC.yaml", tmp_path / "out"
    spec.write_text(f"name: first\nstructures: [{CRYSTALS / 'Si.vasp'}]\n")
    words = ("campaign", "run", spec, "--dry-run", "--executable", "gpaw-vasp", "--json")
    done = mlcharge(*words, "--out", out)
    plan = json.loads(done.stdout)
    assert (plan["name"], plan["materials"], plan["finished"]) == ("first", 1, 0)
    assert plan["arms"][0] == "default"
    assert plan["protocol"]
    assert plan["out"] == str(out)
    assert "first: 1 material of 2 ions, 0 of them finished" in done.stderr
    assert "Dry run: 1 material would be run in" in done.stderr


def test_only_materials_that_may_run_are_looked_at(tmp_path, monkeypatch):
    """A campaign of thousands on a file system of a cluster."""
    looked, shown = [], Event()
    monkeypatch.setattr(steps_watch, "_INTERVAL", 0.01)
    monkeypatch.setattr(steps_watch, "current_step", lambda folder, since: looked.append(folder))
    with steps_watch.watched(tmp_path, lambda: ["a", "b"], lambda text: shown.set()):
        assert shown.wait(10)
    assert set(looked) == {tmp_path / "a", tmp_path / "b"}


def test_the_current_step_of_a_material(tmp_path):
    assert current_step(tmp_path) is None
    log = "x jobflow.core.job: Starting job - {} (959129a5-61fd-4c54-9af3-d605a15beeb5)\n"
    (tmp_path / "flow.log").write_text(log.format("default run") + log.format("learned run"))
    assert current_step(tmp_path) == "learned run"
    run = tmp_path / "job_2026-11-30-03-39-13"
    run.mkdir()
    (run / "OSZICAR").write_text("       N       E\nDAV:   1    0.1E+01\nDAV:  12    0.1E+01\n")
    assert current_step(tmp_path) == "learned run, step 12"
    assert current_step(tmp_path, since=(tmp_path / "flow.log").stat().st_mtime + 1) is None
    (tmp_path / "comparison.json").write_text("{}")
    assert current_step(tmp_path) is None
