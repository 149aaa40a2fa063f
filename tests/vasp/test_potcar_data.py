"""Partial waves and compensation charges behind the header of a PAW data set."""

import numpy as np
import pytest
from test_potcar import synthetic

from mlcharge_flows.vasp.potcar import PotcarError, read_potcar
from mlcharge_flows.vasp.potcar_data import bessel_charge

R = np.geomspace(1e-3, 2.0, 120)
WAVES = [np.exp(-a * R) * R**b for a, b in ((1.0, 1), (2.0, 1), (1.0, 2), (2.0, 2))]


def numbers(values):
    rows = [values[i : i + 5] for i in range(0, len(values), 5)]
    return "\n".join("".join(f"{v:20.12E}" for v in row) for row in rows)


def with_waves(charges=None, number=4, radius=1.1):
    """A data set of two s and two p channels whose all-electron waves are twice the pseudo ones."""
    text = synthetic().replace("   395   1.3\n", f"   {len(R)}   {radius}\n")
    head = text[: text.index(" grid")]
    parts = [" grid", numbers(R), " aepotential", numbers(-1 / R)]
    for wave in WAVES[:number]:
        parts += [" pseudo wavefunction", numbers(wave)]
        # D-exponents occur.
        parts += [" ae wavefunction", numbers(2 * wave).replace("E", "D")]
    if charges is not None:
        parts += [" compensation charge", f"   {len(charges)}", numbers(np.ravel(charges))]
    return head + "\n".join([*parts, " End of Dataset"]) + "\n"


@pytest.fixture
def write(tmp_path):
    def write_text(text):
        path = tmp_path / "POTCAR"
        path.write_text(text)
        return path

    return write_text


def test_partial_waves_are_read_with_their_mesh(write):
    waves = read_potcar(write(with_waves()))[0].partial_waves
    np.testing.assert_allclose(waves.r, R)
    np.testing.assert_allclose(waves.pseudo, WAVES)
    np.testing.assert_allclose(waves.all_electron, 2 * np.array(WAVES))
    # L up to 2 for s and p channels; zero from the first mesh point beyond 1.1 angstrom on.
    assert waves.compensation.shape == (3, len(R))
    edge = R[R > 1.1][0]
    np.testing.assert_array_equal(waves.compensation[:, edge <= R], 0.0)
    np.testing.assert_allclose(waves.compensation[1], bessel_charge(1, edge, R))


def test_charges_of_the_data_set_itself_are_preferred(write):
    charges = np.array([np.exp(-(R**2)), R * np.exp(-(R**2))])
    waves = read_potcar(write(with_waves(charges)))[0].partial_waves
    np.testing.assert_allclose(waves.compensation, charges)


def test_a_data_set_without_partial_waves_has_none(write):
    assert read_potcar(write(synthetic()))[0].partial_waves is None


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (with_waves(number=3), "3 pseudo and 3 all-electron waves of 4 channels"),
        (with_waves().replace("   120   1.1", "   120.5   1.1"), "120.5 points"),
        (with_waves().replace("   120   1.1", "   90   1.1"), None),
        (with_waves().replace(" grid\n", " grid\n 5.0 4.0 3.0 2.0 1.0\n"), "does not grow"),
        (with_waves().replace("   120   1.1", "   121   1.1"), "section 'grid'"),
    ],
)
def test_defects_are_named(text, reason, write):
    path = write(text)
    if reason is None:  # a shorter mesh is a whole one
        assert len(read_potcar(path)[0].partial_waves.r) == 90
        return
    with pytest.raises(PotcarError, match=reason):
        read_potcar(path)


@pytest.mark.parametrize("degree", range(7))
def test_compensation_charges_have_unit_multipoles_and_end_smoothly(degree):
    radius = 0.9
    r = np.linspace(0.0, radius, 20001)
    charge = bessel_charge(degree, radius, r)
    assert np.trapezoid(charge * r ** (degree + 2), r) == pytest.approx(1.0, abs=1e-6)
    near = radius - np.array([1e-3, 2e-3])
    ends = bessel_charge(degree, radius, near)
    # Value and slope vanish, and with them the curvature, by Bessel's equation.
    assert abs(ends[1]) < 1e-4 * abs(charge).max()
    assert ends[1] / ends[0] == pytest.approx(8.0, rel=0.02)
    assert bessel_charge(degree, radius, np.array([0.95])) == 0.0
