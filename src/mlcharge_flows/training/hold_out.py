"""Which materials of a data set train, and which judge."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

RECALLED = "recalled"
"""Split of a record that is no run but what a checkpoint says of a material: it never judges."""


def hold_out(
    splits: Mapping[str, str], validation_share: float, train_share: float = 1.0
) -> tuple[list[str], list[str]]:
    """Divide materials by their identifiers alone.

    A material stays on its side when the data set grows, and a smaller `train_share` takes a
    subset of a greater one.

    Parameters
    ----------
    splits
        Split of each material as its source marked it: ``validation`` is kept, ``test`` is on
        neither side. One that is :data:`RECALLED` trains, unless it would have been held out.
    validation_share
        Share of the others to be held out, too.
    train_share
        Share of the rest to train on.

    Returns
    -------
    train, validation : list of str
        Identifiers, in the order of `splits`.

    Examples
    --------
    >>> train, validation = hold_out({f"mp-{n}": "train" for n in range(100)}, 0.1)
    >>> len(train), len(validation)
    (87, 13)
    """
    held = {
        name
        for name, split in splits.items()
        if split in ("validation", "test") or _draw(name, "validation") < validation_share
    }
    never = ("test", RECALLED)
    validation = [name for name, split in splits.items() if name in held and split not in never]
    train = [name for name in splits if name not in held and _draw(name, "train") < train_share]
    return train, validation


def _draw(name: str, purpose: str) -> float:
    """Uniform number in [0, 1) that belongs to a material."""
    return int.from_bytes(sha256(f"{purpose} {name}".encode()).digest()[:8]) / 2.0**64
