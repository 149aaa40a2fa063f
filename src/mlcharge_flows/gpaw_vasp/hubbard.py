"""DFT+U after Dudarev (LDAUTYPE = 2): the effective U of each ion.

The occupations of the corrected shell are the projections onto its bound partial wave, normalized
to 1 within the augmentation sphere, as GPAW does by default.

References
----------
VASP wiki, LDAU, LDAUTYPE, LDAUL, LDAUU and LDAUJ.
S. L. Dudarev et al., Phys. Rev. B 57, 1505 (1998), eq. 5.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mlcharge_flows.errors import one_line
from mlcharge_flows.gpaw_vasp.errors import UnsupportedInputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlcharge_flows.density.paw_dataset import PawDataset

#: Defaults of LDAUL, LDAUU and LDAUJ for each block of ions; U and J in eV.
DEFAULTS = {"LDAUL": 2, "LDAUU": 1.0, "LDAUJ": 1.0}

_SHELLS = "spdf"


def effective_hubbard(
    incar: Mapping[str, Any], counts: Sequence[int]
) -> tuple[tuple[int, float], ...]:
    """Read LDAUL, LDAUU and LDAUJ.

    Parameters
    ----------
    incar
        Tags as read.
    counts
        Number of ions of each block of the POSCAR.

    Returns
    -------
    tuple
        l and U - J (eV) of each ion; (-1, 0.0) for ions without correction. Empty without LDAU.

    Raises
    ------
    UnsupportedInputError
        If a tag has not one value for each block, a value makes no sense, or LDAUTYPE is not 2.

    Examples
    --------
    >>> tags = {"LDAU": True, "LDAUL": [2, -1], "LDAUU": [6.2, 0], "LDAUJ": [0, 0]}
    >>> effective_hubbard(tags, (1, 2))
    ((2, 6.2), (-1, 0.0), (-1, 0.0))
    """
    if not incar.get("LDAU"):
        return ()
    if (kind := incar.get("LDAUTYPE", 2)) != 2:
        raise UnsupportedInputError(
            f"INCAR: LDAUTYPE = {kind}: only Dudarev's DFT+U is supported, set LDAUTYPE = 2"
        )
    shells, strengths, exchanges = (_values(incar, tag, len(counts)) for tag in DEFAULTS)
    result: list[tuple[int, float]] = []
    for shell, strength, exchange, count in zip(shells, strengths, exchanges, counts, strict=True):
        if shell not in (-1, 0, 1, 2, 3):
            raise UnsupportedInputError(f"INCAR: LDAUL = {shell:g}: only -1 to 3 are known")
        effective = strength - exchange
        if not np.isfinite(effective):
            raise UnsupportedInputError("INCAR: LDAUU, LDAUJ: a value is not finite")
        corrected = shell >= 0 and effective != 0
        result += [(int(shell), effective) if corrected else (-1, 0.0)] * count
    return tuple(result)


def _values(incar: Mapping[str, Any], tag: str, count: int) -> list[float]:
    given = incar.get(tag, [DEFAULTS[tag]] * count)
    values = given if isinstance(given, list) else [given]
    if len(values) != count or any(
        isinstance(value, bool) or not isinstance(value, int | float) for value in values
    ):
        shown = one_line(" ".join(map(str, values)), 40)
        raise UnsupportedInputError(
            f"INCAR: {tag} = {shown}: the POSCAR has {count} blocks of ions, give one number each"
        )
    return values


def hubbard_setups(
    hubbard: Sequence[tuple[int, float]], datasets: Sequence[PawDataset]
) -> dict[int, str]:
    """Translate the effective U of each ion to GPAW's names of data sets.

    Parameters
    ----------
    hubbard
        l and U - J (eV) of each ion.
    datasets
        PAW data set of each ion.

    Returns
    -------
    dict
        Index of each corrected ion to the type of its data set.

    Raises
    ------
    UnsupportedInputError
        If a data set has no projectors of that l.
    """
    setups = {}
    for ion, (shell, effective) in enumerate(hubbard):
        if shell < 0:
            continue
        if shell not in datasets[ion].channels:
            raise UnsupportedInputError(
                f"INCAR: LDAUL: the PAW data set of {datasets[ion].symbol} has no "
                f"{_SHELLS[shell]} projectors, set LDAUL = -1 for it"
            )
        setups[ion] = f":{_SHELLS[shell]},{effective!r}"
    return setups
