"""How far a density is from a reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlcharge_flows.density.density import Density


def nmae(density: np.ndarray, reference: np.ndarray) -> float:
    """Normalized mean absolute error over the full grid, in percent.

    100 sum |rho - rho_ref| / sum |rho_ref|, the measure of ChargE3Net and its successors.

    Parameters
    ----------
    density, reference
        Densities on the same grid, any common unit.

    Returns
    -------
    float
        Percent.

    Raises
    ------
    ValueError
        If the grids differ or the reference is zero everywhere.

    Examples
    --------
    >>> import numpy as np
    >>> from mlcharge_flows.density.metrics import nmae
    >>> nmae(np.array([1.0, 1.0]), np.array([1.5, 0.5]))
    50.0
    """
    return 100.0 * _relative_error(density, reference)


def occupancy_errors(
    records: Sequence[np.ndarray], reference: Sequence[np.ndarray]
) -> tuple[float, ...]:
    """Relative error of the on-site occupancies of each ion.

    sum |value - ref| / sum |ref| over one record: dimensionless, 0 where both records are zero.

    Parameters
    ----------
    records, reference
        One record per ion.

    Returns
    -------
    tuple of float
        One error per ion.

    Raises
    ------
    ValueError
        If the number of ions or the length of a record differs.
    """
    if len(records) != len(reference):
        raise ValueError(f"{len(records)} occupancy records, the reference has {len(reference)}")
    errors = []
    for ion, (record, expected) in enumerate(zip(records, reference, strict=True), start=1):
        if not np.any(expected) and not np.any(record) and np.shape(record) == np.shape(expected):
            errors.append(0.0)
            continue
        try:
            errors.append(_relative_error(record, expected))
        except ValueError as error:
            raise ValueError(f"ion {ion}: {error}") from None
    return tuple(errors)


def error_removed(predicted: Density, start: Density, reference: Density) -> tuple[float, float]:
    """Share of a start's error that a prediction removes, from the grid and from the occupancies.

    1 - |predicted - reference|_1 / |start - reference|_1: 1 for a perfect prediction, 0 for one
    that is as far off as the start, negative for a worse one. This share, rather than the error
    itself, decides how many electronic steps a start saves.

    Parameters
    ----------
    predicted, start, reference
        Densities of the same crystal on the same grid; `start` is usually the superposition of
        atoms.

    Returns
    -------
    tuple of float
        Share for the grid, and share for all occupancy records together; NaN for the latter if one
        of the three has no occupancies.

    Raises
    ------
    ValueError
        If grids or records do not match, or the start has no error to remove.
    """
    grid = _share_removed(predicted.total, start.total, reference.total)
    records = (predicted.augmentation, start.augmentation, reference.augmentation)
    if any(group is None for group in records):
        return grid, float("nan")
    return grid, _share_removed(*(np.concatenate(group) for group in records if group is not None))


def _share_removed(predicted: np.ndarray, start: np.ndarray, reference: np.ndarray) -> float:
    before = _relative_error(start, reference)
    if before == 0.0:
        raise ValueError("the start equals the reference: there is no error to remove")
    return 1.0 - _relative_error(predicted, reference) / before


def _relative_error(values: np.ndarray, reference: np.ndarray) -> float:
    values, reference = np.asarray(values), np.asarray(reference)
    if values.shape != reference.shape:
        raise ValueError(f"shape {values.shape} differs from the reference's {reference.shape}")
    size = float(np.sum(np.abs(reference)))
    if size == 0.0:
        raise ValueError("the reference is zero everywhere")
    return float(np.sum(np.abs(values - reference))) / size
