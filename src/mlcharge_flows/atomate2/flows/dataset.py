"""The run of one material from free atoms, and its density as a sample of a data set."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from jobflow import Maker

from mlcharge_flows.atomate2.flows.compare import comparison_static, static_protocol
from mlcharge_flows.atomate2.flows.material import MaterialRuns, compared
from mlcharge_flows.atomate2.jobs.comparison import compare
from mlcharge_flows.atomate2.jobs.pack import FORMER_SAMPLE_FILE, SAMPLE_FILE, pack
from mlcharge_flows.atomate2.sets.spin import without_spin
from mlcharge_flows.scf.comparison import REFERENCE
from mlcharge_flows.sources.atomic_orbitals import AtomicOrbitals
from mlcharge_flows.sources.fallback import Fallback
from mlcharge_flows.sources.initial_density import InitialDensity
from mlcharge_flows.sources.learned import Learned
from mlcharge_flows.sources.source import Superposition

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from atomate2.vasp.jobs.base import BaseVaspMaker
    from jobflow import Flow
    from pymatgen.core import Structure
    from pymatgen.io.vasp.sets import VaspInputSet

FAST_SCF = {"ALGO": "Fast", "NELMIN": 6, "ISIF": 0}
"""INCAR of a cheaper SCF to the same density: from one that is nearly converged, without stress.

The energies of such an SCF can agree before its densities do, hence NELMIN. Without atomic orbitals
VASP's own delay keeps random ones from spoiling the density.
"""


@dataclass
class DensitySampleMaker(Maker):
    """Run a material from free atoms, as a comparison does, and pack its density as a sample.

    Parameters
    ----------
    name
        Name of the flow.
    static_maker
        The run; any static atomate2 VASP Maker.
    keep_files
        Leave the large files of the run where they are.
    fast_scf
        Converge by :data:`FAST_SCF`, from the default model's density where it predicts one. The
        density is the same within EDIFF, and so is the protocol; the electronic steps are those of
        another SCF, and the sample does not have them.

    Examples
    --------
    >>> DensitySampleMaker(fast_scf=True).protocol == DensitySampleMaker().protocol
    True
    """

    name: str = "density sample"
    static_maker: BaseVaspMaker = field(default_factory=comparison_static)
    keep_files: bool = False
    fast_scf: bool = False

    @property
    def arms(self) -> list[str]:
        """The one run, which is the reference of comparisons."""
        return [REFERENCE]

    @property
    def models(self) -> dict[str, str]:
        """None: the density does not depend on the model that a fast SCF begins from."""
        return {}

    @property
    def protocol(self) -> str:
        """Hash of the settings of the run."""
        return static_protocol(self.static_maker)

    @property
    def sample_protocol(self) -> str:
        """The same without spin and DFT+U: samples hold theirs, and may be in one data set."""
        maker = deepcopy(self.static_maker)
        without_spin(maker.input_set_generator)
        return static_protocol(maker)

    @property
    def generator(self) -> VaspInputSet:
        """Input set generator of the self-consistent run."""
        return self.static_maker.input_set_generator

    def make(self, structure: Structure, material_id: str | None = None) -> Flow:
        """Build the flow of one material.

        Parameters
        ----------
        structure
            Structure; its properties ``source`` and ``split`` go into the sample.
        material_id
            Identifier; the formula if not given.

        Returns
        -------
        Flow
            Its output is a :class:`~mlcharge_flows.scf.comparison.Comparison` of the one run.
        """
        static, runs = compared(self.static_maker), MaterialRuns(structure, material_id)
        if self.fast_scf:
            static.input_set_generator.user_incar_settings.update(FAST_SCF)
            best = InitialDensity(
                Fallback((Learned(), Superposition())), orbitals=AtomicOrbitals(), n_delay=2
            )
            run = runs.run(f"{REFERENCE} run", static, icharg=1, initial_density=best)
        else:
            run = runs.run(f"{REFERENCE} run", static, icharg=2)
        joined = compare(
            runs.material_id, runs.formula, len(structure), self.protocol, {REFERENCE: run.output}
        )
        packed = pack(
            joined.output,
            structure,
            self.sample_protocol,
            REFERENCE,
            self.keep_files,
            not self.fast_scf,
        )
        return runs.flow(self.name, joined, packed)


def sample_files(folder: Path) -> Iterator[Path]:
    """Samples of a folder in which such flows ran.

    Parameters
    ----------
    folder
        Folder of the campaign.

    Yields
    ------
    Path
        Data set of one sample, by name of the material.
    """
    for pack_folder in sorted(folder.glob("*/pack")):
        for name in (SAMPLE_FILE, FORMER_SAMPLE_FILE):
            if (pack_folder / name).exists():
                yield pack_folder / name
                break
