"""Runs with other PAW data sets than the model's, without a calibration."""

from dataclasses import replace
from itertools import chain

import numpy as np
import pytest

from mlcharge_flows.density.density import superpose
from mlcharge_flows.density.partial_wave_transfer import carry_occupancies
from mlcharge_flows.density.paw_dataset import PartialWaves
from mlcharge_flows.models.calibration import write_calibration
from mlcharge_flows.models.deformation import deformed_superposition
from mlcharge_flows.models.registry import Registry
from mlcharge_flows.sources import (
    InitialDensity,
    Learned,
    RunInputs,
    SourceError,
    Superposition,
    other_datasets,
)
from mlcharge_flows.sources.calibrated import predict_calibrated
from mlcharge_flows.training.calibrate import carried_only
from mlcharge_flows.vasp.potcar import PotcarSearch

R = np.linspace(1e-3, 1.2, 120)
MIXED = np.array([[0.9, 0.3, 0, 0], [-0.2, 1.1, 0, 0], [0, 0, 1.2, -0.4], [0, 0, 0.1, 0.8]])
"""T from the model's data set to that of the run: invertible, within each l."""


def with_waves(dataset):
    """Two s and two p waves that differ from their pseudo waves within a sphere."""
    powers = [R ** (l + 1) * np.exp(-a * R) for l, a in ((0, 1.0), (0, 3.0), (1, 1.5), (1, 4.0))]
    waves = np.array(powers)
    inside = np.where(R < 1.0, (1 - R) ** 2, 0.0)
    charges = np.ones((5, len(R)))
    return replace(
        dataset, lexch="PE", partial_waves=PartialWaves(R, waves, waves * (1 - inside), charges)
    )


def mixed(dataset):
    """The same atom in other partial waves: phi_A = sum_j phi_B,j T_ji, D_B = T D_A T^t."""
    waves, inverse = dataset.partial_waves, np.linalg.inv(MIXED)
    turned = replace(
        waves,
        all_electron=inverse.T @ waves.all_electron,
        pseudo=inverse.T @ waves.pseudo,
    )
    free = carry_occupancies(dataset.atomic_occupancies, dataset.channels, (0, 0, 1, 1), MIXED)
    titel = f"{dataset.titel} mixed"
    return replace(dataset, titel=titel, partial_waves=turned, atomic_occupancies=free)


class Shelf:
    """Finds the data sets that it is given, by their fingerprint."""

    def __init__(self, datasets):
        self.known = {dataset.fingerprint: dataset for dataset in datasets}

    def find(self, dataset):
        return self.known.get(dataset.fingerprint)


@pytest.fixture
def model(trained, tmp_path):
    trained()
    return Registry(tmp_path / "models").load("tiny")


@pytest.fixture
def own(atoms):
    """The model's data sets with their partial waves."""
    return {symbol: with_waves(dataset) for symbol, dataset in atoms.items()}


@pytest.fixture
def run(inputs, own, model, monkeypatch, tmp_path):
    """Give a run other data sets, the model's being available."""
    other_datasets._whole.cache_clear()
    monkeypatch.setenv("MLCHARGE_MODEL_POTCARS", str(tmp_path))
    monkeypatch.setattr(other_datasets, "_search", lambda folder: Shelf(own.values()))

    def run(**datasets):
        monkeypatch.setattr(RunInputs, "_potcar", {**own, **datasets})
        return inputs

    yield run
    other_datasets._whole.cache_clear()


def test_the_same_data_sets_under_another_name_give_the_same_density(run, own, model):
    renamed = {s: replace(d, titel=f"{d.titel} copy") for s, d in own.items()}
    inputs = run(**renamed)
    found = InitialDensity(Learned("tiny")).evaluate(inputs)
    native = model.model.predict(inputs.crystal, inputs.grid)
    np.testing.assert_allclose(found.density.total, native.total, atol=1e-12)
    for mine, its in zip(found.density.augmentation, native.augmentation, strict=True):
        np.testing.assert_allclose(mine, its, atol=1e-9)
    assert found.warnings[0].startswith(
        "the PAW data sets of Mg, O are not those of the model tiny: its change of the occupancies "
        "is converted by the partial waves"
    )


def test_occupancies_are_those_of_the_same_state_in_other_partial_waves(run, own, model):
    inputs = run(O=mixed(own["O"]))
    found = InitialDensity(Learned("tiny")).evaluate(inputs).density
    native = model.model.predict(inputs.crystal, inputs.grid)
    (magnesium, oxygen), (mg, o) = found.augmentation, native.augmentation
    np.testing.assert_allclose(magnesium, mg, atol=1e-12)
    channels = own["O"].channels
    np.testing.assert_allclose(oxygen, carry_occupancies(o, channels, channels, MIXED), atol=1e-6)
    assert found.n_electrons == pytest.approx(8.0, abs=1e-9)


def test_it_is_the_prediction_of_a_calibration_without_runs(run, own, model):
    datasets = {symbol: mixed(dataset) for symbol, dataset in own.items()}
    inputs = run(**datasets)
    shelf = PotcarSearch([])
    shelf.find = Shelf(own.values()).find
    expected, _ = predict_calibrated(model, carried_only(model, datasets, shelf), inputs)
    found = InitialDensity(Learned("tiny")).evaluate(inputs).density
    np.testing.assert_array_equal(found.total, expected.total)
    for mine, its in zip(found.augmentation, expected.augmentation, strict=True):
        np.testing.assert_array_equal(mine, its)


def test_an_element_without_constants_is_carried_in_a_calibrated_crystal(
    run, own, model, refusal, tmp_path
):
    """Magnesium as with a calibration of both, oxygen as without any."""
    datasets = {symbol: mixed(dataset) for symbol, dataset in own.items()}
    inputs = run(**datasets)
    shelf = PotcarSearch([])
    shelf.find = Shelf(own.values()).find
    without = carried_only(model, datasets, shelf)
    spherical_constants = (0.01,) * len(without.elements["Mg"].occupancies)
    magnesium = without.elements["Mg"].model_copy(update={"occupancies": spherical_constants})
    path = tmp_path / "calibration.json"
    write_calibration(path, without.model_copy(update={"elements": {"Mg": magnesium}}))
    found = InitialDensity(Learned("tiny", str(path))).evaluate(inputs)
    bare = InitialDensity(Learned("tiny")).evaluate(inputs).density
    mg, o = found.density.augmentation
    np.testing.assert_allclose(o, bare.augmentation[1], atol=1e-12)
    assert np.abs(mg - bare.augmentation[0]).max() == pytest.approx(0.01, abs=1e-9)
    np.testing.assert_allclose(found.density.total, bare.total, atol=1e-12)
    assert any("the calibration has no runs with O" in line for line in found.warnings)
    with pytest.MonkeyPatch.context() as patch:  # its data set is not available to convert
        patch.setattr(other_datasets, "_search", lambda folder: Shelf([]))
        other_datasets._whole.cache_clear()
        assert "not available to convert occupancies" in refusal(inputs, Learned("tiny", str(path)))


def test_channels_that_the_model_lacks_are_those_of_the_free_atom(run, own, model):
    """A d channel of the run's data set keeps what it holds in the free atom."""
    oxygen = own["O"]
    waves = oxygen.partial_waves
    more = replace(
        waves,
        all_electron=np.vstack([waves.all_electron, R**3 * np.exp(-R)]),
        pseudo=np.vstack([waves.pseudo, R**3 * np.exp(-R)]),
    )
    channels = (*oxygen.channels, 2)
    none = np.zeros((5, 4))
    none[:4] = np.eye(4)
    free = carry_occupancies(oxygen.atomic_occupancies, oxygen.channels, channels, none)
    inputs = run(
        O=replace(
            oxygen,
            titel="PAW_PBE O_d test",
            channels=channels,
            partial_waves=more,
            atomic_occupancies=free,
        )
    )
    found = InitialDensity(Learned("tiny")).evaluate(inputs).density
    native = model.model.predict(inputs.crystal, inputs.grid).augmentation[1]
    expected = carry_occupancies(native, oxygen.channels, channels, none)
    np.testing.assert_allclose(found.augmentation[1], expected, atol=1e-9)


def with_semicore(dataset, n_electrons=2.0):
    """The same data set with a further s wave, that of a core state, and its electrons."""
    waves = dataset.partial_waves
    core = R * np.exp(-9.0 * R)
    more = replace(
        waves,
        all_electron=np.vstack([core, waves.all_electron]),
        pseudo=np.vstack([0.1 * core, waves.pseudo]),
    )
    channels = (0, *dataset.channels)
    shift = np.vstack([np.zeros(4), np.eye(4)])
    free = carry_occupancies(dataset.atomic_occupancies, dataset.channels, channels, shift)
    free[0] = n_electrons / np.sqrt(4 * np.pi)
    return replace(
        dataset,
        titel="PAW_PBE O_sv test",
        zval=dataset.zval + n_electrons,
        channels=channels,
        partial_waves=more,
        atomic_occupancies=free,
        form_factor=dataset.form_factor * (1 + n_electrons / dataset.zval),
    ), shift


@pytest.mark.parametrize("n_electrons", [2.0, 1.5])
def test_a_filled_shell_more_is_that_of_the_free_atom(run, own, model, refusal, n_electrons):
    given, shift = with_semicore(own["O"], n_electrons)
    inputs = run(O=given)
    if n_electrons != 2.0:
        assert "more than filled shells" in refusal(inputs, Learned("tiny"))
        return
    found = InitialDensity(Learned("tiny")).evaluate(inputs).density
    native = model.model.predict(inputs.crystal, inputs.grid).augmentation[1]
    channels = own["O"].channels
    expected = carry_occupancies(native, channels, given.channels, shift)
    expected[0] = given.atomic_occupancies[0]
    np.testing.assert_allclose(found.augmentation[1], expected, atol=1e-6)
    assert found.n_electrons == pytest.approx(10.0, abs=1e-9)


REASONS = {
    "valence": (
        lambda d: replace(d, titel="PAW_PBE O_sv", zval=8.0),
        "their free atoms differ in more than filled shells of the core: calibrate with a few",
    ),
    "waves": (
        lambda d: replace(d, titel="PAW_PBE O old", partial_waves=None),
        "the run's has no partial waves to convert occupancies",
    ),
    "functional": (
        lambda d: replace(d, titel="PAW O", lexch="CA"),
        "it is of another functional (PE and CA)",
    ),
    "atom": (
        lambda d: replace(
            d, titel="PAW_PBE O ionic", atomic_occupancies=0.5 * d.atomic_occupancies
        ),
        "their free atoms differ in more than filled shells of the core",
    ),
}


@pytest.mark.parametrize(("change", "reason"), REASONS.values(), ids=REASONS)
def test_what_cannot_be_carried_over_is_refused(run, own, refusal, change, reason):
    line = refusal(run(O=change(own["O"])), Learned("tiny"))
    assert line.startswith("the model tiny was trained with other PAW data for O (made for tests)")
    assert reason in line


def test_without_the_models_data_sets_the_line_says_how_to_give_them(
    run, own, refusal, monkeypatch
):
    monkeypatch.setattr(other_datasets, "_search", lambda folder: Shelf([]))
    line = refusal(run(O=mixed(own["O"])), Learned("tiny"))
    assert "name the folder of its POTCARs in MLCHARGE_MODEL_POTCARS" in line
    assert "mlcharge calibrate" in line


def test_charge_geometry_and_grid_are_checked_as_ever(run, own):
    inputs = run(O=mixed(own["O"]))
    charged = replace(inputs, incar={**inputs.incar, "NELECT": 7.0})
    with pytest.raises(SourceError, match="the cell is charged"):
        Learned("tiny").evaluate(charged)


def test_another_cutoff_is_told_beside_the_data_sets(run, own, trained):
    from mlcharge_flows.models.card import DataCard

    trained("high", data=DataCard(name="x", train=1, validation=0, encut=(520.0, 520.0)))
    found = Learned("high").evaluate(run(O=mixed(own["O"])))
    assert [line.split(":")[0] for line in found.warnings] == [
        "the PAW data sets of O are not those of the model high",
        "the model high was trained at ENCUT = 520 eV, the run has 350 eV",
    ]


def test_a_density_of_another_source_gets_the_models_own_occupancies(run, own, model):
    inputs = run(O=mixed(own["O"]))
    learned = InitialDensity(Learned("tiny")).evaluate(inputs).density
    both = InitialDensity(Superposition(), Learned("tiny")).evaluate(inputs).density
    for mine, its in zip(chain(both.augmentation), learned.augmentation, strict=True):
        np.testing.assert_array_equal(mine, its)
    np.testing.assert_array_equal(
        both.total, superpose(inputs.crystal, inputs.datasets, inputs.grid).total
    )
    slow = deformed_superposition(
        model.model.deformation(inputs.crystal, inputs.grid), own, inputs.datasets
    )
    np.testing.assert_allclose(learned.total, slow.total, atol=1e-12)
