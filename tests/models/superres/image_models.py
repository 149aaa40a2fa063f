"""Untrained image networks and Gaussian free atoms for the tests of this folder."""

from datetime import date

import numpy as np
import torch

from mlcharge_flows import __version__
from mlcharge_flows.density.paw_dataset import PawDataset
from mlcharge_flows.models.card import Card, DataCard
from mlcharge_flows.models.domain import GeometryBounds
from mlcharge_flows.models.superres import SuperResConfig, SuperResNetwork

VARIANTS = {
    "difference": {},
    "difference twice": {"upscale": 2},
    "density": {"target": "density", "voxel": False},
    "density twice": {"target": "density", "upscale": 2, "kernel": 5},
}


def atom(symbol, zval, width):
    q = np.arange(400) * 0.1
    return PawDataset(
        symbol,
        symbol,
        zval,
        (0, 0),
        q_step=q[1],
        form_factor=zval * np.exp(-width * q**2),
        atomic_occupancies=np.zeros(3),
    )


ATOMS = {"Na": atom("Na", 7.0, 0.1), "Cl": atom("Cl", 6.0, 0.06)}


def network_of(**options):
    torch.manual_seed(3)
    config = {"spacing": 0.5, "channels": 4, "blocks": 2, "kernel_ends": 3, **options}
    network = SuperResNetwork(SuperResConfig(**config)).double().eval()
    network.last.reset_parameters()  # an untrained network returns the superposition
    network.output_scale.fill_(0.05)
    return network


def card_of(network, **changes):
    facts = {
        "name": "image",
        "architecture": "superres",
        "config": network.config.model_dump(),
        "data": DataCard(name="none", train=0, validation=0),
        "paw_family": "made for tests",
        "paw": ATOMS,
        "occupancies": "none",
        "geometry": GeometryBounds(volume=(10, 30), neighbors=(10, 60)),
        "license": "MIT",
        "created": date(2026, 1, 1),
        "version": __version__,
    }
    return Card(**(facts | changes))
