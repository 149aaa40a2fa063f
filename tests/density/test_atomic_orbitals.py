"""Bloch sums of atomic orbitals: transforms, phases, tails and order."""

import numpy as np
import pytest

from mlcharge_flows.density.atomic_orbitals import (
    RadialOrbital,
    bloch_sums,
    enlarged,
    independent,
    radial_orbitals,
)
from mlcharge_flows.density.augmentation import atomic_occupancies
from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.paw_dataset import PartialWaves, PawDataset
from mlcharge_flows.vasp.plane_waves import plane_waves


def gaussian(degree, width=1.3, electrons=1.0):
    """r^(l+1) exp(-w r^2 / 2), whose transform is q^l exp(-q^2 / 2w) times a constant."""
    r = 0.02 * np.arange(701)
    u = r ** (degree + 1) * np.exp(-width * r**2 / 2)
    return RadialOrbital(degree, electrons, r, u / np.sqrt((u**2).sum() * 0.02))


def hydrogen(end, electrons=1.0):
    """A data set whose only channel is the 1s state of hydrogen, known up to `end`."""
    r = np.geomspace(1e-4, end, 300)
    u = r * np.exp(-r / 0.529177)
    wave = PartialWaves(r, u[None], u[None], np.zeros((1, len(r))))
    return PawDataset(
        "H", "PAW H", 1.0, (0,), atomic_occupancies=atomic_occupancies((0,), np.diag([electrons])),
        partial_waves=wave,
    )  # fmt: skip


@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_transform_of_a_gaussian_is_a_gaussian(degree):
    q = np.linspace(0.1, 8.0, 37)
    found = gaussian(degree).transform(q)
    expected = q**degree * np.exp(-(q**2) / 2.6)
    np.testing.assert_allclose(found / found[5], expected / expected[5], rtol=2e-5, atol=1e-7)


def test_plane_waves_hold_the_whole_orbital():
    """Parseval: in a large box the coefficients have the norm of the radial function."""
    orbital, side = gaussian(1), 9.0
    waves = plane_waves(side * np.eye(3), 300.0, np.zeros(3))
    q = 2 * np.pi / side * np.linalg.norm(waves, axis=1)
    direction = np.divide(waves[:, 2], np.linalg.norm(waves, axis=1), where=q > 0, out=0 * q)
    angular = np.sqrt(3 / (4 * np.pi)) * direction
    coefficients = 4 * np.pi / side**1.5 * orbital.transform(q) * angular
    assert (coefficients**2).sum() == pytest.approx(1.0, abs=1e-6)


def test_the_tail_continues_what_the_mesh_cuts():
    """1s of hydrogen, cut at 1.5 angstrom, is that of the whole mesh."""
    (cut,), (whole,) = (radial_orbitals(hydrogen(end)) for end in (1.5, 12.0))
    np.testing.assert_allclose(cut.u, whole.u, atol=1e-3 * whole.u.max())
    assert cut.electrons == pytest.approx(1.0)
    assert (cut.u**2).sum() * 0.02 == pytest.approx(1.0)


def test_a_wave_cut_before_its_maximum_decays():
    (cut,) = radial_orbitals(hydrogen(0.4))
    assert cut.u[-1] < 1e-4 * cut.u.max()


def test_unbound_channels_are_left_out():
    """Of two channels of a degree the second is none; a first one that grows is none."""
    r = np.geomspace(1e-3, 2.0, 200)
    u = np.stack(
        [r * np.exp(-2 * r), r * np.exp(-r) * (1 - r), r**2 * np.exp(r), r**3 * np.exp(-4 * r)]
    )
    dataset = PawDataset(
        "X", "PAW X", 2.0, (0, 0, 1, 2),
        atomic_occupancies=atomic_occupancies((0, 0, 1, 2), np.diag([2.0, 0.0, 0.0, 0.0])),
        partial_waves=PartialWaves(r, u, u, np.zeros((1, len(r)))),
    )  # fmt: skip
    assert [(o.degree, round(o.electrons, 9)) for o in radial_orbitals(dataset)] == [
        (0, 2.0),
        (2, 0.0),
    ]


def test_a_dataset_without_partial_waves_is_refused():
    with pytest.raises(ValueError, match="PAW Q: the partial waves of the free atom are not known"):
        radial_orbitals(PawDataset("H", "PAW Q", 1.0, (0,)))


@pytest.fixture
def bent():
    """Two ions in a skewed cell with s, p and d orbitals, at a general k-point."""
    lattice = np.array([[4.1, 0.2, 0.0], [0.3, 4.4, 0.5], [0.1, -0.4, 5.0]])
    crystal = Crystal(lattice, ("A", "B"), np.array([[0.1, 0.2, 0.3], [0.55, 0.6, 0.8]]))
    kpoint = np.array([0.21, -0.1, 0.37])
    orbitals = {
        "A": [gaussian(0, electrons=2.0), gaussian(2, electrons=3.0)],
        "B": [gaussian(1, electrons=5.0)],
    }
    return crystal, orbitals, plane_waves(lattice, 150.0, kpoint) + kpoint


def test_a_bloch_sum_is_the_sum_of_orbitals_in_real_space(bent):
    """The slow reference: s orbital of A and p_z orbital of B, summed over cells with phases."""
    crystal, orbitals, waves = bent
    sums = bloch_sums(crystal, orbitals, waves)
    assert sums.shape[0] == 1 + 3 + 5
    rng = np.random.default_rng(1)
    places = rng.random((6, 3))
    kpoint = np.array([0.21, -0.1, 0.37])
    cells = np.stack(np.meshgrid(*3 * [np.arange(-2, 3)], indexing="ij"), -1).reshape(-1, 3)
    for row, ion, radial, angular in (
        (0, 0, lambda r: np.exp(-1.3 * r**2 / 2), lambda d: 1.0),
        (2, 1, lambda r: np.exp(-1.3 * r**2 / 2), lambda d: d[..., 2]),
    ):
        apart = (places[:, None] - crystal.positions[ion] - cells) @ crystal.lattice
        value = radial(np.linalg.norm(apart, axis=-1)) * angular(apart)
        expected = (value * np.exp(2j * np.pi * (cells @ kpoint))).sum(1)
        found = np.exp(2j * np.pi * (places @ waves.T)) @ sums[row]
        scale = np.vdot(found, expected) / np.vdot(found, found)
        np.testing.assert_allclose(found * scale, expected, atol=2e-4 * np.abs(expected).max())


def test_full_orbitals_come_first(bent):
    """2 of 2 electrons in A's s, 5 of 6 in B's p, 3 of 10 in A's d."""
    crystal, orbitals, waves = bent
    sums = bloch_sums(crystal, orbitals, waves)
    only_s = bloch_sums(crystal, {"A": orbitals["A"][:1], "B": []}, waves)
    only_p = bloch_sums(crystal, {"A": [], "B": orbitals["B"]}, waves)
    np.testing.assert_allclose(sums[:4], np.concatenate([only_s, only_p]), atol=1e-12)


def test_translation_changes_the_phase_alone(bent):
    crystal, orbitals, waves = bent
    shift = np.array([0.13, 0.4, -0.2])
    moved = Crystal(crystal.lattice, crystal.symbols, crystal.positions + shift)
    np.testing.assert_allclose(
        bloch_sums(moved, orbitals, waves),
        bloch_sums(crystal, orbitals, waves) * np.exp(-2j * np.pi * (waves @ shift)),
        atol=1e-12,
    )


def test_orbitals_that_depend_on_others_are_left_out(bent):
    crystal, orbitals, waves = bent
    twice = {"A": [*orbitals["A"], gaussian(0, 1.301, 0.0)], "B": orbitals["B"]}
    np.testing.assert_array_equal(
        independent(bloch_sums(crystal, twice, waves)), bloch_sums(crystal, orbitals, waves)
    )


def test_added_orbitals_are_shorter_or_of_the_next_degree():
    given = [gaussian(0, 1.3), gaussian(1, 0.7)]
    first, second, short, shorter, polarized = enlarged(given)
    assert [first, second] == given
    assert (short.degree, shorter.degree, polarized.degree) == (0, 1, 2)
    assert short.mean_radius < first.mean_radius
    assert shorter.mean_radius < second.mean_radius
    for added in (short, shorter, polarized):
        assert added.electrons == 0.0
        assert (added.u**2).sum() * 0.02 == pytest.approx(1.0)


def test_a_metal_gets_the_p_and_d_orbitals_of_its_outermost_shell():
    """Calcium: 3s and 4s, 3p; d of the reach of 4s, and what polarizes 3p."""
    inner, outer, p = gaussian(0, 6.0), gaussian(0, 0.4), gaussian(1, 5.0)
    added = enlarged([inner, outer, p])[6:]
    assert [orbital.degree for orbital in added] == [1, 2, 2]
    assert added[1].mean_radius < outer.mean_radius < added[2].mean_radius
