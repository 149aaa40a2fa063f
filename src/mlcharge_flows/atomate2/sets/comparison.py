"""Input sets of comparisons, and the hash that tells two sets of settings apart."""

from __future__ import annotations

import hashlib
import json
from copy import deepcopy
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from atomate2.vasp.sets.base import VaspInputGenerator
from atomate2.vasp.sets.core import NonSCFSetGenerator
from monty.json import MontyEncoder
from pymatgen.io.vasp.sets import MPRelaxSet

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
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


# Module and class that the hash of a protocol names. Both have moved since; results and data sets
# of before must keep their protocols.
_HASHED_AS = {
    "ComparisonSetGenerator": ("mlcharge_flows.jobs.protocol", "ComparisonSetGenerator"),
    "BandPathSetGenerator": ("mlcharge_flows.jobs.line_protocol", "LineSetGenerator"),
    "TaskInputsSet": ("mlcharge_flows.jobs.task_inputs", "TaskInputsSet"),
    "TaskStaticMaker": ("mlcharge_flows.jobs.task_inputs", "TaskStaticMaker"),
}


@dataclass
class ComparisonSetGenerator(VaspInputGenerator):
    """Static PBE settings under which initial densities are compared: cheap and non-magnetic.

    ENCUT 350 eV, PREC Normal, Gamma-centered k-points at 32 per reciprocal cubic angstrom,
    Gaussian smearing of 0.1 eV, EDIFF = 5e-5 eV per atom, Materials Project's PBE data sets.
    LMAXMIX is 4, or 6 with f elements, whatever the elements are: augmentation occupancies up to
    this l are written to the CHGCAR and read from it, and without them an initial density saves
    little.

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

    config_dict: dict[str, Any] = field(default_factory=lambda: deepcopy(_CONFIG))
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
        """Make the inputs of the sorted structure, with the ions of an element side by side.

        atomate2's generators redeclare ``structure`` as a plain field, which hides the pymatgen
        property that would sort (``sort_structure`` has no effect there).

        Parameters
        ----------
        structure
            Structure.
        prev_dir
            Folder of an earlier run.
        potcar_spec
            Whether to name the PAW data sets instead of reading them; as for atomate2's generators.

        Returns
        -------
        VaspInput
            The inputs.
        """
        if structure is not None and self.sort_structure:
            structure = structure.get_sorted_structure()
        return super().get_input_set(structure, prev_dir, potcar_spec)

    @property
    def incar_updates(self) -> dict[str, Any]:
        """The one tag that depends on the elements."""
        return {"LMAXMIX": lmaxmix(self.structure.atomic_numbers if self.structure else ())}


@dataclass
class BandPathSetGenerator(ComparisonSetGenerator, NonSCFSetGenerator):
    """atomate2's line-mode settings on top of :class:`ComparisonSetGenerator`.

    Grid, cutoff, PAW data sets and occupations are those of the comparison; k-points,
    ICHARG = 11 and what goes with it are atomate2's. Projections are left out: only eigenvalues are
    compared.

    Parameters
    ----------
    line_density
        K-points per unit of reciprocal length (1/angstrom with the factor 2 pi), as many as
        atomate2 takes; they cost more than the self-consistent run of a small crystal.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> silicon = Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.43), ["Si"], [[0, 0, 0]])
    >>> cell = silicon.get_primitive_structure()
    >>> inputs = BandPathSetGenerator().get_input_set(cell, potcar_spec=True)
    >>> incar = inputs["INCAR"]
    >>> incar["ICHARG"], incar["ENCUT"], incar["SIGMA"], incar["ISYM"], "LORBIT" in incar
    (11, 350.0, 0.1, 0, False)
    """

    line_density: float = 20
    auto_ispin: bool = False

    @property
    def incar_updates(self) -> dict[str, Any]:
        """Tags of the band path, and LMAXMIX as in the comparison."""
        path: Any = NonSCFSetGenerator.incar_updates
        own: Any = ComparisonSetGenerator.incar_updates
        # SIGMA: a run without an earlier one cannot tell metals, for which atomate2 has another.
        rest = {"LORBIT": None, "SIGMA": self.config_dict["INCAR"]["SIGMA"]}
        return {**path.fget(self), **own.fget(self), **rest}


def lmaxmix(atomic_numbers: Iterable[int]) -> int:
    """LMAXMIX that keeps the augmentation occupancies of all valence electrons.

    Parameters
    ----------
    atomic_numbers
        Of the ions; elements behind barium can have f electrons.

    Returns
    -------
    int
        6 with f elements, else 4.

    References
    ----------
    https://www.vasp.at/wiki/index.php/LMAXMIX
    """
    return 6 if any(number > 56 for number in atomic_numbers) else 4


def protocol_hash(
    generator: VaspInputGenerator, program: str = "", further: Sequence[Any] = ()
) -> str:
    """Hash that changes with any setting that the compared runs share.

    Parameters
    ----------
    generator
        Input set generator; a structure that it may hold is left out.
    program
        Name of the executable.
    further
        Settings that the generator does not have; the hash is as without where there are none.

    Returns
    -------
    str
        Twelve hexadecimal digits.

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
    content = [settings_only(settings), program, *further]
    text = json.dumps(content, sort_keys=True, cls=MontyEncoder)
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def settings_only(value: Any) -> Any:
    """Drop what is no setting from a serialized Maker or generator.

    Parameters
    ----------
    value
        Dictionaries and lists.

    Returns
    -------
    Any
        Without version stamps, and with the first names of our classes: the same settings under a
        newer library are the same protocol.
    """
    if isinstance(value, dict):
        kept = {key: settings_only(item) for key, item in value.items() if key != "@version"}
        if str(kept.get("@module")).startswith("mlcharge_flows.") and kept["@class"] in _HASHED_AS:
            kept["@module"], kept["@class"] = _HASHED_AS[kept["@class"]]
        return kept
    return [settings_only(item) for item in value] if isinstance(value, list | tuple) else value
