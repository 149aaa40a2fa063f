"""Initial moments of a spin-polarized run, and the magnetization that they give the free atoms.

References
----------
VASP wiki, ISPIN, MAGMOM and NUPDOWN.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from mlcharge_flows.density.augmentation import rotate
from mlcharge_flows.density.density import Magnetization
from mlcharge_flows.density.grid import SYMPREC, CrystalSymmetry, GridSymmetry
from mlcharge_flows.density.magnetization import SpinDensity, superpose_moments
from mlcharge_flows.errors import one_line
from mlcharge_flows.gpaw_vasp.errors import UnsupportedInputError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.density.density import Density
    from mlcharge_flows.density.paw_dataset import PawDataset

#: Moment of each ion where the INCAR gives none, in Bohr magnetons.
DEFAULT_MOMENT = 1.0

#: Moments below this are taken for zero, in Bohr magnetons.
NO_MOMENT = 1e-12


def initial_moments(incar: Mapping[str, Any], n_ions: int) -> np.ndarray:
    """Read MAGMOM, or take VASP's defaults.

    Parameters
    ----------
    incar
        Tags as read.
    n_ions
        Number of ions.

    Returns
    -------
    numpy.ndarray
        Moment of each ion, shape (ions,), in Bohr magnetons: zeros with ISPIN = 1; without MAGMOM
        NUPDOWN shared by all ions, or 1 each where NUPDOWN is not set.

    Raises
    ------
    UnsupportedInputError
        If MAGMOM has not one finite number for each ion.

    References
    ----------
    VASP wiki, MAGMOM and NUPDOWN.

    Examples
    --------
    >>> initial_moments({"ISPIN": 2, "MAGMOM": [5, -5]}, 2).tolist()
    [5.0, -5.0]
    >>> initial_moments({"ISPIN": 2, "NUPDOWN": 2.0}, 2).tolist()
    [1.0, 1.0]
    >>> initial_moments({"MAGMOM": [5, -5]}, 2).tolist()
    [0.0, 0.0]
    """
    if incar.get("ISPIN", 1) != 2:
        return np.zeros(n_ions)
    given = incar.get("MAGMOM")
    if given is None:
        total = incar.get("NUPDOWN", -1)
        fixed = isinstance(total, int | float) and total >= 0
        return np.full(n_ions, total / n_ions if fixed else DEFAULT_MOMENT)
    values = given if isinstance(given, list) else [given]
    if any(isinstance(value, bool) or not isinstance(value, int | float) for value in values):
        raise UnsupportedInputError(
            f"INCAR: MAGMOM = {one_line(' '.join(map(str, values)), 40)} is not a list of numbers"
        )
    if len(values) != n_ions:
        raise UnsupportedInputError(
            f"INCAR: MAGMOM has {len(values)} moments, the POSCAR {n_ions} ions: give one each"
        )
    moments = np.array(values, dtype=float)
    if not np.isfinite(moments).all():
        raise UnsupportedInputError("INCAR: MAGMOM: a moment is not finite")
    return moments


def atomic_magnetization(
    crystal: Crystal,
    datasets: Mapping[str, PawDataset],
    moments: np.ndarray,
    shape: Sequence[int],
) -> Magnetization:
    """Superpose the free atoms, each weighted by its moment per valence electron, as VASP does.

    Parameters
    ----------
    crystal
        The ions.
    datasets
        PAW data set of each element, with its free atom.
    moments
        Moment of each ion, shape (ions,), in Bohr magnetons.
    shape
        The fine grid (NGXF, NGYF, NGZF).

    Returns
    -------
    Magnetization
        Up minus down on the grid and in the augmentation occupancies; it integrates to the sum of
        the moments.

    Raises
    ------
    ValueError
        If the free atom of an element is not known.

    References
    ----------
    VASP wiki, MAGMOM.
    """
    symbols = dict.fromkeys(crystal.symbols)
    spins = {symbol: SpinDensity.of_free_atom(datasets[symbol]) for symbol in symbols}
    return superpose_moments(crystal, moments, spins, shape)


def has_moments(density: Density) -> bool:
    """Tell whether a density is spin-polarized at all.

    Parameters
    ----------
    density
        A density.

    Returns
    -------
    bool
        False where grid and occupancies of the magnetization are zero or missing: the electrons
        then keep equal spins, whatever number of steps is taken.

    Examples
    --------
    >>> from mlcharge_flows.density.crystal import Crystal
    >>> from mlcharge_flows.density.density import Density
    >>> cell = Crystal(3 * np.eye(3), ("H",), np.zeros((1, 3)))
    >>> zero = Magnetization(np.zeros((2, 2, 2)), (np.zeros(1),), np.zeros(1))
    >>> has_moments(Density(cell, np.ones((2, 2, 2)), (np.ones(1),), zero))
    False
    """
    magnetization = density.magnetization
    if magnetization is None:
        return False
    parts = (magnetization.grid, *(magnetization.augmentation or ()))
    return any(np.abs(part).max(initial=0.0) > NO_MOMENT for part in parts)


def symmetrized(
    magnetization: Magnetization,
    crystal: Crystal,
    channels: Sequence[Sequence[int]],
    kinds: np.ndarray | None,
    symprec: float = SYMPREC,
) -> Magnetization:
    """Average a magnetization over the operations of the crystal that have a translation.

    VASP symmetrizes with the whole space group, so that moments which MAGMOM does not name, such as
    those of an antiferromagnet without MAGMOM, are gone. GPAW symmetrizes afterwards, with one
    operation of each rotation and so without pure translations: one operation of each coset of
    those without translation is taken here.

    Parameters
    ----------
    magnetization
        On a grid that the operations need not keep; those that do not are left out for the grid.
    crystal
        The ions.
    channels
        Projector channels of each ion.
    kinds
        Numbers that tell ions of one element apart, shape (ions, n), or None.
    symprec
        Tolerance of ionic positions in angstrom.

    Returns
    -------
    Magnetization
        The mean; the very same one where no operation has a translation.

    References
    ----------
    VASP wiki, MAGMOM.
    """
    precision = max(symprec, SYMPREC)
    cosets = _cosets(CrystalSymmetry.of(crystal, precision, kinds), crystal, precision)
    if len(cosets) == 1 or magnetization.augmentation is None:
        return magnetization
    # The value at a point comes from where the inverse of an operation takes the point.
    back = np.rint(np.linalg.inv(cosets.rotations)).astype(int)
    inverses = CrystalSymmetry(back, -np.einsum("sij,sj->si", back, cosets.translations))
    grid = GridSymmetry.of(crystal, magnetization.grid.shape, precision, inverses)
    to_cartesian, to_fractional = crystal.lattice.T, np.linalg.inv(crystal.lattice.T)
    sums = [np.zeros_like(values) for values in magnetization.augmentation]
    for rotation, translation in zip(cosets.rotations, cosets.translations, strict=True):
        left, _, right = np.linalg.svd(to_cartesian @ rotation @ to_fractional)
        images = crystal.positions @ rotation.T + translation
        for ion, image in enumerate(images):
            target = int(crystal.displacements(image).argmin())
            sums[target] += rotate(magnetization.augmentation[ion], channels[ion], left @ right)
    return Magnetization(
        grid.symmetrize(magnetization.grid),
        tuple(values / len(cosets) for values in sums),
        magnetization.moments,
    )


def _cosets(symmetry: CrystalSymmetry, crystal: Crystal, precision: float) -> CrystalSymmetry:
    """One operation of each right coset of the operations without translation."""
    chosen: list[int] = []
    for new, (rotation, translation) in enumerate(
        zip(symmetry.rotations, symmetry.translations, strict=True)
    ):
        for old in chosen:
            quotient = rotation @ np.linalg.inv(symmetry.rotations[old])
            shift = translation - quotient @ symmetry.translations[old]
            if np.linalg.norm((shift - shift.round()) @ crystal.lattice) < 10 * precision:
                break
        else:
            chosen.append(new)
    return CrystalSymmetry(symmetry.rotations[chosen], symmetry.translations[chosen])
