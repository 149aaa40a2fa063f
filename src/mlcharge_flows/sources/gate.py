"""Gate of predictions: a crystal is refused whose density may be no better than free atoms."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from mlcharge_flows.models.domain import OutOfDomainError
from mlcharge_flows.models.expected_error import HIGH
from mlcharge_flows.settings import Settings
from mlcharge_flows.sources.magmom import magmom_of

if TYPE_CHECKING:
    from mlcharge_flows.models.registry import LoadedModel
    from mlcharge_flows.sources.run_inputs import RunInputs
    from mlcharge_flows.sources.source import Evaluated


def gated(loaded: LoadedModel, inputs: RunInputs, evaluated: Evaluated) -> Evaluated:
    """Add the error that a prediction is expected to leave, and refuse it beyond the limit.

    Parameters
    ----------
    loaded
        The model that predicted.
    inputs
        Inputs of the run.
    evaluated
        The prediction.

    Returns
    -------
    Evaluated
        With the expected error; as given from a model without an estimate, and with elements that
        the model does not know, which are up to a calibration.

    Raises
    ------
    OutOfDomainError
        The 90 % quantile of the error is beyond the limit of the settings, or else of the card.
    """
    card = loaded.card
    if card.expected_error is None or not inputs.elements <= card.paw.keys():
        return evaluated
    magmom = magmom_of(inputs) if loaded.model.predicts_magnetization else None
    expected = loaded.model.expected_error(inputs.crystal, magmom)
    if expected is None:
        return evaluated
    given = Settings().max_expected_error
    limit = card.expected_error.limit if given is None else given
    if expected.high > limit:
        raise OutOfDomainError(
            f"the model {card.name} is expected to leave {100 * expected.median:.0f} % of the "
            f"superposition's error (with a probability of {100 * HIGH:.0f} % at most "
            f"{100 * expected.high:.0f} %); the limit is {100 * limit:.0f} % "
            "(MLCHARGE_MAX_EXPECTED_ERROR)"
        )
    return replace(evaluated, expected_error=expected)
