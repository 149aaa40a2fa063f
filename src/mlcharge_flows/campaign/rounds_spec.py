"""The ``rounds:`` section of a SPEC.yaml: campaigns whose finished runs calibrate their model."""

from __future__ import annotations

from math import ceil
from typing import Any, Self

from pydantic import Field, model_validator

from mlcharge_flows.campaign.fireworks_spec import Strict
from mlcharge_flows.campaign.measured_saving import CONFIDENCE

N_ROUNDS = 4
"""Rounds where neither their number nor their size is given."""

MIN_CONTROL = 2
"""Fewest control materials of a round: one pair has no spread."""


class RoundsSpec(Strict):
    """How the materials of a campaign are split into rounds, and what the rounds learn from.

    Examples
    --------
    >>> RoundsSpec().length(150, begun=0), RoundsSpec(size=40).length(150, begun=0)
    (38, 40)
    """

    number: int | None = Field(
        None, ge=1, le=1000, strict=True, description="Number of rounds of equal size."
    )
    size: int | None = Field(None, ge=1, strict=True, description="Materials per round.")
    control: float = Field(
        0.2,
        gt=0,
        le=1,
        strict=True,
        description="Fraction of each round, chosen at random, that runs both from free atoms and "
        "from the best source; at least two materials. 1: all of them.",
    )
    seed: int = Field(0, ge=0, strict=True, description="Of the random choices.")
    min_runs: int = Field(
        1,
        ge=1,
        strict=True,
        description="A calibration is used for a material only if it saw so many runs of each of "
        "its elements.",
    )
    max_runs: int = Field(
        12,
        ge=1,
        strict=True,
        description="A calibration takes the runs of a material only if one of its elements is in "
        "fewer runs so far.",
    )
    confidence: float = Field(
        CONFIDENCE,
        gt=0,
        lt=1,
        strict=True,
        description="Of the two-sided interval of the measured saving, whose lower end has to be "
        "above zero.",
    )
    measured_only: bool = Field(
        False,
        strict=True,
        description="Use no source before its saving is measured, whatever its errors in left-out "
        "runs are.",
    )

    @model_validator(mode="before")
    @classmethod
    def _number_alone(cls, given: Any) -> Any:
        is_number = isinstance(given, int) and not isinstance(given, bool)
        return {"number": given} if is_number else given

    @model_validator(mode="after")
    def _agree(self) -> Self:
        if self.number is not None and self.size is not None:
            raise ValueError("give number or size, not both")
        if self.max_runs < self.min_runs:
            raise ValueError(f"max_runs = {self.max_runs} is below min_runs = {self.min_runs}")
        return self

    def length(self, n_pending: int, begun: int) -> int:
        """Number of materials of the next round.

        Parameters
        ----------
        n_pending
            Materials that are in no round yet.
        begun
            Rounds that have begun.

        Returns
        -------
        int
            Materials that are left when all rounds have begun are one more round.
        """
        if self.size is not None:
            return min(self.size, n_pending)
        return ceil(n_pending / max(1, (self.number or N_ROUNDS) - begun))

    def n_control(self, n_materials: int) -> int:
        """Number of control materials of a round.

        Parameters
        ----------
        n_materials
            Materials of the round.

        Returns
        -------
        int
            At least :data:`MIN_CONTROL`, at most all.
        """
        return min(n_materials, max(MIN_CONTROL, round(self.control * n_materials)))
