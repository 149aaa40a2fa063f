"""The summed messages, compared with e3nn's tensor product edge by edge."""

import pytest
import torch
from e3nn.o3 import Irrep, Irreps, TensorProduct, spherical_harmonics

from mlcharge_flows.models.charge3net.convolution import Messages
from mlcharge_flows.models.charge3net.radial import RadialBasis, RadialNetwork

SENDERS = Irreps("5x0o+4x0e+3x1o+2x1e+1x2o+2x2e")


def reference(senders, harmonics, wanted, features, edges, values, weights):
    """One tensor product per edge, then the sum over the edges of each receiver."""
    blocks, instructions = [], []
    for i, (mul, a) in enumerate(senders):
        for j, (_, b) in enumerate(harmonics):
            for ir in a * b:
                if ir in wanted or ir == Irrep("0e"):
                    instructions.append((i, j, len(blocks), "uvu", True))
                    blocks.append((mul, ir))
    out, place, _ = Irreps(blocks).sort()
    product = TensorProduct(
        senders,
        harmonics,
        out,
        [(i, j, place[k], mode, trained) for i, j, k, mode, trained in instructions],
        internal_weights=False,
        shared_weights=False,
    ).double()
    assert product.weight_numel == weights.shape[-1]
    z, n = edges.shape
    each = product(features[edges.ravel()], values.reshape(z * n, -1), weights.reshape(z * n, -1))
    return out, each.reshape(z, n, -1).sum(1)


@pytest.mark.parametrize("wanted", ["0e+0o+1o+1e+2o+2e", "0e+1o+2e", "0o"])
def test_messages_equal_those_of_the_tensor_product(wanted):
    torch.manual_seed(2)
    harmonics, wanted = Irreps.spherical_harmonics(2), Irreps(wanted)
    messages = Messages(SENDERS, harmonics, wanted).double()
    radial = RadialNetwork(6, 10, messages.n_weights).double()
    features = torch.randn(4, SENDERS.dim, dtype=torch.float64)
    edges = torch.randint(0, 4, (7, 5))
    vectors = torch.randn(7, 5, 3, dtype=torch.float64)
    values = spherical_harmonics(harmonics, vectors, normalize=True, normalization="component")
    values[3, 2:] = 0.0  # padding
    basis = RadialBasis(4.0, 6).double()(vectors.norm(dim=-1))
    irreps, expected = reference(SENDERS, harmonics, wanted, features, edges, values, radial(basis))
    found = messages(features, edges, values, radial.hidden(basis), radial)
    assert messages.irreps_out == irreps
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-6)


def test_the_radial_functions_are_normalized_over_the_cutoff():
    """On the points of the normalization, whose results are kept in single precision."""
    values = RadialBasis(4.0, 20).double()(torch.linspace(0, 4, 10_001, dtype=torch.float64))
    torch.testing.assert_close(values.mean(0), torch.zeros(20).double(), atol=1e-6, rtol=0)
    torch.testing.assert_close(values.std(0), torch.ones(20).double(), atol=1e-6, rtol=0)
