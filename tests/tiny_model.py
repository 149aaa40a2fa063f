"""A whole architecture, small enough to know what it predicts, for tests of all around it.

It moves charge: the free atoms, plus for each ion a narrow less a wide Gaussian of the same weight,
and occupancies scaled by the same. Nothing is drawn, so equal input gives equal output.
"""

import sys
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import torch

from mlcharge_flows import __version__
from mlcharge_flows.density.paw_dataset import PawDataset
from mlcharge_flows.density.superposition import superpose
from mlcharge_flows.models.card import Card, DataCard
from mlcharge_flows.models.checkpoint import Checkpoint, write_checkpoint
from mlcharge_flows.models.range import TrainingRange

ARCHITECTURE = "tiny"
LOADS: list[str] = []


@dataclass
class TinyModel:
    card: Card
    moved: dict[str, PawDataset]

    def predict(self, crystal, shape):
        density = superpose(crystal, self.moved, shape)
        return replace(density, occupancies=None) if self.card.occupancies == "none" else density


def load(checkpoint):
    """What the registry calls."""
    LOADS.append(checkpoint.card.name)
    moved = {}
    for symbol, atom in checkpoint.atoms.items():
        weight = float(checkpoint.weights[f"transfer.{symbol}"])
        gaussians = np.exp(-(atom.q**2) / 32) - np.exp(-(atom.q**2) / 8)
        form_factor = atom.form_factor + weight * gaussians
        occupancies = atom.atomic_occupancies * (1 + weight)
        moved[symbol] = replace(atom, form_factor=form_factor, atomic_occupancies=occupancies)
    return TinyModel(checkpoint.card, moved)


def register(monkeypatch):
    """Let the registry find this architecture, as it finds those of the package."""
    monkeypatch.setitem(sys.modules, f"mlcharge_flows.models.{ARCHITECTURE}", sys.modules[__name__])


def checkpoint(atoms, crystals, titels=None, **changes):
    """A checkpoint for atoms, trained on crystals as far as its card says."""
    paw = {
        symbol: replace(atom, titel=(titels or {}).get(symbol, atom.titel))
        for symbol, atom in atoms.items()
    }
    facts = {
        "name": "tiny",
        "architecture": ARCHITECTURE,
        "description": "Charge moved towards every nucleus.",
        "data": DataCard(name="a few crystals", train=len(crystals), validation=0),
        "paw_family": "made for tests",
        "paw": paw,
        "range": TrainingRange.of(crystals, [(28, 28, 28)] * len(crystals)),
        "errors": {"nmae_median": 1.5, "density_removed": 0.9},
        "licence": "MIT",
        "citation": "nobody",
        "created": date(2026, 1, 31),
        "version": __version__,
    }
    weights = {f"transfer.{symbol}": torch.tensor(0.25) for symbol in atoms}
    return Checkpoint(Card(**(facts | changes)), atoms, weights)


def write(path, *args, **changes):
    """Write such a checkpoint; its path."""
    write_checkpoint(path, checkpoint(*args, **changes))
    return path


def atom(symbol, zval, channels=(0, 0, 1, 1), step=0.04):
    """A free atom like none that there is."""
    q = np.arange(1000) * step
    record = np.zeros(33)
    record[0] = zval / 4
    return PawDataset(
        symbol,
        f"PAW_PBE {symbol} test",
        zval,
        channels,
        q_step=step,
        form_factor=zval * np.exp(-(q**2) / 16),
        atomic_occupancies=record,
    )
