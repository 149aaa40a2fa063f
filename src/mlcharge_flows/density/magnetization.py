r"""Magnetization of a crystal as a sum of spherical spin densities of its ions.

With the moment :math:`m_i` of each ion and the spin form factor :math:`s` of its element,
:math:`s(0) = 1`,

.. math::
    m(\mathbf r) = \frac{1}{V} \sum_{\mathbf G} e^{i \mathbf G \cdot \mathbf r}
        \sum_i m_i \, s_{Z_i}(|\mathbf G|) \, e^{-i \mathbf G \cdot \mathbf R_i}

integrates to the sum of the moments, and the augmentation occupancies of up minus down are
:math:`m_i` times those of a unit moment. VASP's own initial magnetization is the one with the form
factor of the free atom over its valence electrons.

References
----------
VASP wiki, MAGMOM, https://www.vasp.at/wiki/index.php/MAGMOM.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.density import Magnetization, sum_of_form_factors
from mlcharge_flows.density.neutral_form_factor import NeutralSines, splined

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mlcharge_flows.density.paw_dataset import PawDataset


@dataclass(frozen=True, eq=False)
class SpinDensity:
    """Spherical spin density of an ion with a moment of one Bohr magneton.

    Parameters
    ----------
    form_factor
        Takes wave numbers in 1/angstrom, any shape; 1 at zero.
    occupancies
        Augmentation occupancies of up minus down per Bohr magneton.
    """

    form_factor: Callable[[np.ndarray], np.ndarray]
    occupancies: np.ndarray

    @classmethod
    def of_free_atom(cls, dataset: PawDataset) -> SpinDensity:
        """Spin density that VASP superposes: the free atom per valence electron.

        Parameters
        ----------
        dataset
            PAW data set with its free atom.

        Returns
        -------
        SpinDensity
            Of the element.

        Raises
        ------
        ValueError
            The free atom is not known.
        """
        if not dataset.has_free_atom or not dataset.zval:
            raise ValueError(f"no atomic density for {dataset.symbol}: add its PAW data set")
        zval = dataset.zval
        return cls(
            lambda q: dataset.form_factor_at(q) / zval,
            np.asarray(dataset.atomic_occupancies) / zval,
        )


@dataclass(frozen=True)
class SpinSines:
    """Functions of spin form factors: one of unit moment, and those without charge.

    Parameters
    ----------
    radius
        Radius beyond which they vanish, in angstrom.
    q_max
        Wave number beyond which their form factors are cut off, in 1/angstrom.

    Examples
    --------
    >>> basis = SpinSines()
    >>> basis.size, basis(np.zeros(1))[0].tolist()
    (21, [1.0])
    """

    radius: float = 2.0
    q_max: float = 34.0

    @cached_property
    def _neutral(self) -> NeutralSines:
        return NeutralSines(self.radius, self.q_max)

    @property
    def size(self) -> int:
        """Number of functions."""
        return self._neutral.size + 1

    def __call__(self, q: np.ndarray) -> np.ndarray:
        """Form factors of all functions.

        Parameters
        ----------
        q
            Wave numbers in 1/angstrom, shape (n,).

        Returns
        -------
        numpy.ndarray
            Shape (size, n); at q = 0 that of the first function is 1, of the others 0.
        """
        return np.vstack([self._neutral.charged(q), self._neutral(q)])

    def form_factor(self, coefficients: Sequence[float]) -> Callable[[np.ndarray], np.ndarray]:
        """Form factor of unit moment, from the coefficients of the functions without charge.

        Parameters
        ----------
        coefficients
            One per function but the first, shape (size - 1,).

        Returns
        -------
        callable
            Takes wave numbers in 1/angstrom, any shape.

        Raises
        ------
        ValueError
            The number of coefficients is another one.
        """
        if len(coefficients) != self.size - 1:
            raise ValueError(f"{len(coefficients)} coefficients of {self.size - 1} functions")
        return splined(self, [1.0, *coefficients], self.q_max)


def superpose_moments(
    crystal: Crystal,
    moments: np.ndarray,
    spins: Mapping[str, SpinDensity],
    shape: Sequence[int],
) -> Magnetization:
    """Sum the spin densities of all ions.

    Reversing all moments changes every number to its negative, exactly.

    Parameters
    ----------
    crystal
        The ions.
    moments
        Moment of each ion in Bohr magnetons, shape (ions,).
    spins
        Spin density of each element.
    shape
        The fine grid (NGXF, NGYF, NGZF).

    Returns
    -------
    Magnetization
        Up minus down; it integrates to the sum of the moments.
    """
    grid = np.zeros(tuple(shape))
    factors = {symbol: spin.form_factor for symbol, spin in spins.items()}
    sizes = np.abs(moments)
    for size in np.unique(sizes[sizes > 0.0]):
        up, down = (
            sum_of_form_factors(_ions(crystal, moments == value), factors, shape)
            for value in (size, -size)
        )
        grid += size * (up - down)
    occupancies = tuple(
        moment * spins[symbol].occupancies
        for symbol, moment in zip(crystal.symbols, moments, strict=True)
    )
    return Magnetization(grid, occupancies, np.array(moments, dtype=float))


def _ions(crystal: Crystal, chosen: np.ndarray) -> Crystal:
    """Crystal of some of the ions."""
    symbols = tuple(symbol for symbol, taken in zip(crystal.symbols, chosen, strict=True) if taken)
    return Crystal(crystal.lattice, symbols, crystal.positions[chosen])
