import json
import re
from dataclasses import replace

import numpy as np
import pytest
from atomate2.vasp.jobs.core import StaticMaker
from typer.testing import CliRunner

from mlcharge_flows.atomate2.powerups import start_from_predicted_density
from mlcharge_flows.campaign.spec import CampaignSpec, SpecError, campaign_maker
from mlcharge_flows.cli.app import app
from mlcharge_flows.density.augmentation import n_occupancies
from mlcharge_flows.density.density import superpose
from mlcharge_flows.models.calibration import read_calibration, write_calibration
from mlcharge_flows.models.model import ModelError
from mlcharge_flows.models.registry import Registry
from mlcharge_flows.sources import (
    InitialDensity,
    Learned,
    RunInputs,
    SourceError,
    Superposition,
    load_arms,
    parse_initial_density,
)
from mlcharge_flows.training.calibrate import Calibrator
from mlcharge_flows.training.dataset import write_dataset
from mlcharge_flows.training.origin import Origin, RunSettings
from mlcharge_flows.training.sample import DensitySample
from mlcharge_flows.vasp.chgcar import read_chgcar


@pytest.fixture
def model(trained, tmp_path):
    trained()
    return Registry(tmp_path / "models").load("tiny")


@pytest.fixture
def sample(model, inputs, atoms):
    """A run at 350 eV with other occupancies than the prediction's."""
    predicted = model.model.predict(inputs.crystal, inputs.grid)
    moved = tuple(values + 0.2 for values in predicted.augmentation)
    density = replace(predicted, augmentation=moved)
    packed = DensitySample.pack(density, atoms, Origin("MgO", "p"), encut=350.0)
    return replace(packed, settings=RunSettings(functional="PE", charged=False))


@pytest.fixture
def calibration(model, sample, tmp_path):
    calibrator = Calibrator(model)
    calibrator.add(sample)
    path = tmp_path / "calibration.json"
    write_calibration(path, calibrator.fit())
    return path


def test_a_calibrated_prediction_is_written(inputs, atoms, model, calibration, tmp_path):
    (tmp_path / "run").mkdir()
    document = InitialDensity(Learned("tiny", str(calibration))).write(inputs, tmp_path / "run")
    written = read_chgcar(tmp_path / "run" / "CHGCAR")
    own = model.model.predict(inputs.crystal, inputs.grid)
    expected = read_calibration(calibration).correct(own)
    assert written.n_electrons == pytest.approx(8.0, abs=1e-6)
    assert np.abs(written.total - expected.total).max() < 1e-6
    change = written.augmentation[0] - own.augmentation[0]
    assert change[0] == pytest.approx(0.2, abs=0.01)
    assert document.warnings == []
    plain = InitialDensity(Learned("tiny")).checkpoint
    assert document.checkpoint.startswith(f"{plain}+")


def test_other_runs_are_refused(inputs, atoms, calibration, refusal, monkeypatch):
    source = Learned("tiny", str(calibration))
    high = replace(inputs, incar={**inputs.incar, "ENCUT": 520})
    assert refusal(high, source) == (
        "the calibration of the model tiny is for ENCUT = 350 eV, the run has 520 eV"
    )
    other = {**atoms, "O": replace(atoms["O"], titel="PAW_PBE O_s")}
    monkeypatch.setattr(RunInputs, "_potcar", other)
    assert "is for another PAW data set of O: TITEL is PAW_PBE O test, " in refusal(inputs, source)


def test_a_calibration_for_another_data_set_says_what_differs(calibration, atoms):
    fewer, occupancies = (0, 0, 1), atoms["O"].atomic_occupancies
    for change, difference in (
        ({"titel": "PAW_PBE O_s"}, "TITEL is PAW_PBE O test, the run's is PAW_PBE O_s"),
        ({"zval": 4.0}, "ZVAL is 6.0, the run's is 4.0"),
        (
            {"channels": fewer, "atomic_occupancies": occupancies[: n_occupancies(fewer)]},
            "channels is (0, 0, 1, 1), the run's is (0, 0, 1)",
        ),
        ({"atomic_occupancies": 0.9 * occupancies}, "fingerprint is "),
    ):
        other = {**atoms, "O": replace(atoms["O"], **change)}
        line = f"the calibration of the model tiny is for another PAW data set of O: {difference}"
        with pytest.raises(ModelError, match=re.escape(line)):
            read_calibration(calibration).check(other, None)


def test_without_a_potcar_a_calibration_for_another_data_set_asks_for_it(
    inputs, atoms, calibration, refusal, monkeypatch
):
    other = replace(atoms["O"], atomic_occupancies=0.9 * atoms["O"].atomic_occupancies)
    known = read_calibration(calibration)
    mine = known.elements["O"].model_copy(update={"fingerprint": other.fingerprint})
    changed = known.model_copy(update={"elements": {**known.elements, "O": mine}})
    write_calibration(calibration, changed)
    source = Learned("tiny", str(calibration))
    with_potcar = refusal(inputs, source)
    assert "--potcar" not in with_potcar
    monkeypatch.setattr(RunInputs, "_potcar", {})
    line = refusal(RunInputs.from_files(inputs.structure, inputs.incar), source)
    assert line.startswith(with_potcar)
    assert line.endswith("because no POTCAR is known: give the POTCAR of the runs (--potcar)")


def test_a_calibration_of_another_checkpoint_is_refused(inputs, calibration, trained, refusal):
    trained("other", description="another one")
    line = refusal(inputs, Learned("other", str(calibration)))
    assert "is of another checkpoint (tiny, " in line
    with pytest.raises(ModelError, match="another checkpoint"):
        InitialDensity(Learned("other", str(calibration))).check()
    assert "none.json: cannot be read" in refusal(inputs, Learned("tiny", "/none.json"))


def test_words_of_calibrated_densities_are_read_as_they_are_written(model, calibration, tmp_path):
    word = f"learned@tiny/atomic+calibration@{calibration}+delay=2"
    read = parse_initial_density(word)
    assert read == InitialDensity(Learned("tiny", str(calibration)), Superposition(), n_delay=2)
    assert str(read) == word
    assert read.short_name == "learned@tiny/atomic+calibration+delay=2"
    relative = parse_initial_density(
        "learned+calibration@calibration.json", "tiny", folder=tmp_path
    )
    assert relative.density == Learned("tiny", str(calibration))
    assert InitialDensity.from_dict(read.as_dict()) == read
    with pytest.raises(SourceError, match="a calibration is for learned densities"):
        parse_initial_density(f"superposition+calibration@{calibration}")
    with pytest.raises(SourceError, match="gives calibration twice"):
        parse_initial_density("learned+calibration@a+calibration@b", "tiny")


def test_calibrated_and_uncalibrated_arms_are_told_apart(model, calibration):
    word = f"learned+calibration@{calibration}"
    arms = load_arms(["learned", word, f"learned/same+calibration@{calibration}"], ["tiny"])
    assert list(arms) == ["learned", word] or len(arms) == 2
    assert len({density.checkpoint for density in arms.values()}) == 2


def test_the_power_up_and_campaigns_take_a_calibration(model, calibration, salt):
    maker = start_from_predicted_density(StaticMaker(), Learned("tiny"), calibration=calibration)
    assert maker.initial_density == InitialDensity(Learned("tiny", str(calibration)))
    production = start_from_predicted_density(StaticMaker(), calibration=calibration)
    assert production.initial_density.calibration == str(calibration)
    with pytest.raises(ValueError, match="a calibration is for learned densities"):
        start_from_predicted_density(StaticMaker(), "superposition", calibration=calibration)
    facts = {"name": "c", "structures": "x", "model": "tiny", "arms": ["learned", "converged"]}
    plain = campaign_maker(CampaignSpec(**facts))
    found = campaign_maker(CampaignSpec(**facts, calibration=str(calibration)))
    assert found.initial_densities["learned"].calibration == str(calibration)
    assert not found.initial_densities["converged"].calibration
    assert plain.models["learned"] != found.models["learned"]
    with pytest.raises(SpecError, match=r"none\.json: cannot be read"):
        campaign_maker(CampaignSpec(**facts, calibration="none.json"))
    with pytest.raises(SpecError, match="calibration: none of superposition is learned"):
        campaign_maker(
            CampaignSpec(name="c", structures="x", arms=["superposition"], calibration="x")
        )


def test_the_command_writes_what_it_prints(model, sample, salt, tmp_path):
    write_dataset(tmp_path / "archive.h5", [sample])
    out = tmp_path / "made" / "calibration.json"
    arguments = ["calibrate", str(tmp_path / "archive.h5"), "--model", "tiny", "--out", str(out)]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    assert "350 eV, Normal, PE, 2 elements, 1 run; error" in " ".join(done.output.split())
    assert json.loads(out.read_text())["elements"]["Mg"]["n_runs"] == 1
    salt.to(str(tmp_path / "MgO.json"))
    predict = ["predict", str(tmp_path / "MgO.json"), "--encut", "350", "--model", "tiny"]
    predict += ["--out", str(tmp_path / "predicted"), "--calibration", str(out)]
    done = CliRunner().invoke(app, predict)
    assert done.exit_code == 0, done.output
    done = CliRunner().invoke(app, [word.replace("350", "520") for word in predict])
    assert done.exit_code == 2
    assert "is for ENCUT = 350 eV, the run has 520 eV" in done.output


def test_the_command_refuses_in_one_line(model, tmp_path):
    for arguments, reason in (
        ([], "give the folders of an archive, or a --potcar"),
        ([str(tmp_path / "none")], "there is no such folder or data set"),
        ([str(tmp_path)], "there is no run to calibrate with"),
        ([str(tmp_path), "--potcars", "/none"], "--potcars /none: there is no such folder"),
    ):
        done = CliRunner().invoke(app, ["calibrate", *arguments, "--model", "tiny"])
        assert done.exit_code == 2
        assert reason in " ".join(done.output.split())


def test_without_a_potcar_the_models_atoms_are_taken(inputs, atoms, calibration, monkeypatch):
    def nothing(self):
        raise FileNotFoundError

    monkeypatch.setattr(RunInputs, "_potcar", property(nothing))
    found = InitialDensity(Learned("tiny", str(calibration))).evaluate(inputs)
    assert found.density.n_electrons == pytest.approx(8.0, abs=1e-9)
    assert superpose(inputs.crystal, atoms, inputs.grid).shape == found.density.shape
