"""One small flow per material: states straight from a start, beside those of the full run."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from atomate2.vasp.jobs.core import NonSCFMaker
from jobflow import Flow, Job, OnMissing
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from mlcharge_flows.atomate2.flows.compare import REFERENCE, CompareStartsMaker
from mlcharge_flows.atomate2.jobs.count import count
from mlcharge_flows.atomate2.jobs.nonscf import compare_states
from mlcharge_flows.atomate2.jobs.run import RunFromStartMaker
from mlcharge_flows.atomate2.sets.band_path import LineSetGenerator
from mlcharge_flows.atomate2.sets.comparison import protocol_hash
from mlcharge_flows.sources.existing import ConvergedStartMaker
from mlcharge_flows.sources.learned import LearnedStartMaker

if TYPE_CHECKING:
    from atomate2.vasp.jobs.base import BaseVaspMaker
    from pymatgen.core import Structure

    from mlcharge_flows.sources.start import StartMaker


def _lines() -> BaseVaspMaker:
    return NonSCFMaker(input_set_generator=LineSetGenerator())


@dataclass
class CompareNonSCFMaker(CompareStartsMaker):
    """Run one material self-consistently, and at the fixed density of each start (ICHARG = 11).

    Two runs are made of every density: on the mesh of the self-consistent run, with all its
    settings, for energy, gaps, DOS and forces; and along lines of symmetry. The reference's own
    run along lines keeps its converged density. All are of the standardized primitive cell, for
    which the names of the lines are. What fails is recorded and stops nothing else.

    Parameters
    ----------
    name
        Name of the flow.
    static_maker
        The self-consistent run; any static atomate2 VASP Maker.
    starts
        Start Maker of each density.
    lines_maker
        The run along lines; it follows the INCAR settings that the user gave the static one.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> silicon = Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.43), ["Si"], [[0, 0, 0]])
    >>> flow = CompareNonSCFMaker().make(silicon, "Si")
    >>> [job.name for job in flow.jobs if job.name.endswith(("run", "bands"))]
    ['default run', 'default bands', 'learned run', 'learned bands']
    """

    name: str = "compare without self-consistency"
    starts: dict[str, StartMaker] = field(default_factory=lambda: {"learned": LearnedStartMaker()})
    lines_maker: BaseVaspMaker = field(default_factory=_lines)

    def __post_init__(self) -> None:
        if not self.starts:
            raise ValueError("there is no density to run at: name a start")
        if REFERENCE in self.starts:
            raise ValueError(f"{REFERENCE!r} is the self-consistent run, not a start")

    @property
    def protocol(self) -> str:
        """Hash of the settings of both kinds of run."""
        return protocol_hash(self._along_lines().input_set_generator, super().protocol)

    def make(self, structure: Structure, material: str | None = None) -> Flow:
        """Build the flow of one material.

        Parameters
        ----------
        structure
            Structure; any cell.
        material
            Identifier; the formula if not given.
        """
        structure = SpacegroupAnalyzer(structure).get_primitive_standard_structure(
            international_monoclinic=False  # the convention of the names of the lines
        )
        formula = structure.composition.reduced_formula
        jobs: list[Job] = []
        static, lines = self._compared(), self._along_lines()
        at_fixed_density = deepcopy(static)
        at_fixed_density.input_set_generator.user_incar_settings["LCHARG"] = False

        def counted(name: str, maker: BaseVaspMaker, start: Job | None = None, **mode: str) -> Job:
            runner = RunFromStartMaker(
                name=name, maker=maker, icharg=11 if start else 2, on_error="record"
            )
            run: Any = runner.make(structure, start=start.output if start else None, **mode)  # type: ignore[misc]
            found = count(run.output.dir_name)
            found.name = f"{name} count"
            jobs.extend([run, found])
            return found

        def started(name: str, maker: StartMaker) -> Job:
            writer = deepcopy(maker)
            writer.name, writer.on_error = f"{name} start", "record"
            prev_dir = runs[REFERENCE].output.folder if writer.needs_run else None
            start: Any = writer.make(structure, static.input_set_generator, prev_dir)
            jobs.append(start)
            return start

        runs = {REFERENCE: counted(f"{REFERENCE} run", static)}
        along = {}
        for name, maker in {REFERENCE: ConvergedStartMaker(), **self.starts}.items():
            start = started(name, maker)
            if name != REFERENCE:
                runs[name] = counted(f"{name} run", at_fixed_density, start)
            along[name] = counted(f"{name} bands", lines, start, mode="line")
        joined = compare_states(
            material or formula,
            formula,
            len(structure),
            self.protocol,
            {name: run.output for name, run in runs.items()},
            {name: run.output for name, run in along.items()},
            self.models,
        )
        joined.name = "nonscf"
        jobs.append(joined)
        for job in jobs:
            job.config.on_missing_references = OnMissing.NONE
        return Flow([*jobs], output=joined.output, name=f"{self.name}: {material or formula}")

    def _along_lines(self) -> BaseVaspMaker:
        """Copy of the Maker of lines that runs as the static one does."""
        static, lines = self._compared(), deepcopy(self.lines_maker)
        lines.run_vasp_kwargs = {**lines.run_vasp_kwargs, **static.run_vasp_kwargs}
        lines.stop_children_kwargs["handle_unsuccessful"] = False
        # Levels are read from the folder; the document needs none.
        lines.task_document_kwargs |= {"parse_dos": False, "parse_bandstructure": False}
        generator = lines.input_set_generator
        generator.user_incar_settings = {
            **static.input_set_generator.user_incar_settings,
            "LCHARG": False,
            **generator.user_incar_settings,
        }
        return lines
