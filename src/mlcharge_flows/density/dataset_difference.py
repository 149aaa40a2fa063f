"""In what two PAW data sets of an element differ, which often have the same TITEL."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mlcharge_flows.density.paw_dataset import PawDataset

_DIGITS = 12  # of a fingerprint, which tell two of them apart


def dataset_difference(
    known: PawDataset, given: PawDataset, whose: str = "the run's"
) -> str | None:
    """Say in what a PAW data set differs from a known one.

    Parameters
    ----------
    known
        Data set of a model, a calibration or other samples.
    given
        Data set of the same element.
    whose
        What messages call the data set `given`.

    Returns
    -------
    str or None
        The first difference; None if both are the same, free atoms compared where both are known.

    Examples
    --------
    >>> from mlcharge_flows.density.paw_dataset import PawDataset
    >>> one = PawDataset("H", "PAW_PBE H test", 1.0, (0,))
    >>> dataset_difference(one, PawDataset("H", "PAW_PBE H test", 1.0, (0, 1)))
    "channels is (0,), the run's is (0, 1)"
    """
    for name, own, other in (
        ("TITEL", known.titel, given.titel),
        ("ZVAL", known.zval, given.zval),
        ("channels", known.channels, given.channels),
    ):
        if own != other:
            return f"{name} is {own}, {whose} is {other}"
    if part := free_atom_difference(known, given):
        return f"the {part} of its free atom differs, under the same TITEL"
    if (hashed := known.free_atom_sha256) and not given.has_fingerprint(hashed):
        seen = (given.fingerprint or "not known")[:_DIGITS]
        return f"fingerprint is {hashed[:_DIGITS]}, {whose} is {seen}"
    return None


def free_atom_difference(known: PawDataset, given: PawDataset) -> str | None:
    """Name the first part of the free atom in which two data sets differ.

    Parameters
    ----------
    known, given
        Data sets.

    Returns
    -------
    str or None
        ``"mesh"``, ``"density"`` (the form factor) or ``"occupancies"``, compared to 1e-9
        electrons; None where they are the same or one of the two atoms is not known.
    """
    if not (known.has_free_atom and given.has_free_atom):
        return None
    for name, a, b in (
        ("mesh", known.q, given.q),
        ("density", known.form_factor, given.form_factor),
        ("occupancies", known.atomic_occupancies, given.atomic_occupancies),
    ):
        if np.shape(a) != np.shape(b) or not np.allclose(a, b, rtol=1e-9, atol=1e-9):  # type: ignore[arg-type]
            return name
    return None
