"""Structure factors, summed and by non-uniform Fourier transforms, against the plain sum."""

import numpy as np
import pytest

from mlcharge_flows.density import structure_factor
from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.density import superpose
from mlcharge_flows.density.grid import half_frequencies
from mlcharge_flows.density.paw_dataset import PawDataset

Q = np.arange(1000) * 0.06


def summed(positions, shape):
    axes = half_frequencies(shape)
    phases = [np.exp(-2j * np.pi * np.outer(h, positions[:, i])) for i, h in enumerate(axes)]
    factors = np.einsum("xs,ys,zs->xyz", *phases, optimize=True)
    for axis, n in enumerate(shape):
        if n % 2 == 0:
            np.moveaxis(factors, axis, 0)[n // 2] = 0.0
    return factors


@pytest.mark.parametrize("largest", [100, 0], ids=["summed", "transformed"])
@pytest.mark.parametrize("shape", [(20, 15, 12), (1, 2, 3), (2, 1, 2), (64, 5, 48)])
def test_agrees_with_the_sum_over_sites(shape, largest, monkeypatch):
    monkeypatch.setattr(structure_factor, "MAX_DIRECT_SITES", largest)
    positions = np.random.default_rng(0).uniform(-1, 2, (40, 3))
    found = structure_factor.structure_factor(positions, shape)
    np.testing.assert_allclose(found, summed(positions, shape), atol=1e-9 * len(positions))
    assert found[0, 0, 0] == len(positions)


def test_superpositions_agree(monkeypatch):
    atom = PawDataset(
        "Na",
        "Na",
        9.0,
        (0, 0, 1),
        q_step=Q[1],
        form_factor=9 * np.exp(-((Q * 0.3) ** 2) / 2),
        atomic_occupancies=np.zeros(15),
    )
    lattice = np.array([[4.1, 0.3, -0.2], [0.5, 3.8, 0.4], [-0.6, 0.2, 4.4]])
    positions = np.random.default_rng(5).uniform(size=(7, 3))
    crystal = Crystal(lattice, ("Na",) * 7, positions)
    for shape in ((30, 27, 32), (5, 6, 7)):
        grids = []
        for largest in (100, 0):
            monkeypatch.setattr(structure_factor, "MAX_DIRECT_SITES", largest)
            found = superpose(crystal, {"Na": atom}, shape)
            assert found.n_electrons == pytest.approx(63.0, rel=1e-12)
            grids.append(found.total)
        np.testing.assert_allclose(grids[1], grids[0], atol=1e-8 * grids[0].max())
