"""The default settings of a comparison, and the hash that tells two protocols apart."""

from __future__ import annotations

import hashlib
import json
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from atomate2.vasp.sets.base import VaspInputGenerator
from monty.json import MontyEncoder
from pymatgen.io.vasp.sets import MPRelaxSet

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from pymatgen.core import Structure
    from pymatgen.io.vasp import VaspInput

_CONFIG: dict[str, Any] = {
    "INCAR": {
        "ALGO": "Normal",
        "EDIFF_PER_ATOM": 5e-5,  # Materials Project's rule, and the published benchmark's
        "ENCUT": 350,
        "GGA": "PE",
        "ISMEAR": 0,
        "ISPIN": 1,
        "ISTART": 0,
        "LCHARG": True,
        "LREAL": False,
        "LWAVE": False,
        "NELM": 100,
        "NSW": 0,
        "PREC": "Normal",
        "SIGMA": 0.1,
    },
    "KPOINTS": {"reciprocal_density": 32},
    # Materials Project's choice of data set for each element: the plain one does not always exist.
    "POTCAR": MPRelaxSet.CONFIG["POTCAR"],
    "POTCAR_FUNCTIONAL": "PBE",
}


@dataclass
class ComparisonSetGenerator(VaspInputGenerator):
    """Static PBE settings under which starts are compared: cheap, non-magnetic, one for all.

    ENCUT 350 eV, PREC Normal, Gamma-centered k-points at 32 per reciprocal cubic angstrom,
    Gaussian smearing of 0.1 eV, EDIFF = 5e-5 eV per atom, Materials Project's PBE data sets.
    LMAXMIX is 4, or 6 with f elements, whatever the elements are: occupancies up to there are
    written to the CHGCAR and read from it, and a start without them saves little.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> salt = Structure.from_spacegroup(
    ...     "Fm-3m", Lattice.cubic(4.21), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    ... )
    >>> inputs = ComparisonSetGenerator().get_input_set(salt, potcar_spec=True)
    >>> inputs["INCAR"]["ENCUT"], round(inputs["INCAR"]["EDIFF"], 10), inputs["INCAR"]["LMAXMIX"]
    (350.0, 0.0004, 4)
    >>> inputs["POTCAR.spec"].split()
    ['Mg_pv', 'O']
    """

    config_dict: dict = field(default_factory=lambda: deepcopy(_CONFIG))
    force_gamma: bool = True
    auto_ismear: bool = False
    auto_kspacing: bool = False
    auto_lreal: bool = False

    def get_input_set(
        self,
        structure: Structure | None = None,
        prev_dir: str | Path | None = None,
        potcar_spec: bool = False,
    ) -> VaspInput:
        """Make the inputs of the sorted structure, one run of ions per element.

        atomate2's generators redeclare ``structure`` as a plain field, which hides the pymatgen
        property that would sort (``sort_structure`` has no effect there).
        """
        if structure is not None and self.sort_structure:
            structure = structure.get_sorted_structure()
        return super().get_input_set(structure, prev_dir, potcar_spec)

    @property
    def incar_updates(self) -> dict:
        """The one tag that depends on the elements."""
        return {"LMAXMIX": lmaxmix(self.structure.atomic_numbers if self.structure else ())}


def lmaxmix(atomic_numbers: Iterable[int]) -> int:
    """LMAXMIX that keeps every occupancy that counts: 6 with f elements, else 4.

    Parameters
    ----------
    atomic_numbers
        Of the ions; elements behind barium may have f electrons.
    """
    return 6 if any(number > 56 for number in atomic_numbers) else 4


def protocol_hash(generator: VaspInputGenerator, program: str = "") -> str:
    """Twelve hexadecimal digits that change with any setting the compared runs share.

    Parameters
    ----------
    generator
        Input set generator; a structure that it may hold is left out.
    program
        Name of the executable.

    Examples
    --------
    >>> protocol_hash(ComparisonSetGenerator()) == protocol_hash(ComparisonSetGenerator())
    True
    >>> cheap = ComparisonSetGenerator(user_incar_settings={"ENCUT": 250})
    >>> protocol_hash(cheap) == protocol_hash(ComparisonSetGenerator())
    False
    """
    settings = generator.as_dict()
    settings.pop("structure", None)
    text = json.dumps([_bare(settings), program], sort_keys=True, cls=MontyEncoder)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def _bare(value: Any) -> Any:
    """Drop version stamps: the same settings under a newer library are the same protocol."""
    if isinstance(value, dict):
        return {key: _bare(item) for key, item in value.items() if key != "@version"}
    return [_bare(item) for item in value] if isinstance(value, list | tuple) else value
