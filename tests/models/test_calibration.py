import json
import re
from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the models extra")

from mlcharge_flows.density.augmentation import n_occupancies, rotate, spherical
from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.density import Density, superpose
from mlcharge_flows.models.calibration import (
    Calibration,
    CalibrationError,
    ElementCalibration,
    read_calibration,
    write_calibration,
)
from mlcharge_flows.models.constant_limits import beyond_limits
from mlcharge_flows.models.deformation import deformed_superposition
from mlcharge_flows.models.domain import OutOfDomainError
from mlcharge_flows.testing import tiny_model
from mlcharge_flows.testing.crystals import random_crystal, random_rotation, rotated

ATOMS = {"Mg": tiny_model.atom("Mg", 2.0), "O": tiny_model.atom("O", 6.0)}
SHAPE = (24, 24, 24)
RNG = np.random.default_rng(0)


def element(symbol, n_runs=2, **changes):
    known = ATOMS[symbol]
    facts = {
        "titel": known.titel,
        "fingerprint": known.fingerprint,
        "zval": known.zval,
        "channels": known.channels,
        "n_runs": n_runs,
        "form_factor": tuple(0.1 * np.random.default_rng(n_runs).standard_normal(20)),
        "occupancies": tuple(0.1 * np.arange(1, len(spherical(known.channels)) + 1)),
    }
    return ElementCalibration(**(facts | changes))


def with_channels(symbol, channels):
    occupancies = 0.1 * np.ones(n_occupancies(channels))
    return replace(ATOMS[symbol], channels=channels, atomic_occupancies=occupancies)


def calibration(**changes):
    facts = {
        "model": "tiny",
        "checkpoint": "c0ffee",
        "encut": 520.0,
        "prec": "Accurate",
        "functional": "PE",
        "elements": {"Mg": element("Mg"), "O": element("O")},
        "version": "0",
    }
    return Calibration(**(facts | changes))


@pytest.fixture
def crystal():
    return random_crystal(np.random.default_rng(1), ("Mg", "O", "O"))


def test_a_file_is_read_as_it_was_written(tmp_path):
    written = calibration()
    first = write_calibration(tmp_path / "one.json", written)
    read = read_calibration(tmp_path / "one.json")
    assert read == written
    assert write_calibration(tmp_path / "two" / "two.json", read) == first


@pytest.mark.parametrize("content", ["", "{}", '{"format": 2}', "\x00"])
def test_other_files_are_refused_in_one_line(tmp_path, content):
    path = tmp_path / "some.json"
    path.write_text(content)
    with pytest.raises(CalibrationError, match="not a calibration") as error:
        read_calibration(path)
    assert "\n" not in str(error.value)
    with pytest.raises(CalibrationError, match=r"none\.json: cannot be read"):
        read_calibration(tmp_path / "none.json")


@pytest.mark.parametrize(
    ("place", "message"),
    [
        (
            "form_factor",
            r"the form factor of Mg moves 4\d\.\d electrons, the limit is 2",
        ),
        ("occupancies", "the occupancies of Mg change by 177 electrons"),
    ],
)
@pytest.mark.parametrize("part", ["elements", "alone"])
def test_constants_that_no_run_can_give_are_refused(tmp_path, place, message, part):
    path = tmp_path / "edited.json"
    write_calibration(path, calibration(alone={"Mg": element("Mg")}))
    content = json.loads(path.read_text())
    content[part]["Mg"][place][0] = 50.0
    path.write_text(json.dumps(content))
    with pytest.raises(CalibrationError, match=rf"edited\.json: was damaged or edited: {message}"):
        read_calibration(path)
    edited = Calibration.model_validate(content)
    with pytest.raises(CalibrationError, match=message):
        write_calibration(tmp_path / "new.json", edited)
    assert not (tmp_path / "new.json").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"form_factor": (50.0, *[0.0] * 19)},
            r"the form factor of the spin of Mg moves 4\d\.\d electrons",
        ),
        (
            {"occupancies": [50.0] * len(spherical(ATOMS["Mg"].channels))},
            "the occupancies of the spin of Mg change by 177 electrons",
        ),
        ({"moments": [{"mean": 50.0}]}, "the moments of Mg are 50 Bohr magnetons"),
    ],
)
def test_magnetizations_that_no_run_can_give_are_refused(changes, message):
    known = ATOMS["Mg"]
    moments = {"elements": (), "n_runs": 1, "mean": 1.0, "spread": 0.0}
    spin = {"titel": known.titel, "fingerprint": known.fingerprint, "channels": known.channels}
    n_constants = len(spherical(known.channels))
    spin |= {"moments": [moments], "form_factor": [0.0] * 20, "occupancies": [0.0] * n_constants}
    assert beyond_limits(calibration(magnetization={"Mg": spin})) is None
    if "moments" in changes:
        changes = {"moments": [moments | changes["moments"][0]]}
    assert re.match(message, beyond_limits(calibration(magnetization={"Mg": spin | changes})))


def test_occupancies_of_other_channels_are_no_calibration():
    with pytest.raises(ValueError, match="number of occupancies"):
        element("Mg", occupancies=(0.1,))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ("form_factor", [1.0] * 5),
        ("form_factor", [1.0] * 21),
        ("transfer", [[1.0, 2.0]]),
        ("transfer", [[1.0], [1.0, 2.0]]),
        ("radius", 1e-9),
        ("radius", 1e9),
        ("q_max", 5.0),
        ("q_max", 1e300),
        ("encut", 0.0),
    ],
)
def test_edited_files_are_refused_before_they_are_used(tmp_path, place, value):
    path = tmp_path / "edited.json"
    write_calibration(path, calibration())
    content = json.loads(path.read_text())
    holder = content["elements"]["Mg"] if place in content["elements"]["Mg"] else content
    holder[place] = value
    path.write_text(json.dumps(content))
    with pytest.raises(CalibrationError, match=r"edited\.json: not a calibration"):
        read_calibration(path)


def test_charge_is_conserved_and_the_constants_are_spherical(crystal):
    before = superpose(crystal, ATOMS, SHAPE)
    after = calibration().correct(before)
    assert after.n_electrons == pytest.approx(before.n_electrons, abs=1e-9)
    assert np.abs(after.total - before.total).max() > 1e-3
    for symbol, one, other in zip(
        crystal.symbols, before.augmentation, after.augmentation, strict=True
    ):
        change = other - one
        changed = spherical(ATOMS[symbol].channels)
        assert change[changed] == pytest.approx(0.1 * np.arange(1, len(changed) + 1))
        assert not np.delete(change, changed).any()


def test_a_calibrated_density_turns_with_the_crystal(crystal):
    rotation = random_rotation(np.random.default_rng(2))
    turned = rotated(crystal, rotation)
    one, other = (calibration().correct(superpose(c, ATOMS, SHAPE)) for c in (crystal, turned))
    assert other.total == pytest.approx(one.total, abs=1e-8)
    for symbol, a, b in zip(crystal.symbols, one.augmentation, other.augmentation, strict=True):
        assert rotate(a, ATOMS[symbol].channels, rotation) == pytest.approx(b, abs=1e-9)


def test_a_calibrated_density_moves_with_the_crystal(crystal):
    moved = Crystal(crystal.lattice, crystal.symbols, crystal.positions + 1 / 24)
    one, other = (calibration().correct(superpose(c, ATOMS, SHAPE)) for c in (crystal, moved))
    assert other.total == pytest.approx(np.roll(one.total, 1, (0, 1, 2)), abs=1e-8)


def test_what_was_calibrated_is_accepted():
    calibration().check(ATOMS, 520.0)
    calibration().check({"O": ATOMS["O"]}, 520.5)
    calibration(encut=None).check(ATOMS, 350.0)


def test_other_cutoffs_elements_and_data_sets_are_refused():
    with pytest.raises(OutOfDomainError, match="is for ENCUT = 520 eV, the run has 400 eV"):
        calibration().check(ATOMS, 400.0)
    silicon = tiny_model.atom("Si", 4.0)
    with pytest.raises(OutOfDomainError, match="does not know Si; it knows Mg, O"):
        calibration().check({**ATOMS, "Si": silicon}, 520.0)
    for other in (
        replace(ATOMS["O"], titel="PAW_PBE O_s"),
        replace(ATOMS["O"], form_factor=0.9 * ATOMS["O"].form_factor_at(1.1 * ATOMS["O"].q)),
        with_channels("O", (0, 1)),
    ):
        with pytest.raises(OutOfDomainError, match="for another PAW data set of O") as error:
            calibration().check({**ATOMS, "O": other}, 520.0)
        assert "\n" not in str(error.value)


def test_elements_that_the_model_does_not_know_need_runs_and_small_errors():
    known = {"O": element("O")}

    def alone(**changes):
        both = {"O": element("O", 4), "Mg": element("Mg", **changes)}
        return calibration(elements=known, alone=both)

    alone(n_runs=3, density_left=0.4, occupancies_left=0.3).check(ATOMS, 520.0)
    with pytest.raises(OutOfDomainError, match="does not know Mg, and its calibration has 2 runs"):
        alone(n_runs=2, density_left=0.4, occupancies_left=0.3).check(ATOMS, 520.0)
    with pytest.raises(OutOfDomainError, match="constants leave 40% of the density's and 95%"):
        alone(n_runs=3, density_left=0.4, occupancies_left=0.95).check(ATOMS, 520.0)


def test_the_atoms_are_those_of_the_run(crystal):
    rng = np.random.default_rng(3)
    change = tuple(rng.standard_normal(n_occupancies(ATOMS[s].channels)) for s in crystal.symbols)
    total = rng.standard_normal(SHAPE)
    deformation = Density(crystal, total - total.mean(), change)
    other = {**ATOMS, "O": with_channels("O", (0, 1, 2))}
    found = deformed_superposition(deformation, ATOMS, other)
    own = superpose(crystal, other, SHAPE)
    assert found.total == pytest.approx(own.total + deformation.total)
    # Mg has the model's channels; what O's would have to become is not known.
    assert found.augmentation[0] == pytest.approx(own.augmentation[0] + change[0])
    assert found.augmentation[1] == pytest.approx(own.augmentation[1])
    transfer = np.zeros((3, 4))
    transfer[0, 0] = transfer[1, 2] = 1.0
    carried = deformed_superposition(deformation, ATOMS, other, {"O": transfer})
    assert np.abs(carried.augmentation[1] - own.augmentation[1]).max() > 0.1
