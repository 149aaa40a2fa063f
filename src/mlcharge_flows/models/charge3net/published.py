"""The authors' own checkpoint files, read without running any code that they may contain.

Known forms: ``{"model": tensors}`` as released, and Lightning's ``{"state_dict": tensors}`` with
every name behind ``network.``. Beside the weights they hold constants of e3nn, which are compared
with those in use here.
"""

from __future__ import annotations

import re
import zipfile
from dataclasses import replace
from datetime import date
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any

import torch
from e3nn.o3 import wigner_3j

from mlcharge_flows import __version__
from mlcharge_flows.models.card import Card, DataCard
from mlcharge_flows.models.charge3net.config import ChargE3NetConfig, size_of
from mlcharge_flows.models.charge3net.network import ChargE3Net
from mlcharge_flows.models.charge3net.point_model import PointModel
from mlcharge_flows.models.checkpoint import Checkpoint, CheckpointError, checksum
from mlcharge_flows.models.range import TrainingRange

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlcharge_flows.density.paw_dataset import PawDataset

CITATION = (
    "T. Koker, K. Quigley, E. Taw, K. Tibbetts, L. Li, Higher-order equivariant neural networks "
    "for charge density prediction in materials, npj Comput. Mater. 10, 161 (2024)"
)
MATERIALS_PROJECT = DataCard(
    name="Materials Project, PBE and PBE+U, collected on 7 May 2023", train=106_171, validation=512
)
"""What ``charge3net_mp.pt`` was trained on, from the paper."""
RANGE = TrainingRange(volume=(6.7, 59.4), neighbors=(6, 136))
"""Of 4,370 materials of its training set (neighbors: of the 40 densest and the 40 loosest)."""
_PARTS = ("atom_model.", "probe_model.")
_SYMBOLS = re.compile(r"_w3j_(\d+)_(\d+)_(\d+)$")
_CONSTANT = re.compile(r"\.(output_mask|tp\..*|mul\..*)$")


def load_published(path: str | Path, *, device: str = "cpu", **config: Any) -> PointModel:
    """Load a published checkpoint file.

    Parameters
    ----------
    path
        The file as its authors released it.
    device
        Where the network shall run.
    **config
        Size of the network where it is not the published one; see :class:`ChargE3NetConfig`.

    Returns
    -------
    PointModel
        ``density_at(structure, points)`` gives the density in electrons per cubic angstrom.

    Raises
    ------
    CheckpointError
        The file is none, or of a network of another size; one line.
    """
    size = size_of(**config)
    return PointModel(published_network(path, size).to(device))


def published_checkpoint(
    path: str | Path,
    name: str,
    paw: Mapping[str, PawDataset],
    *,
    paw_family: str = "VASP's PBE, as Materials Project uses it",
    data: DataCard = MATERIALS_PROJECT,
    extent: TrainingRange = RANGE,
    **config: Any,
) -> Checkpoint:
    """Turn a published file into a checkpoint of this project.

    The file does not say which PAW data sets its densities are made with, nor how many electrons
    they have: the card needs them from the user's own POTCARs.

    Parameters
    ----------
    path
        The file as its authors released it.
    name
        What the model shall be called by.
    paw
        PAW data set of each element that the model may be asked for, without its free atom.
    paw_family
        Where these come from.
    data
        What the network was trained on.
    extent
        Crystals beyond are refused.
    **config
        Size of the network where it is not the published one.

    Raises
    ------
    ModelError
        The file is none, or of a network of another size; one line.
    """
    path = Path(path)
    size = size_of(**config)
    network = published_network(path, size)
    card = Card(
        name=name,
        architecture="charge3net",
        config=size.model_dump(),
        description=f"ChargE3Net as published: {path.name}, sha256 {checksum(path)}; converted on "
        "the day of this card.",
        data=data,
        paw_family=paw_family,
        paw={
            symbol: replace(dataset, q_step=None, form_factor=None)
            for symbol, dataset in paw.items()
        },
        occupancies="none",
        range=extent,
        licence="MIT",
        citation=CITATION,
        created=date.today(),
        version=__version__,
    )
    return Checkpoint(card, {}, network.learned())


def published_network(path: str | Path, size: ChargE3NetConfig) -> ChargE3Net:
    """Network of a published checkpoint file.

    Parameters
    ----------
    path
        The file as its authors released it.
    size
        Its size.

    Raises
    ------
    CheckpointError
        The file is none, or of a network of another size; one line.
    """
    path = Path(path)
    tensors = _without_constants(path, _tensors(path, _content(path)))
    try:
        return ChargE3Net.of(size, tensors)
    except ValueError as error:
        raise CheckpointError(
            f"{path}: not of a ChargE3Net with lmax={size.lmax}, mul={size.mul}, "
            f"num_interactions={size.num_interactions}, num_basis={size.num_basis}: {error}; "
            "give the size that it was trained with"
        ) from None


def _content(path: Path) -> Any:
    if not path.is_file():
        raise CheckpointError(f"{path}: there is no such file")
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


def _tensors(path: Path, content: Any) -> dict[str, torch.Tensor]:
    """Tensors of the network, by their names in the released form."""
    if isinstance(content, dict):
        for form in ("model", "state_dict"):
            if isinstance(content.get(form), dict):
                content = content[form]
                break
        tensors = {
            str(name).removeprefix("network."): value
            for name, value in content.items()
            if isinstance(value, torch.Tensor)
        }
        own = {name: value for name, value in tensors.items() if name.startswith(_PARTS)}
        if own:
            return own
    raise CheckpointError(
        f"{path}: no checkpoint of ChargE3Net; it has no tensors of an atom_model and a probe_model"
    )


def _without_constants(path: Path, tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Leave out what e3nn computes itself, after a look at the 3j symbols."""
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
