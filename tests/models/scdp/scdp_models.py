"""Small models of molecules with random weights, and a molecule to test their laws on."""

from datetime import date

import numpy as np
import torch

from mlcharge_flows.density.augmentation import n_occupancies
from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.paw_dataset import PawDataset
from mlcharge_flows.models.card import Card, DataCard
from mlcharge_flows.models.domain import GeometryBounds
from mlcharge_flows.models.orbital.model import OrbitalModel
from mlcharge_flows.models.scdp import ScdpConfig, ScdpNetwork

CHANNELS = {"H": [0, 0, 1], "O": [0, 0, 1, 1]}
SHELLS = {
    "H": [(0.9, 3), (0.9, 2), (1.2, 1)],
    "O": [(0.8, 3), (0.8, 3), (0.8, 2), (1.0, 2), (1.3, 1)],
}
Q_STEP = 0.1
SIDE = 6.0


def atom(symbol):
    zval, width = {"H": (1.0, 0.5), "O": (6.0, 0.4)}[symbol]
    q = np.arange(400) * Q_STEP
    occupancies = np.zeros(n_occupancies(CHANNELS[symbol]))
    form_factor = zval * np.exp(-((q * width) ** 2) / 2)
    return PawDataset(
        symbol,
        symbol,
        zval,
        tuple(CHANNELS[symbol]),
        q_step=Q_STEP,
        form_factor=form_factor,
        atomic_occupancies=occupancies,
    )


ATOMS = {symbol: atom(symbol) for symbol in CHANNELS}


def network(**options):
    """A network whose weights are large enough that every part of it matters."""
    small = {
        "n_interactions": 2,
        "lmax": 2,
        "n_channels": 6,
        "n_hidden": 8,
        "n_embedding": 4,
        "cutoff": 4.0,
        "ratio": 1.8,
        "shells": SHELLS,
    }
    config = ScdpConfig(elements=["H", "O"], channels=CHANNELS, **{**small, **options})
    torch.manual_seed(1)
    made = ScdpNetwork(config)
    made.embedding.set_atoms(ATOMS)
    torch.nn.init.normal_(made.readout, std=2.0 / config.n_channels**0.5)
    for index in range(len(config.elements)):
        getattr(made.augmentation, f"largest_{index}").fill_(1e3)
        weights = getattr(made.augmentation, f"response_{index}")[:-1]
        torch.nn.init.normal_(weights, std=config.n_channels**-0.5)
    if made.scaling is not None:
        torch.nn.init.normal_(made.scaling[-1].weight)
    return made


def model(**options):
    made = network(**options)
    card = Card(
        name="random",
        architecture="scdp",
        config=made.config.model_dump(),
        data=DataCard(name="none", train=0, validation=0),
        paw_family="synthetic",
        paw=ATOMS,
        geometry=GeometryBounds(volume=(1.0, 200.0), neighbors=(0, 1000)),
        license="MIT",
        created=date(2026, 1, 1),
        version="0",
    )
    return OrbitalModel(card, made, ATOMS)


def placed():
    """A bent chain H-O-O-H, no symmetry at all; cartesian, about its center."""
    oxygen = np.array([[0.0, 0.71, 0.05], [0.1, -0.70, -0.03]])
    hydrogen = np.array([[0.80, 0.92, 0.41], [-0.71, -0.93, 0.52]])
    return np.vstack([oxygen, hydrogen])


def boxed(positions, side=SIDE, center=(0.37, 0.52, 0.44)):
    """Molecule in a cubic box."""
    return Crystal(np.eye(3) * side, ("O", "O", "H", "H"), positions / side + np.array(center))
