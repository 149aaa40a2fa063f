"""Expected error of the orbital model: invariance, and what checkpoints hold of it."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra")

from orbital_models import crystal, model  # noqa: E402

from mlcharge_flows.density.crystal import Crystal  # noqa: E402
from mlcharge_flows.models.card import ExpectedErrorCard  # noqa: E402
from mlcharge_flows.models.checkpoint import (  # noqa: E402
    Checkpoint,
    CheckpointError,
    read_checkpoint,
    write_checkpoint,
)
from mlcharge_flows.models.expected_error import ErrorRegression  # noqa: E402
from mlcharge_flows.models.orbital import load  # noqa: E402
from mlcharge_flows.models.orbital.error_estimate import ErrorEstimate, scalars_of  # noqa: E402
from mlcharge_flows.models.orbital.familiarity import TrainingSites, familiarity  # noqa: E402
from mlcharge_flows.testing.crystals import random_rotation, rotated  # noqa: E402

CLOSE = {"rel": 1e-4}


def estimated(**options):
    """A model with an estimate that depends on all features."""
    made = model(**options)
    graphs = [made.network.graph(crystal(seed)) for seed in range(4, 9)]
    sites = TrainingSites.of(np.concatenate([scalars_of(made.network, g) for g in graphs]))
    rng = np.random.default_rng(0)
    regression = ErrorRegression(
        rng.standard_normal(5), np.ones(5), rng.uniform(0.1, 0.3, 5), np.eye(5), -1.0, 0.4, 30
    )
    data = made.card.data.model_copy(update={"per_element": {"Mg": 30, "O": 4}})
    figures = ExpectedErrorCard(
        materials=30, correlation=0.5, coverage_50=0.5, coverage_90=0.9, above_high=0.1, spread=0.4
    )
    made.card = made.card.model_copy(update={"data": data, "expected_error": figures})
    made.estimate = ErrorEstimate(sites, regression)
    return made


def repeated(one, n):
    """The same crystal in a cell that is n times as long."""
    lattice = one.lattice * np.array([[n], [1], [1]])
    cells = [one.positions + np.array([k, 0, 0]) for k in range(n)]
    positions = np.concatenate(cells) / np.array([n, 1, 1])
    return Crystal(lattice, one.symbols * n, positions)


def test_the_same_crystal_has_the_same_expected_error():
    made, one = estimated(), crystal()
    expected = made.expected_error(one)
    assert 0.01 < expected.median < 100
    rng = np.random.default_rng(1)
    order = [2, 0, 1]
    for other in (
        rotated(one, random_rotation(rng)),
        rotated(one, random_rotation(rng, proper=False)),
        Crystal(one.lattice, one.symbols, one.positions + rng.uniform(size=3)),
        Crystal(one.lattice, tuple(one.symbols[i] for i in order), one.positions[order]),
        repeated(one, 2),
    ):
        found = made.expected_error(other)
        assert found.median == pytest.approx(expected.median, **CLOSE)
        assert found.spread == pytest.approx(expected.spread, **CLOSE)
    assert made.expected_error(crystal(5)).median != pytest.approx(expected.median, rel=1e-3)


def test_reversed_moments_have_the_same_expected_error():
    made, one = estimated(spin=True), crystal()
    made.network.spin.carries[:] = True
    torch.nn.init.normal_(made.network.spin.sign.weight, std=0.5)
    moments = np.array([2.0, -1.0, 0.5])
    expected = made.expected_error(one, moments)
    assert made.expected_error(one, -moments) == expected
    assert made.expected_error(one, np.abs(moments)) != expected
    assert made.expected_error(one) != expected


def test_distances_are_those_of_brute_force():
    rng = np.random.default_rng(0)
    scalars = rng.standard_normal((40, 12)) @ rng.standard_normal((12, 12))
    sites = TrainingSites.of(scalars)
    assert sites.distances(scalars) == pytest.approx(0.0, abs=1e-9)
    components = (scalars - sites.mean) @ sites.projection
    assert components.std(axis=0) == pytest.approx(1.0)
    other = rng.standard_normal((3, 12))
    moved = (other - sites.mean) @ sites.projection
    nearest = [min(np.linalg.norm(one - known) for known in components) for one in moved]
    assert sites.distances(other) == pytest.approx(nearest)


def test_landmarks_cover_the_other_sites(monkeypatch):
    monkeypatch.setattr("mlcharge_flows.models.orbital.familiarity.MAX_LANDMARKS", 20)
    scalars = np.random.default_rng(0).standard_normal((300, 3))
    sites = TrainingSites.of(scalars)
    assert sites.landmarks.shape == (20, 3)
    gaps = np.linalg.norm(sites.landmarks[:, None] - sites.landmarks, axis=-1)
    closest = gaps[np.triu_indices(20, k=1)].min()
    assert sites.distances(scalars).max() <= closest + 1e-9


def test_unknown_elements_count_as_zero():
    sites = TrainingSites.of(np.random.default_rng(0).standard_normal((9, 4)))
    found = familiarity(sites, np.zeros((2, 4)), ["Mg", "Xx"], {"Mg": 9}, np.array([1, 0]))
    assert found[:2] == pytest.approx([0.0, np.log(10) / 2])
    assert found[4] == 0.5


def test_a_checkpoint_holds_the_estimate(tmp_path):
    made, one = estimated(), crystal()
    before = Checkpoint(made.card, made.network.state_dict(), made.estimate.tensors())
    write_checkpoint(tmp_path / "a.safetensors", before)
    checkpoint = read_checkpoint(tmp_path / "a.safetensors")
    assert checkpoint.card.expected_error == made.card.expected_error
    assert checkpoint.weights.keys() == before.weights.keys()
    again = load(checkpoint)
    assert again.expected_error(one) == pytest.approx(made.expected_error(one), **CLOSE)
    torn = dict(checkpoint.estimate)
    del torn["sites.mean"]
    with pytest.raises(CheckpointError, match=r"its estimate lacks 'sites\.mean'"):
        load(replace(checkpoint, estimate=torn))


def test_checkpoints_without_an_estimate_stay_as_they_are(tmp_path):
    made = model()
    write_checkpoint(tmp_path / "a", Checkpoint(made.card, made.network.state_dict()))
    read = read_checkpoint(tmp_path / "a")
    assert "expected_error" not in made.card.model_dump_json()
    assert load(read).expected_error(crystal()) is None
    write_checkpoint(tmp_path / "b", read)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
