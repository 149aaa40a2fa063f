"""The best start that is to be had, for runs that have to end but not to prove anything."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from mlcharge_flows.sources.learned import LearnedStartMaker
from mlcharge_flows.sources.start import StartError, StartMaker
from mlcharge_flows.sources.superposition import superposed

if TYPE_CHECKING:
    from pathlib import Path

    from mlcharge_flows.density.density import Density
    from mlcharge_flows.sources.inputs import VaspInputs


@dataclass
class BestStartMaker(StartMaker):
    """Take the shipped model's start, and the superposition of atoms for what it refuses.

    The messages of the document say why a start is not learned. No arm of a comparison: those are
    of one kind each.
    """

    name: str = "best start"
    kind: ClassVar[str] = "best"
    policy: ClassVar[str] = "learned, or atomic"

    def density(
        self, inputs: VaspInputs, prev_dir: str | Path | None, messages: list[str]
    ) -> Density:
        """Learned or superposed density on the run's grid."""
        try:
            return LearnedStartMaker().density(inputs, prev_dir, messages)
        except StartError as error:
            messages.append(str(error))
            return superposed(inputs)
