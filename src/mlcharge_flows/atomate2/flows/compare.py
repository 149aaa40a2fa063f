"""One small flow per material: the same run from several starts."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from atomate2.vasp.jobs.core import StaticMaker
from jobflow import Flow, Job, Maker, OnMissing, OutputReference
from pymatgen.io.vasp import Kpoints

from mlcharge_flows.atomate2.jobs.compare import compare
from mlcharge_flows.atomate2.jobs.count import count
from mlcharge_flows.atomate2.jobs.run import RunFromStartMaker
from mlcharge_flows.atomate2.sets.comparison import ComparisonSetGenerator, protocol_hash
from mlcharge_flows.campaign.request import Asked
from mlcharge_flows.models.registry import DEFAULT
from mlcharge_flows.scf.comparison import Comparison
from mlcharge_flows.settings import Settings
from mlcharge_flows.sources.existing import ConvergedStartMaker
from mlcharge_flows.sources.learned import LearnedStartMaker
from mlcharge_flows.sources.superposition import SuperpositionStartMaker

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from atomate2.vasp.jobs.base import BaseVaspMaker
    from pymatgen.core import Structure

    from mlcharge_flows.sources.start import StartMaker

REFERENCE = "default"
"""The arm that every other is compared with: VASP's own start from atoms."""

STARTS: dict[str, Callable[[], StartMaker]] = {
    "superposition": SuperpositionStartMaker,
    "converged": ConvergedStartMaker,
    "atomic-occupancies": lambda: ConvergedStartMaker(occupancies="atomic"),
    "converged-occupancies": lambda: ConvergedStartMaker(grid="atomic"),
    "learned": LearnedStartMaker,
    "learned-atomic-occupancies": lambda: LearnedStartMaker(occupancies="atomic"),
    "learned-element-mean-occupancies": lambda: LearnedStartMaker(occupancies="element-mean"),
    "learned-occupancies": lambda: LearnedStartMaker(grid="atomic"),
    "learned-converged-occupancies": lambda: LearnedStartMaker(occupancies="converged"),
    "converged-learned-occupancies": lambda: LearnedStartMaker(grid="converged"),
}
"""Arms that can be asked for by name, beside the reference.

``A-B-occupancies`` is the density of A with the occupancies of B; without A it is the density of
the atoms, but for ``atomic-occupancies``, which go with the converged one.
"""


def named_starts(
    arms: Iterable[str], model: str = DEFAULT, occupancies: str = "learned"
) -> dict[str, StartMaker]:
    """Start Makers of the named arms, without the reference, which always runs.

    Parameters
    ----------
    arms
        Names.
    model
        Name or path of the model of the learned ones.
    occupancies
        Where learned occupancies come from, see :class:`.learned.LearnedStartMaker`; of a model of
        the density alone, another one's.

    Raises
    ------
    ValueError
        An arm is unknown, or has its occupancies in its name.

    Examples
    --------
    >>> list(named_starts(["default", "converged"]))
    ['converged']
    """
    names = list(dict.fromkeys(arm.strip() for arm in arms if arm.strip()))
    unknown = [arm for arm in names if arm != REFERENCE and arm not in STARTS]
    if unknown:
        known = ", ".join([REFERENCE, *STARTS])
        raise ValueError(f"unknown arm {', '.join(map(repr, unknown))}; choose from {known}")
    if occupancies in ("atomic", "converged"):
        arm = f"learned-{occupancies}-occupancies"
        raise ValueError(f"{occupancies} occupancies have an arm of their own, {arm}")
    starts = {arm: STARTS[arm]() for arm in names if arm != REFERENCE}
    for start in starts.values():
        if isinstance(start, LearnedStartMaker):
            start.model = model
            if start.occupancies == "learned":
                start.occupancies = occupancies
    return starts


def compared_static(*, gamma: bool = False, nelmdl: int | None = None) -> BaseVaspMaker:
    """Run that is compared by default.

    Parameters
    ----------
    gamma
        At the Gamma point alone: for molecules in boxes.
    nelmdl
        Fixed-density steps at the beginning, without sign; VASP's default, five, if not given.

    Examples
    --------
    >>> compared_static(nelmdl=2).input_set_generator.user_incar_settings
    {'NELMDL': -2}
    """
    maker = StaticMaker(input_set_generator=ComparisonSetGenerator())
    if nelmdl is not None:
        maker.input_set_generator.user_incar_settings = {"NELMDL": -nelmdl}
    if gamma:
        maker.input_set_generator.user_kpoints_settings = Kpoints()  # type: ignore[assignment]
    return maker


def _starts() -> dict[str, StartMaker]:
    return named_starts(["superposition", "converged"])


@dataclass
class CompareStartsMaker(Maker):
    """Run one material from atoms and from each start, count all, and compare.

    All arms share every setting but ICHARG. No arm is corrected by custodian: a corrected run is
    another run. What fails is recorded in the comparison and stops nothing else.

    Parameters
    ----------
    name
        Name of the flow.
    static_maker
        The run that is compared; any static atomate2 VASP Maker.
    starts
        Start Maker of each arm beside ``default``.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> silicon = Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.43), ["Si"], [[0, 0, 0]])
    >>> flow = CompareStartsMaker().make(silicon, "Si")
    >>> [job.name for job in flow.jobs][:4]
    ['default run', 'default count', 'superposition start', 'superposition run']
    """

    name: str = "compare starts"
    static_maker: BaseVaspMaker = field(default_factory=compared_static)
    starts: dict[str, StartMaker] = field(default_factory=_starts)

    @property
    def arms(self) -> list[str]:
        """Names of all arms, the reference first."""
        return [REFERENCE, *self.starts]

    @property
    def models(self) -> dict[str, str]:
        """SHA-256 of the checkpoints behind the arms that models predict."""
        found = {arm: start.checkpoint for arm, start in self.starts.items()}
        return {arm: checkpoint for arm, checkpoint in found.items() if checkpoint}

    @property
    def protocol(self) -> str:
        """Hash of the settings that all arms share."""
        return protocol_hash(self._compared().input_set_generator, Settings().program)

    @property
    def adds_arms(self) -> bool:
        """Whether :meth:`add` continues what :meth:`make` began; not if a subclass makes another.

        Examples
        --------
        >>> from mlcharge_flows.atomate2.flows.workflow import StartedWorkflowMaker
        >>> CompareStartsMaker().adds_arms, StartedWorkflowMaker().adds_arms
        (True, False)
        """
        return type(self).make is CompareStartsMaker.make

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
        nothing = Comparison(
            material=material or formula,
            formula=formula,
            n_atoms=len(structure),
            protocol=self.protocol,
            arms={},
        )
        return self._flow(structure, nothing)

    def add(self, structure: Structure, before: Comparison) -> Flow:
        """Build the flow that runs the arms that a comparison lacks; its output holds all of them.

        What is there is neither run nor changed. Starts that need a converged run take that of the
        reference from its folder. Campaigns on one machine do this by themselves; those on a
        LaunchPad do not, since each of their materials is submitted once.

        Parameters
        ----------
        structure
            Structure that the comparison is of.
        before
            Arms that are finished.

        Raises
        ------
        ValueError
            The comparison is of other settings, an arm in it of another checkpoint, or the Maker
            is of a kind that adds none.

        Examples
        --------
        >>> from pymatgen.core import Lattice, Structure
        >>> from mlcharge_flows.scf.run import ScfRun
        >>> helium = Structure(Lattice.cubic(3), ["He"], [[0, 0, 0]])
        >>> maker = CompareStartsMaker(starts=named_starts(["superposition"]))
        >>> before = Comparison(
        ...     material_id="He",
        ...     formula="He",
        ...     n_atoms=1,
        ...     protocol=maker.protocol,
        ...     arms={"default": ScfRun(folder="/run")},
        ... )
        >>> [job.name for job in maker.add(helium, before).jobs]
        ['superposition start', 'superposition run', 'superposition count', 'compare']
        """
        if not self.adds_arms:
            raise ValueError(f"{type(self).__name__} adds no arms to what is finished")
        if clash := Asked.of(self).clash(before):
            raise ValueError(f"{before.material_id}: {clash}")
        return self._flow(structure, before)

    def _flow(self, structure: Structure, before: Comparison) -> Flow:
        """Runs of the arms that are not there, and the job that joins all."""
        kept, static = before.arms, self._compared()
        jobs: list[Job] = []
        counts: dict[str, Job] = {}

        def arm(name: str, icharg: int, start: Job | None = None) -> None:
            runner: Any = self._runner(name, static, icharg)
            run: Job = runner.make(structure, start=start.output if start else None)
            # run.output would rebuild the schema of atomate2's task document for every run (75 ms).
            counted = count(OutputReference(run.uuid).dir_name)
            counted.name = f"{name} count"
            counts[name] = counted
            jobs.extend([start, run, counted] if start else [run, counted])

        converged: Any  # a folder or, in the flow, what will be one
        if REFERENCE in kept:
            converged = kept[REFERENCE].folder or None  # a run that was lost has no folder
        else:
            arm(REFERENCE, icharg=2)
            converged = counts[REFERENCE].output.folder
        for name, maker in self.starts.items():
            if name in kept:
                continue
            writer = deepcopy(maker)
            writer.name, writer.on_error = f"{name} start", "record"
            prev_dir = converged if writer.needs_run else None
            arm(name, 1, writer.make(structure, static.input_set_generator, prev_dir))
        joined = compare(
            before.material_id,
            before.formula,
            before.n_atoms,
            before.protocol,
            {**kept, **{name: counted.output for name, counted in counts.items()}},
            {**before.models, **self.models},
        )
        jobs.append(joined)
        for job in jobs:
            job.config.on_missing_references = OnMissing.NONE
        return Flow([*jobs], output=joined.output, name=f"{self.name}: {before.material_id}")

    def _runner(self, arm: str, static: BaseVaspMaker, icharg: int) -> RunFromStartMaker:
        """What runs an arm."""
        return RunFromStartMaker(name=f"{arm} run", maker=static, icharg=icharg, on_error="record")

    def _compared(self) -> BaseVaspMaker:
        """Copy of the static Maker as all arms run it: uncorrected, and never stopping the rest."""
        static = deepcopy(self.static_maker)
        custodian = static.run_vasp_kwargs.setdefault("custodian_kwargs", {})
        custodian.setdefault("polling_time_step", 0.2)  # 10 s by default, longer than a small run
        static.run_vasp_kwargs["handlers"] = ()
        static.stop_children_kwargs["handle_unsuccessful"] = False
        # The reference has to leave a density for the arms that start from it.
        static.input_set_generator.user_incar_settings["LCHARG"] = True
        return static
