"""Electronic minimization of a run: ALGO, and IALGO, its old name.

References
----------
https://www.vasp.at/wiki/index.php/ALGO
https://www.vasp.at/wiki/index.php/IALGO
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

_ALGO_OF_IALGO = {38: "Normal", 48: "VeryFast", 58: "All", 68: "Fast"}


def algorithm(incar: Mapping[str, Any]) -> str:
    """Name of the electronic minimization.

    Parameters
    ----------
    incar
        Tags of the INCAR.

    Returns
    -------
    str
        ALGO, or what IALGO stands for; ``Normal`` if neither is set.

    Examples
    --------
    >>> algorithm({"ALGO": "Fast"}), algorithm({"IALGO": 48}), algorithm({})
    ('Fast', 'VeryFast', 'Normal')
    """
    given = incar.get("ALGO")
    return str(given) if given is not None else _ALGO_OF_IALGO.get(incar.get("IALGO", 38), "Normal")


def takes_rmm_diis(name: str) -> bool:
    """Tell whether orbitals are improved by RMM-DIIS once the density changes.

    Parameters
    ----------
    name
        As :func:`algorithm` gives it; VASP goes by the first letter.

    Returns
    -------
    bool
        True for Fast and VeryFast, whose RMM-DIIS is cheaper than the Davidson scheme and needs
        better orbitals to begin with.

    Examples
    --------
    >>> takes_rmm_diis("fast"), takes_rmm_diis("VeryFast"), takes_rmm_diis("Normal")
    (True, True, False)
    """
    return name[:1].lower() in ("f", "v")
