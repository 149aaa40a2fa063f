"""What a campaign requests of every material, compared with what is finished."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol, runtime_checkable

import numpy as np

from mlcharge_flows.atomate2.flows.material import AddsArms
from mlcharge_flows.scf.comparison import REFERENCE

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymatgen.io.vasp.sets import VaspInputSet

    from mlcharge_flows.atomate2.flows.material import MaterialFlowMaker
    from mlcharge_flows.scf.comparison import Comparison
    from mlcharge_flows.structures import Material


@runtime_checkable
class VariesByMaterial(Protocol):
    """A Maker whose arms differ from material to material."""

    def of_material(self, material_id: str) -> MaterialFlowMaker:
        """Maker of one material's flow.

        Parameters
        ----------
        material_id
            Its identifier.

        Returns
        -------
        MaterialFlowMaker
            With its arms.
        """
        ...


def maker_of(maker: MaterialFlowMaker, material_id: str) -> MaterialFlowMaker:
    """Maker of one material's flow.

    Parameters
    ----------
    maker
        That of the campaign.
    material_id
        Identifier of the material.

    Returns
    -------
    MaterialFlowMaker
        The same, unless it varies by material.
    """
    return maker.of_material(material_id) if isinstance(maker, VariesByMaterial) else maker


@dataclass(frozen=True)
class CampaignRequest:
    """Settings, arms and models that a campaign requests of a material.

    Parameters
    ----------
    protocol
        Hash of the settings.
    arms
        Names of the arms.
    models
        SHA-256 of the checkpoints behind the arms that models predict.
    can_add_arms
        Whether arms can be added to a finished material; if not, its arms have to be these.
    """

    protocol: str
    arms: tuple[str, ...]
    models: dict[str, str]
    can_add_arms: bool

    @classmethod
    def from_maker(cls, maker: MaterialFlowMaker) -> CampaignRequest:
        """Request what a Maker runs.

        Parameters
        ----------
        maker
            Maker of one material's flow.

        Returns
        -------
        CampaignRequest
            Of the flow that it makes.
        """
        return cls(maker.protocol, tuple(maker.arms), maker.models, isinstance(maker, AddsArms))

    @staticmethod
    def by_material(maker: MaterialFlowMaker) -> Callable[[str], CampaignRequest]:
        """Request of each material, determined once for all that have the same arms.

        Parameters
        ----------
        maker
            Maker of the campaign.

        Returns
        -------
        callable
            Gives the request for the identifier of a material.
        """
        known: dict[int, tuple[MaterialFlowMaker, CampaignRequest]] = {}

        def request(material_id: str) -> CampaignRequest:
            own = maker_of(maker, material_id)
            if id(own) not in known:  # the Maker is kept, so that its id is no other one's
                known[id(own)] = own, CampaignRequest.from_maker(own)
            return known[id(own)][1]

        return request

    def is_complete(self, comparison: Comparison) -> bool:
        """Whether a comparison holds all requested arms, and possibly more.

        Parameters
        ----------
        comparison
            Finished arms of a material.

        Returns
        -------
        bool
            True if no arm is missing.
        """
        return comparison.arms.keys() >= set(self.arms)

    def arms_to_retry(self, comparison: Comparison, retry_failed: bool = False) -> set[str]:
        """Choose the requested arms that failed and are run again.

        Parameters
        ----------
        comparison
            Finished arms of a material.
        retry_failed
            Whether those are meant, too, that failed for physical reasons.

        Returns
        -------
        set of str
            Arms that failed by the fault of the machine, and those whose initial density needs the
            run of such an arm.
        """
        runs = {arm: run for arm, run in comparison.arms.items() if arm in self.arms}
        if retry_failed:
            return {arm for arm, run in runs.items() if run.exclusion_reason is not None}
        failed = {arm for arm, run in runs.items() if run.failed_by_machine}
        if REFERENCE in failed:
            failed |= {arm for arm, run in runs.items() if run.lacks_initial_density}
        return failed

    def conflicts_with(self, comparison: Comparison) -> str | None:
        """Reason why a comparison can neither be the result nor be kept beside it.

        Parameters
        ----------
        comparison
            Finished arms of a material.

        Returns
        -------
        str or None
            None if the arms can be taken and completed.

        Examples
        --------
        >>> from mlcharge_flows.scf.comparison import Comparison
        >>> finished = {"material_id": "Si", "formula": "Si", "n_atoms": 2, "arms": {}}
        >>> request = CampaignRequest("a1b2", ("default", "learned"), {}, can_add_arms=True)
        >>> request.conflicts_with(Comparison(protocol="c3d4", **finished))
        'finished with other settings'
        """
        if comparison.protocol != self.protocol:
            return "finished with other settings"
        if not self.can_add_arms and comparison.arms.keys() != set(self.arms):
            return f"finished with other arms ({', '.join(comparison.arms)})"
        for arm in self.arms:
            if arm in comparison.arms and comparison.models.get(arm) != self.models.get(arm):
                return f"its arm {arm!r} is finished with another checkpoint"
        return None


def dropped_properties(material: Material, generator: VaspInputSet) -> str | None:
    """Tell which properties of a structure its runs will not have.

    Parameters
    ----------
    material
        Crystal, possibly with a charge or magnetic moments.
    generator
        Input set generator of its runs.

    Returns
    -------
    str or None
        One line; None if nothing is dropped.

    Examples
    --------
    >>> from pathlib import Path
    >>> from pymatgen.core import Lattice, Structure
    >>> from mlcharge_flows.atomate2.sets.comparison import ComparisonSetGenerator
    >>> from mlcharge_flows.structures import Material
    >>> iron = Structure(Lattice.cubic(2.8), ["Fe"], [[0, 0, 0]], charge=1)
    >>> dropped_properties(Material("Fe", iron, Path("Fe.json")), ComparisonSetGenerator())
    'Fe.json: Fe runs neutral, without its charge of +1'
    """
    structure, dropped = material.structure, []
    charge = material.charge
    # Where a structure gives no charge, the input set adds up the oxidation states itself.
    is_known = getattr(structure, "_charge", None) in (None, charge)
    if charge and not (is_known and getattr(generator, "use_structure_charge", False)):
        dropped.append(f"neutral, without its charge of {charge:+g}")
    dropped += [f"with {element} in place of {name}" for name, element in material.replaced.items()]
    moments = [site.properties.get("magmom") or 0 for site in structure]
    moments += [getattr(site.specie, "spin", None) or 0 for site in structure]
    incar = {
        **getattr(generator, "config_dict", {}).get("INCAR", {}),
        **getattr(generator, "user_incar_settings", {}),
    }
    if np.any(moments) and incar.get("ISPIN") == 1:
        dropped.append("without spin, and without its magnetic moments")
    if not dropped:
        return None
    return f"{material.source}: {material.id} runs {', and '.join(dropped)}"
