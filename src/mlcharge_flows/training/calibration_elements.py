"""Constants and responses of the elements of some runs, with their leave-one-out errors."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from mlcharge_flows.models.calibration import CalibrationError, RunErrors
from mlcharge_flows.models.element_calibration import ElementCalibration
from mlcharge_flows.training.calibration_fit import fit_constants, leave_one_out
from mlcharge_flows.training.response_errors import LeftOutResponses

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mlcharge_flows.density.neutral_form_factor import NeutralSines
    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.training.calibration_run import CalibrationRun, Constants
    from mlcharge_flows.training.response_run import Response


def fit_elements(
    runs: Sequence[CalibrationRun],
    paw: Mapping[str, PawDataset],
    basis: NeutralSines,
    transfer: Callable[[str, PawDataset], np.ndarray | None],
) -> tuple[dict[str, ElementCalibration], list[RunErrors], float | None]:
    """Fit every element of some runs, and test the fit on runs that are left out of it.

    Parameters
    ----------
    runs
        Of one kind; there may be none.
    paw
        PAW data set of each element.
    basis
        Functions of the form factors.
    transfer
        Gives the expansion of the partial waves of the model's data set in those of the runs.

    Returns
    -------
    elements : dict of str to ElementCalibration
        By symbol.
    errors : list of RunErrors
        Of every run.
    ridge : float or None
        Damping of the responses, if there are any.

    Raises
    ------
    CalibrationError
        The free atom of an element is not known.
    """
    if not runs:
        return {}, [], None
    fit = fit_constants(runs)
    counts = Counter(symbol for run in runs for symbol in run.channels)
    tested = LeftOutResponses(runs, basis)
    errors, left = [], dict[str, list[tuple[float, float]]]()
    for run, others in leave_one_out(runs):
        mine = run.density_left(others), tested.occupancies_left(run, others)
        errors.append(
            RunErrors(
                name=run.name,
                formula=run.formula,
                density_before=run.density_left({}),
                occupancies_before=run.occupancies_left({}),
                density_left=mine[0],
                occupancies_left=mine[1],
                response_left=tested.response_left(run),
            )
        )
        for symbol in run.channels.keys() & others.keys():
            left.setdefault(symbol, []).append(mine)
    found = {}
    for symbol in sorted(fit):
        mean = np.mean(left[symbol], axis=0).tolist() if symbol in left else (None, None)
        dataset = paw[symbol]
        found[symbol] = element_calibration(
            dataset, counts[symbol], transfer(symbol, dataset), fit[symbol], (mean[0], mean[1])
        )
        if response := tested.responses.get(symbol):
            response_left = tested.left_by_element.get(symbol)
            found[symbol] = _with_response(found[symbol], response, response_left)
    return found, errors, tested.ridge


def element_calibration(
    dataset: PawDataset,
    n_runs: int,
    transfer: np.ndarray | None,
    constants: Constants,
    left: tuple[float | None, float | None],
) -> ElementCalibration:
    """Calibration of an element from its fitted constants.

    Parameters
    ----------
    dataset
        PAW data set of the runs.
    n_runs
        Runs with the element.
    transfer
        Expansion of the partial waves of the model's data set in those of the runs, if needed.
    constants
        What was fitted.
    left
        Leave-one-out errors of density and occupancies.

    Returns
    -------
    ElementCalibration
        Without a response.

    Raises
    ------
    CalibrationError
        The free atom of the data set is not known.
    """
    if dataset.fingerprint is None or dataset.zval is None:
        raise CalibrationError(f"{dataset.titel}: its free atom is not known")
    return ElementCalibration(
        titel=dataset.titel,
        fingerprint=dataset.fingerprint,
        zval=dataset.zval,
        channels=dataset.channels,
        transfer=None if transfer is None else tuple(map(tuple, transfer.tolist())),
        n_runs=n_runs,
        density_significance=constants.significance[0],
        occupancies_significance=constants.significance[1],
        form_factor=tuple(constants.form_factor.tolist()),
        occupancies=tuple(constants.occupancies.tolist()),
        density_left=left[0],
        occupancies_left=left[1],
    )


def _with_response(
    element: ElementCalibration, response: Response, left: float | None
) -> ElementCalibration:
    """Occupancies that follow from the density in place of constants."""
    changes = {
        "occupancies": (0.0,) * len(element.occupancies),
        "occupancies_significance": float(response.coefficients.any()),
        "response": tuple(map(tuple, response.coefficients.tolist())),
        "largest_change": response.largest,
        "response_left": left,
    }
    return element.model_copy(update=changes)
