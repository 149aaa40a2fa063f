"""Elements of the ions of a run, from the data sets that its OUTCAR names."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlcharge_flows.vasp.poscar import PoscarError, element_symbol

if TYPE_CHECKING:
    from mlcharge_flows.vasp.outcar import Outcar


def dataset_elements(outcar: Outcar) -> tuple[str, ...]:
    """Elements of the data sets of a run.

    Parameters
    ----------
    outcar
        Of the run.

    Returns
    -------
    tuple of str
        One per data set, in the order of POTCAR; empty if a TITEL begins with no element.
    """
    try:
        return tuple(element_symbol(titel.split()[1]) for titel in outcar.titels if " " in titel)
    except PoscarError:
        return ()


def ion_elements(outcar: Outcar) -> tuple[str, ...]:
    """Elements of the ions of a run.

    Parameters
    ----------
    outcar
        Of the run.

    Returns
    -------
    tuple of str
        One per ion, in the order of POSCAR; empty if OUTCAR does not tell.

    Examples
    --------
    >>> from mlcharge_flows.vasp.outcar import Outcar
    >>> titels = ("PAW_PBE Fe_pv 06Sep2000", "PAW_PBE O 08Apr2002")
    >>> ion_elements(Outcar(titels=titels, ions_per_type=(2, 3)))
    ('Fe', 'Fe', 'O', 'O', 'O')
    """
    symbols, sizes = dataset_elements(outcar), outcar.ions_per_type
    if len(symbols) != len(sizes):
        return ()
    return tuple(s for s, n in zip(symbols, sizes, strict=True) for _ in range(n))
