"""Public charge densities of Materials Project, fetched by mp-api to folders that are packed.

Each material gets a folder with the CHGCAR of its task, whose total density and augmentation
occupancies are kept, and the document of the task, from which
:mod:`mlcharge_flows.training.public_density` takes what OUTCAR says of other runs.

References
----------
J.-X. Shen, J. M. Munro, M. K. Horton, P. Huck, S. Dwaraknath, K. A. Persson, Sci. Data 9, 661
(2022). mp-api, ``MPRester.get_charge_density_from_task_id``.
"""

from __future__ import annotations

import json
from itertools import pairwise
from typing import TYPE_CHECKING, Any

import numpy as np

from mlcharge_flows.campaign.materials_project import MaterialsProjectError, as_plain
from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.density import Density
from mlcharge_flows.errors import MlchargeError, one_line
from mlcharge_flows.io import atomic_write
from mlcharge_flows.training.public_density import CHGCAR, TASK
from mlcharge_flows.vasp.chgcar_writer import write_chgcar
from mlcharge_flows.vasp.fortran import parse_floats

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from pymatgen.io.vasp.outputs import Chgcar

_TITLE = "augmentation occupancies"
_KEPT = ("task_id", "calc_type", "run_type", "state", "vasp_version", "last_updated", "input")


def read_identifiers(words: Sequence[str]) -> list[str]:
    """Identifiers of a command line: themselves, or lines of text files.

    Parameters
    ----------
    words
        Such as ``mp-149``, or paths.

    Returns
    -------
    list of str
        Each once, in their order.

    Raises
    ------
    MaterialsProjectError
        A word is neither an identifier nor a file, or a line of a file is no identifier.
    """
    from pathlib import Path

    found: list[str] = []
    for word in words:
        if _is_identifier(word):
            found.append(word)
            continue
        try:
            lines = Path(word).read_text().split()
        except (OSError, ValueError):
            raise MaterialsProjectError(
                f"{one_line(word, 80)}: is neither an identifier such as mp-149 nor a text file of "
                "them"
            ) from None
        if wrong := [line for line in lines if not _is_identifier(line)]:
            raise MaterialsProjectError(f"{word}: {one_line(wrong[0], 80)} is no identifier")
        found += lines
    return list(dict.fromkeys(found))


def fetch_densities(
    materials: Sequence[str], rester: Any, out: Path, tasks: Mapping[str, str] | None = None
) -> Iterator[tuple[str, str]]:
    """Fetch the charge density of each material, and the document of its task.

    What is there is not fetched again.

    Parameters
    ----------
    materials
        Identifiers.
    rester
        Client, see :func:`mlcharge_flows.campaign.materials_project.open_rester`.
    out
        Folder of the folders to write.
    tasks
        Task of each material; without one, the client takes the latest static GGA task.

    Yields
    ------
    material : str
        Identifier.
    reason : str
        Why it cannot be used; empty if it is there.
    """
    for material in materials:
        folder = out / material
        if (folder / CHGCAR).is_file() and (folder / TASK).is_file():
            yield material, ""
            continue
        try:
            chgcar, document = _served(material, rester, (tasks or {}).get(material))
            density = density_of(chgcar, material)
            plain = as_plain(document)
        except MlchargeError as error:
            yield material, str(error)
            continue
        except Exception as error:  # of the network, the client, or its store of objects
            yield material, f"not served ({type(error).__name__}: {one_line(error, 200)})"
            continue
        folder.mkdir(parents=True, exist_ok=True)
        write_chgcar(folder / CHGCAR, density)
        kept = {key: plain.get(key) for key in _KEPT}
        kept["energy"] = (plain.get("output") or {}).get("energy")
        atomic_write(folder / TASK, json.dumps({"material_id": material, **kept}, default=str))
        yield material, ""


def density_of(chgcar: Chgcar, comment: str = "") -> Density:
    """Take total density and augmentation occupancies from pymatgen's object.

    Parameters
    ----------
    chgcar
        As the service gives it: occupancies as arrays, or as the lines of the file.
    comment
        First line of the file that is written.

    Returns
    -------
    Density
        In electrons per cubic angstrom.

    Raises
    ------
    MaterialsProjectError
        There are no augmentation occupancies of every ion.
    """
    crystal = Crystal.from_structure(chgcar.poscar.structure)
    total = np.ascontiguousarray(chgcar.data["total"], dtype=float) / crystal.volume
    occupancies = _occupancies((chgcar.data_aug or {}).get("total"))
    if sorted(occupancies) != list(range(1, len(crystal) + 1)):
        raise MaterialsProjectError(
            f"its density has augmentation occupancies of {len(occupancies)} ions, the crystal "
            f"{len(crystal)}: VASP would drop it, and nothing can be calibrated with it"
        )
    augmentation = tuple(occupancies[ion + 1] for ion in range(len(crystal)))
    return Density(crystal, total, augmentation, comment=comment)


def _served(material: str, rester: Any, task: str | None) -> tuple[Chgcar, Any]:
    """Density and document of a task, or of the task that the client chooses for a material."""
    if task is None:
        found = rester.get_charge_density_from_material_id(material, inc_task_doc=True)
    else:
        found = rester.get_charge_density_from_task_id(task, inc_task_doc=True)
    if found is None:
        raise MaterialsProjectError("no task of it has a charge density")
    chgcar, document = found
    return chgcar, document


def _occupancies(given: Any) -> dict[int, np.ndarray]:
    """Occupancies of each ion, counted from 1."""
    if isinstance(given, dict):
        return {int(ion): np.asarray(values, dtype=float) for ion, values in given.items()}
    found: dict[int, np.ndarray] = {}
    lines = "\n".join(given or ()).splitlines()
    starts = [n for n, line in enumerate(lines) if line.strip().startswith(_TITLE)]
    for start, end in pairwise([*starts, len(lines)]):
        ion, count = map(int, lines[start].split()[-2:])
        values = parse_floats("\n".join(lines[start + 1 : end]).encode())
        found[ion] = np.asarray(values)[:count]
    return found


def _is_identifier(word: str) -> bool:
    """Whether a word has the form of an identifier of Materials Project."""
    prefix, dash, rest = word.partition("-")
    return prefix in ("mp", "mvc") and bool(dash) and rest.isalnum()
