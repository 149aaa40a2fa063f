"""The comparison of initial densities: one material, the same run from each of them."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from atomate2.vasp.jobs.core import StaticMaker
from jobflow import Flow, Maker
from pymatgen.io.vasp import Kpoints

from mlcharge_flows.atomate2.execution import further_settings
from mlcharge_flows.atomate2.flows.material import MaterialRuns, checkpoints, compared
from mlcharge_flows.atomate2.jobs.comparison import compare
from mlcharge_flows.atomate2.sets.comparison import ComparisonSetGenerator, protocol_hash
from mlcharge_flows.scf.comparison import REFERENCE, Comparison
from mlcharge_flows.settings import Settings
from mlcharge_flows.sources.arms import parse_arms

if TYPE_CHECKING:
    from atomate2.vasp.jobs.base import BaseVaspMaker
    from jobflow import Job
    from pymatgen.core import Structure
    from pymatgen.io.vasp.sets import VaspInputSet

    from mlcharge_flows.sources.initial_density import InitialDensity


def comparison_static(*, gamma: bool = False, nelmdl: int | None = None) -> BaseVaspMaker:
    """Run that is compared by default.

    Parameters
    ----------
    gamma
        At the Gamma point alone: for molecules in boxes.
    nelmdl
        Fixed-density steps at the beginning, without sign; VASP's default, five, if not given.

    Returns
    -------
    BaseVaspMaker
        A static run.

    Examples
    --------
    >>> comparison_static(nelmdl=2).input_set_generator.user_incar_settings
    {'NELMDL': -2}
    """
    maker = StaticMaker(input_set_generator=ComparisonSetGenerator())
    if nelmdl is not None:
        maker.input_set_generator.user_incar_settings = {"NELMDL": -nelmdl}
    if gamma:
        maker.input_set_generator.user_kpoints_settings = Kpoints()  # type: ignore[assignment]
    return maker


@dataclass
class CompareDensitiesMaker(Maker):
    """Run one material from free atoms and from each initial density, count all, and compare.

    All arms share every setting but ICHARG and, with initial orbitals or a delay of their own,
    ISTART and NELMDL; where the order of a mesh's irreducible k-points is not known, KPOINTS of
    arms with orbitals lists them. No arm is corrected by custodian. What fails is recorded in the
    comparison and stops nothing else.

    Parameters
    ----------
    name
        Name of the flow.
    static_maker
        The run that is compared; any static atomate2 VASP Maker.
    initial_densities
        Initial density of each arm beside ``default``.
    has_reference
        Whether ``default`` runs. Without it, nothing is compared: each arm is run and counted.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> silicon = Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.43), ["Si"], [[0, 0, 0]])
    >>> flow = CompareDensitiesMaker().make(silicon, "Si")
    >>> [job.name for job in flow.jobs][:4]
    ['default run', 'default count', 'superposition density', 'superposition run']
    """

    name: str = "compare initial densities"
    static_maker: BaseVaspMaker = field(default_factory=comparison_static)
    initial_densities: dict[str, InitialDensity] = field(
        default_factory=lambda: parse_arms(["superposition", "converged"])
    )
    has_reference: bool = True

    @property
    def arms(self) -> list[str]:
        """Names of all arms, the reference first."""
        return [*([REFERENCE] if self.has_reference else []), *self.initial_densities]

    @property
    def models(self) -> dict[str, str]:
        """SHA-256 of the checkpoints behind the arms that models predict."""
        return checkpoints(self.initial_densities)

    @property
    def protocol(self) -> str:
        """Hash of the settings that all arms share."""
        return static_protocol(self.static_maker)

    @property
    def generator(self) -> VaspInputSet:
        """Input set generator of the self-consistent run."""
        return self.static_maker.input_set_generator

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
        formula = structure.composition.reduced_formula
        nothing = Comparison(
            material_id=material_id or formula,
            formula=formula,
            n_atoms=len(structure),
            protocol=self.protocol,
            arms={},
        )
        return self._flow(structure, nothing)

    def add(self, structure: Structure, before: Comparison) -> Flow:
        """Build the flow that runs the arms that a comparison lacks.

        What is there is neither run nor changed. Initial densities that need a converged run take
        that of the reference from its folder. Campaigns on one machine add arms by themselves;
        those on a LaunchPad do not, since each of their materials is submitted once.

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

        Raises
        ------
        ValueError
            The comparison is of other settings, or an arm in it of another checkpoint.

        Examples
        --------
        >>> from pymatgen.core import Lattice, Structure
        >>> from mlcharge_flows.scf.run import ScfRun
        >>> helium = Structure(Lattice.cubic(3), ["He"], [[0, 0, 0]])
        >>> maker = CompareDensitiesMaker(initial_densities=parse_arms(["superposition"]))
        >>> before = Comparison(
        ...     material_id="He",
        ...     formula="He",
        ...     n_atoms=1,
        ...     protocol=maker.protocol,
        ...     arms={"default": ScfRun(folder="/run")},
        ... )
        >>> [job.name for job in maker.add(helium, before).jobs]
        ['superposition density', 'superposition run', 'superposition count', 'compare']
        """
        if before.protocol != self.protocol:
            raise ValueError(f"{before.material_id}: finished with other settings")
        models = self.models
        for arm in before.arms.keys() & set(self.arms):
            if before.models.get(arm) != models.get(arm):
                raise ValueError(
                    f"{before.material_id}: its arm {arm!r} is finished with another checkpoint"
                )
        return self._flow(structure, before)

    def _flow(self, structure: Structure, before: Comparison) -> Flow:
        """Runs of the arms that are not there, and the job that joins all."""
        static, runs = compared(self.static_maker), MaterialRuns(structure, before.material_id)
        counted: dict[str, Job] = {}
        reference: Any = None  # a folder or, in the flow, what will be one
        if REFERENCE in before.arms:
            reference = before.arms[REFERENCE].folder or None  # a lost run has no folder
        elif self.has_reference:
            counted[REFERENCE] = runs.run(f"{REFERENCE} run", static, icharg=2)
            reference = counted[REFERENCE].output.folder
        for arm, initial_density in self.initial_densities.items():
            if arm not in before.arms:
                generator = static.input_set_generator
                written = runs.write(arm, initial_density, generator, reference)
                counted[arm] = runs.run(
                    f"{arm} run", static, 1, written, initial_density=initial_density
                )
        joined = compare(
            before.material_id,
            before.formula,
            before.n_atoms,
            before.protocol,
            {**before.arms, **{arm: job.output for arm, job in counted.items()}},
            {**before.models, **self.models},
        )
        return runs.flow(self.name, joined)


def static_protocol(static_maker: BaseVaspMaker) -> str:
    """Hash of the settings that all arms of a comparison share.

    Parameters
    ----------
    static_maker
        The run that is compared.

    Returns
    -------
    str
        Twelve hexadecimal digits.
    """
    generator = compared(static_maker).input_set_generator
    return protocol_hash(generator, Settings().program, further_settings([static_maker]))
