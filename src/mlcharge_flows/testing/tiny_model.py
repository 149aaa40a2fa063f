"""An architecture whose prediction is known in closed form, for tests of all around a model.

The density is that of the free atoms, plus a narrow less a wide Gaussian of equal weight at each
ion; occupancies are the free atoms' times one plus that weight. No number is random, so equal input
gives equal output.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass, replace
from datetime import date
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mlcharge_flows import __version__
from mlcharge_flows.density.density import superpose
from mlcharge_flows.density.paw_dataset import PawDataset
from mlcharge_flows.models.card import Card, DataCard
from mlcharge_flows.models.checkpoint import Checkpoint, write_checkpoint
from mlcharge_flows.models.domain import GeometryBounds
from mlcharge_flows.models.model import DensityModel

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import pytest

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.density.density import Density

ARCHITECTURE = "tiny"

LOADS: list[str] = []
"""Names of the checkpoints that were loaded, in order."""

WEIGHT = 0.25
"""Of the Gaussians, in units of the electron's charge."""


@dataclass
class TinyModel(DensityModel):
    """A loaded model.

    Parameters
    ----------
    card
        What its checkpoint says of it.
    moved
        Free atoms with the Gaussians added.
    """

    card: Card
    moved: dict[str, PawDataset]

    def predict(self, crystal: Crystal, shape: tuple[int, int, int]) -> Density:
        """Predict by superposing the changed atoms.

        Parameters
        ----------
        crystal
            The ions.
        shape
            Fine grid (NGXF, NGYF, NGZF).

        Returns
        -------
        Density
            In e/angstrom^3, with occupancies unless the card says none.
        """
        density = superpose(crystal, self.moved, shape)
        return replace(density, augmentation=None) if self.card.occupancies == "none" else density


def load(checkpoint: Checkpoint) -> TinyModel:
    """Make the model of a checkpoint; the registry calls this.

    Parameters
    ----------
    checkpoint
        As :func:`checkpoint` makes it.

    Returns
    -------
    TinyModel
        Ready to predict.

    Raises
    ------
    ValueError
        If a free atom has no occupancies.
    """
    LOADS.append(checkpoint.card.name)
    moved = {}
    for symbol, free in checkpoint.card.free_atoms.items():
        weight = float(checkpoint.weights[f"transfer.{symbol}"])
        if free.atomic_occupancies is None:
            raise ValueError(f"{symbol}: the free atom has no occupancies")
        gaussians = np.exp(-(free.q**2) / 32) - np.exp(-(free.q**2) / 8)
        moved[symbol] = replace(
            free,
            form_factor=free.form_factor_at(free.q) + weight * gaussians,
            atomic_occupancies=free.atomic_occupancies * (1 + weight),
        )
    return TinyModel(checkpoint.card, moved)


def register(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the registry find this architecture as it finds those of the package.

    Parameters
    ----------
    monkeypatch
        Takes it out again when a test ends.
    """
    monkeypatch.setitem(sys.modules, f"mlcharge_flows.models.{ARCHITECTURE}", sys.modules[__name__])


def checkpoint(
    atoms: Mapping[str, PawDataset],
    crystals: Sequence[Crystal],
    titels: Mapping[str, str] | None = None,
    **changes: Any,
) -> Checkpoint:
    """Make a checkpoint for atoms, trained on crystals as far as its card says.

    Parameters
    ----------
    atoms
        Free atom of each element.
    crystals
        Which span the applicability domain.
    titels
        TITEL of PAW data sets that are not to be called ``PAW_PBE X test``.
    **changes
        Other fields of the card.

    Returns
    -------
    Checkpoint
        Not yet written.
    """
    paw = {
        symbol: replace(free, titel=(titels or {}).get(symbol, free.titel))
        for symbol, free in atoms.items()
    }
    facts: dict[str, Any] = {
        "name": "tiny",
        "architecture": ARCHITECTURE,
        "description": "Charge moved towards every nucleus.",
        "data": DataCard(name="a few crystals", train=len(crystals), validation=0),
        "paw_family": "made for tests",
        "paw": paw,
        "geometry": GeometryBounds.of(crystals, [(28, 28, 28)] * len(crystals)),
        "errors": {"nmae_median": 1.5, "density_removed": 0.9},
        "license": "MIT",
        "citation": "nobody",
        "created": date(2026, 1, 31),
        "version": __version__,
    }
    weights = {f"transfer.{symbol}": torch.tensor(WEIGHT) for symbol in atoms}
    return Checkpoint(Card(**(facts | changes)), weights)


def write(path: Path, *args: Any, **changes: Any) -> Path:
    """Write such a checkpoint.

    Parameters
    ----------
    path
        File to write; its folder is made.
    *args
        As :func:`checkpoint` takes them.
    **changes
        Likewise.

    Returns
    -------
    Path
        The file.
    """
    write_checkpoint(path, checkpoint(*args, **changes))
    return path


def atom(
    symbol: str, zval: float, channels: tuple[int, ...] = (0, 0, 1, 1), step: float = 0.04
) -> PawDataset:
    """Make the data set of an atom with Gaussian density.

    Parameters
    ----------
    symbol
        Element.
    zval
        Valence electrons.
    channels
        l of each projector channel; 33 occupancies by default.
    step
        Of the mesh of the form factor, 1/angstrom.

    Returns
    -------
    PawDataset
        With a quarter of the electrons in the first channel.
    """
    q = np.arange(1000) * step
    occupancies = np.zeros(33)
    occupancies[0] = zval / 4
    return PawDataset(
        symbol,
        f"PAW_PBE {symbol} test",
        zval,
        channels,
        q_step=step,
        form_factor=zval * np.exp(-(q**2) / 16),
        atomic_occupancies=occupancies,
    )
