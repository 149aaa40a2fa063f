"""What is asked of every material of a campaign, beside what its folder holds already."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlcharge_flows.atomate2.flows.material import AddsArms
from mlcharge_flows.campaign.material_folder import same_structure

if TYPE_CHECKING:
    from pathlib import Path

    from pymatgen.core import Structure

    from mlcharge_flows.atomate2.flows.material import MaterialFlowMaker
    from mlcharge_flows.scf.comparison import Comparison


@dataclass(frozen=True)
class Asked:
    """What a Maker would run, told once for all materials.

    Parameters
    ----------
    protocol
        Hash of the settings.
    arms
        Names of the arms.
    models
        SHA-256 of the checkpoints behind those that models predict.
    adds
        Whether arms can be added to a finished material; else it is of these arms or of others.
    """

    protocol: str
    arms: tuple[str, ...]
    models: dict[str, str]
    adds: bool

    @classmethod
    def of(cls, maker: MaterialFlowMaker) -> Asked:
        """Of a Maker."""
        return cls(maker.protocol, tuple(maker.arms), maker.models, isinstance(maker, AddsArms))

    def all_in(self, found: Comparison) -> bool:
        """Whether a result holds all arms, and possibly more."""
        return found.arms.keys() >= set(self.arms)

    def clash(self, found: Comparison) -> str | None:
        """Why the arms of a result are not those that are asked for; None if they can be."""
        if found.protocol != self.protocol:
            return "finished with other settings"
        if not self.adds and found.arms.keys() != set(self.arms):
            return f"finished with other arms ({', '.join(found.arms)})"
        for arm in self.arms:
            if arm in found.arms and found.models.get(arm) != self.models.get(arm):
                return f"its arm {arm!r} is finished with another checkpoint"
        return None

    def obstacle(self, found: Comparison, folder: Path, structure: Structure) -> str | None:
        """Why a result can neither be taken for these arms nor be kept beside them; None if it can.

        Parameters
        ----------
        found
            The result.
        folder
            Folder of the material.
        structure
            Structure that is to be run.
        """
        if clash := self.clash(found):
            return clash
        if not same_structure(folder, structure):
            return "finished with another structure"
        if not self.all_in(found) and (folder / "pack").exists():
            return "of a data set, its run is packed and takes no further arms"
        return None
