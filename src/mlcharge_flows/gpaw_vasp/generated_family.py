"""A family of PAW data sets made with GPAW's own generator, to be run beside GPAW's data sets.

Radii and projectors are mostly near those of GPAW's data sets. For some elements the valence is
another one on purpose, as between other families: Li and Be with 1s, Na and Mg without 2p, Ti,
Cr, Mn and Fe with 3p alone, Ni without 3p, Ga and Ge with 3d, Ag without 4p, Sn and Sb without 4d.
Some have other projectors: P none of d, heavier alkalis and alkaline earths two. Each data set is
checked for the eigenvalues of the atom and for ghost states.

References
----------
A. H. Larsen et al., J. Chem. Phys. 160, 092503 (2024); gpaw.atom.generator2.
"""

from __future__ import annotations

from io import StringIO
from typing import TYPE_CHECKING

import numpy as np

from mlcharge_flows.gpaw_vasp.errors import UnsupportedInputError
from mlcharge_flows.io import atomic_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from gpaw.atom.generator2 import PAWSetupGenerator

#: Projectors and cutoff radius in bohr of each element, as GPAW's generator takes them: ``3s`` is a
#: bound state, ``s`` an unbound one, a last capital the local potential of that scattering.
RECIPES = {
    "H": ("1s,s,p", 1.0),
    "Li": ("1s,2s,2p,p,d", 1.5),
    "Be": ("1s,2s,2p,p,d", 1.4),
    "B": ("2s,s,2p,p,d,F", 1.3),
    "C": ("2s,s,2p,p,d,F", 1.3),
    "N": ("2s,s,2p,p,d,F", 1.3),
    "O": ("2s,s,2p,p,d,F", 1.3),
    "F": ("2s,s,2p,p,d,F", 1.3),
    "Na": ("3s,s,3p,p,D", 2.6),
    "Mg": ("3s,s,3p,p,D", 2.5),
    "Al": ("3s,s,3p,p,d,F", 2.1),
    "Si": ("3s,s,3p,p,d,F", 1.8),
    "P": ("3s,s,3p,p,D", 1.8),
    "S": ("3s,s,3p,p,d,F", 1.6),
    "Cl": ("3s,s,3p,p,d,F", 1.6),
    "K": ("3s,4s,3p,4p,d,d,F", 2.1),
    "Ca": ("3s,4s,3p,4p,3d,d,F", 2.1),
    "Sc": ("3s,4s,3p,4p,3d,d,F", 2.3),
    "Ti": ("4s,s,3p,4p,3d,d", 2.4),
    "V": ("3s,4s,3p,4p,3d,d,F", 2.3),
    "Cr": ("4s,s,3p,4p,3d,d", 2.3),
    "Mn": ("4s,s,3p,4p,3d,d", 2.3),
    "Fe": ("4s,s,3p,4p,3d,d", 2.2),
    "Co": ("4s,s,4p,p,3d,d", 2.2),
    "Ni": ("4s,s,4p,p,3d,d", 2.1),
    "Cu": ("4s,s,4p,p,3d,d", 2.2),
    "Zn": ("4s,s,4p,p,3d,d,F", 2.1),
    "Ga": ("4s,s,4p,p,3d,d,F", 2.2),
    "Ge": ("4s,s,4p,p,3d,d,F", 2.1),
    "As": ("4s,s,4p,p,d,F", 2.0),
    "Se": ("4s,s,4p,p,d,F", 2.0),
    "Br": ("4s,s,4p,p,d,F", 2.0),
    "Rb": ("4s,5s,4p,5p,d,d,F", 2.5),
    "Sr": ("4s,5s,4p,5p,4d,d,F", 2.4),
    "Y": ("4s,5s,4p,5p,4d,d,F", 2.5),
    "Zr": ("4s,5s,4p,5p,4d,d,F", 2.5),
    "Ag": ("5s,s,5p,p,4d,d", 2.5),
    "Cd": ("5s,s,5p,p,4d,d", 2.5),
    "In": ("5s,s,5p,p,4d,d,F", 2.5),
    "Sn": ("5s,s,5p,p,d,F", 2.5),
    "Sb": ("5s,s,5p,p,d,F", 2.5),
    "Te": ("5s,s,5p,p,d,F", 2.4),
    "I": ("5s,s,5p,p,d,F", 2.3),
    "Cs": ("5s,6s,5p,6p,5d,0.5d,F", 3.0),
    "Ba": ("5s,6s,5p,6p,5d,d,F", 2.4),
    "Pb": ("6s,s,6p,p,5d,d,F", 2.6),
}

_LOCAL_RADIUS = 0.9  # of the cutoff radius, where the local potential has the scattering of one l
_DIGITS = 11  # of what is written
_NEGLIGIBLE = 1e-30
_FUNCTIONS = ("phi_jg", "phit_jg", "pt_jg")
_DENSITIES = ("nc_g", "nct_g", "tauc_g", "tauct_g", "vbar_g", "vt_g")


def generator(symbol: str) -> PAWSetupGenerator:
    """Make the data set of an element by its recipe.

    Parameters
    ----------
    symbol
        Element with a recipe.

    Returns
    -------
    PAWSetupGenerator
        GPAW's generator, after its work.

    Raises
    ------
    UnsupportedInputError
        If there is no recipe.
    """
    from gpaw.atom.generator2 import generate

    if symbol not in RECIPES:
        raise UnsupportedInputError(
            f"{symbol}: no recipe of a PAW data set; there are those of {' '.join(RECIPES)}"
        )
    projectors, radius = RECIPES[symbol]
    scattering = projectors[-1].isupper()
    made: PAWSetupGenerator = generate(
        symbol,
        None,
        projectors,
        [radius],
        _LOCAL_RADIUS * radius if scattering else radius,
        None,
        5 if scattering else 2,
        xc="PBE",
        output=StringIO(),
    )
    return made


def generate_family(
    folder: Path,
    elements: Iterable[str] = (),
    progress: Callable[[str, int, int], None] | None = None,
) -> int:
    """Write the PAW-XML files of the family, each named such as ``Si.PBE``.

    Parameters
    ----------
    folder
        Where to write them; made if missing. Its name becomes that of the family.
    elements
        Elements; all that have a recipe by default.
    progress
        Called with (element, done, total).

    Returns
    -------
    int
        Number of data sets.

    Raises
    ------
    UnsupportedInputError
        If an element has no recipe, or a data set does not pass GPAW's check.
    OSError
        If the folder cannot be written.
    """
    symbols = list(elements) or list(RECIPES)
    folder.mkdir(parents=True, exist_ok=True)
    for done, symbol in enumerate(symbols, start=1):
        made = generator(symbol)
        if not made.check_all():
            raise UnsupportedInputError(
                f"{symbol}: the data set has ghost states or wrong eigenvalues, it is not written"
            )
        setup = made.make_paw_setup()
        projectors, radius = RECIPES[symbol]
        setup.generatordata = f"projectors={projectors!r}, radii=[{radius}]"
        for name in _FUNCTIONS:
            setattr(setup, name, [_rounded(values) for values in getattr(setup, name)])
        for name in _DENSITIES:
            setattr(setup, name, _rounded(getattr(setup, name)))
        with atomic_path(folder / f"{symbol}.PBE") as partial:
            setup.write_xml(partial)
        if progress is not None:
            progress(symbol, done, len(symbols))
    return len(symbols)


def _rounded(values: np.ndarray) -> np.ndarray:
    """Round to significant digits, and what is negligible to zero, which halves the files."""
    kept = np.where(np.abs(values) > _NEGLIGIBLE, values, 0.0)
    return np.array([float(f"{value:.{_DIGITS - 1}e}") for value in kept])
