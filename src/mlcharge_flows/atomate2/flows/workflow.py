"""Any atomate2 workflow of one material from one initial density, its first run counted."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from atomate2.vasp.jobs.base import BaseVaspMaker
from atomate2.vasp.run import DEFAULT_HANDLERS
from custodian.vasp.handlers import PositiveEnergyErrorHandler
from jobflow import Flow, Maker, OutputReference
from jobflow.core.maker import recursive_call
from monty.json import MontyEncoder

from mlcharge_flows.atomate2.execution import further_settings
from mlcharge_flows.atomate2.flows.compare import comparison_static
from mlcharge_flows.atomate2.flows.material import (
    POLLING_TIME,
    MaterialRuns,
    checkpoints,
    tolerant,
)
from mlcharge_flows.atomate2.jobs.comparison import count, outcome
from mlcharge_flows.atomate2.jobs.run import RunFromDensityMaker
from mlcharge_flows.atomate2.powerups import start_from_predicted_density
from mlcharge_flows.atomate2.sets.comparison import settings_only
from mlcharge_flows.settings import Settings
from mlcharge_flows.sources.initial_density import InitialDensity
from mlcharge_flows.sources.source import Superposition

if TYPE_CHECKING:
    from pymatgen.core import Structure
    from pymatgen.io.vasp.sets import VaspInputSet

_each: Any = recursive_call  # its annotations deny that filters can be None


@dataclass
class WorkflowFromDensityMaker(Maker):
    """Run a workflow from one initial density, and keep where its first run began and its result.

    Nothing is compared: every material runs once. What fails is recorded.

    Parameters
    ----------
    name
        Name of the flow.
    workflow
        Any atomate2 Maker with VASP runs; their handlers and settings stay as they are.
    initial_density
        Of all its runs that begin from free atoms.
    arm
        Name of the initial density in the result; that of its sources if not given.
    explicit_kpoints
        Whether KPOINTS may become a list, as for
        :func:`~mlcharge_flows.start_from_predicted_density`.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> helium = Structure(Lattice.cubic(3), ["He"], [[0, 0, 0]])
    >>> flow = WorkflowFromDensityMaker().make(helium, "helium")
    >>> [job.name for job in flow.jobs]
    ['static', 'count', 'outcome']
    """

    name: str = "workflow from density"
    workflow: Maker = field(default_factory=comparison_static)
    initial_density: InitialDensity = field(default_factory=lambda: InitialDensity(Superposition()))
    arm: str = ""
    explicit_kpoints: bool = False

    def __post_init__(self) -> None:
        if not _vasp_makers(self.workflow):
            raise ValueError(f"{type(self.workflow).__name__} has no VASP run")

    @property
    def arms(self) -> list[str]:
        """Name of the initial density."""
        return [self.arm or self.initial_density.short_name]

    @property
    def models(self) -> dict[str, str]:
        """SHA-256 of the checkpoint behind the initial density, if a model predicts it."""
        return checkpoints({self.arms[0]: self.initial_density})

    @property
    def protocol(self) -> str:
        """Hash of the workflow with all its settings, and of the executable."""
        # The options of the runs are part of the serialized workflow.
        content = [self.workflow, Settings().program, *further_settings([])]
        text = json.dumps(content, sort_keys=True, cls=MontyEncoder)
        bare = json.dumps(settings_only(json.loads(text)), sort_keys=True)
        return hashlib.sha256(bare.encode()).hexdigest()[:12]

    @property
    def generator(self) -> VaspInputSet:
        """Input set generator of the first run."""
        return _vasp_makers(self.workflow)[0].input_set_generator

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
            Its output is an :class:`~mlcharge_flows.atomate2.jobs.comparison.Outcome`.
        """
        work: Any = self._from_density().make(structure)
        flow = work if isinstance(work, Flow) else Flow([work])
        runs = [job for job, _ in flow.iterflow()]
        runs = [job for job in runs if isinstance(job.maker, BaseVaspMaker | RunFromDensityMaker)]
        # References without a schema: with it, jobflow makes that of a task document anew for every
        # attribute, 75 ms each.
        first, last = OutputReference(runs[0].uuid), OutputReference(runs[-1].uuid)
        counted = count(first.dir_name)
        material = MaterialRuns(structure, material_id)
        joined = outcome(
            material.material_id,
            material.formula,
            len(structure),
            self.protocol,
            {self.arms[0]: counted.output},
            last.output,
            self.models,
        )
        flow.add_jobs([counted, joined])
        flow.output, flow.name = joined.output, material.title(self.name)
        return tolerant(flow)

    def _from_density(self) -> Maker:
        """Copy of the workflow that begins from the initial density and records what fails."""
        embedded = Settings().embedded

        def adapted(maker: BaseVaspMaker) -> BaseVaspMaker:
            options = maker.run_vasp_kwargs
            custodian = options.setdefault("custodian_kwargs", {})
            custodian.setdefault("polling_time_step", POLLING_TIME)
            if embedded:
                # GPAW's energies are relative to free atoms: a positive one is no error.
                handlers = options.get("handlers", DEFAULT_HANDLERS)
                options["handlers"] = [
                    h for h in handlers if not isinstance(h, PositiveEnergyErrorHandler)
                ]
            return maker

        def recorded(maker: RunFromDensityMaker) -> RunFromDensityMaker:
            maker.on_error = "record"
            return maker

        # What is called so gets, and gives, copies.
        workflow = _each(self.workflow, adapted, None, BaseVaspMaker)
        workflow = start_from_predicted_density(
            workflow, self.initial_density, explicit_kpoints=self.explicit_kpoints
        )
        from_density: Maker = _each(workflow, recorded, None, RunFromDensityMaker)
        return from_density


def _vasp_makers(workflow: Maker) -> list[BaseVaspMaker]:
    """VASP Makers of a workflow, those that run first before the others where fields tell."""
    found: list[BaseVaspMaker] = []

    def note(maker: BaseVaspMaker) -> BaseVaspMaker:
        found.append(maker)
        return maker

    _each(workflow, note, None, BaseVaspMaker)
    return found
