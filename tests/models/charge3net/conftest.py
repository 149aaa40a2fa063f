import numpy as np
import pytest
import torch

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.models.charge3net import ChargE3Net, ChargE3NetConfig


@pytest.fixture(scope="session")
def tiny():
    """Size of a network that is evaluated in milliseconds."""
    return ChargE3NetConfig(mul=20, lmax=2, num_interactions=2, num_basis=8)


@pytest.fixture(scope="session")
def network(tiny):
    """Random weights in double precision; shared by all tests, not to be modified."""
    torch.manual_seed(7)
    network = ChargE3Net(tiny).double().eval()
    with torch.no_grad():
        # Messages hardly contribute in a fresh network: its mixing angles are close to zero.
        for name, weights in network.named_parameters():
            if "lin3" in name:
                weights *= 10
    return network


@pytest.fixture(scope="session")
def learned(network):
    """The weights of the network in single precision, by name."""
    return {name: value.float() for name, value in network.learned().items()}


@pytest.fixture(scope="session")
def oblique():
    """A triclinic crystal without symmetry, periodic images within the cutoff."""
    return Crystal(
        np.array([[3.1, 0.2, -0.4], [-1.2, 3.3, 0.1], [0.7, 0.9, 4.2]]),
        ("Mg", "O", "Ti"),
        np.array([[0.1, 0.2, 0.3], [0.6, 0.5, 0.9], [0.2, 0.8, 0.7]]),
    )


@pytest.fixture(scope="session")
def points():
    """Points inside and outside of the cell, angstrom."""
    return np.random.default_rng(3).uniform(-6, 9, (25, 3))
