"""The scalars of the probes, compared with a network that computes all irreps of every layer."""

import pytest
import torch
from e3nn.o3 import spherical_harmonics

from mlcharge_flows.models.charge3net import ChargE3Net, ChargE3NetConfig
from mlcharge_flows.models.charge3net.convolution import Convolution
from mlcharge_flows.models.charge3net.field import atom_neighbors, atomic_numbers, point_neighbors
from mlcharge_flows.models.charge3net.network import Edges

SIZES = [
    ChargE3NetConfig(mul=20, lmax=2, num_interactions=2, num_basis=8),
    ChargE3NetConfig(mul=20, lmax=1, num_interactions=3, num_basis=5),
    ChargE3NetConfig(mul=4, lmax=0, num_interactions=1, num_basis=4),
]


def all_irreps(network, numbers, atoms, probes):
    """The density from the whole convolutions and gates of the published network."""
    model = network.probe_model
    values = spherical_harmonics(model.harmonics, probes.vectors, True, normalization="component")
    values = values * probes.present[..., None]
    basis = model.basis(probes.vectors.norm(dim=-1))
    features = values.new_zeros(len(probes.senders), 1)
    for sent, convolution, gate in zip(
        network.atom_model(numbers, atoms), model.convolutions, model.gates, strict=True
    ):
        full = Convolution.forward(convolution, sent, features, probes.senders, values, basis)
        features = gate(full)
    return model.readout(features).squeeze(-1)


@pytest.fixture(params=SIZES, ids=lambda size: f"l={size.lmax}")
def network(request):
    torch.manual_seed(5)
    network = ChargE3Net(request.param).double()
    with torch.no_grad():
        for name, weights in network.named_parameters():
            if "lin3" in name:
                weights *= 10  # mixing angles of a fresh network are close to zero
    return network


@pytest.fixture
def inputs(network, oblique, points):
    cutoff = network.config.cutoff
    return (
        torch.as_tensor(atomic_numbers(oblique.symbols)),
        Edges.of(atom_neighbors(oblique, cutoff), dtype=torch.float64),
        Edges.of(point_neighbors(points, oblique, cutoff), dtype=torch.float64),
    )


def test_the_density_needs_the_scalars_alone(network, inputs):
    found, expected = network(*inputs), all_irreps(network, *inputs)
    assert expected.std() > 0
    assert (found - expected).abs().max() < 1e-6 * expected.std()


def test_so_do_the_gradients_of_all_weights(network, inputs):
    def gradients(predict):
        network.zero_grad()
        predict(network, *inputs).square().sum().backward()
        return {name: weights.grad.clone() for name, weights in network.named_parameters()}

    found, expected = gradients(lambda network, *given: network(*given)), gradients(all_irreps)
    scale = max(gradient.abs().max() for gradient in expected.values())
    for name, gradient in expected.items():
        torch.testing.assert_close(found[name], gradient, rtol=1e-5, atol=1e-7 * scale.item())
