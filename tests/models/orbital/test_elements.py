"""Mean corrections of form factors: recovered from densities, and zero at low |G|."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra")

from orbital_models import TRICLINIC, precision  # noqa: E402

from mlcharge_flows.density.crystal import Crystal  # noqa: E402
from mlcharge_flows.models.orbital.elements import FIRST_KNOT, KNOT_STEP, FormFactorFit, FormFactors  # noqa: E402
from mlcharge_flows.models.orbital.g_vectors import GVectors  # noqa: E402

LARGEST = 9.2


@pytest.fixture(autouse=True)
def double():
    with precision(torch.float64):
        yield


def crystals(n_crystals):
    """Elements, G vectors and phase factors of random ions."""
    for seed in range(n_crystals):
        generator = np.random.default_rng(seed)
        n_ions = int(generator.integers(1, 5))
        species = torch.from_numpy(generator.integers(0, 3, n_ions))
        positions = generator.random((n_ions, 3))
        lattice = TRICLINIC * generator.uniform(0.9, 1.2)
        cell = Crystal(lattice, ("X",) * n_ions, positions)
        g_vectors = GVectors.of(cell, (18, 20, 22), LARGEST, 1)
        yield species, g_vectors, g_vectors.phases(torch.from_numpy(positions))


def drawn():
    factors = FormFactors(4, LARGEST)
    torch.manual_seed(2)
    torch.nn.init.normal_(factors.values[:3, 1:])
    return factors


def slow(factors, species, g_vectors, phases):
    """The sum over ions, each with the linear interpolation of NumPy."""
    knots = FIRST_KNOT + KNOT_STEP * np.arange(factors.values.shape[1])
    total = np.zeros(len(g_vectors.q), dtype=complex)
    for element, own in zip(species.tolist(), phases.numpy(), strict=True):
        total += (
            np.interp(g_vectors.q.numpy(), knots, factors.values[element].numpy(), left=0.0) * own
        )
    return total


def test_the_sum_is_that_over_ions():
    factors = drawn()
    for crystal in crystals(4):
        found, expected = factors(*crystal).numpy(), slow(factors, *crystal)
        assert np.abs(expected).max() > 0.1
        np.testing.assert_allclose(found, expected, atol=1e-12)


def test_form_factors_are_recovered():
    """From densities that are sums over ions; knots without data stay zero."""
    teacher, pupil = drawn(), FormFactors(4, LARGEST)
    fit = FormFactorFit(pupil)
    for crystal in crystals(40):
        fit.add(*crystal, teacher(*crystal))
    fit.solve()
    assert not pupil.values[3].any()
    assert not pupil.values[:, 0].any()
    # The last knot has few data: G vectors end soon after the one before.
    error = (pupil.values - teacher.values)[:3, 1:-1].abs().max()
    assert error < 0.02


def test_the_fit_minimizes_the_residual():
    """Also of densities that are no sums over ions."""
    pupil = FormFactors(4, LARGEST)
    fit, known = FormFactorFit(pupil), list(crystals(12))
    torch.manual_seed(3)
    densities = [torch.randn(len(g_vectors.q), dtype=torch.complex128) for _, g_vectors, _ in known]
    for crystal, density in zip(known, densities, strict=True):
        fit.add(*crystal, density)
    fit.solve()

    def left():
        return sum(
            float(
                (
                    g_vectors.multiplicity
                    * (density - pupil(species, g_vectors, phases)).abs() ** 2
                ).sum()
            )
            / (g_vectors.volume * len(species))
            for (species, g_vectors, phases), density in zip(known, densities, strict=True)
        )

    best, values = left(), pupil.values.clone()
    for other in (values + 0.1 * torch.randn_like(values), 0.9 * values, 1.1 * values):
        pupil.values[:3, 1:] = other[:3, 1:]
        assert left() > best


def test_low_g_components_are_not_corrected():
    factors = drawn()
    for species, g_vectors, phases in crystals(2):
        found = factors(species, g_vectors, phases)
        assert not found[g_vectors.q <= FIRST_KNOT].any()
        assert found[g_vectors.q > FIRST_KNOT + KNOT_STEP].all()
