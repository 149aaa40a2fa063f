"""Fingerprints of PAW data sets: SHA-256 of TITEL, valence, channels and free atom."""

from __future__ import annotations

from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlcharge_flows.density.paw_dataset import PawDataset


def fingerprint(dataset: PawDataset) -> str:
    """Hash a data set; numbers count with twelve digits.

    A POTCAR has fewer digits, and conversions of units differ in the last bit.

    Parameters
    ----------
    dataset
        With its free atom.

    Returns
    -------
    str
        Hexadecimal.
    """
    numbers = np.concatenate([values.ravel() for values in _numbers(dataset)])
    printed = "".join(f"{number + 0.0:.11e}" for number in numbers)  # no negative zero
    return sha256(_name(dataset) + printed.encode()).hexdigest()


def earlier_fingerprint(dataset: PawDataset) -> str:
    """Hash a data set as earlier files did, with all digits of the numbers.

    Parameters
    ----------
    dataset
        With its free atom.

    Returns
    -------
    str
        Hexadecimal.
    """
    stored = b"".join(values.tobytes() for values in _numbers(dataset))
    return sha256(_name(dataset) + stored).hexdigest()


def _name(dataset: PawDataset) -> bytes:
    return repr((dataset.titel, dataset.zval, dataset.channels)).encode()


def _numbers(dataset: PawDataset) -> Iterator[np.ndarray]:
    for values in (dataset.q_step, dataset.form_factor, dataset.atomic_occupancies):
        yield np.ascontiguousarray(values, dtype="<f8")
