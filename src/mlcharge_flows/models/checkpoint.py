"""Checkpoint of a model: one safetensors file with the card in its metadata.

.. code-block:: text

    metadata: card                  JSON
    atoms.<element>.form_factor     float64, electrons on the mesh q = n * q_step (card)
    atoms.<element>.record          float64, augmentation occupancies of the free atom
    weights.<name>                  state of the network of the architecture
    estimate.<name>                 fit of the expected error, if there is one
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import ValidationError

from mlcharge_flows.file_kinds import not_a_file
from mlcharge_flows.io import atomic_path
from mlcharge_flows.models.card import Card
from mlcharge_flows.models.model import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from torch import Tensor
    from torch.nn import Module

    Network = TypeVar("Network", bound=Module)

SUFFIX = ".safetensors"

_ORBITAL = (
    (r"^description\.", "embedding."),
    (r"^occupancies\.", "augmentation."),
    (r"^softness\.", "charge_weight."),
    (r"\.mean_neighbours$", ".mean_neighbors"),
    (r"^(interactions\.\d+)\.weights\.", r"\1.radial."),
    (r"^(interactions\.\d+)\.heard\.", r"\1.aggregated."),
    (r"^(interactions\.\d+|head)\.kept\.", r"\1.residual."),
    (r"^(interactions\.\d+|interactions\.\d+\.coupling|head)\.mixed\.", r"\1.update."),
    (r"\.coupling\.where\.", ".coupling.direction."),
    (r"\.coupling\.what\.", ".coupling.feature."),
)
RENAMED_WEIGHTS: dict[str, tuple[tuple[str, str], ...]] = {"orbital": _ORBITAL, "scdp": _ORBITAL}
"""Patterns of the names of weights before version 0.2 and their replacements, by architecture."""


class CheckpointError(ModelError):
    """A file is no complete checkpoint; the message names it."""


@dataclass(frozen=True, eq=False)
class Checkpoint:
    """Content of a checkpoint file.

    Parameters
    ----------
    card
        Training data, PAW data sets with their free atoms (unless those may not be distributed),
        applicability domain, errors, license.
    weights
        State of the network, by name.
    estimate
        Fit of the expected error, by name; empty without one.
    """

    card: Card
    weights: Mapping[str, Tensor]
    estimate: Mapping[str, Tensor] = field(default_factory=dict)


def write_checkpoint(path: str | Path, checkpoint: Checkpoint) -> str:
    """Write a checkpoint atomically; equal checkpoints make equal files.

    Parameters
    ----------
    path
        The file; its folder is made.
    checkpoint
        Content of the file.

    Returns
    -------
    str
        SHA-256 of the file, hexadecimal.

    Raises
    ------
    CheckpointError
        The card has the mesh of a free atom, but not the free atom.
    """
    import torch
    from safetensors.torch import save

    path = Path(path)
    for symbol, paw in checkpoint.card.paw.items():
        if (paw.q_step is None) == paw.has_free_atom:
            raise CheckpointError(f"{path}: not written, the free atom of {symbol} is missing")
    tensors = {
        # safetensors does not write tensors that share memory.
        f"{part}.{name}": tensor.detach().cpu().contiguous().clone()
        for part in ("weights", "estimate")
        for name, tensor in getattr(checkpoint, part).items()
    }
    for symbol, atom in checkpoint.card.free_atoms.items():
        tensors[f"atoms.{symbol}.form_factor"] = torch.tensor(atom.form_factor, dtype=torch.float64)
        tensors[f"atoms.{symbol}.record"] = torch.tensor(
            atom.atomic_occupancies, dtype=torch.float64
        )
    content = save(tensors, metadata={"card": checkpoint.card.model_dump_json()})
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as partial:
        partial.write_bytes(content)
    return sha256(content).hexdigest()


def read_card(path: str | Path) -> Card:
    """Read the card of a checkpoint; its tensors are not read.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    Card
        From the metadata.

    Raises
    ------
    CheckpointError
        The file is missing, or no checkpoint.
    """
    from safetensors import SafetensorError, safe_open

    path = Path(path)
    if reason := not_a_file(path):
        raise CheckpointError(f"{path}: {reason}")
    try:
        with safe_open(path, framework="numpy") as file:
            metadata = file.metadata() or {}
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: not a whole safetensors file ({error})") from None
    if "card" not in metadata:
        raise CheckpointError(f"{path}: has no card; not a checkpoint of mlcharge_flows")
    try:
        return Card.model_validate_json(metadata["card"])
    except ValidationError as error:
        raise CheckpointError(
            f"{path}: its card cannot be read ({_first_problem(error)}); another version of "
            "mlcharge_flows may have written it"
        ) from None


def read_checkpoint(path: str | Path) -> Checkpoint:
    """Read a checkpoint with all its tensors.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    Checkpoint
        Weights of earlier versions have the names of this version, see :func:`current_name`.

    Raises
    ------
    CheckpointError
        The file is missing, truncated, or no checkpoint.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(path)
    card = read_card(path)
    try:
        tensors = load_file(path)
    except (OSError, SafetensorError) as error:
        raise CheckpointError(f"{path}: not a whole checkpoint ({error})") from None
    weights = {
        current_name(card.architecture, name.removeprefix("weights.")): tensor
        for name, tensor in tensors.items()
        if name.startswith("weights.")
    }
    estimate = {
        name.removeprefix("estimate."): tensor
        for name, tensor in tensors.items()
        if name.startswith("estimate.")
    }
    paw = dict(card.paw)
    for symbol, dataset in card.paw.items():
        if dataset.q_step is None:
            continue
        try:
            paw[symbol] = replace(
                dataset,
                form_factor=tensors[f"atoms.{symbol}.form_factor"].numpy(),
                atomic_occupancies=tensors[f"atoms.{symbol}.record"].numpy(),
            )
        except (KeyError, ValueError) as error:
            raise CheckpointError(
                f"{path}: the free atom of {symbol} is broken ({error})"
            ) from None
    return Checkpoint(card.model_copy(update={"paw": paw}), weights, estimate)


def current_name(architecture: str, name: str) -> str:
    """Name of a weight of an earlier version in the networks of this one.

    Parameters
    ----------
    architecture
        As a card gives it.
    name
        Name of a tensor in a checkpoint, without the prefix ``weights.``.

    Returns
    -------
    str
        Its name in the state of the network; names of this version are returned as they are.

    Examples
    --------
    >>> current_name("orbital", "interactions.1.mean_neighbours")
    'interactions.1.mean_neighbors'
    """
    for pattern, replacement in RENAMED_WEIGHTS.get(architecture, ()):
        name = re.sub(pattern, replacement, name)
    return name


def network_of(checkpoint: Checkpoint, make: Callable[[dict[str, Any]], Network]) -> Network:
    """Build the network that a card describes, with the weights of its checkpoint.

    Parameters
    ----------
    checkpoint
        With the free atom of every element, or its fingerprint.
    make
        Builds the network from the options on the card; may raise pydantic's ValidationError.

    Returns
    -------
    torch.nn.Module
        The network with its weights.

    Raises
    ------
    CheckpointError
        The options are invalid, the weights do not fit them, or free atoms are missing.
    """
    card = checkpoint.card
    named = {symbol for symbol, dataset in card.paw.items() if dataset.fingerprint}
    if missing := sorted(set(card.elements) - named):
        raise CheckpointError(f"{card.name}: lacks the free atoms of {', '.join(missing)}")
    try:
        network = make(card.config)
        network.load_state_dict(dict(checkpoint.weights))
    except ValidationError as error:
        raise CheckpointError(f"{card.name}: no such network ({_first_problem(error)})") from None
    except RuntimeError as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{card.name}: its weights do not fit its card ({reason})") from None
    return network


def _first_problem(error: ValidationError) -> str:
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc'])) or 'it'}: {first['msg']}"
