"""Small orbital models with random weights, and crystals to test their laws on."""

from contextlib import contextmanager
from datetime import date

import numpy as np
import torch

from mlcharge_flows.density.augmentation import n_occupancies
from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.paw_dataset import PawDataset
from mlcharge_flows.models.card import Card, DataCard
from mlcharge_flows.models.domain import GeometryBounds
from mlcharge_flows.models.orbital.config import OrbitalConfig
from mlcharge_flows.models.orbital.interaction import Interaction
from mlcharge_flows.models.orbital.model import OrbitalModel
from mlcharge_flows.models.orbital.network import OrbitalNetwork

CHANNELS = {"Mg": [0, 0, 1, 2], "O": [0, 0, 1, 1]}
Q_STEP = 0.1
TRICLINIC = np.array([[3.1, 0.2, -0.1], [0.4, 3.6, 0.3], [-0.5, 0.1, 4.0]])


def atom(symbol):
    zval, width = {"Mg": (2.0, 0.6), "O": (6.0, 0.4)}[symbol]
    q = np.arange(400) * Q_STEP
    occupancies = np.linspace(0.1, 0.5, n_occupancies(CHANNELS[symbol]))
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


@contextmanager
def precision(dtype):
    """Everything within is made in this precision."""
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(before)


def network(**options):
    """A network whose weights are large enough that every part of it matters."""
    small = {
        "n_channels": 6,
        "n_hidden": 8,
        "n_embedding": 4,
        "n_exponents": 4,
        "ratio": 2.2,
        "g_max": 30.0,
    }
    config = OrbitalConfig(
        elements=["Mg", "O"], channels=CHANNELS, **{"cutoff": 4.0, **small, **options}
    )
    torch.manual_seed(1)
    made = OrbitalNetwork(config)
    made.embedding.set_atoms(ATOMS)
    torch.nn.init.normal_(made.readout, std=2.0 / config.n_channels**0.5)
    for index in range(len(CHANNELS)):
        torch.nn.init.normal_(getattr(made.augmentation, f"response_{index}")[:-1])
        getattr(made.augmentation, f"largest_{index}").fill_(1e4)
    for module in made.modules():  # later interactions are zero before training
        if isinstance(module, Interaction):
            for part in (module.update, module.scalar[-1]):
                torch.nn.init.normal_(part.weight, std=0.2)
    if made.form_factors is not None:
        torch.nn.init.normal_(made.form_factors.values[:, 1:], std=0.3)
    if made.scaling is not None:
        torch.nn.init.normal_(made.scaling[-1].weight)
    return made


def model(**options):
    made = network(**options)
    card = Card(
        name="random",
        architecture="orbital",
        config=made.config.model_dump(),
        data=DataCard(name="none", train=0, validation=0),
        paw_family="synthetic",
        paw=ATOMS,
        geometry=GeometryBounds(volume=(1.0, 100.0), neighbors=(0, 1000)),
        license="MIT",
        created=date(2026, 1, 1),
        version="0",
    )
    return OrbitalModel(card, made, ATOMS)


def crystal(seed=3):
    """No symmetry at all."""
    positions = np.random.default_rng(seed).uniform(size=(3, 3))
    return Crystal(TRICLINIC, ("Mg", "O", "O"), positions)


def salt():
    """Rock salt, primitive cell."""
    lattice = 4.2 / 2 * np.array([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]])
    return Crystal(lattice, ("Mg", "O"), np.array([[0.0, 0, 0], [0.5, 0.5, 0.5]]))
