r"""A valence charge density with augmentation occupancies: superposition of free atoms, and errors.

The superposition, VASP's default initial density (ICHARG = 2), is

.. math::
    \rho(\mathbf r) = \frac{1}{V} \sum_{\mathbf G} e^{i \mathbf G \cdot \mathbf r}
        \sum_{s} f_s(|\mathbf G|) \sum_{j \in s} e^{-i \mathbf G \cdot \mathbf R_j}

with the form factor :math:`f_s` (electrons) of element s, :math:`f_s(0) = Z_{val}`.

References
----------
VASP wiki, ICHARG, https://www.vasp.at/wiki/index.php/ICHARG.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from hashlib import sha256
from typing import TYPE_CHECKING, Self

import numpy as np

from mlcharge_flows.density.grid import half_frequencies
from mlcharge_flows.density.inverse_transform import from_planes
from mlcharge_flows.density.structure_factor import structure_factor_planes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.density.paw_dataset import PawDataset

    FormFactor = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True, eq=False)
class Magnetization:
    """The spin part of a collinear density.

    Parameters
    ----------
    grid
        Up minus down, in electrons per cubic angstrom, index order (x, y, z).
    augmentation
        Augmentation occupancies of up minus down, one array per ion, or None.
    moments
        The moment line of a spin-polarized CHGCAR, one value per ion in Bohr magnetons: the *input*
        MAGMOM.
    """

    grid: np.ndarray
    augmentation: tuple[np.ndarray, ...] | None
    moments: np.ndarray


@dataclass(frozen=True, eq=False, repr=False)
class Density:
    """A valence charge density and the augmentation occupancies that belong to it.

    The grid holds what VASP's CHGCAR holds: smooth pseudo density plus compensation charge. It
    integrates to NELECT and may be negative near nuclei; negative values are kept.

    Parameters
    ----------
    crystal
        The ions.
    total
        Electrons per cubic angstrom on the fine grid, index order (x, y, z), points at i/n.
    augmentation
        Augmentation occupancies of each ion in VASP's order (layout:
        :mod:`mlcharge_flows.density.augmentation`), or None where the file has none.
    magnetization
        The spin part, or None.
    comment
        First line of the file. VASP echoes its first word when it reads the density.

    Raises
    ------
    ValueError
        The grid is not three-dimensional, the number of ions differs, or the magnetization is on
        another grid.
    """

    crystal: Crystal
    total: np.ndarray
    augmentation: tuple[np.ndarray, ...] | None = None
    magnetization: Magnetization | None = None
    comment: str = "unknown system"

    def __repr__(self) -> str:
        """Facts in one line; arrays are not printed."""
        ions = " ".join(f"{symbol}{count}" for symbol, count in self.crystal.species)
        grid = " x ".join(map(str, self.shape))
        known = "no occupancies" if self.augmentation is None else "with occupancies"
        spin = ", with magnetization" if self.magnetization is not None else ""
        facts = f"{ions}, {self.n_electrons:.4f} electrons on {grid} points, {known}{spin}"
        return f"<{type(self).__name__} {self.comment!r}: {facts}>"

    def __post_init__(self) -> None:
        if self.total.ndim != 3:
            raise ValueError(f"the grid has {self.total.ndim} dimensions, expected 3")
        if self.augmentation is not None and len(self.augmentation) != len(self.crystal):
            raise ValueError(
                f"augmentation occupancies of {len(self.augmentation)} ions, the crystal has "
                f"{len(self.crystal)}"
            )
        if self.magnetization is not None and self.magnetization.grid.shape != self.total.shape:
            raise ValueError("total and magnetization are on different grids")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Grid points along each lattice vector: (NGXF, NGYF, NGZF)."""
        nx, ny, nz = self.total.shape
        return nx, ny, nz

    @property
    def n_electrons(self) -> float:
        """Integral of the density over the cell."""
        return float(np.mean(self.total) * self.crystal.volume)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over ions, grids and augmentation occupancies, in hexadecimal.

        The comment is left out: it may hold the first digits of the fingerprint, so that VASP's
        echo of the comment identifies the density.
        """
        digest = sha256(repr((self.crystal.symbols, self.total.shape)).encode())
        grids = [self.crystal.lattice, self.crystal.positions, self.total]
        occupancies = [*(self.augmentation or ())]
        if self.magnetization is not None:
            grids.append(self.magnetization.grid)
            occupancies += self.magnetization.augmentation or ()
        for array in [*grids, *occupancies]:
            digest.update(np.ascontiguousarray(array, dtype="<f8").data)
        return digest.hexdigest()

    def scaled_to(self, n_electrons: float) -> Self:
        """Multiply the total grid so that it integrates to a number of electrons.

        Augmentation occupancies and magnetization stay as they are.

        Parameters
        ----------
        n_electrons
            NELECT.

        Returns
        -------
        Density
            Of the same type.

        Raises
        ------
        ValueError
            The integral of the grid is zero or not finite.

        Examples
        --------
        >>> from mlcharge_flows.density.crystal import Crystal
        >>> atom = Crystal(np.eye(3) * 3.0, ("Li",), np.zeros((1, 3)))
        >>> round(Density(atom, np.ones((2, 2, 2))).scaled_to(1.0).n_electrons, 12)
        1.0
        """
        held = self.n_electrons
        if not np.isfinite(held) or held == 0.0:
            raise ValueError(f"a density that integrates to {held} cannot be scaled")
        return replace(self, total=self.total * (n_electrons / held))


def superpose(
    crystal: Crystal,
    datasets: Mapping[str, PawDataset],
    shape: Sequence[int],
    comment: str = "superposition of atoms",
    change: Iterable[np.ndarray | None] | None = None,
) -> Density:
    """Superpose free atoms on a grid, with their augmentation occupancies.

    The integral is the sum of the valence electrons because only G = 0 contributes to it and every
    form factor equals ZVAL there; nothing is rescaled afterwards. Components at the Nyquist
    frequency of an even grid are left out, as in VASP: a shifted atom cannot be represented there.

    Parameters
    ----------
    crystal
        The ions.
    datasets
        PAW data set of each element, with its free atom.
    shape
        The fine grid (NGXF, NGYF, NGZF).
    comment
        First line of the CHGCAR that will hold this density.
    change
        A density to add, as planes of its Fourier coefficients, electrons: see
        :func:`.inverse_transform.from_planes`. One transform to the grid serves both.

    Returns
    -------
    Density
        In electrons/angstrom^3, with augmentation occupancies.

    Raises
    ------
    ValueError
        The free atom of an element is not known, or the shape is not three positive numbers.
    """
    known = {symbol for symbol, dataset in datasets.items() if dataset.has_free_atom}
    missing = sorted(set(crystal.symbols) - known)
    if missing:
        raise ValueError(f"no atomic density for {', '.join(missing)}: add their PAW data sets")
    factors = {symbol: datasets[symbol].form_factor_at for symbol in known}
    total = sum_of_form_factors(crystal, factors, shape, change)
    augmentation = tuple(np.array(datasets[s].atomic_occupancies) for s in crystal.symbols)
    return Density(crystal, total, augmentation, comment=comment)


def sum_of_form_factors(
    crystal: Crystal,
    factors: Mapping[str, FormFactor],
    shape: Sequence[int],
    change: Iterable[np.ndarray | None] | None = None,
) -> np.ndarray:
    """Sum spherical densities over the ions on a grid.

    Components at the Nyquist frequency of an even grid are left out.

    Parameters
    ----------
    crystal
        The ions.
    factors
        Form factor of elements, electrons as a function of wave numbers in 1/angstrom; elements
        without one add nothing.
    shape
        The grid (NGXF, NGYF, NGZF).
    change
        A density to add, as planes of its Fourier coefficients, electrons.

    Returns
    -------
    numpy.ndarray
        Electrons/angstrom^3, of the given shape.

    Raises
    ------
    ValueError
        The shape is not three positive numbers.
    """
    nx, ny, nz = (int(n) for n in shape)
    if min(nx, ny, nz) < 1:
        raise ValueError(f"grid {(nx, ny, nz)} has an axis without points")
    planes = _coefficients(crystal, factors, (nx, ny, nz))
    if change is not None:
        planes = _added(planes, change)
    total = from_planes(planes, (nx, ny, nz))
    total /= crystal.volume
    return total


def _added(
    planes: Iterator[np.ndarray], change: Iterable[np.ndarray | None]
) -> Iterator[np.ndarray]:
    for plane, changed in zip(planes, change, strict=True):
        if changed is not None:
            plane[:, : changed.shape[1]] += changed
        yield plane


def _coefficients(
    crystal: Crystal, factors: Mapping[str, FormFactor], shape: tuple[int, int, int]
) -> Iterator[np.ndarray]:
    """Sum f(|G|) S(G) over the elements, for each frequency along the second lattice vector."""
    elements = [symbol for symbol in dict.fromkeys(crystal.symbols) if symbol in factors]
    structures = [
        structure_factor_planes(crystal.positions[np.equal(crystal.symbols, symbol)], shape)
        for symbol in elements
    ]
    hx, hy, hz = half_frequencies(shape)
    metric = crystal.reciprocal @ crystal.reciprocal.T
    hx = hx[:, None]
    squares = metric[0, 0] * hx**2 + metric[2, 2] * hz**2 + 2 * metric[0, 2] * hx * hz
    slope = 2 * (metric[0, 1] * hx + metric[1, 2] * hz)
    for h in hy:
        q = np.sqrt(np.maximum(squares + slope * h + metric[1, 1] * h * h, 0.0))
        total = np.zeros(q.shape, dtype=complex)
        for symbol, structure in zip(elements, structures, strict=True):
            total += factors[symbol](q) * next(structure)
        yield total


def nmae(density: np.ndarray, reference: np.ndarray) -> float:
    """Normalized mean absolute error over the full grid, in percent.

    100 sum |rho - rho_ref| / sum |rho_ref|.

    Parameters
    ----------
    density
        Density on a grid, any unit.
    reference
        Density on the same grid, of the same unit.

    Returns
    -------
    float
        Percent.

    Raises
    ------
    ValueError
        The grids differ, or the reference is zero everywhere.

    References
    ----------
    T. Koker et al., npj Comput. Mater. 10, 161 (2024).

    Examples
    --------
    >>> nmae(np.array([1.0, 1.0]), np.array([1.5, 0.5]))
    50.0
    """
    return 100.0 * _relative_error(density, reference)


def error_removed(predicted: Density, baseline: Density, reference: Density) -> tuple[float, float]:
    """Fraction of the error of a baseline that a prediction removes: grid, and occupancies.

    1 - |predicted - reference|_1 / |baseline - reference|_1 is 1 for a perfect prediction, 0 for
    one as far off as the baseline, and negative for a worse one. The number of electronic steps
    that an initial density saves depends on this fraction more than on the error itself.

    Parameters
    ----------
    predicted
        Predicted density.
    baseline
        Density of the same crystal on the same grid, usually the superposition of free atoms.
    reference
        Density of the same crystal on the same grid, usually the converged one.

    Returns
    -------
    grid : float
        Fraction for the density on the grid.
    augmentation : float
        Fraction for the augmentation occupancies of all ions together; NaN if one of the three
        densities has none.

    Raises
    ------
    ValueError
        Grids or numbers of occupancies differ, or the baseline equals the reference.
    """
    grid = _fraction_removed(predicted.total, baseline.total, reference.total)
    augmentations = (predicted.augmentation, baseline.augmentation, reference.augmentation)
    if any(one is None for one in augmentations):
        return grid, float("nan")
    flat = [np.concatenate(one) for one in augmentations if one is not None]
    return grid, _fraction_removed(*flat)


def _fraction_removed(predicted: np.ndarray, baseline: np.ndarray, reference: np.ndarray) -> float:
    before = _relative_error(baseline, reference)
    if before == 0.0:
        raise ValueError("the baseline equals the reference: there is no error to remove")
    return 1.0 - _relative_error(predicted, reference) / before


def _relative_error(values: np.ndarray, reference: np.ndarray) -> float:
    values, reference = np.asarray(values), np.asarray(reference)
    if values.shape != reference.shape:
        raise ValueError(f"shape {values.shape} differs from the reference's {reference.shape}")
    size = float(np.sum(np.abs(reference)))
    if size == 0.0:
        raise ValueError("the reference is zero everywhere")
    return float(np.sum(np.abs(values - reference))) / size
