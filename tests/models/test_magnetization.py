from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the models extra")

from mlcharge_flows.density.augmentation import blocks, rotate, spherical
from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.density import superpose
from mlcharge_flows.density.magnetization import SpinDensity, SpinSines, superpose_moments
from mlcharge_flows.models.magnetization import (
    ElementMagnetization,
    predict_magnetization,
    site_moments,
)
from mlcharge_flows.models.moment_sizes import Moments
from mlcharge_flows.testing import tiny_model
from mlcharge_flows.testing.crystals import random_crystal, random_rotation, rotated
from mlcharge_flows.testing.laws import ROUNDING
from mlcharge_flows.vasp.chgcar import read_chgcar
from mlcharge_flows.vasp.chgcar_writer import write_chgcar

ATOMS = {"Mg": tiny_model.atom("Mg", 2.0), "O": tiny_model.atom("O", 6.0)}
SHAPE = (20, 21, 22)
BASIS = SpinSines()
N_OTHERS = sum(block.L > 0 for block in blocks((0, 0, 1, 1)))
SYMBOLS = ("Mg", "Mg", "O", "O")
MAGMOM = np.array([2.0, -2.0, 0.6, 0.0])


def sizes(mean=1.7, spread=0.1, n_runs=3, elements=(), n_systems=3):
    given = {"n_runs": n_runs, "n_systems": n_systems, "mean": mean, "spread": spread}
    return Moments(elements=elements, **given)


def element(symbol, *moments, **changes):
    known = ATOMS[symbol]
    facts = {
        "titel": known.titel,
        "fingerprint": known.fingerprint,
        "channels": known.channels,
        "moments": moments or (sizes(),),
        "form_factor": tuple(np.random.default_rng(ord(symbol[0])).standard_normal(20)),
        "occupancies": tuple(0.1 * np.arange(1, len(spherical(known.channels)) + 1)),
        "anisotropy": tuple(-1.0 + 0.1 * np.arange(N_OTHERS)),
    }
    return ElementMagnetization(**(facts | changes))


KNOWN = {"Mg": element("Mg"), "O": element("O", sizes(0.3))}


@pytest.fixture
def crystal():
    return random_crystal(np.random.default_rng(1), SYMBOLS)


def density_of(crystal, shape=SHAPE):
    """A density whose occupancies are not spherical."""
    free = superpose(crystal, ATOMS, shape)
    rng = np.random.default_rng(7)
    other = tuple(values + 0.1 * rng.standard_normal(len(values)) for values in free.augmentation)
    return replace(free, augmentation=other)


def predicted(crystal, magmom=MAGMOM, known=KNOWN, shape=SHAPE):
    density = density_of(crystal, shape)
    return predict_magnetization(density, magmom, known, ATOMS, BASIS)[0]


def test_reversing_all_moments_reverses_the_magnetization_exactly(crystal):
    one, other = predicted(crystal), predicted(crystal, -MAGMOM)
    assert np.array_equal(one.grid, -other.grid)
    assert np.array_equal(one.moments, -other.moments)
    for a, b in zip(one.augmentation, other.augmentation, strict=True):
        assert np.array_equal(a, -b)
    assert np.abs(one.grid).max() > 0.01


def test_a_magnetization_moves_and_turns_with_the_crystal(crystal):
    one = predicted(crystal, shape=(20, 20, 20))
    moved = replace(crystal, positions=crystal.positions + 1 / 20)
    ROUNDING.assert_close(
        predicted(moved, shape=(20, 20, 20)).grid, np.roll(one.grid, 1, (0, 1, 2))
    )
    rotation = random_rotation(np.random.default_rng(2))
    channels = [ATOMS[symbol].channels for symbol in crystal.symbols]
    density = density_of(crystal)
    turned = replace(
        density,
        crystal=rotated(crystal, rotation),
        augmentation=tuple(
            rotate(values, own, rotation)
            for values, own in zip(density.augmentation, channels, strict=True)
        ),
    )
    found, _ = predict_magnetization(turned, MAGMOM, KNOWN, ATOMS, BASIS)
    assert found.grid == pytest.approx(predicted(crystal).grid, abs=1e-8)
    for a, b, own in zip(found.augmentation, one.augmentation, channels, strict=True):
        assert a == pytest.approx(rotate(b, own, rotation), abs=1e-9)


def test_a_magnetization_follows_a_permutation_of_the_ions(crystal):
    order = [2, 0, 3, 1]
    symbols = tuple(crystal.symbols[i] for i in order)
    permuted = Crystal(crystal.lattice, symbols, crystal.positions[order])
    density = density_of(crystal)
    other = replace(
        density, crystal=permuted, augmentation=tuple(density.augmentation[i] for i in order)
    )
    one = predicted(crystal)
    other, _ = predict_magnetization(other, MAGMOM[order], KNOWN, ATOMS, BASIS)
    ROUNDING.assert_close(other.grid, one.grid)
    for ion, place in enumerate(order):
        assert np.array_equal(other.augmentation[ion], one.augmentation[place])


def test_it_integrates_to_the_moments_and_an_antiferromagnet_to_zero(crystal):
    found = predicted(crystal)
    assert found.grid.mean() * crystal.volume == pytest.approx(found.moments.sum(), abs=1e-9)
    assert found.moments.tolist() == [1.7, -1.7, 0.3, 0.0]
    order = predicted(crystal, np.array([5.0, -5.0, 0.0, 0.0]))
    assert order.grid.mean() * crystal.volume == pytest.approx(0.0, abs=1e-12)
    assert not order.augmentation[2].any()


def test_occupancies_of_higher_degree_are_those_of_the_density(crystal):
    """In proportion to the moment below the mean of the runs, and no more above it."""
    density = density_of(crystal)
    mine = KNOWN["Mg"]
    whole = mine.anisotropic(2.0, density.augmentation[0])
    assert np.array_equal(mine.anisotropic(-2.0, density.augmentation[0]), -whole)
    assert mine.anisotropic(0.85, density.augmentation[0]) == pytest.approx(whole / 2)
    assert not whole[spherical(mine.channels)].any()
    first = next(block for block in blocks(mine.channels) if block.L > 0)
    place = slice(first.offset, first.offset + 2 * first.L + 1)
    assert whole[place] == pytest.approx(-density.augmentation[0][place])


def test_a_magnetization_is_read_as_it_was_written(crystal, tmp_path):
    crystal = replace(crystal, lattice=crystal.lattice.round(6))  # what the file holds
    density = replace(superpose(crystal, ATOMS, SHAPE), magnetization=predicted(crystal))
    write_chgcar(tmp_path / "CHGCAR", density)
    read = read_chgcar(tmp_path / "CHGCAR").magnetization
    assert read.grid == pytest.approx(density.magnetization.grid, abs=1e-9)
    assert read.moments == pytest.approx(density.magnetization.moments)
    for a, b in zip(read.augmentation, density.magnetization.augmentation, strict=True):
        assert a == pytest.approx(b, abs=1e-7)


def test_unit_moments_of_free_atoms_are_what_vasp_superposes(crystal):
    one = Crystal(crystal.lattice, ("Mg",), crystal.positions[:1])
    spins = {"Mg": SpinDensity.of_free_atom(ATOMS["Mg"])}
    found = superpose_moments(one, np.array([-3.0]), spins, SHAPE)
    atom = superpose(one, ATOMS, SHAPE)
    ROUNDING.assert_close(found.grid, -1.5 * atom.total)
    ROUNDING.assert_close(found.augmentation[0], -1.5 * atom.augmentation[0])
    with pytest.raises(ValueError, match="no atomic density for Mg"):
        SpinDensity.of_free_atom(replace(ATOMS["Mg"], form_factor=None, atomic_occupancies=None))


@pytest.mark.parametrize(
    ("changes", "magmom", "expected", "reason"),
    [
        ({}, 5.0, 1.7, None),
        ({}, -0.8, -1.7, None),
        ({}, 0.0, 0.0, None),
        ({}, 0.6, 0.6, "lower spin state"),
        ({}, -7.0, -7.0, "higher spin state"),
        ({"n_systems": 2}, 5.0, 5.0, "too few runs of similar crystals"),
        ({"n_systems": 1, "elements": ("Mg",)}, 5.0, 1.7, None),
        ({"spread": 0.6}, 5.0, 5.0, "those of the runs differ"),
        ({"mean": 0.0, "spread": 0.0}, -0.6, -0.1, None),
        ({"mean": 0.0, "spread": 0.0}, 0.05, 0.05, None),
        ({"mean": 0.0, "spread": 0.0}, 3.0, 3.0, "higher spin state"),
    ],
)
def test_magmom_stands_where_the_runs_do_not_tell(changes, magmom, expected, reason):
    known = {"Mg": element("Mg", sizes(**changes))}
    moments, is_predicted, warnings = site_moments(("Mg",), np.array([magmom]), known)
    assert moments.tolist() == [expected]
    assert is_predicted.tolist() == [reason is None and magmom != 0.0]
    assert (warnings == ()) if reason is None else (reason in warnings[0])


BEGAN_WITH = (0.6, 5.0)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("mean", [0.0, 0.1, 0.6, 2.3, 7.0])
@pytest.mark.parametrize("size", [0.55, 0.6, 1.0, 3.0, 5.0, 5.05])
def test_magmom_of_the_runs_asks_for_no_other_state(sign, mean, size):
    """Their final moments are what it leads to, even if they are far from it, or zero."""
    known = {"Mg": element("Mg", sizes(mean), magmom_range=BEGAN_WITH)}
    moments, is_predicted, warnings = site_moments(("Mg",), np.array([sign * size]), known)
    assert warnings == ()
    assert is_predicted.all()
    assert moments == pytest.approx([sign * max(mean, 0.1)])


@pytest.mark.parametrize("given", [1e-3, 0.3, 0.54, 5.06, 8.0, 30.0])
@pytest.mark.parametrize("mean", [0.6, 2.3, 7.0])
@pytest.mark.parametrize("spread", [0.1, 3.0])
def test_other_magmom_is_compared_as_if_that_of_the_runs_were_not_known(given, mean, spread):
    unknown = {"Mg": element("Mg", sizes(mean, spread))}
    known = {"Mg": element("Mg", sizes(mean, spread), magmom_range=BEGAN_WITH)}
    one, other = (site_moments(("Mg",), np.array([given]), each) for each in (unknown, known))
    assert one[0].tolist() == other[0].tolist()
    assert one[2] == other[2]


def test_a_low_spin_state_is_not_that_of_runs_that_began_with_a_high_one():
    known = {"Mg": element("Mg", sizes(4.0), magmom_range=(5.0, 5.0))}
    assert site_moments(("Mg",), np.array([5.0]), known)[0].tolist() == [4.0]
    moments, _, warnings = site_moments(("Mg",), np.array([1.0]), known)
    assert moments.tolist() == [1.0]
    assert "lower spin state" in warnings[0]


def test_the_spread_counts_for_magmom_of_the_runs_too():
    """Runs that began alike and ended in several states, or too few, tell no size."""
    for changes, reason in (({"spread": 0.6}, "differ"), ({"n_systems": 2}, "too few")):
        known = {"Mg": element("Mg", sizes(**changes), magmom_range=BEGAN_WITH)}
        moments, _, warnings = site_moments(("Mg",), np.array([5.0]), known)
        assert moments.tolist() == [5.0]
        assert reason in warnings[0]


def test_a_range_of_magmom_is_one_of_sizes():
    for wrong in ((5.0, 0.6), (-0.6, 5.0)):
        with pytest.raises(ValueError, match="range of MAGMOM"):
            element("Mg", magmom_range=wrong)


def test_what_was_written_without_a_range_is_read():
    mine = element("Mg", magmom_range=BEGAN_WITH)
    assert ElementMagnetization.model_validate_json(mine.model_dump_json()) == mine
    before = mine.model_dump_json(exclude={"magmom_range"})
    assert "magmom" not in before
    assert ElementMagnetization.model_validate_json(before) == element("Mg")


def test_sizes_are_those_of_runs_of_similar_elements():
    known = element(
        "Mg",
        sizes(1.0, 0.0, 1, ("Mg",), 1),
        sizes(2.0, 0.0, 1, ("Mg", "O"), 1),
        sizes(3.0, 0.0, 2, ("Mg", "S"), 1),
        sizes(5.0, 0.0, 1, ("Mg", "O", "S"), 1),
    )
    assert known.moments_for(["O", "Mg"]).mean == 2.0
    assert known.moments_for(["Mg", "S", "Mg"]).mean == 3.0
    similar = known.moments_for(["Mg", "N"])
    assert (similar.mean, similar.n_runs, similar.n_systems) == pytest.approx((9 / 4, 4, 3))
    assert similar.elements == ()
    assert known.all_moments.mean == pytest.approx(14 / 5)
    assert known.all_moments.spread == pytest.approx(np.std([1, 2, 3, 3, 5]))


def test_what_the_runs_do_not_tell_is_superposed_as_vasp_does(crystal):
    known = {"Mg": KNOWN["Mg"]}
    density = density_of(crystal)
    found, warnings = predict_magnetization(density, MAGMOM, known, ATOMS, BASIS)
    atom = SpinDensity.of_free_atom(ATOMS["O"])
    ROUNDING.assert_close(found.augmentation[2], 0.6 * atom.occupancies)
    assert warnings == (
        "VASP's superposition for the moments of O: the calibration has none of the element",
    )
    one = predict_magnetization(density, np.array([2.0, -2.0, 0, 0]), known, ATOMS, BASIS)[0]
    single = Crystal(crystal.lattice, ("O",), crystal.positions[2:3])
    rest = superpose_moments(single, np.array([0.6]), {"O": atom}, SHAPE)
    ROUNDING.assert_close(found.grid, one.grid + rest.grid)
    low = np.array([0.5, -0.5, 0.0, 0.0])
    for unfit, magmom in (
        ({"Mg": element("Mg", titel="PAW_PBE Mg_pv")}, MAGMOM),
        (known, low),
    ):
        none, warnings = predict_magnetization(density, magmom, unfit, ATOMS, BASIS)
        assert none is None
        assert warnings[0].startswith("VASP's superposition for the moments of Mg: ")
    assert predict_magnetization(density, 0 * MAGMOM, KNOWN, ATOMS, BASIS) == (None, ())


def test_elements_without_moments_begin_with_small_ones(crystal):
    none = element("O", sizes(0.0), form_factor=None, occupancies=None, anisotropy=None)
    density, atom = density_of(crystal), SpinDensity.of_free_atom(ATOMS["O"])
    magmom = np.array([0.0, 0.0, 0.6, -0.6])
    found, warnings = predict_magnetization(density, magmom, {"O": none}, ATOMS, BASIS)
    assert (found.moments.tolist(), warnings) == ([0.0, 0.0, 0.1, -0.1], ())
    ROUNDING.assert_close(found.augmentation[3], -0.1 * atom.occupancies)


def test_a_fixed_density_has_the_moments_of_the_runs_or_none(crystal):
    density = density_of(crystal)
    none = element("O", sizes(0.0), form_factor=None, occupancies=None, anisotropy=None)
    known = {"Mg": KNOWN["Mg"], "O": none}
    fixed = predict_magnetization(density, MAGMOM, known, ATOMS, BASIS, is_fixed=True)[0]
    assert fixed.moments.tolist() == [1.7, -1.7, 0.0, 0.0]
    part, warnings = predict_magnetization(
        density, MAGMOM, {"Mg": KNOWN["Mg"]}, ATOMS, BASIS, is_fixed=True
    )
    assert part is None
    assert len(warnings) == 1


def test_a_form_factor_and_occupancies_belong_together():
    with pytest.raises(ValueError, match="belong together"):
        element("Mg", occupancies=None)
    with pytest.raises(ValueError, match="number of occupancies"):
        element("Mg", occupancies=(0.1,))
    with pytest.raises(ValueError, match="number of ratios"):
        element("Mg", anisotropy=(0.1,))


def test_a_basis_of_another_size_is_refused():
    with pytest.raises(ValueError, match="3 coefficients of 20 functions"):
        BASIS.form_factor([0.0] * 3)
