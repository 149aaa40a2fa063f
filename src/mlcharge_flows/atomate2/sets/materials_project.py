"""Materials Project's own inputs of one task, which come with the structure.

A structure with the properties below runs with the INCAR, k-points and data sets of that very
task; one without runs with Materials Project's static set.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from atomate2.vasp.jobs.mp import MPGGAStaticMaker
from pymatgen.io.vasp import Incar, Kpoints
from pymatgen.io.vasp.sets import MPStaticSet

if TYPE_CHECKING:
    from pathlib import Path

    from pymatgen.core import Structure
    from pymatgen.io.vasp import VaspInput

INCAR, KPOINTS, POTCAR = "task_incar", "task_kpoints", "task_potcar"
"""Properties of the structure: INCAR tags; KPOINTS as a dictionary; data set of each element."""


@dataclass
class TaskInputsSet(MPStaticSet):
    """Static inputs as a task of Materials Project had them; the user's settings win.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> salt = Structure(Lattice.cubic(3), ["Mg", "O"], [[0, 0, 0], [0.5] * 3])
    >>> salt.properties = {"task_incar": {"ENCUT": 520, "ISPIN": 1}, "task_potcar": {"Mg": "Mg"}}
    >>> inputs = TaskInputsSet(user_incar_settings={"ENCUT": 400}).get_input_set(
    ...     salt, potcar_spec=True
    ... )
    >>> dict(inputs["INCAR"]), inputs["POTCAR.spec"].split()
    ({'ENCUT': 400.0, 'ISPIN': 1}, ['Mg', 'O'])
    """

    force_gamma: bool = True
    auto_metal_kpoints: bool = True
    inherit_incar: bool = False

    def get_input_set(
        self,
        structure: Structure | None = None,
        prev_dir: str | Path | None = None,
        potcar_spec: bool = False,
    ) -> VaspInput:
        """Make the inputs; moments of spin-polarized runs are pymatgen's guesses, as published.

        Parameters
        ----------
        structure
            Structure.
        prev_dir
            Folder of an earlier run.
        potcar_spec
            Whether to name the PAW data sets instead of reading them; as for pymatgen's sets.

        Returns
        -------
        VaspInput
            The inputs.
        """
        own: dict[str, Any] = dict(structure.properties) if structure is not None else {}
        # The user's choices are part of this table since the set was made.
        table = self._config_dict["POTCAR"]
        self._config_dict["POTCAR"] = {
            **table,
            **own.get(POTCAR, {}),
            **(self.user_potcar_settings or {}),
        }
        try:
            inputs = super().get_input_set(structure, prev_dir, potcar_spec)
        finally:
            self._config_dict["POTCAR"] = table
        if (task := own.get(INCAR)) is not None:
            tags = {**task, **self.user_incar_settings}
            moments = inputs["INCAR"].get("MAGMOM") if tags.get("ISPIN") == 2 else None
            tags = {**({"MAGMOM": moments} if moments else {}), **tags}
            inputs["INCAR"] = Incar(
                {tag: value for tag, value in tags.items() if value is not None}
            )
        if (mesh := own.get(KPOINTS)) is not None and not self.user_kpoints_settings:
            inputs["KPOINTS"] = Kpoints.from_dict(mesh)
        return inputs


@dataclass
class TaskStaticMaker(MPGGAStaticMaker):
    """Static run with the inputs that come with each structure.

    Parameters
    ----------
    name
        Name of the job.
    input_set_generator
        Makes the inputs.
    """

    name: str = "Materials Project task"
    input_set_generator: Any = field(default_factory=TaskInputsSet)
