"""Densities of states by tetrahedra of irreducible k-points."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("gpaw", reason="needs the gpaw extra")

from ase.dft.dos import linear_tetrahedron_integration, lti_dos1

from mlcharge_flows.gpaw_vasp.electronic_structure import irreducible_tetrahedra


@pytest.mark.parametrize("mesh", [(3, 4, 2), (1, 2, 3), (2, 2, 2)])
def test_different_tetrahedra_give_the_density_of_states_of_all(mesh):
    random = np.random.default_rng(0)
    cell = random.normal(size=(3, 3)) + 4 * np.eye(3)
    to_irreducible = np.unique(random.integers(0, 7, np.prod(mesh)), return_inverse=True)[1]
    n_points = to_irreducible.max() + 1
    levels = random.normal(size=(n_points, 5))
    characters = random.random((n_points, 5, 3))
    energies = np.linspace(-4, 4, 301)
    expected = linear_tetrahedron_integration(
        cell,
        levels[to_irreducible].reshape(*mesh, 5),
        energies,
        characters[to_irreducible].reshape(*mesh, 5, 3),
    )
    corners, volumes = irreducible_tetrahedra(cell, np.array(mesh), to_irreducible)
    assert len(corners) < 6 * np.prod(mesh) or n_points == np.prod(mesh)
    assert volumes.sum() == pytest.approx(1)
    found = np.zeros_like(expected)
    for points, volume in zip(corners, volumes, strict=True):
        for band in range(5):
            lti_dos1(levels[points, band], volume * characters[points, band], energies, found)
    assert found == pytest.approx(expected, abs=1e-12)
