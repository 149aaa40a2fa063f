"""Settings of bands along lines of symmetry, under the protocol of the comparison."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from atomate2.vasp.sets.core import NonSCFSetGenerator

from mlcharge_flows.atomate2.sets.comparison import ComparisonSetGenerator


@dataclass
class LineSetGenerator(ComparisonSetGenerator, NonSCFSetGenerator):
    """atomate2's line-mode settings on top of :class:`ComparisonSetGenerator`.

    Grid, cut-off, PAW data sets and occupations are those of the comparison; k-points,
    ICHARG = 11 and what goes with it are atomate2's. Projections are left out: only levels are
    compared.

    Parameters
    ----------
    line_density
        K-points per unit of reciprocal length (1/angstrom with the factor 2 pi); atomate2's own 20
        is for publication, and costs more than the self-consistent run of a small crystal.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> silicon = Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.43), ["Si"], [[0, 0, 0]])
    >>> cell = silicon.get_primitive_structure()
    >>> inputs = LineSetGenerator().get_input_set(cell, potcar_spec=True)
    >>> incar = inputs["INCAR"]
    >>> incar["ICHARG"], incar["ENCUT"], incar["SIGMA"], incar["ISYM"], "LORBIT" in incar
    (11, 350.0, 0.1, 0, False)
    """

    line_density: float = 4
    auto_ispin: bool = False

    @property
    def incar_updates(self) -> dict[str, Any]:
        """What the lines need, and LMAXMIX as in the comparison."""
        lines: Any = NonSCFSetGenerator.incar_updates
        own: Any = ComparisonSetGenerator.incar_updates
        # SIGMA: a run without a former one cannot tell metals, for which atomate2 has another.
        rest = {"LORBIT": None, "SIGMA": self.config_dict["INCAR"]["SIGMA"]}
        return {**lines.fget(self), **own.fget(self), **rest}
