import json
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path

import pytest
import typer
from pymatgen.core import Lattice, Structure
from rich.console import Console
from typer.testing import CliRunner

from mlcharge_flows.atomate2.flows.compare import comparison_static
from mlcharge_flows.atomate2.flows.dataset import DensitySampleMaker
from mlcharge_flows.atomate2.jobs import pack as packing
from mlcharge_flows.campaign import local
from mlcharge_flows.campaign.worker import failed_comparison, run_material
from mlcharge_flows.cli import dataset_build as command
from mlcharge_flows.cli.app import app
from mlcharge_flows.cli.runs import Prepared
from mlcharge_flows.density.density import nmae
from mlcharge_flows.errors import note_renamed
from mlcharge_flows.scf.comparison import Comparison
from mlcharge_flows.scf.run import ScfRun
from mlcharge_flows.sources import AtomicOrbitals, Fallback, InitialDensity, Learned, Superposition
from mlcharge_flows.structures import Material
from mlcharge_flows.training.dataset import DensityDataset

HELIUM = Structure(Lattice.cubic(3.0), ["He"], [[0, 0, 0]])
HYDROGEN = Structure(Lattice.cubic(3.1), ["H", "He"], [[0, 0, 0], [0.5, 0.5, 0.5]])


def dataset(*words):
    return CliRunner().invoke(app, ["dataset", *map(str, words)])


@pytest.fixture
def structures(tmp_path):
    entries = [
        {"material_id": "He", "split": "train", "structure": HELIUM.as_dict()},
        {"material_id": "HHe", "split": "validation", "structure": HYDROGEN.as_dict()},
        {"material_id": "tested", "split": "test", "structure": HELIUM.as_dict()},
        {"material_id": "excluded", "structure": HELIUM.as_dict()},
    ]
    path = tmp_path / "structures.json"
    path.write_text(json.dumps({"structures": entries}))
    (tmp_path / "test.json").write_text(json.dumps({"structures": entries[3:]}))
    return path


def test_a_run_that_does_not_count_is_not_packed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lost = ScfRun(folder=str(tmp_path), failure="not converged")
    comparison = Comparison(
        material_id="He", formula="He", n_atoms=1, protocol="p", arms={"default": lost}
    )
    assert packing.pack.original(comparison, HELIUM) == comparison
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(("with_steps", "is_packed"), [(False, True), (True, False)])
def test_a_fast_run_whose_mesh_takes_no_orbitals_is_packed(
    tmp_path, monkeypatch, with_steps, is_packed
):
    read, written = object(), []
    monkeypatch.setattr(packing, "read_finished_run", lambda folder, origin: read)
    monkeypatch.setattr(packing, "replace", lambda sample, **changes: sample)
    monkeypatch.setattr(packing, "write_dataset", lambda path, samples: written.extend(samples))
    run = ScfRun(
        folder=str(tmp_path),
        n_total=9,
        started_from="atoms",
        converged=True,
        orbitals_source="atomic",
        orbitals_failure="initial orbitals: the k-point mesh lacks rotations of the crystal",
    )
    comparison = Comparison(
        material_id="He", formula="He", n_atoms=1, protocol="p", arms={"default": run}
    )
    found = packing.pack.original(comparison, HELIUM, with_steps=with_steps)
    assert written == [read] * is_packed
    assert (found.arms["default"].exclusion_reason is None) is is_packed


def test_a_run_that_cannot_be_packed_is_a_failure_and_keeps_its_files(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "CHGCAR").write_text("half a header\n")
    run = ScfRun(folder=str(folder), n_total=9, started_from="atoms", converged=True)
    comparison = Comparison(
        material_id="He", formula="He", n_atoms=1, protocol="p", arms={"default": run}
    )
    failed = packing.pack.original(comparison, HELIUM)
    assert failed.arms["default"].failure.startswith("not packed: ")
    assert (folder / "CHGCAR").exists()


@pytest.mark.parametrize(
    "words",
    [
        ("info", "no-such-file.h5"),
        ("split", "no-such-file.h5"),
        ("merge", "no-such-file.h5", "--out", "all.h5"),
        ("pack", "no-such-folder", "--protocol", "p"),
        ("merge", ".", "--out", "all.h5"),
    ],
)
def test_bad_input_is_one_line_and_status_2(words, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = dataset(*words)
    assert result.exit_code == 2
    assert result.stderr.startswith("mlcharge: ")
    assert "Traceback" not in result.output


def test_nothing_but_test_structures(structures, monkeypatch):
    monkeypatch.setattr("mlcharge_flows.settings.Settings.check", lambda self: None)
    monkeypatch.setattr("mlcharge_flows.settings.Settings.activated", lambda self: nullcontext())
    result = dataset("build", structures, "--exclude", structures)
    assert result.exit_code == 2
    assert "4 structures are excluded" in result.output
    assert "there is no structure to run" in result.stderr


def converged(name, folder):
    """Sample of a crystal that ran from atoms to the end."""
    static = comparison_static()
    static.input_set_generator.user_incar_settings["EDIFF"] = 1e-7
    crystal = {"He": HELIUM, "HHe": HYDROGEN}[name]
    run_material(Material(name, crystal, folder), DensitySampleMaker(static_maker=static), folder)
    (sample,) = DensityDataset(folder / "pack" / "sample.h5")
    return sample


@pytest.mark.gpaw
@pytest.mark.slow
def test_two_crystals_from_structures_to_store(structures, tmp_path):
    out = tmp_path / "out"
    words = [sys.executable, "-c", "from mlcharge_flows.cli.app import main; main()", "dataset"]
    words += ["build", str(structures), "--exclude", str(tmp_path / "test.json")]
    words += ["--out", str(out), "--workers", "2", "--test"]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "1 structures are excluded" in done.stdout
    store = DensityDataset(out / "dataset.h5")
    assert store.splits() == {"HHe": "validation", "He": "train", "tested": "test"}
    for sample in store:
        assert sample.baseline_nmae > 0.1
        assert sample.n_total == len(sample.energies) > 4
        zval = sum(sample.paw[symbol].zval for symbol in sample.crystal.symbols)
        assert sample.density().n_electrons == pytest.approx(zval, abs=1e-9)
    assert not list(out.glob("*/*/CHGCAR*"))

    quick = [*words[:-1], "--fast-scf", "--out", str(tmp_path / "quick"), "--limit", "1"]
    subprocess.run(quick, capture_output=True, text=True, check=True)
    (fast,) = DensityDataset(tmp_path / "quick" / "dataset.h5")
    slow = store[fast.id]
    assert fast.origin.protocol == slow.origin.protocol
    assert fast.n_total == 0, "its steps are of another SCF"
    # Both meet EDIFF (1e-4 eV) at the earliest step; the protocol's own run ends 4e-4 eV off.
    best = converged(fast.id, tmp_path / "tight")
    assert fast.energy == pytest.approx(best.energy, abs=1e-4)
    assert slow.energy == pytest.approx(best.energy, abs=1e-3)
    assert nmae(fast.density().total, best.density().total) < 0.02 * best.baseline_nmae

    again = subprocess.run(words, capture_output=True, text=True, check=True)
    assert "3 of 3 materials are finished already" in again.stdout
    more = dataset(
        *("build", structures, "--test", "--complement", store.path),
        *("--shard", "1/1", "--out", tmp_path / "more"),
    )
    assert more.exit_code == 0, more.output
    assert DensityDataset(tmp_path / "more" / "dataset.h5").splits() == {"excluded": ""}
    merged = dataset("merge", out, out / "dataset.h5", "--out", tmp_path / "all.h5")
    assert merged.exit_code == 0, merged.output
    assert "3 materials" in merged.output
    fewer = dataset("merge", out, "--without", "He", "--out", tmp_path / "fewer.h5")
    assert "2 materials" in fewer.output
    info = dataset("info", tmp_path / "all.h5").output
    assert store.protocol in info
    assert "train 1, validation 1" in info
    only = dataset("split", tmp_path / "all.h5", "--only", "validation")
    assert only.output == "HHe\n"


def test_a_fast_run_begins_from_the_density_of_the_model():
    def first(maker):
        return maker.make(HELIUM, "He").jobs[0].maker

    plain, quick = first(DensitySampleMaker()), first(DensitySampleMaker(fast_scf=True))
    assert (plain.icharg, plain.initial_density) == (2, None)
    best = InitialDensity(
        Fallback((Learned(), Superposition())), orbitals=AtomicOrbitals(), n_delay=2
    )
    assert (quick.icharg, quick.initial_density) == (1, best)


@pytest.mark.gpaw
@pytest.mark.slow
def test_fast_samples_of_known_elements_and_their_pseudo_labels(tmp_path):
    pytest.importorskip("torch", reason="needs the models extra")
    pytest.importorskip("safetensors", reason="needs the models extra")
    silicon = str(Path(__file__).parents[2] / "test_files" / "crystals" / "Si.vasp")
    for name, options in (("slow", []), ("quick", ["--fast-scf"])):
        done = dataset("build", silicon, *options, "--out", tmp_path / name, "--keep-files")
        assert done.exit_code == 0, done.output
    said = json.loads((tmp_path / "quick" / "Si" / "default-run" / "mlcharge.json").read_text())
    assert not said["initial_density"]["warnings"], "the model knows silicon"
    assert said["initial_density"]["density_source"] == "learned"
    assert said["started_from"] == "chgcar"
    (slow,) = DensityDataset(tmp_path / "slow" / "dataset.h5")
    (quick,) = DensityDataset(tmp_path / "quick" / "dataset.h5")
    assert quick.origin.protocol == slow.origin.protocol
    assert nmae(quick.density().total, slow.density().total) < 0.02 * slow.baseline_nmae

    labeled = dataset("pseudo-label", silicon, "--out", tmp_path / "labels.h5")
    assert labeled.exit_code == 0, labeled.output
    (sample,) = DensityDataset(tmp_path / "labels.h5")
    assert sample.origin.protocol == slow.origin.protocol
    assert nmae(sample.density().total, slow.density().total) < 0.3 * slow.baseline_nmae
    both = tmp_path / "both.h5"
    assert dataset("merge", tmp_path / "labels.h5", tmp_path / "slow", "--out", both).exit_code == 0
    assert DensityDataset(both).splits() == {"Si": ""}
    note_renamed.cache_clear()
    refused = dataset("recall", silicon, "--model", "nonesuch", "--out", tmp_path / "no.h5")
    assert refused.exit_code == 2
    assert "dataset recall is now mlcharge dataset pseudo-label" in refused.stderr
    assert "nonesuch" in refused.stderr


def test_failures_are_retried_on_demand_and_an_interruption_names_the_remedy(
    tmp_path, monkeypatch, capsys
):
    maker = DensitySampleMaker()
    materials = [Material(name, HELIUM, tmp_path) for name in ("fine", "failed")]
    for material in materials:
        folder = tmp_path / material.id
        folder.mkdir()
        (folder / "structure.json").write_text(HELIUM.to_json())
        comparison = failed_comparison(material, maker, "no luck")
        if material.id == "fine":
            comparison.arms["default"] = ScfRun(folder="", n_total=9, started_from="atoms")
        (folder / "comparison.json").write_text(comparison.model_dump_json())

    def interrupted(*arguments):
        raise KeyboardInterrupt

    monkeypatch.setattr(local, "run_in_workers", interrupted)
    with pytest.raises(typer.Exit) as left:
        command._run(Console(quiet=True), Prepared(maker, materials, 1), tmp_path, retry=True)
    assert left.value.exit_code == 130
    assert "1 of 2 materials are left: give the same command" in capsys.readouterr().err
    assert not (tmp_path / "failed" / "comparison.json").exists()
    assert (tmp_path / "fine" / "comparison.json").exists()


def test_options_of_the_first_release_still_work(structures, tmp_path, monkeypatch):
    seen = {}

    def prepare(context, console, executable, build, select, **options):
        seen["maker"], (seen["materials"], _) = build(), select()
        return Prepared(seen["maker"], seen["materials"], 1)

    monkeypatch.setattr(command, "prepare", prepare)
    monkeypatch.setattr(
        command, "_run", lambda console, prepared, out, retry: seen.update(retry=retry)
    )
    note_renamed.cache_clear()
    words = ("build", structures, "--test", "--out", tmp_path / "out")
    new = dataset(*words, "--fast-scf", "--retry-failed", "--shard", "2/2")
    assert (new.exit_code, new.stderr) == (0, "")
    expected = seen.copy()
    seen.clear()
    old = dataset(*words, "--quick", "--again", "--every", 2, "--offset", 1)
    assert old.exit_code == 0
    assert old.stderr.splitlines() == [
        "mlcharge: --quick is now --fast-scf",
        "mlcharge: --again is now --retry-failed",
        "mlcharge: --every, --offset is now --shard 2/2",
    ]
    assert seen["maker"] == expected["maker"]
    assert [m.id for m in seen["materials"]] == [m.id for m in expected["materials"]]
    assert seen["retry"] is expected["retry"] is True
    help_text = dataset("build", "--help").output
    for name in ("--quick", "--again", "--every", "--offset", "--extend"):
        assert f"{name} " not in help_text


@pytest.mark.parametrize("shard", ["0/2", "3/2", "1", "a/b", "1/0"])
def test_a_shard_is_a_part_of_parts(structures, shard):
    refused = dataset("build", structures, "--shard", shard)
    assert refused.exit_code == 2
    assert "give I/N with I from 1 to N" in refused.stderr
