"""Energy, bands and forces of one material at fixed initial densities, beside those of the SCF."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from atomate2.vasp.jobs.core import NonSCFMaker
from jobflow import Flow, Job, Maker
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from mlcharge_flows.atomate2.flows.compare import comparison_static, static_protocol
from mlcharge_flows.atomate2.flows.material import MaterialRuns, checkpoints, compared
from mlcharge_flows.atomate2.jobs.comparison import compare_at_fixed_density
from mlcharge_flows.atomate2.sets.comparison import BandPathSetGenerator, protocol_hash
from mlcharge_flows.scf.comparison import REFERENCE
from mlcharge_flows.sources.arms import parse_arms
from mlcharge_flows.sources.from_file import Converged
from mlcharge_flows.sources.initial_density import InitialDensity

if TYPE_CHECKING:
    from atomate2.vasp.jobs.base import BaseVaspMaker
    from pymatgen.core import Structure
    from pymatgen.io.vasp.sets import VaspInputSet


@dataclass
class CompareNonSCFMaker(Maker):
    """Run one material self-consistently, and at each fixed initial density (ICHARG = 11).

    Two runs are made of every density: on the mesh of the self-consistent run, with all its
    settings, for energy, gaps, DOS and forces; and along the band path. The reference's own run
    along the band path keeps its converged density. All are of the standardized primitive cell,
    for which the labels of the path are. What fails is recorded and stops nothing else.

    Parameters
    ----------
    name
        Name of the flow.
    static_maker
        The self-consistent run; any static atomate2 VASP Maker.
    initial_densities
        Initial density of each arm.
    band_path_maker
        The run along the band path; it follows the INCAR settings that the user gave the static
        one.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> silicon = Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.43), ["Si"], [[0, 0, 0]])
    >>> flow = CompareNonSCFMaker().make(silicon, "Si")
    >>> [job.name for job in flow.jobs if job.name.endswith(("run", "bands"))]
    ['default run', 'default bands', 'learned run', 'learned bands']
    """

    name: str = "compare without self-consistency"
    static_maker: BaseVaspMaker = field(default_factory=comparison_static)
    initial_densities: dict[str, InitialDensity] = field(
        default_factory=lambda: parse_arms(["learned"])
    )
    band_path_maker: BaseVaspMaker = field(
        default_factory=lambda: NonSCFMaker(input_set_generator=BandPathSetGenerator())
    )

    def __post_init__(self) -> None:
        if not self.initial_densities:
            raise ValueError("there is no density to run at: name an initial density")
        if REFERENCE in self.initial_densities:
            raise ValueError(f"{REFERENCE!r} is the self-consistent run, no initial density")

    @property
    def arms(self) -> list[str]:
        """Names of all arms, the self-consistent reference first."""
        return [REFERENCE, *self.initial_densities]

    @property
    def models(self) -> dict[str, str]:
        """SHA-256 of the checkpoints behind the arms that models predict."""
        return checkpoints(self.initial_densities)

    @property
    def protocol(self) -> str:
        """Hash of the settings of both kinds of run."""
        generator = self._along_path().input_set_generator
        return protocol_hash(generator, static_protocol(self.static_maker))

    @property
    def generator(self) -> VaspInputSet:
        """Input set generator of the self-consistent run."""
        return self.static_maker.input_set_generator

    def make(self, structure: Structure, material_id: str | None = None) -> Flow:
        """Build the flow of one material.

        Parameters
        ----------
        structure
            Structure; any cell.
        material_id
            Identifier; the formula if not given.

        Returns
        -------
        Flow
            Its output is a :class:`~mlcharge_flows.scf.nonscf.NonSCFComparison`.
        """
        structure = SpacegroupAnalyzer(structure).get_primitive_standard_structure(
            international_monoclinic=False  # the convention of the labels of the path
        )
        runs = MaterialRuns(structure, material_id)
        static, band_path = compared(self.static_maker), self._along_path()
        fixed = deepcopy(static)
        fixed.input_set_generator.user_incar_settings["LCHARG"] = False
        on_mesh: dict[str, Job] = {REFERENCE: runs.run(f"{REFERENCE} run", static, icharg=2)}
        along_path: dict[str, Job] = {}
        converged: Any = on_mesh[REFERENCE].output.folder
        densities = {REFERENCE: InitialDensity(Converged()), **self.initial_densities}
        for arm, initial_density in densities.items():
            generator = static.input_set_generator
            written = runs.write(arm, initial_density, generator, converged)
            if arm != REFERENCE:
                on_mesh[arm] = runs.run(f"{arm} run", fixed, 11, written, initial_density)
            along_path[arm] = runs.run(
                f"{arm} bands", band_path, 11, written, initial_density, mode="line"
            )
        joined = compare_at_fixed_density(
            runs.material_id,
            runs.formula,
            len(structure),
            self.protocol,
            {arm: run.output for arm, run in on_mesh.items()},
            {arm: run.output for arm, run in along_path.items()},
            self.models,
        )
        joined.name = "nonscf"
        return runs.flow(self.name, joined)

    def _along_path(self) -> BaseVaspMaker:
        """Copy of the Maker of the band path that runs as the static one does."""
        static, band_path = compared(self.static_maker), deepcopy(self.band_path_maker)
        band_path.run_vasp_kwargs = {**band_path.run_vasp_kwargs, **static.run_vasp_kwargs}
        band_path.stop_children_kwargs["handle_unsuccessful"] = False
        # Eigenvalues are read from the folder; the document needs none.
        band_path.task_document_kwargs |= {"parse_dos": False, "parse_bandstructure": False}
        generator = band_path.input_set_generator
        generator.user_incar_settings = {
            **static.input_set_generator.user_incar_settings,
            "LCHARG": False,
            **generator.user_incar_settings,
        }
        return band_path
