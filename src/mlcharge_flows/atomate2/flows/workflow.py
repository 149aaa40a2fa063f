"""One flow per material: any atomate2 workflow begun from one start, its first run counted."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from atomate2.vasp.jobs.base import BaseVaspMaker
from atomate2.vasp.run import DEFAULT_HANDLERS
from custodian.vasp.handlers import PositiveEnergyErrorHandler
from jobflow import Flow, Maker, OnMissing, OutputReference
from jobflow.core.maker import recursive_call
from monty.json import MontyEncoder

from mlcharge_flows.atomate2.flows.compare import CompareStartsMaker
from mlcharge_flows.atomate2.jobs.count import count
from mlcharge_flows.atomate2.jobs.outcome import outcome
from mlcharge_flows.atomate2.jobs.run import RunFromStartMaker
from mlcharge_flows.atomate2.powerups import start_from_predicted_density
from mlcharge_flows.settings import Settings
from mlcharge_flows.sources.superposition import SuperpositionStartMaker

if TYPE_CHECKING:
    from pymatgen.core import Structure

    from mlcharge_flows.sources.start import StartMaker

_each: Any = recursive_call  # its annotations deny that filters can be None


@dataclass
class StartedWorkflowMaker(CompareStartsMaker):
    """Run a workflow from one start, and tell where its first run started and what came out.

    Nothing is compared: every material runs once. What fails is recorded.

    Parameters
    ----------
    name
        Name of the flow.
    workflow
        Any atomate2 Maker with VASP runs; their handlers and settings stay as they are.
    starts
        The one start, by its name.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> helium = Structure(Lattice.cubic(3), ["He"], [[0, 0, 0]])
    >>> flow = StartedWorkflowMaker().make(helium, "helium")
    >>> [job.name for job in flow.jobs]
    ['static', 'count', 'outcome']
    """

    name: str = "started workflow"
    workflow: Maker = field(default_factory=lambda: CompareStartsMaker().static_maker)
    starts: dict[str, StartMaker] = field(
        default_factory=lambda: {"superposition": SuperpositionStartMaker()}
    )

    def __post_init__(self) -> None:
        if len(self.starts) != 1:
            raise ValueError(f"a workflow begins from one start, not from {len(self.starts)}")
        self.static_maker = _vasp_makers(self.workflow)[0]

    @property
    def arms(self) -> list[str]:
        """Name of the start."""
        return list(self.starts)

    @property
    def protocol(self) -> str:
        """Hash of the workflow with all its settings, and of the executable."""
        text = json.dumps([self.workflow, Settings().program], sort_keys=True, cls=MontyEncoder)
        bare = json.dumps(_unstamped(json.loads(text)), sort_keys=True)
        return hashlib.sha256(bare.encode()).hexdigest()[:12]

    def make(self, structure: Structure, material: str | None = None) -> Flow:
        """Build the flow of one material.

        Parameters
        ----------
        structure
            Structure.
        material
            Identifier; the formula if not given.
        """
        formula = structure.composition.reduced_formula
        work: Any = self._started().make(structure)
        runs = [job for job, _ in work.iterflow()] if isinstance(work, Flow) else [work]
        runs = [job for job in runs if isinstance(job.maker, BaseVaspMaker | RunFromStartMaker)]
        # References without a schema: with it, jobflow makes that of a task document anew for every
        # attribute, 75 ms each.
        first, last = OutputReference(runs[0].uuid), OutputReference(runs[-1].uuid)
        counted = count(first.dir_name)
        joined = outcome(
            material or formula,
            formula,
            len(structure),
            self.protocol,
            {self.arms[0]: counted.output},
            last.output,
            self.models,
        )
        flow = work if isinstance(work, Flow) else Flow([work])
        flow.add_jobs([counted, joined])
        flow.output, flow.name = joined.output, f"{self.name}: {material or formula}"
        for job, _ in flow.iterflow():
            job.config.on_missing_references = OnMissing.NONE
        return flow

    def _started(self) -> Maker:
        """Copy of the workflow that begins from the start and records what fails."""
        embedded = Settings().embedded

        def adapted(maker: BaseVaspMaker) -> BaseVaspMaker:
            options = maker.run_vasp_kwargs
            custodian = options.setdefault("custodian_kwargs", {})
            custodian.setdefault("polling_time_step", 0.2)  # 10 s by default
            if embedded:
                # GPAW's energies are relative to free atoms: a positive one is no error.
                handlers = options.get("handlers", DEFAULT_HANDLERS)
                options["handlers"] = [
                    h for h in handlers if not isinstance(h, PositiveEnergyErrorHandler)
                ]
            return maker

        def recorded(maker: RunFromStartMaker) -> RunFromStartMaker:
            maker.on_error = "record"
            return maker

        # What is called so gets, and gives, copies.
        workflow = _each(self.workflow, adapted, None, BaseVaspMaker)
        (start,) = self.starts.values()
        workflow = start_from_predicted_density(workflow, start)
        return _each(workflow, recorded, None, RunFromStartMaker)


def _vasp_makers(workflow: Maker) -> list[BaseVaspMaker]:
    """All VASP Makers of a workflow, those that run first before the others where fields tell."""
    found: list[BaseVaspMaker] = []

    def note(maker: BaseVaspMaker) -> BaseVaspMaker:
        found.append(maker)
        return maker

    _each(workflow, note, None, BaseVaspMaker)
    if not found:
        raise ValueError(f"{type(workflow).__name__} has no VASP run")
    return found


def _unstamped(value: Any) -> Any:
    """Drop version stamps: the same settings under a newer library are the same protocol."""
    if isinstance(value, dict):
        return {key: _unstamped(item) for key, item in value.items() if key != "@version"}
    return [_unstamped(item) for item in value] if isinstance(value, list) else value
