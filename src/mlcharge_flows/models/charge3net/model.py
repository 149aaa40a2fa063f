"""ChargE3Net as a model of the density, and its published checkpoints.

A published file is read without executing code that it may contain. Known forms:
``{"model": tensors}`` as released, and Lightning's ``{"state_dict": tensors}`` with the prefix
``network.`` to every name. Besides the weights they hold constants of e3nn, which are compared with
those of the installed version.

References
----------
Code and weights of the authors: https://github.com/AIforGreatGood/charge3net (MIT).
"""

from __future__ import annotations

import re
import zipfile
from dataclasses import replace
from datetime import date
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, Self

import numpy as np
import torch
from e3nn.o3 import wigner_3j
from typing_extensions import override

from mlcharge_flows import __version__
from mlcharge_flows.density.density import Density, superpose
from mlcharge_flows.file_kinds import not_a_file
from mlcharge_flows.io import file_sha256
from mlcharge_flows.models.card import Card, DataCard
from mlcharge_flows.models.charge3net.config import (
    DIFFERENCE_SCALE,
    ChargE3NetConfig,
    network_config,
)
from mlcharge_flows.models.charge3net.field import PointModel
from mlcharge_flows.models.charge3net.network import ChargE3Net
from mlcharge_flows.models.checkpoint import Checkpoint, CheckpointError
from mlcharge_flows.models.domain import GeometryBounds
from mlcharge_flows.models.model import DensityModel, ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.density.paw_dataset import PawDataset

CITATION = (
    "T. Koker, K. Quigley, E. Taw, K. Tibbetts, L. Li, Higher-order equivariant neural networks "
    "for charge density prediction in materials, npj Comput. Mater. 10, 161 (2024)"
)
MATERIALS_PROJECT = DataCard(
    name="Materials Project, PBE and PBE+U, collected on 7 May 2023", train=106_171, validation=512
)
"""Training data of ``charge3net_mp.pt``, from the paper."""
GEOMETRY = GeometryBounds(volume=(6.7, 59.4), neighbors=(6, 136))
"""Of 4,370 materials of its training set (neighbors: of the 40 with the smallest and the 40 with
the largest volume per atom)."""
_PARTS = ("atom_model.", "probe_model.")
_SYMBOLS = re.compile(r"_w3j_(\d+)_(\d+)_(\d+)$")
_CONSTANT = re.compile(r"\.(output_mask|tp\..*|mul\..*)$")


class ChargE3NetModel(DensityModel):
    """A trained network with its card; it predicts no augmentation occupancies.

    The density integrates to the valence electrons, see :func:`density_from_output`.

    Parameters
    ----------
    card
        Card of the checkpoint.
    points
        The network.
    atoms
        Free atom of each element; needed only if the network predicts a difference.
    """

    def __init__(
        self, card: Card, points: PointModel, atoms: Mapping[str, PawDataset] | None = None
    ) -> None:
        self.card, self.points, self.atoms = card, points, atoms or {}

    @override
    def to(self, device: torch.device | str) -> Self:
        self.points.network.to(device)
        return self

    @override
    def predict(self, crystal: Crystal, shape: tuple[int, int, int]) -> Density:
        output = self.points.field(crystal).on_grid(shape)
        superposition = None
        if self.points.network.config.target == "difference":
            superposition = superpose(crystal, self.atoms, shape).total
        total = density_from_output(output, superposition)
        predicted = Density(crystal, total, comment=self.card.name)
        if not (np.isfinite(predicted.n_electrons) and predicted.n_electrons > 0):
            raise ModelError(
                f"{self.card.name}: predicts {predicted.n_electrons:g} electrons; it is not "
                "trained for this crystal"
            )
        return predicted.scaled_to(self.card.n_electrons(crystal.symbols))


def density_from_output(output: np.ndarray, superposition: np.ndarray | None) -> np.ndarray:
    """Density of the network's output on a grid.

    If the output is a density, the caller scales it to NELECT. If it is a difference, its integral
    is subtracted in proportion to the superposition, which puts no electrons into vacuum; a
    constant shift would.

    Parameters
    ----------
    output
        On all points of the grid, shape (nx, ny, nz).
    superposition
        Superposition of atoms on the same points, electrons/angstrom^3, if the output is the
        difference from it.

    Returns
    -------
    numpy.ndarray
        Electrons/angstrom^3, shape (nx, ny, nz).
    """
    if superposition is None:
        return output
    change = DIFFERENCE_SCALE * output
    density: np.ndarray = superposition * (1 - change.sum() / superposition.sum()) + change
    return density


def load(checkpoint: Checkpoint) -> ChargE3NetModel:
    """Build the model of a checkpoint, on a GPU if there is one.

    Parameters
    ----------
    checkpoint
        Card and weights.

    Returns
    -------
    ChargE3NetModel
        Ready to predict.

    Raises
    ------
    CheckpointError
        The weights do not fit the card, or free atoms are missing.
    """
    card = checkpoint.card
    try:
        network = ChargE3Net.of(network_config(**card.config), checkpoint.weights)
    except ValueError as error:
        raise CheckpointError(f"{card.name}: its weights do not fit its card ({error})") from None
    model = ChargE3NetModel(card, PointModel(network), card.free_atoms)
    model.to("cuda" if torch.cuda.is_available() else "cpu")
    if network.config.target == "difference" and card.paw.keys() != card.free_atoms.keys():
        raise CheckpointError(
            f"{card.name}: lacks free atoms; the network predicts a difference from them"
        )
    return model


def load_published(path: str | Path, *, device: str = "cpu", **config: Any) -> PointModel:
    """Load a published checkpoint file.

    Parameters
    ----------
    path
        The file as released by its authors.
    device
        Device of the network.
    **config
        Size of the network if it is not the published one; fields of :class:`ChargE3NetConfig`.

    Returns
    -------
    PointModel
        ``density_at(structure, points)`` evaluates the density in electrons/angstrom^3.

    Raises
    ------
    ModelError
        The file is no checkpoint, or of a network of another size; one line.
    """
    size = network_config(**config)
    return PointModel(published_network(path, size).to(device))


def published_checkpoint(
    path: str | Path,
    name: str,
    paw: Mapping[str, PawDataset],
    *,
    paw_family: str = "VASP's PBE, as Materials Project uses it",
    data: DataCard = MATERIALS_PROJECT,
    geometry: GeometryBounds = GEOMETRY,
    **config: Any,
) -> Checkpoint:
    """Convert a published file to a checkpoint of this package.

    The file names neither the PAW data sets of its training densities nor their valence electrons:
    the card takes them from the user's own POTCARs.

    Parameters
    ----------
    path
        The file as released by its authors.
    name
        Name of the checkpoint.
    paw
        PAW data set of each element that the model may predict, without its free atom.
    paw_family
        Functional and library of these PAW data sets.
    data
        Training data of the network.
    geometry
        Range of the training crystals; others are refused.
    **config
        Size of the network if it is not the published one; fields of :class:`ChargE3NetConfig`.

    Returns
    -------
    Checkpoint
        Without free atoms.

    Raises
    ------
    ModelError
        The file is no checkpoint, or of a network of another size; one line.
    """
    path = Path(path)
    size = network_config(**config)
    network = published_network(path, size)
    card = Card(
        name=name,
        architecture="charge3net",
        config=size.model_dump(),
        description=f"ChargE3Net as published: {path.name}, sha256 {file_sha256(path)}; converted "
        "on the day of this card.",
        data=data,
        paw_family=paw_family,
        paw={
            symbol: replace(dataset, q_step=None, form_factor=None)
            for symbol, dataset in paw.items()
        },
        occupancies="none",
        geometry=geometry,
        license="MIT",
        citation=CITATION,
        created=date.today(),
        version=__version__,
    )
    return Checkpoint(card, network.learned())


def published_network(path: str | Path, size: ChargE3NetConfig) -> ChargE3Net:
    """Network of a published checkpoint file.

    Parameters
    ----------
    path
        The file as released by its authors.
    size
        Size of the network.

    Returns
    -------
    ChargE3Net
        On the CPU, in single precision.

    Raises
    ------
    CheckpointError
        The file is no checkpoint, or of a network of another size; one line.
    """
    path = Path(path)
    tensors = _without_constants(path, _network_tensors(path, _read(path)))
    try:
        return ChargE3Net.of(size, tensors)
    except ValueError as error:
        raise CheckpointError(
            f"{path}: not of a ChargE3Net with lmax={size.lmax}, mul={size.mul}, "
            f"num_interactions={size.num_interactions}, num_basis={size.num_basis}: {error}; "
            "give the size that it was trained with"
        ) from None


def _read(path: Path) -> object:
    if reason := not_a_file(path):
        raise CheckpointError(f"{path}: {reason}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, ValueError, EOFError, KeyError, UnpicklingError) as error:
        if isinstance(error, UnpicklingError) and zipfile.is_zipfile(path):
            raise CheckpointError(
                f"{path}: holds Python objects beside tensors, and reading them could run foreign "
                'code; where you trust the file, save its entry "model" or "state_dict" alone with '
                "torch.save, and give that"
            ) from None
        raise CheckpointError(f"{path}: not a whole file of torch.save") from None


def _network_tensors(path: Path, content: object) -> dict[str, torch.Tensor]:
    """Tensors of the network, by their names in the released form."""
    if isinstance(content, dict):
        forms = (content.get(name) for name in ("model", "state_dict"))
        named = next((form for form in forms if isinstance(form, dict)), content)
        tensors = {
            str(name).removeprefix("network."): value
            for name, value in named.items()
            if isinstance(value, torch.Tensor)
        }
        own = {name: value for name, value in tensors.items() if name.startswith(_PARTS)}
        if own:
            return own
    raise CheckpointError(
        f"{path}: no checkpoint of ChargE3Net; it has no tensors of an atom_model and a probe_model"
    )


def _without_constants(path: Path, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Check the 3j symbols of the file, and leave out all that e3nn computes itself."""
    for name, value in tensors.items():
        if found := _SYMBOLS.search(name):
            own = wigner_3j(*map(int, found.groups()))
            if value.shape != own.shape or not torch.allclose(value.to(own), own, atol=1e-5):
                raise CheckpointError(
                    f"{path}: {name} differs from the installed e3nn's 3j symbol; the file is "
                    "broken or of an e3nn with other conventions"
                )
    return {
        name: value.float()
        for name, value in tensors.items()
        if not _CONSTANT.search(name) and value.numel()
    }
