from dataclasses import replace

import numpy as np
import pytest
import torch

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.models.charge3net import field as field_module
from mlcharge_flows.models.charge3net.field import DensityField, bytes_per_probe, chunks

RUTILE = Crystal(
    np.diag([4.6, 4.6, 2.95]),
    ("Ti", "Ti", "O", "O", "O", "O"),
    np.array(
        [[0, 0, 0], [0.5, 0.5, 0.5], [0.3, 0.3, 0], [0.7, 0.7, 0], [0.2, 0.8, 0.5], [0.8, 0.2, 0.5]]
    ),
)
CPU = torch.device("cpu")


@pytest.mark.parametrize("size", [1, 7, 1000])
def test_the_density_does_not_depend_on_chunks(network, oblique, points, size):
    expected = DensityField(network, oblique).at(points)
    found = DensityField(network, oblique, probes_per_chunk=size).at(points)
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_the_density_does_not_depend_on_blocks_of_neighbor_lists(
    network, oblique, points, monkeypatch
):
    expected = DensityField(network, oblique).at(points)
    monkeypatch.setattr(field_module, "POINTS_PER_NEIGHBOR_LIST", 4)
    np.testing.assert_allclose(DensityField(network, oblique).at(points), expected, rtol=1e-10)


def test_symmetry_reduction_does_not_change_the_density(network):
    field, sizes = DensityField(network, RUTILE), []
    shape = (8, 8, 6)
    whole = field.on_grid(shape, symmetry=False)
    reduced = field.on_grid(shape, lambda done, of: sizes.append(of))
    assert np.max(np.abs(whole - reduced)) < 1e-4 * whole.std()
    assert max(sizes) < 0.2 * whole.size


def test_a_distorted_crystal_is_not_symmetrized(network):
    moved = RUTILE.positions.copy()
    moved[2] += [0.004, -0.002, 0.003]
    field, sizes = DensityField(network, replace(RUTILE, positions=moved)), []
    field.on_grid((4, 4, 3), lambda done, of: sizes.append(of))
    assert max(sizes) == 48


def test_a_grid_equals_its_points(network, oblique):
    field, shape = DensityField(network, oblique), (3, 4, 5)
    steps = np.stack(np.meshgrid(*[np.arange(n) / n for n in shape], indexing="ij"), axis=-1)
    expected = field.at(steps.reshape(-1, 3) @ oblique.lattice).reshape(shape)
    np.testing.assert_allclose(field.on_grid(shape), expected, rtol=1e-10)


def test_progress_ends_with_all_points(network, oblique, points):
    calls = []
    DensityField(network, oblique, 10).at(points, lambda done, of: calls.append((done, of)))
    assert calls == [(10, 25), (20, 25), (25, 25)]


def test_chunks_hold_every_probe_once_and_keep_to_the_memory(network, monkeypatch):
    counts = np.random.default_rng(0).integers(0, 60, 500)
    budget = 40 * bytes_per_probe(network, 30)
    monkeypatch.setattr("mlcharge_flows.models.charge3net.field.free_memory", lambda _: budget)
    parts = list(chunks(counts, network, CPU))
    assert sorted(np.concatenate(parts).tolist()) == list(range(500))
    for part in parts:
        assert len(part) * bytes_per_probe(network, counts[part].max()) <= budget
    assert len(parts) > 5


def test_a_chunk_holds_at_least_one_probe(network, monkeypatch):
    monkeypatch.setattr("mlcharge_flows.models.charge3net.field.free_memory", lambda _: 1)
    assert [len(part) for part in chunks(np.array([3, 4]), network, CPU)] == [1, 1]
