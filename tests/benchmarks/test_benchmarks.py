"""Every benchmark runs on a tiny input and prints its table."""

from __future__ import annotations

import importlib
import json
import re
from pathlib import Path

import numpy as np
import pytest

BENCHMARKS = Path(__file__).parents[2] / "benchmarks"
MOLECULES = BENCHMARKS.parent / "test_files" / "molecules" / "molecules.h5"
CRYSTALS = BENCHMARKS.parent / "test_files" / "crystals"


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a benchmark in this process; the rows of its tables."""
    monkeypatch.syspath_prepend(BENCHMARKS)

    def run(name, *arguments):
        importlib.import_module(name).main([str(argument) for argument in arguments])
        printed = capsys.readouterr().out
        rows = re.findall(r"^\| (.*) \|$", printed, re.MULTILINE)
        return [row.split(" | ") for row in rows]

    return run


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Folder of a comparison of silicon."""
    pytest.importorskip("gpaw", reason="needs the gpaw extra")
    pytest.importorskip("torch", reason="needs the models extra")
    from typer.testing import CliRunner

    from mlcharge_flows.cli.app import app

    folder = tmp_path_factory.mktemp("compared")
    given = ["compare", str(CRYSTALS / "Si.vasp"), "--arms", "learned,converged", "--workers", "1"]
    result = CliRunner().invoke(app, [*given, "--out", str(folder)])
    assert result.exit_code == 0, result.output
    return folder


def test_every_benchmark_is_tested_and_says_how_it_is_run():
    scripts = {
        path
        for path in BENCHMARKS.glob("*.py")
        if path.name not in ("harness.py", "campaign_fakes.py")
    }
    tests = Path(__file__).read_text(encoding="utf-8")
    for path in scripts:
        assert f"python benchmarks/{path.name}" in path.read_text(encoding="utf-8")
        assert f'"{path.stem}"' in tests
    assert len(scripts) == 18


def test_commands_of_the_documents_name_scripts_that_are_there():
    root = BENCHMARKS.parent
    for path in [root / "README.md", *root.glob("docs/**/*.md"), *root.glob("workflows/**/*.md")]:
        text = path.read_text(encoding="utf-8")
        for name in re.findall(r"benchmarks/(\w+\.py)", text):
            assert (BENCHMARKS / name).exists(), f"{path.name}: {name}"


def test_chgcar_io(run):
    head, read, write = run("chgcar_io", "--sizes", 8, "--repeats", 2)
    assert head[0] == "grid"
    assert read[:2] == ["8^3", "read"]
    assert write[:2] == ["8^3", "write"]
    assert float(write[-1].split()[0]) > 0


@pytest.mark.slow
def test_streamed_training(run):
    pytest.importorskip("lightning_fabric", reason="needs the models extra")
    rows = run("streamed_training", 10, "--materials-read", 8)
    assert [row[:2] for row in rows[1:]] == [["10", "memory"], ["10", "disk"]]


def test_charge3net(run):
    pytest.importorskip("torch", reason="needs the models extra")
    rows = run("charge3net", "--preset", "small", "--probes", 8, "--grid", 8, "--repeats", 1)
    names = ("4", "all irreps, sums before the coupling", "scalars alone")
    assert [row[0] for row in rows if row[0] in names] == list(names)


def test_orbital_model_predictions(run):
    pytest.importorskip("torch", reason="needs the models extra")
    _, (ions, *_) = run("orbital_model", "predict", "--cells", 1, "--repeats", 1)
    assert ions == "8"


def test_large_cells(run, tmp_path):
    pytest.importorskip("torch", reason="needs the models extra")
    figure = tmp_path / "large_cells.png"
    options = ["--ions", 8, "--encut", 200, "--crystals", "salt", "--repeats", 1]
    rows = run("large_cells", *options, "--figure", figure)
    assert rows[1][2] == "8"
    assert figure.stat().st_size > 0


def test_orbital_model_training(run, tmp_path):
    pytest.importorskip("h5py", reason="needs the train extra")
    config = tmp_path / "tiny.yaml"
    config.write_text(f"name: tiny\ndata: {MOLECULES}\nmodel: {{n_channels: 8}}\n")
    rows = run("orbital_model", "train", config, MOLECULES, "--materials", 2, "--repeats", 1)
    assert [row[0] for row in rows[1:]] == ["1", "4", "8", "16"]
    assert float(rows[1][-1]) == pytest.approx(1, abs=1e-3)
    assert all(np.isfinite(float(row[-1])) for row in rows[1:])


@pytest.mark.slow
def test_campaign_overhead(run):
    pytest.importorskip("fireworks", reason="needs the fireworks extra")
    (row,) = run("campaign_overhead", 2)[1:]
    assert row[:2] == ["2", "12"]


@pytest.mark.gpaw
def test_gpaw_vasp_orbitals(run, tmp_path):
    pytest.importorskip("gpaw", reason="needs the gpaw extra")
    folder = tmp_path / "silicon"
    folder.mkdir()
    changes = (5.4, -15.7, -0.49, -3.7e-3, -3.8e-5)
    lines = [
        f"DAV: {n:3d} {sum(changes[:n]):20.12E} {x:.5E} {x:.5E} 9 0.1E+01"
        for n, x in enumerate(changes, 1)
    ]
    (folder / "OSZICAR").write_text("\n".join([*lines, "   1 F= -.1E+02 E0= -.1E+02  d E =0.0"]))
    given = ["gpaw_vasp_orbitals", "Si", "--vasp", tmp_path, "--encut", 200, "--density", 4]
    rows = run(*given)
    (real, median, mean), ours = rows[1:4], rows[5]
    assert real == ["silicon", "1.6e+01", "4.9e-01", "3.7e-03", "3.8e-05", "1/74"]
    assert median[1:] == real[1:]
    assert mean[-1] == "1/74"
    assert ours[0] == "Si"
    assert float(ours[1]) > 1


@pytest.mark.gpaw
@pytest.mark.slow
def test_gpaw_vasp_restart(run):
    pytest.importorskip("gpaw", reason="needs the gpaw extra")
    (row,) = run("gpaw_vasp_restart", "Si", "--encut", 200, "--density", 4)[1:]
    atoms, own, *halves = (int(steps) for steps in row[1:5])
    assert own == 6
    assert own < min(halves)
    assert own < atoms


@pytest.mark.gpaw
@pytest.mark.slow
def test_gpaw_vasp_makers(run):
    pytest.importorskip("gpaw", reason="needs the gpaw extra")
    incar = {"ENCUT": 200, "ISPIN": 1, "GGA": "PE", "PREC": "Normal", "SIGMA": 0.01}
    settings = ["--incar", json.dumps(incar), "--kpoints", '{"grid_density": 16}']
    given = ["--makers", "Relax", "--crystals", "Si", "--density", "superposition"]
    (row,) = run("gpaw_vasp_makers", *given, *settings)[1:]
    assert row[:2] == ["RelaxMaker", "Si"]
    assert "NSW" not in row[2]
    assert "IBRION=2 ISIF=3" in row[2]
    assert row[3].endswith("SIGMA, k-points")
    assert row[4] == "1"
    assert row[6] == "chgcar"
    assert row[7].startswith("a = 5.")


@pytest.mark.gpaw
@pytest.mark.slow
def test_neighbors(run, tmp_path):
    pytest.importorskip("gpaw", reason="needs the gpaw extra")
    settings = ["--incar", '{"ENCUT": 200, "EDIFF": 1e-4}', "--kpoints", '{"grid_density": 500}']
    given = ["--flows", "Eos-Al", "--rows", tmp_path, *settings]
    words = ("--densities", "atoms,carried,converged")
    atoms, carried, converged = run("neighbors", *words, *given)[1:]
    assert (atoms[:3], atoms[7]) == (["Eos-Al", "atoms", "5"], "0.0 %")
    assert carried[5] == "superposition carried carried carried carried"
    assert int(converged[6]) <= int(carried[6]) < int(atoms[6])
    assert carried[8].startswith("B0 = ")
    assert run("neighbors", "--table", "--densities", "carried", *given)[1][6] == carried[6]


@pytest.mark.gpaw
@pytest.mark.slow
def test_gpaw_vasp_spin(run):
    pytest.importorskip("gpaw", reason="needs the gpaw extra")
    (row,) = run("gpaw_vasp_spin", "Fe", "--encut", 200, "--mesh", 1)[1:]
    atoms, own, _ = (int(steps) for steps in row[3:6])
    assert own <= atoms
    assert abs(float(row[6])) < 1
    moment, of_gpaw = (float(word.strip("()")) for word in row[7].split())
    assert moment == pytest.approx(of_gpaw, abs=0.01)
    (step,) = run("gpaw_vasp_spin", "Fe", "--speed", "--encut", 200, "--mesh", 1)[1:]
    assert 1 < float(step[-1]) < 4
    (energy,) = run("gpaw_vasp_spin", "Si", "--unpolarized", "--encut", 200, "--mesh", 1)[1:]
    assert abs(float(energy[-1])) < 0.1


@pytest.mark.gpaw
@pytest.mark.slow
def test_magnetization(run, tmp_path):
    pytest.importorskip("gpaw", reason="needs the gpaw extra")
    fit = ["--fit", "Fe-compressed", "Fe-expanded", "--encut", 200, "--mesh", 2]
    _, (symbol, n_runs, *_), _, row = run("magnetization", tmp_path, "Fe", *fit)
    assert (symbol, n_runs) == ("Fe", "2")
    default, total, fitted, own = (int(steps) for steps in row[2:6])
    assert own <= min(total, fitted) <= default


@pytest.mark.gpaw
@pytest.mark.slow
def test_results(run, compared, tmp_path):
    rows = run("results", compared, "--figure", tmp_path / "figures" / "steps.png")
    assert any(row[0].startswith("Si (") for row in rows)
    assert (tmp_path / "figures" / "steps.png").stat().st_size > 1000
    _, (name, number, *_), *_ = run("results", compared, "--classes", "learned")
    assert (name, number) == ("all", "1")


@pytest.mark.gpaw
@pytest.mark.slow
def test_calibration(run, compared):
    (_, *arms), (crystal, default, learned, converged), _, summary, _ = run("calibration", compared)
    assert arms == ["default", "learned", "converged"]
    assert crystal.startswith("Si (")
    assert re.fullmatch(r"\d+ \(\d\.\d/\d\.\d\)", learned)
    assert int(converged) < int(default)
    assert summary[:2] == ["learned", "1"]


@pytest.mark.gpaw
@pytest.mark.slow
def test_response(run, compared):
    heads, (number, *errors) = run(
        "response", compared, compared, "--models", "orbital", "--orders", 1, "--most", 1
    )
    assert heads == ["runs per element", "density converged", "density orbital"]
    assert number == "1"
    # The run itself is among those that it was fitted to.
    assert all(float(error.split()[0]) < 50 for error in errors)


@pytest.mark.gpaw
@pytest.mark.slow
def test_steps_by_error(run, compared, tmp_path):
    rows = run("steps_by_error", compared, tmp_path)[1:]
    assert [row[0] for row in rows] == ["learned"] * 4 + ["superposition"] * 2
    steps = [float(row[5].split()[-1]) for row in rows[:4]]
    assert steps == sorted(steps, reverse=True)
    _, row = run("steps_by_error", compared, tmp_path, "--left", "0.5")
    assert row[:2] == ["left", "0.5"]
    assert max(float(left.rstrip("%")) for left in row[2:4]) == 50.0


def test_architectures(run, tmp_path):
    pytest.importorskip("h5py", reason="needs the train extra")
    figure = tmp_path / "pareto.png"
    rows = run("architectures", MOLECULES, "orbital", "--figure", figure)
    assert rows[1][0].startswith("orbital")
    assert figure.stat().st_size > 1000


@pytest.mark.gpaw
@pytest.mark.slow
def test_gpaw_vasp_families(run, tmp_path):
    pytest.importorskip("gpaw", reason="needs the gpaw extra")
    from mlcharge_flows.gpaw_vasp.generated_family import generate_family

    generate_family(tmp_path / "second", ["Al"])
    heads, row, lacking = run(
        "gpaw_vasp_families", "Al", "MgO", "--family", tmp_path / "second", "--encut", 200,
        "--density", 4,
    )  # fmt: skip
    assert heads[4] == "second: a"
    assert row[0] == "Al"
    assert float(row[4]) == pytest.approx(float(row[2]), rel=0.01)
    assert row[-1] == "3, 3"
    assert lacking[4:] == ["", "", "", ""]
