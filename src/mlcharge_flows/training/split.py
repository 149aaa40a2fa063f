"""Train and validation split of a data set, by a hash of each material's identifier."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PSEUDO_LABELED = "pseudo-labeled"
"""Split of a sample whose density a checkpoint predicted: for training, never for validation."""
_OLD_NAMES = {"recalled": PSEUDO_LABELED}


def canonical_split(name: str) -> str:
    """Today's name of a split.

    Parameters
    ----------
    name
        Name in a file or on a command line; ``recalled`` in files of earlier versions.

    Returns
    -------
    str
        ``train``, ``validation``, ``test``, ``pseudo-labeled``, or empty.

    Examples
    --------
    >>> canonical_split("recalled")
    'pseudo-labeled'
    """
    return _OLD_NAMES.get(name, name)


def split_materials(
    splits: Mapping[str, str], validation_fraction: float, train_fraction: float = 1.0
) -> tuple[list[str], list[str]]:
    """Split materials by their identifiers alone.

    A material keeps its split when the data set grows, and a smaller `train_fraction` selects a
    subset of a larger one.

    Parameters
    ----------
    splits
        Split of each material as its source marks it. Those marked ``validation`` are in the
        validation set, those marked ``test`` in neither. Those that are :data:`PSEUDO_LABELED` are
        in the training set, or in neither if the hash assigns them to the validation set.
    validation_fraction
        Fraction of the other materials in the validation set.
    train_fraction
        Fraction of the rest in the training set.

    Returns
    -------
    train, validation : list of str
        Identifiers, in the order of `splits`.

    Examples
    --------
    >>> train, validation = split_materials({f"mp-{n}": "train" for n in range(100)}, 0.1)
    >>> len(train), len(validation)
    (87, 13)
    """
    held_out = {
        name
        for name, split in splits.items()
        if split in ("validation", "test") or _uniform(name, "validation") < validation_fraction
    }
    train = [
        name for name in splits if name not in held_out and _uniform(name, "train") < train_fraction
    ]
    validation = [
        name
        for name, split in splits.items()
        if name in held_out and split not in ("test", PSEUDO_LABELED)
    ]
    return train, validation


def _uniform(name: str, purpose: str) -> float:
    """Number in [0, 1) that belongs to a material, from its SHA-256."""
    return int.from_bytes(sha256(f"{purpose} {name}".encode()).digest()[:8]) / 2.0**64
