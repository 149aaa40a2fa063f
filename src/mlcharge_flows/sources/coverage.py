"""How many crystals of a list a model serves, and why it refuses the others."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict, Field

from mlcharge_flows.density.crystal import Crystal

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlcharge_flows.models.domain import Domain
    from mlcharge_flows.structures import Material


class Coverage(BaseModel):
    """Crystals that a model serves, and those that it refuses, by the first reason that applies.

    Charge, elements and geometry are compared; the PAW data sets of runs are not known here.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    model: str = Field(description="Name of the model.")
    n_structures: int = Field(ge=0, description="Number of crystals.")
    n_served: int = Field(ge=0, description="Crystals whose density the model predicts.")
    unknown_elements: dict[str, int] = Field(
        description="Crystals with each element that the model does not know, the most frequent "
        "first; a crystal counts for each of its own."
    )
    n_unknown: int = Field(ge=0, description="Crystals with such an element.")
    n_charged: int = Field(ge=0, description="Crystals of known elements with a charged cell.")
    geometry: dict[str, str] = Field(
        description="Identifier and reason of neutral crystals of known elements whose distances, "
        "volume or coordination are far from those of the training."
    )

    @classmethod
    def of(cls, domain: Domain, materials: Iterable[Material]) -> Self:
        """Compare crystals with the applicability domain of a model.

        Parameters
        ----------
        domain
            Of the model.
        materials
            The crystals.

        Returns
        -------
        Coverage
            Every crystal counts once.
        """
        unknown: Counter[str] = Counter()
        n_structures = n_unknown = n_charged = 0
        geometry = {}
        for material in materials:
            crystal = Crystal.from_structure(material.structure)
            missing = set(crystal.symbols) - set(domain.paw)
            n_structures += 1
            if missing:
                unknown.update(missing)
                n_unknown += 1
            elif material.charge:
                n_charged += 1
            elif violation := domain.geometry.violation(crystal):
                geometry[material.id] = violation
        return cls(
            model=domain.model,
            n_structures=n_structures,
            n_served=n_structures - n_unknown - n_charged - len(geometry),
            unknown_elements=dict(sorted(unknown.items(), key=lambda pair: (-pair[1], pair[0]))),
            n_unknown=n_unknown,
            n_charged=n_charged,
            geometry=geometry,
        )
