"""What the flows of one material have in common: their interface, and the runs they consist of."""

from __future__ import annotations

from copy import deepcopy
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

from jobflow import Flow, Job, OnMissing, OutputReference

from mlcharge_flows.atomate2.jobs.comparison import count
from mlcharge_flows.atomate2.jobs.initial_density import InitialDensityMaker
from mlcharge_flows.atomate2.jobs.run import RunFromDensityMaker

if TYPE_CHECKING:
    from collections.abc import Mapping

    from atomate2.vasp.jobs.base import BaseVaspMaker
    from pymatgen.core import Structure
    from pymatgen.io.vasp.sets import VaspInputSet

    from mlcharge_flows.scf.comparison import Comparison
    from mlcharge_flows.sources.initial_density import InitialDensity

POLLING_TIME = 0.2
"""Seconds between custodian's looks at a run; its default of 10 s is longer than a small run."""


class MaterialFlowMaker(Protocol):
    """Maker of the flow of one material: what campaigns run for each of their materials."""

    @property
    def arms(self) -> list[str]:
        """Names of the runs that are counted, the reference first if there is one."""
        ...

    @property
    def models(self) -> dict[str, str]:
        """SHA-256 of the checkpoints behind the arms that models predict."""
        ...

    @property
    def protocol(self) -> str:
        """Hash of the settings that all runs share."""
        ...

    @property
    def generator(self) -> VaspInputSet:
        """Input set generator of the first run, which chooses the PAW data sets."""
        ...

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
            The output of its last job is a
            :class:`~mlcharge_flows.scf.comparison.Comparison`.
        """
        ...


@runtime_checkable
class AddsArms(Protocol):
    """A Maker that can also run the arms that a finished material lacks."""

    def add(self, structure: Structure, before: Comparison) -> Flow:
        """Build the flow of the missing arms.

        Parameters
        ----------
        structure
            Structure that the comparison is of.
        before
            Arms that are finished.

        Returns
        -------
        Flow
            The output of its last job holds all arms.
        """
        ...


class MaterialRuns:
    """The jobs of one material's flow, none of which stops another one when it fails.

    Parameters
    ----------
    structure
        Structure.
    material_id
        Identifier; the formula if not given.

    Attributes
    ----------
    jobs
        The jobs so far, in the order in which they were added.
    """

    def __init__(self, structure: Structure, material_id: str | None = None) -> None:
        self.structure = structure
        self.formula: str = structure.composition.reduced_formula
        self.material_id = material_id or self.formula
        self.jobs: list[Job] = []

    def write(
        self,
        name: str,
        initial_density: InitialDensity,
        generator: VaspInputSet,
        reference_run: Any = None,
    ) -> Job:
        """Add the job that writes an initial density.

        Parameters
        ----------
        name
            Name of the arm.
        initial_density
            What to write.
        generator
            Input set generator of the runs.
        reference_run
            Folder of the finished reference run, or the reference to it.

        Returns
        -------
        Job
            Its output is an
            :class:`~mlcharge_flows.sources.initial_chgcar.InitialDensityDocument`.
        """
        maker = InitialDensityMaker(
            name=f"{name} density", initial_density=initial_density, on_error="record"
        )
        needed = reference_run if initial_density.needs_reference_run else None
        written: Job = maker.make(self.structure, generator, needed)
        self.jobs.append(written)
        return written

    def run(
        self,
        name: str,
        maker: BaseVaspMaker,
        icharg: int,
        written: Job | None = None,
        initial_density: InitialDensity | None = None,
        **options: Any,
    ) -> Job:
        """Add a run, and the job that counts it.

        Parameters
        ----------
        name
            Name of the run.
        maker
            VASP Maker.
        icharg
            As for :class:`~mlcharge_flows.atomate2.jobs.run.RunFromDensityMaker`.
        written
            Job that writes its initial density.
        initial_density
            Initial density that is written in the folder of the run; of one that is written by a
            job, its orbitals and its delay. Orbitals come with a list of the k-points where the
            order of a mesh is not known.
        **options
            Further arguments of the Maker's ``make``.

        Returns
        -------
        Job
            The counting job; its output is an :class:`~mlcharge_flows.scf.run.ScfRun`.
        """
        if written is not None and initial_density is not None and initial_density.is_density_only:
            initial_density = None
        runner: Any = RunFromDensityMaker(
            name=name,
            maker=maker,
            initial_density=initial_density,
            icharg=icharg,
            on_error="record",
            explicit_kpoints=True,
        )
        document = written.output if written else None
        run: Job = runner.make(self.structure, document=document, **options)
        # run.output would rebuild the schema of atomate2's task document for every run (75 ms).
        counted: Job = count(OutputReference(run.uuid).dir_name)
        counted.name = f"{name.removesuffix(' run')} count"
        self.jobs += [run, counted]
        return counted

    def flow(self, name: str, *joining: Job) -> Flow:
        """Finish the flow.

        Parameters
        ----------
        name
            Name of the kind of flow.
        *joining
            Jobs that join what the runs gave; the output of the last one is that of the flow.

        Returns
        -------
        Flow
            All jobs run, whatever happens to the others.
        """
        self.jobs += joining
        return tolerant(Flow([*self.jobs], output=self.jobs[-1].output, name=self.title(name)))

    def title(self, name: str) -> str:
        """Name of the flow.

        Parameters
        ----------
        name
            Name of the kind of flow.

        Returns
        -------
        str
            With the identifier of the material.
        """
        return f"{name}: {self.material_id}"


def tolerant(flow: Flow) -> Flow:
    """Let every job of a flow run without the output of jobs that have failed.

    Parameters
    ----------
    flow
        Changed in place.

    Returns
    -------
    Flow
        The same object.
    """
    for job, _ in flow.iterflow():
        job.config.on_missing_references = OnMissing.NONE
    return flow


def compared(static_maker: BaseVaspMaker) -> BaseVaspMaker:
    """Copy a static Maker as all arms run it.

    Parameters
    ----------
    static_maker
        Any static atomate2 VASP Maker.

    Returns
    -------
    BaseVaspMaker
        No custodian handler corrects it, since a corrected run is another run; it never stops other
        jobs, and it writes its CHGCAR, for the arms that begin from it.
    """
    static = deepcopy(static_maker)
    custodian = static.run_vasp_kwargs.setdefault("custodian_kwargs", {})
    custodian.setdefault("polling_time_step", POLLING_TIME)
    static.run_vasp_kwargs["handlers"] = ()
    static.stop_children_kwargs["handle_unsuccessful"] = False
    static.input_set_generator.user_incar_settings["LCHARG"] = True
    return static


def checkpoints(initial_densities: Mapping[str, InitialDensity]) -> dict[str, str]:
    """Checkpoints behind initial densities.

    Parameters
    ----------
    initial_densities
        By name of the arm.

    Returns
    -------
    dict of str to str
        SHA-256 for each arm that a model predicts.
    """
    found = {arm: density.checkpoint for arm, density in initial_densities.items()}
    return {arm: checkpoint for arm, checkpoint in found.items() if checkpoint}
