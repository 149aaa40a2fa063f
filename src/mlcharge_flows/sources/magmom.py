"""MAGMOM of a run, and what a run without a magnetization in its CHGCAR does with it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mlcharge_flows.density.density import Density
    from mlcharge_flows.models.model import DensityModel
    from mlcharge_flows.models.orbital.spin_prediction import SpinPrediction
    from mlcharge_flows.sources.run_inputs import RunInputs

_FIXED_DENSITY = 11
"""ICHARG of runs that keep the density."""


def magmom_of(inputs: RunInputs) -> np.ndarray | None:
    """Moment of each ion with which a collinear spin-polarized run begins.

    Parameters
    ----------
    inputs
        Inputs of the run.

    Returns
    -------
    numpy.ndarray or None
        Bohr magnetons, shape (ions,): MAGMOM; without the tag the moments of the structure, or
        VASP's default, 1. None without spin, and where there is not one number for each ion.

    References
    ----------
    https://www.vasp.at/wiki/index.php/MAGMOM
    """
    tags, n = inputs.incar, len(inputs.crystal)
    if tags.get("ISPIN", 1) != 2 or tags.get("LNONCOLLINEAR") or tags.get("LSORBIT"):
        return None
    given = tags.get("MAGMOM")
    if given is None:
        sites = inputs.structure.site_properties.get("magmom", [None] * n)
        known = any(moment is not None for moment in sites)
        given = [moment or 0.0 for moment in sites] if known else np.ones(n)
    try:
        moments = np.asarray(given, dtype=float).reshape(-1)
    except (TypeError, ValueError):
        return None
    return moments if len(moments) == n and np.isfinite(moments).all() else None


def keeps_density(inputs: RunInputs) -> bool:
    """Whether a run is not self-consistent: its density, and its magnetization, stay as given.

    Parameters
    ----------
    inputs
        Inputs of the run.

    Returns
    -------
    bool
        True with ICHARG = 11.
    """
    return bool(inputs.incar.get("ICHARG") == _FIXED_DENSITY)


def predicted_spin(model: DensityModel, inputs: RunInputs) -> SpinPrediction | None:
    """Prediction of a model for a spin-polarized run.

    Parameters
    ----------
    model
        The model.
    inputs
        Inputs of the run.

    Returns
    -------
    SpinPrediction or None
        None where the model predicts no magnetizations, or the run has no moments.

    Raises
    ------
    ModelError
        The output of the network is no density.
    """
    magmom = magmom_of(inputs) if model.predicts_magnetization else None
    if magmom is None or not magmom.any():
        return None
    return model.predict_spin(inputs.crystal, inputs.grid, magmom, keeps_density(inputs))


def superposed_moments_warning(density: Density, inputs: RunInputs) -> str | None:
    """What VASP does where a CHGCAR has no magnetization for a run with moments.

    Parameters
    ----------
    density
        What the CHGCAR holds.
    inputs
        Inputs of the run.

    Returns
    -------
    str or None
        One line; None if the density has a magnetization, or the run no moments.
    """
    magmom, tags = magmom_of(inputs), inputs.incar
    if density.magnetization is not None:
        return None
    if magmom is None and tags.get("ISPIN", 1) == 2 and "MAGMOM" in tags:
        return f"MAGMOM is not one number for each of the {len(inputs.crystal)} ions"
    if magmom is None or not magmom.any():
        return None
    return "the file holds no magnetization: with ISPIN = 2, VASP superposes the moments of MAGMOM"
