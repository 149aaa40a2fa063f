"""Grid points that the symmetry of a crystal makes equivalent."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import spglib

if TYPE_CHECKING:
    from mlcharge_flows.density.crystal import Crystal

SYMPREC = 1e-5
"""How exactly ions have to be symmetric, angstrom: VASP's default."""


def representatives(crystal: Crystal, shape: tuple[int, int, int]) -> np.ndarray:
    """For each point of a grid, the first of those that a symmetry operation takes it to.

    Only operations that map the grid onto itself count; they are a group, so that being equivalent
    is symmetric and transitive.

    Parameters
    ----------
    crystal
        The ions.
    shape
        Points along each lattice vector.

    Returns
    -------
    numpy.ndarray
        Flat indices into a grid of that shape in C order, shape (points,).

    Examples
    --------
    >>> import numpy as np
    >>> from mlcharge_flows.density.crystal import Crystal
    >>> po = Crystal(np.eye(3) * 3.0, ("Po",), np.zeros((1, 3)))
    >>> len(np.unique(representatives(po, (4, 4, 4))))
    10
    """
    first = np.arange(np.prod(shape))
    points = first.copy()
    for matrix, shift in operations(crystal, shape):
        np.minimum(first, images(matrix, shift, shape), out=first)
    # Tolerances of the symmetry search may leave out a product of two operations.
    while np.any(points != first):
        points, first = first, first[first]
    return first


def operations(
    crystal: Crystal, shape: tuple[int, int, int]
) -> list[tuple[np.ndarray, np.ndarray]]:
    """Symmetry operations that map a grid onto itself, as they act on the indices of its points.

    Parameters
    ----------
    crystal
        The ions.
    shape
        Points along each lattice vector.

    Returns
    -------
    list of tuple
        Integer matrix (3, 3) and shift (3,): a point g goes to matrix @ g + shift, modulo the
        shape. Empty if the symmetry cannot be found.
    """
    kinds = {symbol: n for n, symbol in enumerate(dict.fromkeys(crystal.symbols))}
    numbers = [kinds[symbol] for symbol in crystal.symbols]
    try:
        found = spglib.get_symmetry_dataset(
            (crystal.lattice.tolist(), crystal.positions.tolist(), numbers), symprec=SYMPREC
        )
    except spglib.SpglibError:
        found = None
    if found is None:
        return []
    size = np.array(shape)
    kept = []
    for rotation, translation in zip(found.rotations, found.translations, strict=True):
        matrix = rotation * size[:, None] / size
        shift = translation * size
        if np.array_equal(matrix, np.rint(matrix)) and np.allclose(
            shift, np.rint(shift), atol=1e-4
        ):
            kept.append((np.rint(matrix).astype(int), np.rint(shift).astype(int)))
    return kept


def images(matrix: np.ndarray, shift: np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Where an operation takes every grid point.

    Parameters
    ----------
    matrix, shift
        As :func:`operations` gives them.
    shape
        Points along each lattice vector.

    Returns
    -------
    numpy.ndarray
        Flat index of the image of each point, in C order.
    """
    axes = np.ix_(*(np.arange(n) for n in shape))
    image = np.zeros(shape, dtype=np.int64)
    for row, offset, n in zip(matrix, shift, shape, strict=True):
        place = sum((m * axis for m, axis in zip(row, axes, strict=True)), start=offset) % n
        image = image * n + place
    return image.ravel()
