"""From a campaign's SPEC.yaml to the Maker of one material's flow."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from atomate2.vasp.flows.core import BandStructureMaker
from atomate2.vasp.jobs.base import BaseVaspMaker
from atomate2.vasp.jobs.core import NonSCFMaker
from atomate2.vasp.powerups import (
    update_user_incar_settings,
    update_user_kpoints_settings,
    update_user_potcar_functional,
)
from atomate2.vasp.sets.core import NonSCFSetGenerator
from jobflow import Maker

from mlcharge_flows.atomate2.flows.compare import CompareDensitiesMaker, comparison_static
from mlcharge_flows.atomate2.flows.workflow import WorkflowFromDensityMaker
from mlcharge_flows.atomate2.sets.comparison import ComparisonSetGenerator
from mlcharge_flows.campaign.spec import SpecError
from mlcharge_flows.models.model import ModelError
from mlcharge_flows.models.registry import DEFAULT
from mlcharge_flows.scf.comparison import REFERENCE
from mlcharge_flows.sources import FromFile, InitialDensity, parse_arms

if TYPE_CHECKING:
    from mlcharge_flows.atomate2.flows.material import MaterialFlowMaker
    from mlcharge_flows.campaign.spec import CampaignSpec


def campaign_maker(spec: CampaignSpec) -> MaterialFlowMaker:
    """Build the Maker of one material's flow.

    Parameters
    ----------
    spec
        The campaign.

    Raises
    ------
    SpecError
        A Maker, start or model that it names cannot be used; the message begins with the key.

    Examples
    --------
    >>> from mlcharge_flows.campaign.spec import CampaignSpec
    >>> spec = CampaignSpec(name="bands", structures="crystals", workflow="bands")
    >>> campaign_maker(spec).arms
    ['superposition']
    """
    work = _settings(spec, _workflow(spec))
    if spec.workflow == "compare":
        if not isinstance(work, BaseVaspMaker):
            raise SpecError(
                f"maker: {spec.maker} is not one VASP run, which is what 'compare' compares; "
                "give a static Maker, or 'workflow: static'"
            )
        densities = _named("arms", spec.arms, spec)
        return CompareDensitiesMaker(static_maker=work, initial_densities=densities)
    ((arm, density),) = _start(spec).items()
    if density.needs_reference_run:
        raise SpecError(f"start: {arm} needs an earlier run, which a single workflow has not")
    try:
        return WorkflowFromDensityMaker(
            name=spec.workflow, workflow=work, initial_density=density, arm=arm
        )
    except ValueError as error:
        raise SpecError(f"maker: {error}") from None


def _start(spec: CampaignSpec) -> dict[str, InitialDensity]:
    if spec.start == REFERENCE:
        raise SpecError("start: a run from atoms needs no campaign of starts; name a start")
    if spec.start_is_file:
        return {"file": InitialDensity(FromFile(spec.start))}
    return _named("start", [spec.start], spec)


def _named(key: str, names: list[str], spec: CampaignSpec) -> dict[str, InitialDensity]:
    """Initial densities by name, those that use a model with the model that the user chose."""
    try:
        densities = parse_arms(names, spec.model or DEFAULT, spec.occupancies)
    except (ValueError, OSError, ImportError) as error:
        raise SpecError(f"{key}: {error}") from None
    users = [density for density in densities.values() if density.uses_model]
    if spec.model is not None and not users:
        raise SpecError(f"model: none of {', '.join(names)} uses a model; leave it out")
    for density in users:  # what cannot be loaded is found out before anything runs
        try:
            density.check()
        except (ModelError, OSError) as error:
            raise SpecError(f"model: {' '.join(str(error).split())}") from None
    return densities


def _workflow(spec: CampaignSpec) -> Maker:
    if spec.maker is not None:
        return _imported(spec.maker)
    static = comparison_static()
    if spec.workflow != "bands":
        return static
    own = ComparisonSetGenerator()
    # The bands keep the static run's density, so they must have its settings and its grid.
    lines = NonSCFSetGenerator(
        config_dict=own.config_dict,
        force_gamma=own.force_gamma,
        auto_ismear=False,
        auto_kspacing=False,
        auto_lreal=False,
        auto_ispin=False,
    )
    return BandStructureMaker(
        bandstructure_type="line",
        static_maker=static,
        bs_maker=NonSCFMaker(input_set_generator=lines),
    )


def _imported(path: str) -> Maker:
    """Instance of a Maker class named by its import path."""
    module, _, name = path.rpartition(".")
    try:
        found = getattr(import_module(module), name)
    except (ImportError, ValueError, AttributeError) as error:
        raise SpecError(f"maker: {path!r} cannot be imported ({error})") from None
    if not (isinstance(found, type) and issubclass(found, Maker)):
        raise SpecError(f"maker: {path} is not a Maker class")
    try:
        return found()
    except TypeError as error:
        raise SpecError(f"maker: {path} cannot be made without arguments ({error})") from None


def _settings(spec: CampaignSpec, work: Maker) -> Any:
    """Give every VASP run of a Maker the user's own settings."""
    if spec.incar:
        work = update_user_incar_settings(work, spec.incar)
    lines = {key: value for key, value in spec.kpoints.items() if key == "line_density"}
    meshes = {key: value for key, value in spec.kpoints.items() if key not in lines}
    if meshes:
        work = _each_kind(work, meshes, lines=False)
    if lines:
        work = _each_kind(work, lines, lines=True)
    if spec.potcar_functional:
        work = update_user_potcar_functional(work, spec.potcar_functional)
    return work


def _each_kind(work: Maker, kpoints: dict[str, Any], lines: bool) -> Maker:
    """Set the k-points of the runs along lines, or of all others."""
    from jobflow.core.maker import recursive_call

    def change(maker: Any) -> Any:
        if isinstance(maker, NonSCFMaker) is not lines:
            return maker
        return update_user_kpoints_settings(maker, kpoints)

    each: Any = recursive_call
    return each(work, change, None, BaseVaspMaker)
