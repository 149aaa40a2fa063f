from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from atomate2.vasp.jobs.core import StaticMaker
from jobflow import JobStore, run_locally
from maggma.stores import MemoryStore
from pymatgen.core import Lattice, Structure

from mlcharge_flows.atomate2.flows.compare import STARTS, CompareStartsMaker, named_starts
from mlcharge_flows.atomate2.jobs.predict import PredictChargeMaker
from mlcharge_flows.atomate2.powerups import start_from_predicted_density
from mlcharge_flows.atomate2.sets.comparison import ComparisonSetGenerator
from mlcharge_flows.campaign.local import finished
from mlcharge_flows.campaign.worker import lost
from mlcharge_flows.cli.compare import starts_of
from mlcharge_flows.density.superposition import superpose
from mlcharge_flows.models.model import ModelError
from mlcharge_flows.models.registry import Registry
from mlcharge_flows.scf.comparison import Comparison
from mlcharge_flows.sources import learned
from mlcharge_flows.sources.existing import FileStartMaker
from mlcharge_flows.sources.inputs import VaspInputs
from mlcharge_flows.sources.learned import LearnedStartMaker
from mlcharge_flows.sources.start import StartDocument, StartError
from mlcharge_flows.structures import Material
from mlcharge_flows.vasp.chgcar import read_chgcar


def test_a_prediction_is_written_whole(inputs, trained, tmp_path):
    path = trained()
    document = LearnedStartMaker(model="tiny").write(inputs, tmp_path)
    written = read_chgcar(tmp_path / "CHGCAR")
    assert document.comment.startswith("mlcharge-learned-")
    assert written.comment == document.comment
    assert document.kind == document.occupancies == "learned"
    assert document.model == "tiny"
    assert document.checkpoint == Registry(Path()).load(path).sha256
    assert document.paw == {"Mg": "PAW_PBE Mg test", "O": "PAW_PBE O test"}
    assert document.messages == []
    assert written.crystal.symbols == ("Mg", "O")
    assert written.n_electrons == pytest.approx(8.0, abs=1e-6)
    assert LearnedStartMaker(model=path).write(inputs, tmp_path).sha256 == document.sha256


def test_halves_can_be_exchanged(inputs, trained, atoms, tmp_path, monkeypatch):
    trained()
    predicted = Registry(tmp_path / "models").load("tiny").model.predict
    own = predicted(inputs.crystal, inputs.grid)
    atomic = superpose(inputs.crystal, atoms, inputs.grid)
    done = replace(own, total=own.total[::-1], augmentation=tuple(3 * r for r in own.augmentation))
    monkeypatch.setattr(learned.ConvergedStartMaker, "density", lambda *given: done)
    expected = {
        "learned": (own, own),
        "learned-atomic-occupancies": (own, atomic),
        "learned-occupancies": (atomic, own),
        "learned-converged-occupancies": (own, done),
        "converged-learned-occupancies": (done, own),
    }
    starts = named_starts(expected, model="tiny")
    for arm, (grid, occupancies) in expected.items():
        density = starts[arm].density(inputs, None, [])
        np.testing.assert_array_equal(density.total, grid.total, err_msg=arm)
        np.testing.assert_array_equal(density.augmentation, occupancies.augmentation, err_msg=arm)
        assert starts[arm].kind == ("learned" if arm == "learned" else "mixed")
        assert starts[arm].needs_run == ("converged" in arm)


def test_ablations_wait_for_the_run_that_they_need(salt):
    maker = CompareStartsMaker(starts=named_starts([arm for arm in STARTS if "learned" in arm]))
    jobs = {job.name: job for job in maker.make(salt).jobs}
    reference = jobs["default count"].uuid
    for arm in maker.starts:
        assert (reference in jobs[f"{arm} start"].input_uuids) == ("converged" in arm), arm


def test_occupancies_of_another_model(inputs, trained, atoms, tmp_path, refusal):
    trained("bare", occupancies="none")
    line = refusal(inputs, model="bare")
    assert line == (
        "the model bare predicts no occupancies: take those of a model that does (orbital), "
        "element-mean or atomic ones"
    )
    assert LearnedStartMaker(model="bare", occupancies="atomic").write(inputs, tmp_path).path
    trained("tiny")
    document = LearnedStartMaker(model="bare", occupancies="tiny").write(inputs, tmp_path)
    assert document.occupancies == "learned by tiny"
    records = read_chgcar(tmp_path / "CHGCAR").augmentation
    assert records[1][0] == pytest.approx(1.25 * atoms["O"].atomic_occupancies[0])


def test_occupancies_that_belong_to_a_density(inputs, trained, tmp_path, monkeypatch):
    """A model that completes densities looks at the one that is written, not at its own."""
    trained("bare", occupancies="none")
    trained("tiny")
    model = Registry(tmp_path / "models").load("tiny").model

    seen = []

    def complete(self, density):
        seen.append(density)
        predicted = self.predict(density.crystal, density.shape)
        return replace(density, augmentation=predicted.augmentation)

    monkeypatch.setattr(type(model), "complete", complete, raising=False)
    monkeypatch.setattr(type(model), "with_element_means", tripled, raising=False)
    maker = LearnedStartMaker(model="bare", occupancies="tiny")
    found = maker.density(inputs, None, [])
    assert len(seen) == 1
    np.testing.assert_array_equal(found.total, seen[0].total)
    assert maker.policy == "learned by tiny"
    LearnedStartMaker(model="tiny", grid="atomic").density(inputs, None, [])
    assert len(seen) == 1


def tripled(model, density):
    """Stands in for the means of elements."""
    predicted = model.predict(density.crystal, density.shape)
    return replace(density, augmentation=tuple(3 * record for record in predicted.augmentation))


def test_means_of_the_elements(inputs, trained, tmp_path, monkeypatch, refusal):
    """Those of the model itself, or of the default one if the model has no occupancies."""
    path, default = trained("bare", occupancies="none"), trained("orbital")
    line = refusal(inputs, model="orbital", occupancies="element-mean")
    assert line == "the model orbital knows no means of elements"
    registry = Registry(tmp_path / "models")
    model = registry.load("orbital").model
    monkeypatch.setattr(type(model), "complete", tripled, raising=False)
    monkeypatch.setattr(type(model), "with_element_means", tripled, raising=False)
    own = model.predict(inputs.crystal, inputs.grid)
    for name, checkpoints in ((path, [path, default]), ("orbital", [default])):
        maker = LearnedStartMaker(model=name, occupancies="element-mean")
        document = maker.write(inputs, tmp_path)
        assert document.occupancies == "element-mean"
        assert document.checkpoint == "+".join(registry.checksum(file) for file in checkpoints)
        (magnesium, _) = maker.density(inputs, None, []).augmentation
        np.testing.assert_array_equal(magnesium, 3 * own.augmentation[0])


def test_occupancies_of_a_file(inputs, trained, tmp_path):
    """Such as the CHGCAR of an earlier run of the same crystal, after any small change."""
    bare, path = trained("bare", occupancies="none"), trained()
    earlier = tmp_path / "earlier"
    earlier.mkdir()
    written = LearnedStartMaker(model=path).write(inputs, earlier)
    maker = LearnedStartMaker(model=bare, occupancies=str(earlier / "CHGCAR"))
    document = maker.write(inputs, tmp_path)
    assert (document.kind, document.occupancies) == ("mixed", "from file")
    assert document.checkpoint == Registry(Path()).checksum(bare)
    found, expected = (read_chgcar(Path(file.path)) for file in (document, written))
    np.testing.assert_array_equal(found.augmentation, expected.augmentation)
    other = VaspInputs(
        Structure(Lattice.cubic(3.4), ["Mg", "O"], [[0, 0, 0], [0.5] * 3]), ComparisonSetGenerator()
    )
    with pytest.raises(StartError, match="another structure"):
        maker.density(other, None, [])


def test_a_comparison_names_the_source_of_the_occupancies(trained, salt):
    trained("bare", occupancies="none")
    trained("tiny")
    starts = named_starts(["learned", "learned-atomic-occupancies"], "bare", "tiny")
    assert [start.policy for start in starts.values()] == ["learned by tiny", "atomic"]
    for start in starts.values():
        start.check()
    with pytest.raises(ValueError, match="an arm of their own, learned-converged-occupancies"):
        named_starts(["learned"], "bare", "converged")
    for names in ({"model": "nonesuch"}, {"model": "bare", "occupancies": "nonesuch"}):
        with pytest.raises(ModelError, match="there is no model 'nonesuch'"):
            LearnedStartMaker(**names).check()


def test_models_side_by_side(trained, tmp_path, monkeypatch):
    """Each has its own arms, all paired with the same runs from atoms and from the ceiling."""
    trained("first")
    other = trained("second")
    arms = "learned,learned-atomic-occupancies,converged"
    starts = starts_of(arms, f"first, {other}", "first")
    assert list(starts) == [
        "learned@first",
        "learned-atomic-occupancies@first",
        "converged",
        "learned@second",
        "learned-atomic-occupancies@second",
    ]
    assert [starts[f"learned@{name}"].model for name in ("first", "second")] == ["first", other]
    assert list(starts_of(arms, "first", "learned")) == arms.split(",")
    monkeypatch.chdir(Path(other).parent)
    assert starts_of("learned", "second.safetensors", "learned")["learned"].model == other
    with pytest.raises(ValueError, match="two are called second"):
        starts_of(arms, "second,second.safetensors", "learned")
    with pytest.raises(ModelError, match="there is no model 'third'"):
        starts_of(arms, "first,third", "learned")


def test_many_structures_share_one_model(salt, inputs, trained, tiny, tmp_path):
    trained()
    strained = salt.copy().apply_strain(0.02)
    empty = Structure(Lattice.cubic(20.0), ["Mg"], [[0, 0, 0]])
    job = PredictChargeMaker(model="tiny").make_batch(
        [salt, empty, strained], ComparisonSetGenerator()
    )
    store = JobStore(MemoryStore())
    run_locally(job, log=False, store=store, create_folders=True, root_dir=tmp_path)
    output = store.get_output(job.uuid)
    good, bad, other = (StartDocument.model_validate(document) for document in output)
    assert tiny.LOADS == ["tiny"]
    assert "isolated" in bad.failure
    assert Path(good.path).name == f"{good.sha256}.chgcar"
    assert read_chgcar(other.path).crystal.volume == pytest.approx(27 * 1.02**3)


def test_a_model_is_named_where_a_start_is(salt, trained, tmp_path):
    path = trained()
    starts = {
        "learned": LearnedStartMaker(),
        "tiny": LearnedStartMaker(model="tiny"),
        path: LearnedStartMaker(model=path),
        str(tmp_path / "CHGCAR"): FileStartMaker(path=str(tmp_path / "CHGCAR")),
    }
    for given, expected in starts.items():
        assert start_from_predicted_density(StaticMaker(), given).start == expected


def test_what_another_checkpoint_predicted_is_not_finished(salt, trained, tmp_path):
    trained()
    maker = CompareStartsMaker(starts=named_starts(["superposition", "learned"], "tiny"))
    material = Material("salt", salt, tmp_path)
    folder = tmp_path / "out" / "salt"
    folder.mkdir(parents=True)
    (folder / "structure.json").write_text(salt.to_json())
    (folder / "comparison.json").write_text(lost(material, maker, "-").model_dump_json())
    assert list(maker.models) == ["learned"]
    assert list(finished([material], maker, tmp_path / "out")) == ["salt"]
    trained(description="trained for longer")
    assert finished([material], maker, tmp_path / "out") == {}
    assert CompareStartsMaker(starts=named_starts(["learned"], "nonesuch")).models == {}


@pytest.mark.gpaw
def test_gpaw_vasp_reads_predictions(silicon, tiny, tmp_path):
    pytest.importorskip("gpaw", reason="needs the gpaw extra")
    generator = ComparisonSetGenerator(
        user_incar_settings={"ENCUT": 200, "EDIFF": 1e-3},
        user_kpoints_settings={"reciprocal_density": 4},
    )
    inputs = VaspInputs(silicon, generator)
    data = inputs.potcars["Si"]
    tiny.write(
        tmp_path / "models" / "tiny.safetensors",
        {"Si": data},
        [inputs.crystal],
        {"Si": data.titel},
    )
    maker = CompareStartsMaker(
        static_maker=StaticMaker(input_set_generator=generator),
        starts=named_starts(["learned", "converged-learned-occupancies"], "tiny"),
    )
    flow = maker.make(silicon)
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    run_locally(flow, log=False, store=store, create_folders=True, root_dir=tmp_path)
    arms = Comparison.model_validate(store.get_output(flow.jobs[-1].uuid)).arms
    for arm in maker.starts:
        assert arms[arm].exclusion_reason is None, arms[arm].exclusion_reason
        assert arms[arm].started_from == "chgcar"
    energies = [run.energy for run in arms.values()]
    assert np.ptp(energies) < 5e-3  # a few times EDIFF
