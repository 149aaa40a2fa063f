"""Errors of fitted responses in runs that were left out of the fit."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from mlcharge_flows.training.response_fit import fit_responses, responses_without
from mlcharge_flows.training.response_run import left_over

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlcharge_flows.density.neutral_form_factor import NeutralSines
    from mlcharge_flows.training.calibration_run import CalibrationRun, Constants
    from mlcharge_flows.training.response_run import Response


class LeftOutResponses:
    """Responses that are fitted to some runs, and what they leave without the runs of a formula.

    For a model that predicts occupancies itself there are none, and its errors are those of the
    constants.

    Parameters
    ----------
    runs
        At least one.
    basis
        Functions of the form factors.

    Attributes
    ----------
    ridge
        Damping of the fit; None without responses.
    responses
        Of each element.
    """

    def __init__(self, runs: Sequence[CalibrationRun], basis: NeutralSines) -> None:
        self.basis = basis
        self._runs = [run.response for run in runs if run.response is not None]
        fit = fit_responses(self._runs) if self._runs else None
        self.ridge: float | None = fit.ridge if fit else None
        self.responses: dict[str, Response] = fit.responses if fit else {}

    @cached_property
    def _without(self) -> dict[str, dict[str, Response]]:
        return responses_without(self._runs)

    def occupancies_left(self, run: CalibrationRun, constants: Mapping[str, Constants]) -> float:
        """Error of the occupancies of the calibrated model in a run that was left out.

        Parameters
        ----------
        run
            One of the runs.
        constants
            Of the runs of other formulas.

        Returns
        -------
        float
            Fraction of that of the free atoms.
        """
        if run.response is None:
            return run.occupancies_left(constants)
        factors = {
            symbol: self.basis.form_factor(its.form_factor.tolist())
            for symbol, its in constants.items()
            if symbol in run.channels
        }
        return left_over(run.response.left(self._without[run.formula], factors).values())

    def response_left(self, run: CalibrationRun) -> float | None:
        """Error of the occupancies that follow from the converged density of a left-out run.

        Parameters
        ----------
        run
            One of the runs.

        Returns
        -------
        float or None
            Fraction of that of the free atoms; None without responses.
        """
        if run.response is None:
            return None
        return left_over(run.response.left(self._without[run.formula]).values())

    @cached_property
    def left_by_element(self) -> dict[str, float]:
        """What responses leave of an element's error, for converged densities of left-out runs."""
        errors: dict[str, list[tuple[float, float]]] = {}
        for run in self._runs:
            without = self._without[run.formula]
            for symbol, error in run.left(without).items():
                if symbol in without:
                    errors.setdefault(symbol, []).append(error)
        return {symbol: left_over(found) for symbol, found in errors.items()}
