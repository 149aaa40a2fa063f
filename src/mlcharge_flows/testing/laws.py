"""Laws that the density of every model obeys, whatever its weights, and named tolerances.

Each law compares predictions of a model for a crystal and its image under an operation; on the grid
of the same operation they agree to rounding.

>>> from mlcharge_flows.testing import tiny_model
>>> from mlcharge_flows.testing.crystals import random_crystal
>>> crystal = random_crystal(np.random.default_rng(0), ("Mg", "O"))
>>> atoms = {"Mg": tiny_model.atom("Mg", 2.0), "O": tiny_model.atom("O", 6.0)}
>>> model = tiny_model.load(tiny_model.checkpoint(atoms, [crystal]))
>>> assert_equivariant_density(model, crystal)
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mlcharge_flows.density.augmentation import rotate
from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.testing.crystals import random_rotation, rotated

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import ArrayLike

    from mlcharge_flows.density.density import Density
    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.models.model import DensityModel

_SPACING = 0.3
"""Distance of the points of default grids, angstrom."""


@dataclass(frozen=True)
class Tolerance:
    """Two numbers are equal if |actual - desired| <= `absolute` + `relative` |desired|.

    Parameters
    ----------
    relative
        Fraction of the desired number.
    absolute
        In the unit of the numbers.

    Examples
    --------
    >>> PRINTED.assert_close(-0.14932e2, -14.932000000001)
    """

    relative: float
    absolute: float

    def assert_close(self, actual: ArrayLike, desired: ArrayLike) -> None:
        """Raise unless all numbers agree.

        Parameters
        ----------
        actual
            Numbers, of any shape.
        desired
            What they should be, of a shape that broadcasts against theirs.

        Raises
        ------
        AssertionError
            A pair does not; with numpy's account of the differences.
        """
        np.testing.assert_allclose(
            np.asarray(actual), np.asarray(desired), rtol=self.relative, atol=self.absolute
        )


ROUNDING = Tolerance(relative=1e-11, absolute=1e-11)
"""The same sum in another order, in double precision."""

PRINTED = Tolerance(relative=1e-11, absolute=0.0)
"""A number that went through a CHGCAR, which prints eleven digits."""

ELECTRONS = Tolerance(relative=1e-10, absolute=1e-9)
"""A number of electrons, summed over a grid in double precision."""


def assert_integrates_to(
    density: Density, n_electrons: float, tolerance: Tolerance = ELECTRONS
) -> None:
    """Assert that a density integrates to a number of electrons.

    Parameters
    ----------
    density
        Any density.
    n_electrons
        What its integral over the cell should be.
    tolerance
        Of the integral.

    Raises
    ------
    AssertionError
        It integrates to another number.
    """
    tolerance.assert_close(density.n_electrons, n_electrons)


def assert_same_density(found: Density, expected: Density, tolerance: Tolerance = ROUNDING) -> None:
    """Assert that two densities agree in total and augmentation occupancies.

    Parameters
    ----------
    found
        Density; the ions are not compared.
    expected
        Density on a grid of the same shape.
    tolerance
        Of electrons/angstrom^3 and of occupancies.

    Raises
    ------
    AssertionError
        They differ, or one of them alone has occupancies.
    """
    tolerance.assert_close(found.total, expected.total)
    assert (found.augmentation is None) == (expected.augmentation is None)
    for one, other in zip(found.augmentation or (), expected.augmentation or (), strict=True):
        tolerance.assert_close(one, other)


def assert_rotation_equivariant(
    model: DensityModel,
    crystal: Crystal,
    shape: tuple[int, int, int],
    rotation: np.ndarray,
    *,
    tolerance: Tolerance = ROUNDING,
    atoms: Mapping[str, PawDataset] | None = None,
) -> None:
    """Assert that rotating or reflecting lattice and ions rotates the occupancies alone.

    The grid rotates with the lattice, so the total stays as it is.

    Parameters
    ----------
    model
        Any model.
    crystal
        The ions.
    shape
        Grid points along each lattice vector.
    rotation
        Orthogonal matrix that acts on Cartesian column vectors, shape (3, 3); proper or not.
    tolerance
        Of electrons/angstrom^3 and of occupancies.
    atoms
        Free atoms whose occupancies do not rotate, where those of a test are not spherical.

    Raises
    ------
    AssertionError
        The prediction depends on the orientation.
    """
    expected = model.predict(crystal, shape)
    if expected.augmentation is not None:
        occupancies = []
        for symbol, values in zip(crystal.symbols, expected.augmentation, strict=True):
            atom = atoms[symbol].atomic_occupancies if atoms else None
            atomic = np.zeros_like(values) if atom is None else atom
            channels = model.card.paw[symbol].channels
            occupancies.append(atomic + rotate(values - atomic, channels, rotation))
        expected = replace(expected, augmentation=tuple(occupancies))
    assert_same_density(model.predict(rotated(crystal, rotation), shape), expected, tolerance)


def assert_translation_equivariant(
    model: DensityModel,
    crystal: Crystal,
    shape: tuple[int, int, int],
    steps: Sequence[int],
    *,
    tolerance: Tolerance = ROUNDING,
) -> None:
    """Assert that translating all ions by grid steps rolls the grid and keeps the occupancies.

    Parameters
    ----------
    model
        Any model.
    crystal
        The ions.
    shape
        Grid points along each lattice vector.
    steps
        Grid steps along each lattice vector.
    tolerance
        Of electrons/angstrom^3 and of occupancies.

    Raises
    ------
    AssertionError
        The prediction depends on the origin.
    """
    expected = model.predict(crystal, shape)
    rolled = np.roll(expected.total, tuple(steps), axis=(0, 1, 2))
    moved = replace(crystal, positions=crystal.positions + np.array(steps) / shape)
    found = model.predict(moved, shape)
    assert_same_density(found, replace(expected, total=rolled), tolerance)


def assert_permutation_equivariant(
    model: DensityModel,
    crystal: Crystal,
    shape: tuple[int, int, int],
    order: Sequence[int],
    *,
    tolerance: Tolerance = ROUNDING,
) -> None:
    """Assert that another order of the ions permutes the occupancies alone.

    Parameters
    ----------
    model
        Any model.
    crystal
        The ions.
    shape
        Grid points along each lattice vector.
    order
        Index of the ion at each place of the other order.
    tolerance
        Of electrons/angstrom^3 and of occupancies.

    Raises
    ------
    AssertionError
        The prediction depends on the order.
    """
    expected = model.predict(crystal, shape)
    if expected.augmentation is not None:
        occupancies = tuple(expected.augmentation[ion] for ion in order)
        expected = replace(expected, augmentation=occupancies)
    symbols = tuple(crystal.symbols[ion] for ion in order)
    permuted = Crystal(crystal.lattice, symbols, crystal.positions[list(order)])
    assert_same_density(model.predict(permuted, shape), expected, tolerance)


def assert_supercell_consistent(
    model: DensityModel,
    crystal: Crystal,
    shape: tuple[int, int, int],
    repeats: tuple[int, int, int],
    *,
    tolerance: Tolerance = ROUNDING,
) -> None:
    """Assert that the density of a supercell is that of its cell, repeated.

    Parameters
    ----------
    model
        Any model.
    crystal
        The ions of the cell.
    shape
        Grid points along each lattice vector of the cell. An even number of them leaves Nyquist
        frequencies out that the supercell's grid holds: choose odd ones.
    repeats
        Cells along each lattice vector.
    tolerance
        Of electrons/angstrom^3 and of occupancies.

    Raises
    ------
    AssertionError
        The prediction depends on the choice of the cell.
    """
    n = np.array(repeats)
    cells = np.stack(np.meshgrid(*map(np.arange, repeats), indexing="ij"), -1).reshape(-1, 3)
    positions = ((crystal.positions[None] + cells[:, None]) / n).reshape(-1, 3)
    supercell = Crystal(crystal.lattice * n[:, None], crystal.symbols * len(cells), positions)
    expected = model.predict(crystal, shape)
    repeated = replace(
        expected,
        crystal=supercell,
        total=np.tile(expected.total, repeats),
        augmentation=expected.augmentation and expected.augmentation * len(cells),
    )
    nx, ny, nz = (int(points) for points in n * shape)
    assert_same_density(model.predict(supercell, (nx, ny, nz)), repeated, tolerance)


def assert_equivariant_density(
    model: DensityModel,
    crystal: Crystal,
    shape: tuple[int, int, int] | None = None,
    *,
    seed: int = 0,
    tolerance: Tolerance = ROUNDING,
    atoms: Mapping[str, PawDataset] | None = None,
) -> None:
    """Assert charge conservation and equivariance under all operations of space.

    A rotation, a rotoreflection, a translation by grid steps and a permutation of the ions, drawn
    at random, and the integral over the cell.

    Parameters
    ----------
    model
        Any model.
    crystal
        The ions; without symmetry, lest the laws hold by accident.
    shape
        Grid points along each lattice vector; by default about 0.3 angstrom apart.
    seed
        Of the operations.
    tolerance
        Of electrons/angstrom^3 and of occupancies.
    atoms
        Free atoms whose occupancies do not rotate, where those of a test are not spherical.

    Raises
    ------
    AssertionError
        One of the laws is broken.
    """
    if shape is None:
        nx, ny, nz = (
            np.ceil(np.linalg.norm(crystal.lattice, axis=1) / _SPACING).astype(int).tolist()
        )
        shape = nx, ny, nz
    random = np.random.default_rng(seed)
    assert_integrates_to(model.predict(crystal, shape), model.card.n_electrons(crystal.symbols))
    for proper in (True, False):
        rotation = random_rotation(random, proper=proper)
        assert_rotation_equivariant(
            model, crystal, shape, rotation, tolerance=tolerance, atoms=atoms
        )
    steps = random.integers(1, np.array(shape)).tolist()
    assert_translation_equivariant(model, crystal, shape, steps, tolerance=tolerance)
    order = random.permutation(len(crystal)).tolist()
    assert_permutation_equivariant(model, crystal, shape, order, tolerance=tolerance)
