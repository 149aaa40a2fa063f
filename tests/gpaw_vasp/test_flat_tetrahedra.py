"""Occupations where all corners of tetrahedra are equivalent k-points."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

pytest.importorskip("gpaw", reason="needs the gpaw extra")

from gpaw.tetrahedron import TetrahedronMethod

from mlcharge_flows.gpaw_vasp.flat_tetrahedra import fill_flat_tetrahedra


def calculator(size, mapping=None):
    """Stand-in for GPAW's calculator, which passes its arguments on."""
    occ = TetrahedronMethod(np.eye(3), size, improved=True, bz2ibzmap=mapping)
    return SimpleNamespace(occ=occ, calculate=occ.calculate)


@pytest.mark.parametrize("n_electrons", [0.3, 1.7, 2.2, 2.9])
def test_degenerate_states_are_filled_in_part(n_electrons: float) -> None:
    """One irreducible point: flat tetrahedra alone. Equal states are filled alike."""
    one = calculator((2, 2, 2), np.zeros(8, int))
    with pytest.raises(AssertionError):
        one.calculate(n_electrons, [[0.0, 1.0, 1.0, 2.0]], [1.0], [0])
    fill_flat_tetrahedra(one)
    filled, (level,), _ = one.calculate(n_electrons, [[0.0, 1.0, 1.0, 2.0]], [1.0], [0])
    assert filled.sum() == pytest.approx(n_electrons, abs=1e-9)
    first = min(n_electrons, 1.0)
    pair = (n_electrons - first) / 2
    np.testing.assert_allclose(filled, [[first, pair, pair, 0.0]], atol=1e-9)
    assert level == pytest.approx(0.0 if n_electrons < 1 else 1.0)


def test_other_occupations_are_those_of_gpaw() -> None:
    energies = np.random.default_rng(0).normal(size=(27, 4)).cumsum(axis=1)
    weights, spins = np.full(27, 1 / 27), [0] * 27
    mine, theirs = calculator((3, 3, 3)), calculator((3, 3, 3))
    fill_flat_tetrahedra(mine)
    found, expected = (one.calculate(1.6, energies, weights, spins) for one in (mine, theirs))
    np.testing.assert_array_equal(found[0], expected[0])
    assert found[1:] == expected[1:]
