"""Equivariant features against the irreps of e3nn."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra")

from orbital_models import precision  # noqa: E402

from mlcharge_flows.models.orbital.equivariant import EquivariantLinear, GauntProduct  # noqa: E402
from mlcharge_flows.models.orbital.graph import harmonics  # noqa: E402

CYCLIC = [1, 2, 0]
"""e3nn's polar axis is y."""
DEGREES = list(range(5))


@pytest.fixture
def o3():
    return pytest.importorskip("e3nn.o3", reason="needs the models extra")


def irreps(o3):
    return o3.Irreps([(1, (degree, (-1) ** degree)) for degree in DEGREES])


def rotation(o3, sign=1):
    return sign * o3.rand_matrix(dtype=torch.float64)


def test_harmonics_are_e3nns(o3):
    vectors = np.random.default_rng(0).standard_normal((20, 3))
    with precision(torch.float64):
        found = harmonics(vectors, 4)
        turned = torch.tensor(vectors[:, CYCLIC])
        expected = o3.spherical_harmonics(DEGREES, turned, True, "integral")
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("n_factors", [2, 3, 4])
def test_products_on_the_sphere_are_equivariant(o3, n_factors, sign):
    torch.manual_seed(0)
    with precision(torch.float64):
        product = GauntProduct(4, n_factors)
        matrix = irreps(o3).D_from_matrix(rotation(o3, sign))
        factors = torch.randn(2, 25, n_factors, 3)
        turned = torch.einsum("ab,nbfc->nafc", matrix, factors)
        for one, other in zip(product(turned), product(factors), strict=True):
            torch.testing.assert_close(one, torch.einsum("ab,nbc->nac", matrix, other))


def test_a_product_of_two_is_the_gaunt_coupling(o3):
    """Between fixed degrees a product on the sphere can only be the Clebsch-Gordan product."""
    torch.manual_seed(0)
    with precision(torch.float64):
        left, right = torch.randn(3), torch.randn(5)
        factors = torch.zeros(1, 25, 2, 1)
        factors[0, 1:4, 0, 0], factors[0, 4:9, 1, 0] = left, right
        (found,) = GauntProduct(4, 2)(factors)
        coupling = o3.wigner_3j(1, 2, 3)
        expected = torch.einsum("abc,a,b->c", coupling, left, right)
        part = found[0, 9:16, 0]
        ratio = part @ expected / (expected @ expected)
        torch.testing.assert_close(part, ratio * expected)
        assert abs(ratio) > 0.1
        # 1 x 2 couples to 1 and 3 only: 2 has the wrong parity.
        torch.testing.assert_close(found[0, 4:9, 0], torch.zeros(5), atol=1e-12, rtol=0)


def test_linear_maps_treat_components_alike(o3):
    torch.manual_seed(0)
    with precision(torch.float64):
        linear = EquivariantLinear(3, 2, 4)
        matrix = irreps(o3).D_from_matrix(rotation(o3))
        features = torch.randn(2, 25, 3)
        turned = torch.einsum("ab,nbc->nac", matrix, features)
        torch.testing.assert_close(
            linear(turned), torch.einsum("ab,nbc->nac", matrix, linear(features))
        )
