"""Flows of a campaign in rounds: each material has the arms that its round gave it."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from mlcharge_flows.atomate2.flows.material import checkpoints
from mlcharge_flows.scf.comparison import REFERENCE

if TYPE_CHECKING:
    from collections.abc import Mapping

    from jobflow import Flow
    from pymatgen.core import Structure
    from pymatgen.io.vasp.sets import VaspInputSet

    from mlcharge_flows.atomate2.flows.compare import CompareDensitiesMaker
    from mlcharge_flows.scf.comparison import Comparison
    from mlcharge_flows.sources import InitialDensity


@dataclass
class RoundMaker:
    """Maker of the flows of materials that differ in their arms.

    Parameters
    ----------
    base
        The run, and the initial densities that the campaign begins with.
    densities
        Initial density of every arm of every round, without the reference.
    assigned
        Arms of each material.
    """

    base: CompareDensitiesMaker
    densities: dict[str, InitialDensity]
    assigned: Mapping[str, tuple[str, ...]]
    _made: dict[tuple[str, ...], CompareDensitiesMaker] = field(default_factory=dict, init=False)

    @property
    def arms(self) -> list[str]:
        """Names of the arms of all materials, the reference first."""
        return [REFERENCE, *self.densities]

    @property
    def models(self) -> dict[str, str]:
        """SHA-256 of the checkpoints behind the arms that models predict."""
        return checkpoints(self.densities)

    @property
    def protocol(self) -> str:
        """Hash of the settings that all runs share."""
        return self.base.protocol

    @property
    def generator(self) -> VaspInputSet:
        """Input set generator of the run."""
        return self.base.generator

    def of_material(self, material_id: str) -> CompareDensitiesMaker:
        """Maker of one material's flow.

        Parameters
        ----------
        material_id
            Its identifier.

        Returns
        -------
        CompareDensitiesMaker
            With its arms; of a material that is in no round yet, with those that the campaign
            begins with.
        """
        arms = self.assigned.get(material_id)
        if arms is None:
            return self.base
        if arms not in self._made:
            own = {arm: self.densities[arm] for arm in arms if arm != REFERENCE}
            self._made[arms] = replace(
                self.base, initial_densities=own, has_reference=REFERENCE in arms
            )
        return self._made[arms]

    def make(self, structure: Structure, material_id: str | None = None) -> Flow:
        """Build the flow of one material.

        Parameters
        ----------
        structure
            Structure.
        material_id
            Identifier; the formula if not given.

        Returns
        -------
        Flow
            Its output is a :class:`~mlcharge_flows.scf.comparison.Comparison`.
        """
        name = material_id or structure.composition.reduced_formula
        return self.of_material(name).make(structure, name)

    def add(self, structure: Structure, before: Comparison) -> Flow:
        """Build the flow of the arms that a finished material lacks.

        Parameters
        ----------
        structure
            Structure that the comparison is of.
        before
            Arms that are finished.

        Returns
        -------
        Flow
            Its output holds all arms.
        """
        return self.of_material(before.material_id).add(structure, before)
