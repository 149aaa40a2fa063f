from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the models extra")

from mlcharge_flows.density.augmentation import n_occupancies, spherical
from mlcharge_flows.density.density import superpose
from mlcharge_flows.density.magnetization import SpinDensity, SpinSines, superpose_moments
from mlcharge_flows.testing import tiny_model
from mlcharge_flows.testing.crystals import random_crystal
from mlcharge_flows.training.magnetic_run import RADIUS, MagneticRun
from mlcharge_flows.training.magnetization_fit import fit_magnetization, like

ATOMS = {"Mg": tiny_model.atom("Mg", 2.0), "O": tiny_model.atom("O", 6.0)}
SHAPE = (30, 31, 32)
BASIS = SpinSines(radius=1.5, q_max=12.0)
FORMULAS = (("Mg", "O"), ("Mg", "O", "O"), ("Mg", "Mg", "O"), ("Mg",))
SETTINGS = (350.0, "PE")
RATIO = {"Mg": 0.9, "O": -1.2}


def gaussian(width):
    return lambda q: np.exp(-0.5 * (width * q) ** 2)


def spins():
    """Spin density of each element, within a sphere for the most part."""
    rng, found = np.random.default_rng(0), {}
    for (symbol, atom), width in zip(ATOMS.items(), (0.3, 0.36), strict=True):
        occupancies = np.zeros(n_occupancies(atom.channels))
        blocks = spherical(atom.channels)
        occupancies[blocks] = rng.standard_normal(len(blocks))
        found[symbol] = SpinDensity(gaussian(width), occupancies)
    return found


def moments_of(symbols, sign=1.0):
    """Moments of both signs: magnesium about 2, oxygen 0.5."""
    sizes = {"Mg": 2.0, "O": 0.5}
    return np.array([sign * (-1) ** i * sizes[s] for i, s in enumerate(symbols)])


def run(number, known, size=1.0, settings=SETTINGS):
    symbols = FORMULAS[number % len(FORMULAS)]
    crystal = random_crystal(np.random.default_rng(number), symbols)
    moments = moments_of(symbols)
    converged = superpose_moments(crystal, size * moments, known, SHAPE)
    converged = replace(converged, moments=1.5 * moments)  # MAGMOM, not the result
    density, converged = anisotropic(superpose(crystal, ATOMS, SHAPE), converged, moments)
    formula, paw = "".join(symbols), {symbol: ATOMS[symbol] for symbol in symbols}
    return MagneticRun.of(str(number), formula, settings, density, converged, paw, BASIS)


def anisotropic(density, magnetization, moments):
    """Add occupancies of L > 0 to a density, and their reverse to its magnetization."""
    rng, totals, own = np.random.default_rng(3), [], []
    for symbol, total, spin, moment in zip(
        density.crystal.symbols,
        density.augmentation,
        magnetization.augmentation,
        moments,
        strict=True,
    ):
        change = 0.1 * rng.standard_normal(len(total))
        change[spherical(ATOMS[symbol].channels)] = 0.0
        totals.append(total + change)
        own.append(spin - RATIO[symbol] * np.sign(moment) * change)
    return replace(density, augmentation=tuple(totals)), replace(
        magnetization, augmentation=tuple(own)
    )


def test_the_moment_of_a_sphere_is_the_integral_over_the_grid():
    known = spins()
    one = run(1, known)
    density = superpose_moments(one.crystal, moments_of(one.crystal.symbols), known, (72, 72, 72))
    points = np.stack(np.meshgrid(*(np.arange(72) / 72,) * 3, indexing="ij"), -1)
    for ion, place in enumerate(one.crystal.positions):
        apart = points - place
        distance = np.linalg.norm((apart - apart.round()) @ one.crystal.lattice, axis=-1)
        inside = density.grid[distance < RADIUS].sum() * one.crystal.volume / 72**3
        assert one.in_spheres[ion] == pytest.approx(inside, abs=0.03)


def test_synthetic_spin_densities_are_recovered():
    known = spins()
    runs = [run(number, known) for number in range(8)]
    fit = fit_magnetization(runs, BASIS)
    q = np.linspace(0.0, 10.0, 50)
    for symbol, size in (("Mg", 2.0), ("O", 0.5)):
        mine = fit[symbol]
        found = mine.spin_density(BASIS)
        assert found.form_factor(q) == pytest.approx(known[symbol].form_factor(q), abs=0.05)
        assert found.form_factor(np.zeros(1)) == pytest.approx(1.0)
        assert found.occupancies == pytest.approx(known[symbol].occupancies, abs=0.1)
        assert mine.all_moments.mean == pytest.approx(size, rel=0.1)
        assert mine.all_moments.spread < 0.2 * size
        assert mine.all_moments.n_runs == sum(symbol in r.crystal.symbols for r in runs)
        assert mine.moments_for(["Mg", "O"]).n_runs == 6
        assert mine.density_left < 0.5
        assert np.array(mine.anisotropy) == pytest.approx(-RATIO[symbol], rel=0.05)


def test_errors_are_those_of_runs_of_other_formulas():
    known = spins()
    runs = [run(number, known) for number in range(4)]
    fit = fit_magnetization(runs, BASIS)
    sizes = {symbol: {"moments": mine.moments} for symbol, mine in fit.items()}
    left = []
    for one in runs:
        others = fit_magnetization([other for other in runs if other is not one], BASIS)
        known = {s: mine.model_copy(update=sizes[s]) for s, mine in others.items()}
        left.append(one.left(known, BASIS))
    assert fit["Mg"].density_left == pytest.approx(np.mean([errors[0] for errors in left]))
    assert fit["Mg"].density_left < 0.4
    assert runs[3].left({}, BASIS) is None
    assert fit_magnetization([], BASIS) == {}
    alone = fit_magnetization(runs[:1], BASIS)
    assert alone["Mg"].density_left is None


def test_elements_without_moments_have_sizes_only():
    known = spins()
    symbols = ("Mg", "O")
    crystal = random_crystal(np.random.default_rng(0), symbols)
    converged = superpose_moments(crystal, np.array([2.0, 0.0]), known, SHAPE)
    density = superpose(crystal, ATOMS, SHAPE)
    one = MagneticRun.of("0", "MgO", SETTINGS, density, converged, ATOMS, BASIS)
    fit = fit_magnetization([replace(one, in_spheres=np.array([2.0, 0.0]))], BASIS)
    assert fit["O"].form_factor is None
    assert fit["O"].spin_density(BASIS) is None
    assert fit["O"].all_moments.mean == pytest.approx(0.0)
    assert fit["Mg"].form_factor is not None
    zero = replace(converged, moments=np.zeros(2))
    assert MagneticRun.of("0", "MgO", SETTINGS, density, zero, ATOMS, BASIS) is None


def magmom_ranges(runs):
    return {symbol: mine.magmom_range for symbol, mine in fit_magnetization(runs, BASIS).items()}


def test_the_magmom_of_the_runs_is_known_whatever_they_ended_with():
    """Its size, of all ions; runs that ended without moments count, zeros of MAGMOM do not."""
    known = spins()
    runs = [run(number, known) for number in range(4)]
    expected = {"Mg": (3.0, 3.0), "O": (0.75, 0.75)}  # 1.5 times the final moments
    assert magmom_ranges(runs) == expected
    lost = replace(
        run(0, known, size=0.0), magmom=np.array([-5.0, 0.6]), in_spheres=np.zeros(2), name="lost"
    )
    ranges = magmom_ranges([*runs, lost])
    assert ranges == {"Mg": (3.0, 5.0), "O": (0.6, 0.75)}
    one, other = magmom_ranges(runs[1:]), magmom_ranges([lost])
    joined = {s: (min(one[s][0], other[s][0]), max(one[s][1], other[s][1])) for s in one}
    assert joined == ranges, "of merged runs: the union"
    ordered = replace(lost, magmom=np.array([5.0, 0.0]))
    assert magmom_ranges([ordered]) == {"Mg": (5.0, 5.0), "O": None}
    assert magmom_ranges([*runs, ordered]) == {"Mg": (3.0, 5.0), "O": (0.75, 0.75)}


def test_errors_count_runs_that_ended_far_from_their_magmom():
    """The MAGMOM of a run that is left out asks for no other state than its own."""
    known = spins()
    runs = [run(number, known, size=0.3) for number in range(2)]
    for one, factor in zip(runs, (4.0, 8.0), strict=True):
        one.magmom[:] *= factor  # beyond three times the size plus one
    fit = fit_magnetization(runs, BASIS)
    assert fit["Mg"].magmom_range == (12.0, 24.0)
    assert fit["Mg"].density_left is not None


def test_runs_of_other_settings_or_data_sets_are_left_out():
    known = spins()
    one, other = run(0, known), run(1, known, settings=(520.0, "PE"))
    assert like([one, None, other], SETTINGS, ATOMS) == [one]
    foreign = {**ATOMS, "O": tiny_model.atom("O", 6.0, step=0.05)}
    assert like([one, replace(one, datasets=foreign)], SETTINGS, {}) == [one]
