"""Predictions of large crystals: fast sums against direct ones, and laws of the densities."""

from copy import deepcopy

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra")

from orbital_models import precision  # noqa: E402

from mlcharge_flows.density.crystal import Crystal  # noqa: E402
from mlcharge_flows.density.density import superpose  # noqa: E402
from mlcharge_flows.models.orbital import interaction, site_sums  # noqa: E402
from mlcharge_flows.models.orbital.fourier_box import FourierBox  # noqa: E402
from mlcharge_flows.models.orbital.g_vectors import GVectors  # noqa: E402
from mlcharge_flows.models.registry import Registry  # noqa: E402

EDGE, SHAPE = 5.64, (48, 48, 96)
ROUNDING = 1e-4
"""Of the density's change, for predictions: the network's single precision, amplified by the
cancellation of overlapping Gaussians. Sums alone are held to 1e-6."""


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return Registry(tmp_path_factory.mktemp("none")).load("orbital").model


@pytest.fixture(scope="module")
def salt():
    """16 rattled ions."""
    fcc = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])
    cell = np.concatenate([fcc, fcc + np.array([0.5, 0, 0])])
    sites = np.concatenate([cell, cell + np.array([0, 0, 1])])
    sites += np.random.default_rng(0).normal(scale=0.01, size=sites.shape)
    symbols = (("Na",) * 4 + ("Cl",) * 4) * 2
    return Crystal(EDGE * np.diag([1, 1, 2]), symbols, sites / [1, 1, 2])


def change(model, crystal, shape):
    """Predicted change of the density from free atoms, and the augmentation occupancies."""
    density = model.predict(crystal, shape)
    atomic = superpose(crystal, model.atoms, shape)
    return density.total - atomic.total, np.concatenate(density.augmentation), density


def relative(found, expected):
    return float(np.abs(found - expected).sum() / np.abs(expected).sum())


def test_sums_of_the_shipped_model_agree_with_direct_ones(model, salt):
    net = model.network
    graph = net.graph(salt)
    with torch.inference_mode():
        expansion = net(graph)[0]
        box = FourierBox.of(salt, SHAPE, net.config.g_max)
        found = net.density(expansion, box, graph.positions)
        occupancies = net.occupancy_changes(found, expansion.ions, box, graph.positions)
        with precision(torch.float64):
            exact = deepcopy(net).double()
            direct = GVectors.of(salt, SHAPE, net.config.g_max, net.basis.lmax)
            phases = direct.phases(graph.positions)
            doubled = expansion._replace(coefficients=expansion.coefficients.double())
            expected = exact.density(doubled, direct, phases)
            known = exact.occupancy_changes(expected, expansion.ions, direct, phases)
    assert relative(box.to_grid(found).numpy(), direct.to_grid(expected).numpy()) < 1e-6
    assert relative(torch.cat(occupancies).numpy(), torch.cat(known).numpy()) < 1e-6


def test_predictions_agree_with_those_of_direct_sums(model, salt, monkeypatch):
    assert len(salt) > site_sums.MAX_DIRECT_SITES
    grid, occupancies, density = change(model, salt, SHAPE)
    n_electrons = sum(model.atoms[symbol].zval for symbol in salt.symbols)
    assert density.n_electrons == pytest.approx(n_electrons, rel=1e-9)
    monkeypatch.setattr(site_sums, "MAX_DIRECT_SITES", 100)
    direct, known, _ = change(model, salt, SHAPE)
    assert relative(grid, direct) < ROUNDING
    assert relative(occupancies, known) < ROUNDING


def test_completed_densities_agree_with_those_of_direct_sums(model, salt, monkeypatch):
    density = model.predict(salt, SHAPE)
    completed = np.concatenate(model.complete(density).augmentation)
    monkeypatch.setattr(site_sums, "MAX_DIRECT_SITES", 100)
    direct = np.concatenate(model.complete(density).augmentation)
    assert relative(completed, direct) < ROUNDING


def test_messages_to_few_sites_at_once_are_the_same(model, salt, monkeypatch):
    graph = model.network.graph(salt)
    with torch.inference_mode():
        whole = model.network.features(graph)
        monkeypatch.setattr(interaction, "MAX_SITES_AT_ONCE", 1)
        portions = model.network.features(graph)
    torch.testing.assert_close(portions, whole, rtol=1e-5, atol=1e-5 * float(whole.abs().max()))


def test_a_supercell_of_a_rattled_cell_repeats_its_density(model, salt):
    doubled = salt.lattice * np.array([[2], [1], [1]])
    positions = np.concatenate([salt.positions, salt.positions + np.array([1, 0, 0])]) / [2, 1, 1]
    supercell = Crystal(doubled, salt.symbols * 2, positions)
    grid, occupancies, _ = change(model, salt, SHAPE)
    repeated, twice, _ = change(model, supercell, (96, 48, 96))
    assert relative(repeated, np.tile(grid, (2, 1, 1))) < ROUNDING
    assert relative(twice, np.tile(occupancies, 2)) < ROUNDING


def test_translation_by_grid_points_rolls_the_density(model, salt):
    shift = np.array([5, -7, 11]) / SHAPE
    moved = Crystal(salt.lattice, salt.symbols, salt.positions + shift)
    grid, occupancies, _ = change(model, salt, SHAPE)
    rolled, same, _ = change(model, moved, SHAPE)
    assert relative(rolled, np.roll(grid, (5, -7, 11), axis=(0, 1, 2))) < ROUNDING
    assert relative(same, occupancies) < ROUNDING


def test_rotation_by_a_quarter_turns_the_density(model, salt):
    """(x, y, z) to (-y, x, z) maps lattice and grid onto themselves."""
    turn = np.array([[0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    turned = Crystal(salt.lattice, salt.symbols, salt.positions @ turn)
    grid, _, _ = change(model, salt, SHAPE)
    found, _, _ = change(model, turned, SHAPE)
    back = (-np.arange(SHAPE[0])) % SHAPE[0]
    assert relative(found, grid.transpose(1, 0, 2)[back]) < ROUNDING
