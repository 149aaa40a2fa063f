"""What decides the numbers of a run beside the settings of its input set.

The protocol of a result is a hash of settings that are the same on every machine; data sets and
results of the first release carry it. Which executable and which PAW data sets computed the numbers
differs between machines: it is recorded by each run, and results that differ in it are not mixed.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
from hashlib import sha256
from importlib.metadata import version
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from atomate2 import SETTINGS
from custodian.vasp.jobs import _gamma_point_only_check

from mlcharge_flows import __version__
from mlcharge_flows.gpaw_vasp.export_identity import without_seal
from mlcharge_flows.settings import Settings
from mlcharge_flows.sources.potcar_library import library_texts

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from atomate2.vasp.jobs.base import BaseVaspMaker
    from pymatgen.io.vasp import VaspInput
    from pymatgen.io.vasp.sets import VaspInputSet

_INCAR_UPDATES = "ATOMATE2_VASP_INCAR_UPDATES"
_OPTIONS = ("job_type", "vasp_job_kwargs", "scratch_dir")
"""Arguments of atomate2's ``run_vasp`` that can change a result."""


def incar_updates() -> dict[str, Any]:
    """INCAR tags that atomate2's own settings put over those of every input set.

    Returns
    -------
    dict
        Of ``~/.atomate2.yaml`` or ``ATOMATE2_VASP_INCAR_UPDATES``; empty for most users.
    """
    if text := os.environ.get(_INCAR_UPDATES):  # atomate2 of a worker process will read it
        try:
            updates: dict[str, Any] = json.loads(text)
        except ValueError:
            return {"unreadable": text}
        return updates
    return dict(SETTINGS.VASP_INCAR_UPDATES or {})


def further_settings(makers: Iterable[BaseVaspMaker]) -> list[Any]:
    """Settings of runs that their input set generators do not have.

    Parameters
    ----------
    makers
        Makers of the runs.

    Returns
    -------
    list
        To be hashed; empty where nothing but the defaults is set.
    """
    found: list[Any] = []
    if updates := incar_updates():
        found.append({"VASP_INCAR_UPDATES": updates})
    for maker in makers:
        given = maker.run_vasp_kwargs
        options = {key: given[key] for key in _OPTIONS if key in given}
        if "vasp_cmd" in given:
            options["program"] = Settings(vasp_cmd=given["vasp_cmd"]).program
        if options := {**options, **maker.write_input_set_kwargs}:
            found.append(options)
    return found


def execution(command: str | None = None, potcars: Iterable[Any] = ()) -> dict[str, str]:
    """Describe the executable and the PAW data sets of a run.

    Parameters
    ----------
    command
        Command line of the run, if its Maker fixes one.
    potcars
        pymatgen's PAW data sets, with the attribute ``element``.

    Returns
    -------
    dict of str to str
        Name of the program, INCAR updates of atomate2's settings if there are any, and for each
        element the hash of its data set. The version is what the OUTCAR says.
    """
    settings = Settings() if command is None else Settings(vasp_cmd=command)
    found = {"executable": settings.program}
    if updates := incar_updates():
        found["INCAR updates"] = json.dumps(updates, sort_keys=True)
    hashes: dict[str, dict[str, None]] = {}
    for one in potcars:  # two data sets of one element serve different blocks of ions
        hashes.setdefault(one.element, {})[potcar_hash(str(one))] = None
    return found | {f"POTCAR of {element}": "+".join(own) for element, own in hashes.items()}


def takes_gamma_executable(made: VaspInput, options: Mapping[str, Any]) -> bool:
    """Whether custodian will run the Gamma-only executable, whose WAVECAR holds half of the waves.

    Parameters
    ----------
    made
        Inputs of the run.
    options
        Arguments of atomate2's ``run_vasp``.

    Returns
    -------
    bool
        True for a run at the Gamma point alone, if there is such an executable.
    """
    if not (options.get("vasp_job_kwargs") or {}).get("auto_gamma", True):
        return False
    inputs: Any = {"KPOINTS": None, **made, "INCAR": {**made["INCAR"], **incar_updates()}}
    if not _gamma_point_only_check(inputs):
        return False
    gamma = options.get("vasp_gamma_cmd", SETTINGS.VASP_GAMMA_CMD)
    command = options.get("vasp_cmd", SETTINGS.VASP_CMD)
    words = [shlex.split(os.path.expandvars(text)) or [""] for text in (gamma, command)]
    return bool(shutil.which(words[0][-1]) or shutil.which(f"{words[1][-1]}.gamma"))


def installed(elements: Iterable[str], generator: VaspInputSet) -> dict[str, str]:
    """Describe what a run on this machine would be computed with, as far as that is known before.

    Parameters
    ----------
    elements
        Symbols of the elements whose PAW data sets are looked up.
    generator
        Input set generator, which chooses the data sets.

    Returns
    -------
    dict of str to str
        Entries as :func:`execution` gives them, and the version of the embedded executable.
    """
    texts = library_texts(elements, generator)
    found = {f"POTCAR of {element}": potcar_hash(text) for element, text in texts.items()}
    if Settings().embedded and find_spec("gpaw") is not None:
        found["version"] = f"gpaw-vasp {__version__} (GPAW {version('gpaw')})"
    return found


def potcar_hash(text: str) -> str:
    """Hash of a PAW data set, the same for exports of gpaw-vasp with and without their SHA-256.

    Parameters
    ----------
    text
        Its text, however its end is written.

    Returns
    -------
    str
        Twelve hexadecimal digits.
    """
    return sha256(without_seal(text).strip().encode()).hexdigest()[:12]
