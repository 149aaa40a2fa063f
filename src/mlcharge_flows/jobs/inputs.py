"""What VASP will see: the final INCAR, the sorted structure, its fine grid and PAW data sets."""

from __future__ import annotations

import tempfile
from copy import deepcopy
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from atomate2 import SETTINGS

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.settings import Settings
from mlcharge_flows.vasp.fine_grid import fft_grids
from mlcharge_flows.vasp.potcar import Potcar, read_potcar

if TYPE_CHECKING:
    from pymatgen.core import Structure
    from pymatgen.io.vasp import VaspInput
    from pymatgen.io.vasp.sets import VaspInputSet


class VaspInputs:
    """The inputs of a run, made by its own input set generator just as the run will make them.

    A start has to be written for these, never for the structure that the caller holds: generators
    sort, reduce and standardise, and atomate2's settings may change the INCAR.

    Parameters
    ----------
    structure
        Structure as given to the flow.
    generator
        Input set generator of the Maker that will run; it is not changed.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from mlcharge_flows.jobs.protocol import ComparisonSetGenerator
    >>> salt = Structure.from_spacegroup(
    ...     "Fm-3m", Lattice.cubic(4.21), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    ... )
    >>> inputs = VaspInputs(salt.get_primitive_structure(), ComparisonSetGenerator())
    >>> inputs.crystal.symbols, inputs.grid
    (('Mg', 'O'), (28, 28, 28))
    """

    def __init__(self, structure: Structure, generator: VaspInputSet) -> None:
        generator = deepcopy(generator)
        # Nothing but the atomic data needs a POTCAR: a start can be placed without a licence.
        self._take(generator.get_input_set(structure, potcar_spec=True))
        self._whole = lambda: deepcopy(generator).get_input_set(structure)

    @classmethod
    def of(cls, made: VaspInput) -> VaspInputs:
        """Inputs that a run has just made for itself, on the ground of an earlier run or not."""
        inputs = cls.__new__(cls)
        inputs._take(made)
        inputs._whole = lambda: made
        return inputs

    def _take(self, made: VaspInput) -> None:
        self.structure: Structure = made["POSCAR"].structure
        self.incar: dict[str, Any] = {**made["INCAR"], **SETTINGS.VASP_INCAR_UPDATES}

    @cached_property
    def crystal(self) -> Crystal:
        """Lattice and ions in POSCAR order."""
        return Crystal.from_structure(self.structure)

    @cached_property
    def grid(self) -> tuple[int, int, int]:
        """VASP's fine grid (NGXF, NGYF, NGZF)."""
        return fft_grids(self.crystal.lattice, self.incar).fine

    @property
    def pinned_grid(self) -> dict[str, int]:
        """The fine grid as INCAR tags, so that no two runs can differ in it."""
        return dict(zip(("NGXF", "NGYF", "NGZF"), self.grid, strict=True))

    @cached_property
    def potcars(self) -> dict[str, Potcar]:
        """PAW data set of each element."""
        Settings().activate()
        inputs = self._whole()
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "POTCAR"
            path.write_text(str(inputs["POTCAR"]))
            return {potcar.symbol: potcar for potcar in read_potcar(path)}

    @cached_property
    def channels(self) -> list[tuple[int, ...]]:
        """Projector channels of each ion."""
        return [self.potcars[symbol].channels for symbol in self.crystal.symbols]

    @cached_property
    def n_electrons(self) -> float:
        """NELECT: as the INCAR says, else the sum of the valence electrons."""
        neutral = float(np.sum([self.potcars[symbol].zval for symbol in self.crystal.symbols]))
        return float(self.incar.get("NELECT", neutral))
