"""Occupancies for a model of the density alone, from a calibration."""

import json
from dataclasses import replace

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from mlcharge_flows.cli.app import app
from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.density import error_removed, superpose
from mlcharge_flows.models.calibration import read_calibration, write_calibration
from mlcharge_flows.models.domain import GeometryBounds
from mlcharge_flows.models.model import ModelError
from mlcharge_flows.models.registry import Registry
from mlcharge_flows.sources import (
    InitialDensity,
    Learned,
    RunInputs,
    Superposition,
    parse_initial_density,
)
from mlcharge_flows.training.calibrate import Calibrator, carried_only
from mlcharge_flows.training.dataset import write_dataset
from mlcharge_flows.training.origin import Origin, RunSettings
from mlcharge_flows.training.sample import DensitySample
from mlcharge_flows.vasp.chgcar import read_chgcar
from mlcharge_flows.vasp.potcar import PotcarSearch

EDGES = {"MgO": 3.1, "MgO2": 3.4, "Mg2O": 3.6}


@pytest.fixture
def model(trained, inputs, tmp_path):
    """The tiny model without occupancies; it predicts the density of the runs exactly."""
    crystals = [inputs.crystal, *map(crystal, EDGES)]
    bounds = GeometryBounds.of(crystals, [(28, 28, 28)] * len(crystals))
    trained("tiny", geometry=bounds)
    trained("bare", geometry=bounds, occupancies="none")
    return Registry(tmp_path / "models").load("bare")


def crystal(formula):
    more = {"MgO": [], "MgO2": ["O"], "Mg2O": ["Mg"]}[formula]
    places = [[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0, 0.1]]
    symbols = ["Mg", "O", *more]
    return Crystal.from_structure(
        Structure(Lattice.cubic(EDGES[formula]), symbols, places[: len(symbols)])
    )


@pytest.fixture
def samples(model, atoms, tmp_path):
    """Runs with the density of the model, and the occupancies that the complete model has."""
    complete = Registry(tmp_path / "models").load("tiny").model
    found = []
    for formula in EDGES:
        density = complete.predict(crystal(formula), (28, 28, 28))
        packed = DensitySample.pack(density, atoms, Origin(formula, "p"), encut=350.0)
        found.append(replace(packed, settings=RunSettings(functional="PE", charged=False)))
    return found


@pytest.fixture
def calibration(model, samples, tmp_path):
    calibrator = Calibrator(model)
    for sample in samples:
        calibrator.add(sample)
    assert not calibrator.problems
    path = tmp_path / "calibration.json"
    write_calibration(path, calibrator.fit())
    return path


def test_the_file_has_responses_and_is_read_as_it_was_written(calibration, tmp_path):
    read = read_calibration(calibration)
    for its in read.elements.values():
        assert its.response is not None
        assert its.n_runs == 3
        assert its.largest_change > 0
        assert 0 <= its.response_left < 0.3
        assert not any(its.occupancies)
    assert read.ridge in read_calibration(calibration).model_dump().values()
    write_calibration(tmp_path / "again.json", read)
    assert (tmp_path / "again.json").read_bytes() == calibration.read_bytes()


def test_a_prediction_has_occupancies(inputs, atoms, model, calibration, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "tiny").mkdir()
    source = Learned("bare", str(calibration))
    document = InitialDensity(source).write(inputs, tmp_path / "run")
    InitialDensity(Learned("tiny")).write(inputs, tmp_path / "tiny")
    written, expected = (read_chgcar(tmp_path / name / "CHGCAR") for name in ("run", "tiny"))
    assert document.augmentation_source == "learned"
    assert document.model == "bare"
    removed = error_removed(written, superpose(inputs.crystal, atoms, inputs.grid), expected)
    assert removed[1] > 0.8


def test_any_density_gets_the_occupancies_that_follow_from_it(inputs, atoms, model, calibration):
    """A density of another source keeps its grid."""
    source = Learned("bare", str(calibration))
    own = InitialDensity(source).evaluate(inputs).density
    moved = replace(own, total=own.total[::-1].copy(), augmentation=None)
    evaluated = replace(Superposition().evaluate(inputs), density=moved, is_superposition=False)
    found = source.evaluate(inputs, evaluated).density
    assert np.array_equal(found.total, moved.total)
    expected = read_calibration(calibration).complete(
        moved, superpose(inputs.crystal, atoms, inputs.grid)
    )
    for one, other in zip(found.augmentation, expected.augmentation, strict=True):
        assert np.array_equal(one, other)
    # From free atoms nothing follows: the model predicts.
    atomic = Superposition().evaluate(inputs)
    assert np.array_equal(source.evaluate(inputs, atomic).density.total, own.total)


def test_words_name_the_model_and_its_calibration(model, calibration):
    for word in (f"bare+calibration@{calibration}", f"learned@bare+calibration@{calibration}"):
        read = parse_initial_density(word)
        assert read == InitialDensity(Learned("bare", str(calibration)))
        assert read.short_name == "learned@bare+calibration"
        read.check()


def test_what_is_missing_is_named_in_one_line(inputs, atoms, model, calibration, refusal, tmp_path):
    read = read_calibration(calibration)
    write_calibration(
        tmp_path / "less.json",
        read.model_copy(update={"elements": {"O": read.elements["O"]}}),
    )
    assert refusal(inputs, Learned("bare", str(tmp_path / "less.json"))) == (
        "the model bare predicts no occupancies, and its calibration has no runs with Mg: "
        "calibrate with runs of these, too, or take the occupancies of another model"
    )
    other = Learned("bare", str(tmp_path / "less.json"))
    assert InitialDensity(other, Superposition()).evaluate(inputs).density.augmentation
    none = {s: e.model_copy(update={"response": None}) for s, e in read.elements.items()}
    write_calibration(tmp_path / "none.json", read.model_copy(update={"elements": none}))
    with pytest.raises(ModelError, match=r"none\.json: has no responses; the model bare predicts"):
        InitialDensity(Learned("bare", str(tmp_path / "none.json"))).check()
    with pytest.raises(ModelError, match="is of another checkpoint"):
        InitialDensity(Learned("tiny", str(calibration))).check()
    with pytest.raises(ModelError, match="predicts no occupancies that could be converted"):
        carried_only(model, atoms, PotcarSearch([]))


def test_other_settings_and_unlike_densities_are_refused(
    inputs, atoms, model, calibration, refusal, tmp_path, monkeypatch
):
    source = Learned("bare", str(calibration))
    high = replace(inputs, incar={**inputs.incar, "ENCUT": 520})
    assert "is for ENCUT = 350 eV, the run has 520 eV" in refusal(high, source)
    read = read_calibration(calibration)
    small = {s: e.model_copy(update={"largest_change": 1e-3}) for s, e in read.elements.items()}
    write_calibration(tmp_path / "small.json", read.model_copy(update={"elements": small}))
    assert "the calibration of bare: the density around ion 1" in refusal(
        replace(inputs), Learned("bare", str(tmp_path / "small.json"))
    )
    renamed = {**atoms, "O": replace(atoms["O"], titel="PAW_PBE O_s")}
    monkeypatch.setattr(RunInputs, "_potcar", renamed)
    assert "is for another PAW data set of O: " in refusal(inputs, source)


@pytest.mark.parametrize(
    ("response", "line"),
    [
        ([[0.0]], "a response has 12 coefficients for each block"),
        ([[0.0] * 12], "the response is not one of the blocks, with its largest change"),
    ],
)
def test_a_broken_response_is_refused(calibration, response, line):
    content = json.loads(calibration.read_text())
    content["elements"]["O"]["response"] = response
    calibration.write_text(json.dumps(content))
    with pytest.raises(ModelError, match=line):
        read_calibration(calibration)


def test_calibrate_and_predict(model, samples, salt, tmp_path):
    """The whole way: an archive, its calibration, and a CHGCAR that VASP can use."""
    write_dataset(tmp_path / "archive.h5", samples)
    out = tmp_path / "bare.json"
    command = ["calibrate", str(tmp_path / "archive.h5"), "--model", "bare", "--out", str(out)]
    done = CliRunner().invoke(app, command)
    assert done.exit_code == 0, done.output
    text = " ".join(done.output.split())
    assert "350 eV, PE, 2 elements, 3 runs; error" in text
    assert "of converged: error of the occupancies that follow from the converged" in text
    salt.to(str(tmp_path / "MgO.json"))
    predict = ["predict", str(tmp_path / "MgO.json"), "--encut", "350", "--model", "bare"]
    predict += ["--out", str(tmp_path / "predicted")]
    without = CliRunner().invoke(app, predict)
    assert without.exit_code == 2
    assert "calibrate it with finished runs (mlcharge calibrate)" in " ".join(
        without.output.split()
    )
    done = CliRunner().invoke(app, [*predict, "--calibration", str(out)])
    assert done.exit_code == 0, done.output
    written = read_chgcar(tmp_path / "predicted" / "MgO" / "CHGCAR")
    assert [len(record) for record in written.augmentation] == [33, 33]
