from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from atomate2.vasp.jobs.core import StaticMaker
from jobflow import JobStore, run_locally
from maggma.stores import MemoryStore
from pymatgen.core import Lattice, Structure

from mlcharge_flows.atomate2.flows.compare import CompareDensitiesMaker
from mlcharge_flows.atomate2.jobs.initial_density import InitialDensityMaker
from mlcharge_flows.atomate2.powerups import start_from_predicted_density
from mlcharge_flows.atomate2.sets.comparison import ComparisonSetGenerator
from mlcharge_flows.campaign.local import finished_materials
from mlcharge_flows.campaign.worker import failed_comparison
from mlcharge_flows.density.density import superpose
from mlcharge_flows.models.model import ModelError
from mlcharge_flows.models.registry import Registry
from mlcharge_flows.scf.comparison import Comparison
from mlcharge_flows.sources import (
    Converged,
    ElementMean,
    Evaluated,
    FromFile,
    InitialDensity,
    InitialDensityDocument,
    Learned,
    RunInputs,
    Same,
    SourceError,
    Superposition,
    load_arms,
    parse_arms,
    parse_initial_density,
)
from mlcharge_flows.structures import Material
from mlcharge_flows.vasp.chgcar import read_chgcar


def test_a_prediction_is_written_whole(inputs, trained, tmp_path):
    path = trained()
    document = InitialDensity(Learned("tiny")).write(inputs, tmp_path)
    written = read_chgcar(tmp_path / "CHGCAR")
    assert document.comment.startswith("mlcharge-learned-")
    assert written.comment == document.comment
    assert document.density_source == document.augmentation_source == "learned"
    assert document.model == "tiny"
    assert document.checkpoint == Registry(Path()).load(path).sha256
    assert document.paw == {"Mg": "PAW_PBE Mg test", "O": "PAW_PBE O test"}
    assert document.warnings == []
    assert written.crystal.symbols == ("Mg", "O")
    assert written.n_electrons == pytest.approx(8.0, abs=1e-6)
    assert InitialDensity(Learned(path)).write(inputs, tmp_path).sha256 == document.sha256


def test_halves_can_be_exchanged(inputs, trained, atoms, tmp_path, monkeypatch):
    trained()
    predicted = Registry(tmp_path / "models").load("tiny").model.predict
    own = predicted(inputs.crystal, inputs.grid)
    atomic = superpose(inputs.crystal, atoms, inputs.grid)
    done = replace(own, total=own.total[::-1], augmentation=tuple(3 * r for r in own.augmentation))
    monkeypatch.setattr(Converged, "evaluate", lambda *given: Evaluated(done))
    expected = {
        "superposition": (atomic, atomic),
        "converged": (done, done),
        "converged/atomic": (done, atomic),
        "superposition/converged": (atomic, done),
        "learned": (own, own),
        "learned/atomic": (own, atomic),
        "superposition/learned": (atomic, own),
        "learned/converged": (own, done),
        "converged/learned": (done, own),
        "atomic-occupancies": (done, atomic),
        "converged-occupancies": (atomic, done),
        "learned-atomic-occupancies": (own, atomic),
        "learned-occupancies": (atomic, own),
        "learned-converged-occupancies": (own, done),
        "converged-learned-occupancies": (done, own),
    }
    pure = {"superposition", "converged", "learned"}
    densities = {arm: parse_initial_density(arm, "tiny") for arm in expected}
    for arm, (grid, occupancies) in expected.items():
        found = densities[arm].evaluate(inputs).density
        np.testing.assert_array_equal(found.total, grid.total, err_msg=arm)
        np.testing.assert_array_equal(found.augmentation, occupancies.augmentation, err_msg=arm)
        assert densities[arm].label == (arm if arm in pure else "mixed")
        assert densities[arm].needs_reference_run == ("converged" in str(densities[arm]))


def test_ablations_wait_for_the_run_that_they_need(salt):
    arms = ["learned", "learned/atomic", "learned/converged", "converged/learned"]
    maker = CompareDensitiesMaker(initial_densities=parse_arms(arms))
    jobs = {job.name: job for job in maker.make(salt).jobs}
    reference = jobs["default count"].uuid
    for arm in arms:
        assert (reference in jobs[f"{arm} density"].input_uuids) == ("converged" in arm), arm


def test_occupancies_of_another_model(inputs, trained, atoms, tmp_path, refusal):
    trained("bare", occupancies="none")
    line = refusal(inputs, Learned("bare"))
    assert line == (
        "the model bare predicts no occupancies: calibrate it with finished runs (mlcharge "
        "calibrate), or take the occupancies of a model that does (orbital), element-mean or "
        "atomic ones"
    )
    assert InitialDensity(Learned("bare"), Superposition()).write(inputs, tmp_path).path
    trained("tiny")
    document = InitialDensity(Learned("bare"), Learned("tiny")).write(inputs, tmp_path)
    assert document.augmentation_source == "learned@tiny"
    assert document.model == "bare+tiny"
    assert document.comment.startswith("mlcharge-learned-")
    records = read_chgcar(tmp_path / "CHGCAR").augmentation
    assert records[1][0] == pytest.approx(1.25 * atoms["O"].atomic_occupancies[0])


def test_occupancies_that_belong_to_a_density(inputs, trained, tmp_path, monkeypatch):
    """A model that completes densities looks at the one that is written, not at its own."""
    trained("bare", occupancies="none")
    trained("tiny")
    model = Registry(tmp_path / "models").load("tiny").model

    seen = []

    def complete(self, density, atoms=None):
        seen.append(density)
        predicted = self.predict(density.crystal, density.shape)
        return replace(density, augmentation=predicted.augmentation)

    monkeypatch.setattr(type(model), "completes_densities", True, raising=False)
    monkeypatch.setattr(type(model), "complete", complete, raising=False)
    monkeypatch.setattr(type(model), "with_element_means", tripled, raising=False)
    initial = InitialDensity(Learned("bare"), Learned("tiny"))
    found = initial.evaluate(inputs).density
    assert len(seen) == 1
    np.testing.assert_array_equal(found.total, seen[0].total)
    assert initial.augmentation_source == "learned@tiny"
    # Free atoms tell nothing that the structure does not; the model's own density needs nothing.
    for density in (Superposition(), Learned("tiny")):
        InitialDensity(density, Learned("tiny")).evaluate(inputs)
    assert len(seen) == 1
    InitialDensity(Learned("tiny"), ElementMean("tiny")).evaluate(inputs)
    assert len(seen) == 1


def tripled(model, density, atoms=None):
    """Stands in for the means of elements."""
    predicted = model.predict(density.crystal, density.shape)
    return replace(density, augmentation=tuple(3 * record for record in predicted.augmentation))


def test_means_of_the_elements(inputs, trained, tmp_path, monkeypatch, refusal):
    """Those of the model itself, or of the default one if the model has no occupancies."""
    path, default = trained("bare", occupancies="none"), trained("orbital")
    line = refusal(inputs, Learned("orbital"), ElementMean("orbital"))
    assert line == "the model orbital knows no means of elements"
    registry = Registry(tmp_path / "models")
    model = registry.load("orbital").model
    monkeypatch.setattr(type(model), "completes_densities", True, raising=False)
    monkeypatch.setattr(type(model), "complete", tripled, raising=False)
    monkeypatch.setattr(type(model), "with_element_means", tripled, raising=False)
    own = model.predict(inputs.crystal, inputs.grid)
    for name, checkpoints in ((path, [path, default]), ("orbital", [default])):
        initial = parse_initial_density("learned", name, "element-mean")
        document = initial.write(inputs, tmp_path)
        assert document.augmentation_source == "element-mean"
        assert document.checkpoint == "+".join(registry.checksum(file) for file in checkpoints)
        (magnesium, _) = initial.evaluate(inputs).density.augmentation
        np.testing.assert_array_equal(magnesium, 3 * own.augmentation[0])


def test_occupancies_of_a_file(inputs, trained, tmp_path):
    """Such as the CHGCAR of an earlier run of the same crystal, after any small change."""
    bare, path = trained("bare", occupancies="none"), trained()
    earlier = tmp_path / "earlier"
    earlier.mkdir()
    written = InitialDensity(Learned(path)).write(inputs, earlier)
    initial = InitialDensity(Learned(bare), FromFile(str(earlier / "CHGCAR")))
    document = initial.write(inputs, tmp_path)
    assert (document.density_source, document.augmentation_source) == ("learned", "file")
    assert document.comment.startswith("mlcharge-mixed-")
    assert document.checkpoint == Registry(Path()).checksum(bare)
    found, expected = (read_chgcar(Path(file.path)) for file in (document, written))
    np.testing.assert_array_equal(found.augmentation, expected.augmentation)
    other = RunInputs.from_generator(
        Structure(Lattice.cubic(3.4), ["Mg", "O"], [[0, 0, 0], [0.5] * 3]), ComparisonSetGenerator()
    )
    with pytest.raises(SourceError, match="another structure"):
        initial.evaluate(other)


def test_a_comparison_names_the_source_of_the_occupancies(trained, salt):
    trained("bare", occupancies="none")
    trained("tiny")
    arms = parse_arms(["learned", "learned/atomic"], "bare", "tiny")
    assert [arm.augmentation_source for arm in arms.values()] == ["learned@tiny", "atomic"]
    for arm in arms.values():
        arm.check()
    with pytest.raises(ValueError, match="an arm of their own, learned/converged"):
        parse_arms(["learned"], "bare", "converged")
    for augmentation in (Same(), Learned("nonesuch")):
        density = Learned("nonesuch") if augmentation == Same() else Learned("bare")
        with pytest.raises(ModelError, match="there is no model 'nonesuch'"):
            InitialDensity(density, augmentation).check()


def test_models_side_by_side(trained, tmp_path, monkeypatch):
    """Each has its own arms, all paired with the same runs from atoms and from the ceiling."""
    trained("first")
    other = trained("second")
    arms = ["learned", "learned/atomic", "learned-converged-occupancies", "converged"]
    densities = load_arms(arms, ["first", other], "first")
    assert list(densities) == [
        "learned@first",
        "learned@first/atomic",
        "learned-converged-occupancies@first",
        "converged",
        "learned@second",
        "learned@second/atomic",
        "learned-converged-occupancies@second",
    ]
    models = [densities[f"learned@{name}"].density.model for name in ("first", "second")]
    assert models == ["first", other]
    assert list(load_arms(arms, ["first"], "learned")) == arms
    monkeypatch.chdir(Path(other).parent)
    found = load_arms(["learned"], ["second.safetensors"], "learned")["learned"]
    assert found == InitialDensity(Learned(other))
    with pytest.raises(ValueError, match="two are called second"):
        load_arms(arms, ["second", "second.safetensors"], "learned")
    with pytest.raises(ModelError, match="there is no model 'third'"):
        load_arms(arms, ["first", "third"], "learned")


def test_many_structures_share_one_model(salt, inputs, trained, tiny, tmp_path):
    trained()
    strained = salt.copy().apply_strain(0.02)
    empty = Structure(Lattice.cubic(20.0), ["Mg"], [[0, 0, 0]])
    maker = InitialDensityMaker(initial_density=InitialDensity(Learned("tiny")))
    job = maker.make_batch([salt, empty, strained], ComparisonSetGenerator())
    store = JobStore(MemoryStore())
    run_locally(job, log=False, store=store, create_folders=True, root_dir=tmp_path)
    output = store.get_output(job.uuid)
    good, bad, other = (InitialDensityDocument.model_validate(document) for document in output)
    assert tiny.LOADS == ["tiny"]
    assert "isolated" in bad.failure
    assert Path(good.path).name == f"{good.sha256}.chgcar"
    assert read_chgcar(other.path).crystal.volume == pytest.approx(27 * 1.02**3)


def test_what_a_power_up_takes_for_an_initial_density(salt, trained, tmp_path):
    path = trained()
    given = {
        "learned": Learned(),
        "tiny": Learned("tiny"),
        path: Learned(path),
        Path(path): Learned(path),
        str(tmp_path / "CHGCAR"): FromFile(str(tmp_path / "CHGCAR")),
        tmp_path / "any name": FromFile(str(tmp_path / "any name")),
        Superposition(): Superposition(),
    }
    for density, expected in given.items():
        maker = start_from_predicted_density(StaticMaker(), density)
        assert maker.initial_density == InitialDensity(expected)
    both = InitialDensity(Learned("tiny"), Superposition())
    for density in (both, "tiny/atomic", "learned@tiny/atomic"):
        assert start_from_predicted_density(StaticMaker(), density).initial_density == both
    with pytest.raises(ValueError, match="'magic' is no source of densities"):
        start_from_predicted_density(StaticMaker(), "magic")


def test_what_another_checkpoint_predicted_is_not_finished(salt, trained, tmp_path):
    trained()
    maker = CompareDensitiesMaker(
        initial_densities=parse_arms(["superposition", "learned"], "tiny")
    )
    material = Material("salt", salt, tmp_path)
    folder = tmp_path / "out" / "salt"
    folder.mkdir(parents=True)
    (folder / "structure.json").write_text(salt.to_json())
    (folder / "comparison.json").write_text(
        failed_comparison(material, maker, "-").model_dump_json()
    )
    assert list(maker.models) == ["learned"]
    assert list(finished_materials([material], maker, tmp_path / "out")) == ["salt"]
    trained(description="trained for longer")
    assert finished_materials([material], maker, tmp_path / "out") == {}
    assert CompareDensitiesMaker(initial_densities=parse_arms(["learned"], "nonesuch")).models == {}


@pytest.mark.gpaw
def test_gpaw_vasp_reads_predictions(silicon, tiny, tmp_path):
    pytest.importorskip("gpaw", reason="needs the gpaw extra")
    generator = ComparisonSetGenerator(
        user_incar_settings={"ENCUT": 200, "EDIFF": 1e-3},
        user_kpoints_settings={"reciprocal_density": 4},
    )
    inputs = RunInputs.from_generator(silicon, generator)
    data = inputs.datasets["Si"]
    tiny.write(
        tmp_path / "models" / "tiny.safetensors",
        {"Si": data},
        [inputs.crystal],
        {"Si": data.titel},
    )
    maker = CompareDensitiesMaker(
        static_maker=StaticMaker(input_set_generator=generator),
        initial_densities=parse_arms(["learned", "converged/learned"], "tiny"),
    )
    flow = maker.make(silicon)
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    run_locally(flow, log=False, store=store, create_folders=True, root_dir=tmp_path)
    arms = Comparison.model_validate(store.get_output(flow.jobs[-1].uuid)).arms
    for arm in maker.initial_densities:
        assert arms[arm].exclusion_reason is None, arms[arm].exclusion_reason
        assert arms[arm].started_from == "chgcar"
    energies = [run.energy for run in arms.values()]
    assert np.ptp(energies) < 5e-3  # a few times EDIFF
