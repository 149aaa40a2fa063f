"""Where a learned start takes its on-site occupancies from: a policy with a name."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mlcharge_flows.models.checkpoint import SUFFIX
from mlcharge_flows.models.model import ModelError
from mlcharge_flows.models.registry import DEFAULT
from mlcharge_flows.sources.known_models import known_models

ELEMENT_MEAN = "element-mean"


@dataclass(frozen=True)
class OccupancySource:
    """A source of occupancies, as a user names it.

    Parameters
    ----------
    kind
        What it is.
    name
        Of the model or file; empty for the free atoms and for the converged run.
    """

    kind: Literal["learned", "model", "element-mean", "atomic", "converged", "file"]
    name: str = ""

    @classmethod
    def of(cls, named: str, model: str) -> OccupancySource:
        """Read a source.

        Parameters
        ----------
        named
            ``learned``, ``element-mean``, ``atomic``, ``converged``, the name or path of a model,
            or the path of a CHGCAR.
        model
            Name or path of the model that predicts the density.
        """
        match named:
            case "atomic" | "converged":
                return cls(named)
            case "learned" | "element-mean":
                return cls(named, model)
        if not named.endswith(SUFFIX) and Path(named).is_file():
            return cls("file", named)
        return cls("model", named)

    @property
    def policy(self) -> str:
        """The name that documents and reports give it."""
        if self.kind == "model":
            return f"learned by {Path(self.name).name.removesuffix(SUFFIX)}"
        return "from file" if self.kind == "file" else self.kind

    @property
    def is_learned(self) -> bool:
        """Whether a model is behind it."""
        return self.kind in ("learned", "model", ELEMENT_MEAN)

    def model(self) -> str:
        """Name or path of the model behind it.

        Raises
        ------
        ModelError
            There is no such model.
        """
        # A model of the density alone has no means of elements.
        if self.kind == ELEMENT_MEAN and known_models().card(self.name).occupancies == "none":
            return DEFAULT
        return self.name

    def check(self) -> None:
        """Load the model behind it.

        Raises
        ------
        ModelError
            There is no such model, it cannot be loaded, or it has no occupancies to give.
        """
        if not self.is_learned:
            return
        loaded = known_models().load(self.model())
        if loaded.card.occupancies == "none":
            raise ModelError(
                f"the model {loaded.card.name} predicts no occupancies: take those of a model that "
                f"does ({DEFAULT}), {ELEMENT_MEAN} or atomic ones"
            )
        if self.kind == ELEMENT_MEAN and not loaded.model.completes_densities:
            raise ModelError(f"the model {loaded.card.name} knows no means of elements")
