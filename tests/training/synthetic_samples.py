"""Samples without a run: a superposition of two Gaussian atoms plus a smooth change."""

import numpy as np

from mlcharge_flows.density.augmentation import n_occupancies
from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.density import Density, superpose
from mlcharge_flows.density.paw_dataset import PawDataset
from mlcharge_flows.training.origin import Origin
from mlcharge_flows.training.sample import DensitySample

CHANNELS = {"Na": (0, 0, 1, 1), "Cl": (0, 1, 2)}
ZVAL = {"Na": 7.0, "Cl": 7.0}


def gaussian_atom(symbol, titel=None, width=0.5):
    q_step = 40.0 / 399
    return PawDataset(
        symbol,
        titel or f"PAW_PBE {symbol}",
        ZVAL[symbol],
        CHANNELS[symbol],
        q_step=q_step,
        form_factor=ZVAL[symbol] * np.exp(-width * (q_step * np.arange(400)) ** 2),
        atomic_occupancies=0.1 * np.ones(n_occupancies(CHANNELS[symbol])),
    )


PAW = {symbol: gaussian_atom(symbol) for symbol in CHANNELS}


def converged(a=4.0, seed=0, shape=(12, 15, 16)):
    """A density that differs from the superposition smoothly and without symmetry."""
    random = np.random.default_rng(seed)
    lattice = np.diag([a, 1.1 * a, 1.2 * a]) + 0.1
    crystal = Crystal(lattice, ("Na", "Cl"), random.random((2, 3)))
    superposition = superpose(crystal, PAW, shape)
    x, y, z = np.meshgrid(*(np.arange(n) / n for n in shape), indexing="ij")
    change = 0.02 * np.sin(2 * np.pi * (x + 2 * y)) + 0.01 * np.cos(2 * np.pi * (3 * z - y + 0.1))
    change += 1e-4 * random.standard_normal(shape)
    change -= change.mean()
    augmentation = tuple(
        values + 0.05 * random.standard_normal(len(values)) for values in superposition.augmentation
    )
    return Density(crystal, superposition.total + change, augmentation)


def packed(name="mp-1", protocol="p", split="train", paw=PAW, **kwargs):
    density = converged(**kwargs)
    energies = (-1.0, float("nan"), -2.5)
    origin = Origin(name, protocol, "some.json", split)
    return DensitySample.pack(density, paw, origin, energy=-2.5, energies=energies)
