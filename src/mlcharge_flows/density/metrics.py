"""Errors of a density against a reference."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mlcharge_flows.density.density import Density


def nmae(density: np.ndarray, reference: np.ndarray) -> float:
    """Normalized mean absolute error over the full grid, in percent.

    100 sum |rho - rho_ref| / sum |rho_ref|.

    Parameters
    ----------
    density
        Density on a grid, any unit.
    reference
        Density on the same grid, of the same unit.

    Returns
    -------
    float
        Percent.

    Raises
    ------
    ValueError
        The grids differ, or the reference is zero everywhere.

    References
    ----------
    T. Koker et al., npj Comput. Mater. 10, 161 (2024).

    Examples
    --------
    >>> import numpy as np
    >>> from mlcharge_flows.density.metrics import nmae
    >>> nmae(np.array([1.0, 1.0]), np.array([1.5, 0.5]))
    50.0
    """
    return 100.0 * _relative_error(density, reference)


def error_removed(predicted: Density, baseline: Density, reference: Density) -> tuple[float, float]:
    """Fraction of the error of a baseline that a prediction removes: grid, and occupancies.

    1 - |predicted - reference|_1 / |baseline - reference|_1 is 1 for a perfect prediction, 0 for
    one as far off as the baseline, and negative for a worse one. The number of electronic steps
    that an initial density saves depends on this fraction more than on the error itself.

    Parameters
    ----------
    predicted
        Predicted density.
    baseline
        Density of the same crystal on the same grid, usually the superposition of free atoms.
    reference
        Density of the same crystal on the same grid, usually the converged one.

    Returns
    -------
    grid : float
        Fraction for the density on the grid.
    augmentation : float
        Fraction for the augmentation occupancies of all ions together; NaN if one of the three
        densities has none.

    Raises
    ------
    ValueError
        Grids or numbers of occupancies differ, or the baseline equals the reference.
    """
    grid = _fraction_removed(predicted.total, baseline.total, reference.total)
    augmentations = (predicted.augmentation, baseline.augmentation, reference.augmentation)
    if any(one is None for one in augmentations):
        return grid, float("nan")
    flat = [np.concatenate(one) for one in augmentations if one is not None]
    return grid, _fraction_removed(*flat)


def _fraction_removed(predicted: np.ndarray, baseline: np.ndarray, reference: np.ndarray) -> float:
    before = _relative_error(baseline, reference)
    if before == 0.0:
        raise ValueError("the baseline equals the reference: there is no error to remove")
    return 1.0 - _relative_error(predicted, reference) / before


def _relative_error(values: np.ndarray, reference: np.ndarray) -> float:
    values, reference = np.asarray(values), np.asarray(reference)
    if values.shape != reference.shape:
        raise ValueError(f"shape {values.shape} differs from the reference's {reference.shape}")
    size = float(np.sum(np.abs(reference)))
    if size == 0.0:
        raise ValueError("the reference is zero everywhere")
    return float(np.sum(np.abs(values - reference))) / size
