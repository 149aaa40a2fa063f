"""Records of no run: a superposition of two Gaussian atoms, smoothly changed."""

import numpy as np

from mlcharge_flows.density.augmentation import n_occupancies
from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.density import Density
from mlcharge_flows.density.paw_dataset import PawDataset
from mlcharge_flows.density.superposition import superpose
from mlcharge_flows.training.record import Origin, Record

CHANNELS = {"Na": (0, 0, 1, 1), "Cl": (0, 1, 2)}
ZVAL = {"Na": 7.0, "Cl": 7.0}


def paw_dataset(symbol, titel=None, width=0.5):
    q = np.linspace(0.0, 40.0, 400)
    form_factor = ZVAL[symbol] * np.exp(-width * q**2)
    return PawDataset(
        symbol,
        titel or f"PAW_PBE {symbol}",
        ZVAL[symbol],
        CHANNELS[symbol],
        q_step=q[1],
        form_factor=form_factor,
        atomic_occupancies=0.1 * np.ones(n_occupancies(CHANNELS[symbol])),
    )


PAW = {symbol: paw_dataset(symbol) for symbol in CHANNELS}


def converged(a=4.0, seed=0, shape=(12, 15, 16)):
    """A density that differs smoothly from a superposition, and nowhere by symmetry."""
    random = np.random.default_rng(seed)
    lattice = np.diag([a, 1.1 * a, 1.2 * a]) + 0.1
    crystal = Crystal(lattice, ("Na", "Cl"), random.random((2, 3)))
    start = superpose(crystal, PAW, shape)
    x, y, z = np.meshgrid(*(np.arange(n) / n for n in shape), indexing="ij")
    change = 0.02 * np.sin(2 * np.pi * (x + 2 * y)) + 0.01 * np.cos(2 * np.pi * (3 * z - y + 0.1))
    change += 1e-4 * random.standard_normal(shape)
    change -= change.mean()
    records = tuple(
        record + 0.05 * random.standard_normal(len(record)) for record in start.augmentation
    )
    return Density(crystal, start.total + change, records)


def packed(name="mp-1", protocol="p", split="train", paw=PAW, **kwargs):
    density = converged(**kwargs)
    energies = (-1.0, float("nan"), -2.5)
    origin = Origin(name, protocol, "some.json", split)
    return Record.pack(density, paw, origin, energy=-2.5, energies=energies)
