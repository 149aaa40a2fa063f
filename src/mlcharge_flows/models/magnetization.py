r"""Magnetization of a run: order and signs from MAGMOM, magnitudes and shapes of finished runs.

For each element, finished spin-polarized runs give a spherical spin density per unit moment (form
factor and L = 0 augmentation occupancies) and the distribution of the sizes of its moments. The
occupancies of L > 0 are those of the total density, times a number per pair of channels,

.. math::
    \rho^{ab}_{LM}(\uparrow - \downarrow) = \operatorname{sign}(m) \,
        \kappa^{ab}_L \, \rho^{ab}_{LM} .

By Hund's first rule :math:`\kappa` is -1 in a shell more than half full, whose majority states are
all occupied, and 1 in one that is less than half full, whose minority states are all empty.

MAGMOM gives each moment its sign. Its size is the mean of the element in the runs of the same
elements as the crystal; without any, in those whose elements are most like the crystal's (the ratio
of common to all elements), of at least three sets of elements; where the runs agree and MAGMOM asks
for no other state (:mod:`mlcharge_flows.models.moment_sizes`). Otherwise the ion has what VASP
superposes for MAGMOM. An ion whose moment in MAGMOM is not zero does not begin at zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, model_validator

from mlcharge_flows.density.augmentation import blocks, n_occupancies, spherical
from mlcharge_flows.density.density import Magnetization
from mlcharge_flows.density.magnetization import SpinDensity, SpinSines, superpose_moments
from mlcharge_flows.models.moment_sizes import MIN_SYSTEMS, Moments, size_issue

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mlcharge_flows.density.density import Density
    from mlcharge_flows.density.paw_dataset import PawDataset

SMALLEST_MOMENT = 0.1
"""Moment with which an ion begins at least, unless MAGMOM is smaller, Bohr magnetons."""


class ElementMagnetization(BaseModel):
    """Spin density per unit moment of the ions of an element, and the sizes of their moments.

    Errors are those of the spin densities, in runs of formulas that were left out of their fit but
    not of the sizes of moments, as fractions of the errors of what VASP superposes for MAGMOM: root
    mean square on the grid, mean absolute of the occupancies.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    titel: str = Field(description="TITEL of the PAW data set of the runs.")
    fingerprint: str = Field(description="SHA-256 of its valence, channels and free atom.")
    channels: tuple[int, ...] = Field(description="l of each of its projector channels.")
    moments: tuple[Moments, ...] = Field(
        min_length=1, description="Sizes of its moments, for each set of elements of the runs."
    )
    form_factor: tuple[float, ...] | None = Field(
        None,
        description="Coefficients of the neutral sines, to be added to the ball of unit moment; "
        "None if the runs have no moment of the element.",
    )
    occupancies: tuple[float, ...] | None = Field(
        None, description="Each L = 0 block of up minus down, electrons per Bohr magneton."
    )
    anisotropy: tuple[float, ...] | None = Field(
        None, description="Ratio of up minus down to total of each block of L > 0."
    )
    magmom_range: tuple[float, float] | None = Field(
        None,
        description="Smallest and largest size of MAGMOM with which its ions began in the runs, "
        "Bohr magnetons, zeros aside; None if it is not known.",
    )
    density_left: float | None = Field(
        None, description="Leave-one-out error on the grid; None without other runs."
    )
    occupancies_left: float | None = Field(
        None, description="Leave-one-out error of the occupancies; None without other runs."
    )

    @property
    def all_moments(self) -> Moments:
        """Sizes of the moments in all runs."""
        return Moments.joined(self.moments)

    def moments_for(self, elements: Iterable[str]) -> Moments:
        """Sizes of the moments in the runs whose elements are most like those of a crystal.

        Parameters
        ----------
        elements
            Elements of the crystal.

        Returns
        -------
        Moments
            Of the runs of the same elements; without any, of the most similar ones, of at least
            :data:`MIN_SYSTEMS` sets of elements if there are as many.
        """
        own = set(elements)
        groups: dict[float, list[Moments]] = {}
        for part in self.moments:
            both, either = own.intersection(part.elements), own.union(part.elements)
            groups.setdefault(len(both) / len(either), []).append(part)
        taken: list[Moments] = []
        for likeness in sorted(groups, reverse=True):
            taken += groups[likeness]
            if likeness == 1.0 or len(taken) >= MIN_SYSTEMS:
                break
        return Moments.joined(taken)

    @model_validator(mode="after")
    def _has_all_blocks(self) -> Self:
        if (self.form_factor is None) != (self.occupancies is None):
            raise ValueError("a form factor and occupancies belong together")
        if self.occupancies is not None and len(self.occupancies) != len(spherical(self.channels)):
            raise ValueError("the number of occupancies is not that of the L = 0 blocks")
        n_others = len(blocks(self.channels)) - len(spherical(self.channels))
        if self.anisotropy is not None and len(self.anisotropy) != n_others:
            raise ValueError("the number of ratios is not that of the blocks of L > 0")
        smallest, largest = self.magmom_range or (0.0, 0.0)
        if not 0.0 <= smallest <= largest:
            raise ValueError("the range of MAGMOM is not that of sizes, the smallest first")
        return self

    def is_of(self, dataset: PawDataset) -> bool:
        """Whether the runs had a PAW data set.

        Parameters
        ----------
        dataset
            Of the element.

        Returns
        -------
        bool
            True if TITEL, channels and, where it is known, the free atom are the same.
        """
        same = (self.titel, self.channels) == (dataset.titel, dataset.channels)
        return same and (not dataset.has_free_atom or dataset.has_fingerprint(self.fingerprint))

    def spin_density(self, basis: SpinSines) -> SpinDensity | None:
        """Spin density of an ion with a moment of one Bohr magneton.

        Parameters
        ----------
        basis
            Functions of the form factors.

        Returns
        -------
        SpinDensity or None
            None if the runs have no moment of the element.
        """
        if self.form_factor is None or self.occupancies is None:
            return None
        occupancies = np.zeros(n_occupancies(self.channels))
        occupancies[spherical(self.channels)] = self.occupancies
        return SpinDensity(basis.form_factor(self.form_factor), occupancies)

    def anisotropic(self, moment: float, total: np.ndarray) -> np.ndarray:
        """Occupancies of L > 0 of up minus down, from those of the total density.

        Parameters
        ----------
        moment
            Moment of the ion, Bohr magnetons; below the mean of the runs they are smaller in
            proportion.
        total
            Augmentation occupancies of the ion, electrons.

        Returns
        -------
        numpy.ndarray
            Electrons, zero for L = 0.
        """
        found, mean = np.zeros_like(total), self.all_moments.mean
        if self.anisotropy is not None and mean > 0.0:
            others = [block for block in blocks(self.channels) if block.L > 0]
            size = np.copysign(min(1.0, abs(moment) / mean), moment)
            for block, ratio in zip(others, self.anisotropy, strict=True):
                place = slice(block.offset, block.offset + 2 * block.L + 1)
                found[place] = size * ratio * total[place]
        return found


def site_moments(
    symbols: Sequence[str],
    magmom: np.ndarray,
    known: Mapping[str, ElementMagnetization],
    smallest: float = SMALLEST_MOMENT,
) -> tuple[np.ndarray, np.ndarray, tuple[str, ...]]:
    """Moments with which the ions begin.

    Parameters
    ----------
    symbols
        Element of each ion.
    magmom
        MAGMOM: moment of each ion in Bohr magnetons, shape (ions,).
    known
        Sizes of the moments of elements.
    smallest
        Moment with which an ion begins at least, unless MAGMOM is smaller, Bohr magnetons.

    Returns
    -------
    moments : numpy.ndarray
        Bohr magnetons, shape (ions,); of the sign of MAGMOM, zero where it is zero.
    is_predicted : numpy.ndarray
        Whether the size is that of the runs and not of MAGMOM, shape (ions,).
    warnings : tuple of str
        A line for each element whose moments have the size of MAGMOM, with the reason.
    """
    moments, warnings = np.array(magmom, dtype=float), dict[str, None]()
    is_predicted = np.zeros(len(moments), dtype=bool)
    for ion, symbol in enumerate(symbols):
        given = float(moments[ion])
        if given == 0.0:
            continue
        issue: str | None = "the calibration has none of the element"
        if symbol in known:
            typical = known[symbol].moments_for(symbols)
            issue = size_issue(given, typical, symbols, known[symbol].magmom_range)
        if issue is not None:
            warnings[f"VASP's superposition for the moments of {symbol}: {issue}"] = None
        else:
            size = max(typical.mean, min(abs(given), smallest))
            moments[ion], is_predicted[ion] = np.copysign(size, given), True
    return moments, is_predicted, tuple(warnings)


def predict_magnetization(
    density: Density,
    magmom: np.ndarray,
    known: Mapping[str, ElementMagnetization],
    datasets: Mapping[str, PawDataset],
    basis: SpinSines,
    is_fixed: bool = False,
) -> tuple[Magnetization | None, tuple[str, ...]]:
    """Predict the converged magnetization of a run.

    Ions whose moments have the size of MAGMOM have the spin density that VASP superposes, too: with
    another size, the fitted one is further from the converged magnetization in what matters.

    Parameters
    ----------
    density
        Total density of the run, with augmentation occupancies.
    magmom
        MAGMOM: moment of each ion in Bohr magnetons, shape (ions,).
    known
        Of finished runs, by element.
    datasets
        PAW data set of each element of the run, with its free atom.
    basis
        Functions of the form factors.
    is_fixed
        Whether the run keeps the density (ICHARG = 11): ions without moments in the runs have none,
        and nothing of MAGMOM is superposed.

    Returns
    -------
    magnetization : Magnetization or None
        None where it would be what VASP superposes, or MAGMOM is zero everywhere; of a fixed
        density, too, where it would be in part.
    warnings : tuple of str
        A line for each element whose magnetization is that of MAGMOM, with the reason.
    """
    crystal, symbols = density.crystal, density.crystal.symbols
    fitting = {s: one for s, one in known.items() if s in datasets and one.is_of(datasets[s])}
    smallest = 0.0 if is_fixed else SMALLEST_MOMENT
    moments, is_predicted, warnings = site_moments(symbols, magmom, fitting, smallest)
    if not is_predicted.any() or (is_fixed and warnings):
        return None, warnings
    fitted = {s: one.spin_density(basis) for s, one in fitting.items()}
    free = {s: SpinDensity.of_free_atom(datasets[s]) for s in dict.fromkeys(symbols)}
    spins = {s: fitted.get(s) or free[s] for s in free}
    own, atoms = (
        superpose_moments(crystal, np.where(chosen, moments, 0.0), parts, density.shape)
        for chosen, parts in ((is_predicted, spins), (~is_predicted, free))
    )
    pairs = zip(own.augmentation or (), atoms.augmentation or (), strict=True)
    augmentation = [values + others for values, others in pairs]
    for ion in np.flatnonzero(is_predicted):
        if density.augmentation is not None:
            mine, total = fitting[symbols[ion]], density.augmentation[ion]
            augmentation[ion] = augmentation[ion] + mine.anisotropic(moments[ion], total)
    return Magnetization(own.grid + atoms.grid, tuple(augmentation), moments), warnings
