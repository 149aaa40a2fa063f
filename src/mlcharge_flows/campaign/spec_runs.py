"""VASP runs of a campaign: the Maker that its specification names, with its user's settings."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from mlcharge_flows.campaign.spec import SpecError
from mlcharge_flows.errors import one_line

if TYPE_CHECKING:
    from atomate2.vasp.jobs.base import BaseVaspMaker
    from jobflow import Maker

    from mlcharge_flows.campaign.spec import CampaignSpec


def static_maker(
    spec: CampaignSpec, remedy: str = "give a static Maker, or 'workflow: static'"
) -> BaseVaspMaker:
    """Build the run that is compared, with the user's settings.

    Parameters
    ----------
    spec
        The campaign: its Maker, INCAR tags, k-points and functional.
    remedy
        End of the message for a Maker that is no VASP run.

    Returns
    -------
    BaseVaspMaker
        One VASP run.

    Raises
    ------
    SpecError
        The Maker cannot be imported, or is a flow.
    """
    from atomate2.vasp.jobs.base import BaseVaspMaker

    maker = workflow_maker(spec)
    if not isinstance(maker, BaseVaspMaker):
        raise SpecError(
            f"maker: {spec.maker} is not one VASP run, which is what 'compare' compares; {remedy}"
        )
    return maker


def workflow_maker(spec: CampaignSpec) -> Maker:
    """Build the workflow of one material, with the user's settings.

    Parameters
    ----------
    spec
        The campaign.

    Returns
    -------
    Maker
        One VASP run, or a flow.

    Raises
    ------
    SpecError
        The Maker cannot be imported.
    """
    return _with_settings(spec, _base_maker(spec))


def _base_maker(spec: CampaignSpec) -> Maker:
    """Maker of the runs without the user's settings."""
    from atomate2.vasp.flows.core import BandStructureMaker
    from atomate2.vasp.jobs.core import NonSCFMaker
    from atomate2.vasp.sets.core import NonSCFSetGenerator

    from mlcharge_flows.atomate2.flows.compare import comparison_static
    from mlcharge_flows.atomate2.sets.comparison import ComparisonSetGenerator

    if spec.maker is not None:
        return _imported(spec.maker)
    static = comparison_static()
    if spec.workflow != "bands":
        return static
    settings = ComparisonSetGenerator()
    # The bands keep the static run's density, so they must have its settings and its grid.
    band_path = NonSCFSetGenerator(
        config_dict=settings.config_dict,
        force_gamma=settings.force_gamma,
        auto_ismear=False,
        auto_kspacing=False,
        auto_lreal=False,
        auto_ispin=False,
    )
    return BandStructureMaker(
        bandstructure_type="line",
        static_maker=static,
        bs_maker=NonSCFMaker(input_set_generator=band_path),
    )


def _imported(path: str) -> Maker:
    """Instance of a Maker class named by its import path."""
    from jobflow import Maker

    module, _, name = path.rpartition(".")
    if not module or module.startswith("."):
        raise SpecError(
            f"maker: {one_line(path, 100)!r} cannot be imported; write package.module.Name"
        )
    try:
        found = getattr(import_module(module), name)
    except (ImportError, ValueError, AttributeError, TypeError) as error:
        raise SpecError(f"maker: {path!r} cannot be imported ({one_line(error)})") from None
    if not (isinstance(found, type) and issubclass(found, Maker)):
        raise SpecError(f"maker: {path} is not a Maker class")
    try:
        return found()
    except TypeError as error:
        raise SpecError(f"maker: {path} cannot be made without arguments ({error})") from None


def _with_settings(spec: CampaignSpec, maker: Maker) -> Maker:
    """Give every VASP run of a Maker the user's own settings."""
    from atomate2.vasp.powerups import update_user_incar_settings, update_user_potcar_functional

    if spec.incar:
        maker = update_user_incar_settings(maker, spec.incar)
    band_path = {key: value for key, value in spec.kpoints.items() if key == "line_density"}
    mesh = {key: value for key, value in spec.kpoints.items() if key not in band_path}
    if mesh:
        maker = _with_kpoints(maker, mesh, on_band_path=False)
    if band_path:
        maker = _with_kpoints(maker, band_path, on_band_path=True)
    if spec.potcar_functional:
        maker = update_user_potcar_functional(maker, spec.potcar_functional)
    return maker


def _with_kpoints(maker: Maker, kpoints: dict[str, Any], on_band_path: bool) -> Maker:
    """Set the k-points of the runs along a band path, or of all others."""
    from atomate2.vasp.jobs.base import BaseVaspMaker
    from atomate2.vasp.jobs.core import NonSCFMaker
    from atomate2.vasp.powerups import update_user_kpoints_settings
    from jobflow.core.maker import recursive_call

    def change(found: Any) -> Any:
        if isinstance(found, NonSCFMaker) is not on_band_path:
            return found
        return update_user_kpoints_settings(found, kpoints)

    each: Any = recursive_call
    changed: Maker = each(maker, change, None, BaseVaspMaker)
    return changed
