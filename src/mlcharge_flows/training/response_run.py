"""What one run contributes to the fit of a response of the augmentation occupancies."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import torch

from mlcharge_flows.density.augmentation import blocks
from mlcharge_flows.density.density import sum_of_form_factors
from mlcharge_flows.models.orbital.augmentation_response import LMAX, AugmentationResponse

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.density.density import Density

_TINY = 1e-12  # instead of the change of occupancies that do not change


@dataclass(frozen=True, eq=False)
class Response:
    """Fitted response of one element.

    Parameters
    ----------
    coefficients
        Shape (blocks, exponents).
    largest
        Largest change of an occupancy that it was fitted to, electrons.
    """

    coefficients: np.ndarray
    largest: float


@dataclass(frozen=True, eq=False)
class ResponseRun:
    """What one run contributes to the fit, and what is needed for its errors.

    Parameters
    ----------
    name
        Folder, or identifier in a data set.
    formula
        Reduced formula; runs of one formula are left out together.
    crystal
        The ions.
    shape
        Fine grid (NGXF, NGYF, NGZF).
    channels
        Projector channels of each element.
    overlaps
        Of the converged density less the superposition of atoms with the Gaussians on the ions,
        shape (ions, (lmax + 1)^2, exponents), electrons/angstrom^(3/2).
    predicted
        The same of the model's density.
    changes
        Converged occupancies of each ion less those of the free atom, electrons.
    """

    name: str
    formula: str
    crystal: Crystal
    shape: tuple[int, int, int]
    channels: Mapping[str, tuple[int, ...]]
    overlaps: np.ndarray
    predicted: np.ndarray
    changes: tuple[np.ndarray, ...]

    @classmethod
    def of(
        cls,
        name: str,
        formula: str,
        predicted: Density,
        superposition: Density,
        converged: Density,
        channels: Mapping[str, tuple[int, ...]],
    ) -> ResponseRun:
        """Project the density of a run, and that of a model.

        Parameters
        ----------
        name
            Folder, or identifier in a data set.
        formula
            Reduced formula.
        predicted
            Density of the model.
        superposition
            Superposition of the run's atoms.
        converged
            Density of the run on the same grid.
        channels
            Projector channels of each element.

        Returns
        -------
        ResponseRun
            Of the run.
        """
        crystal = converged.crystal
        pairs = zip(converged.augmentation or (), superposition.augmentation or (), strict=True)
        return cls(
            name,
            formula,
            crystal,
            converged.shape,
            {symbol: tuple(channels[symbol]) for symbol in sorted(set(crystal.symbols))},
            overlaps_on_ions(crystal, converged.total - superposition.total),
            overlaps_on_ions(crystal, predicted.total - superposition.total),
            tuple(values - free for values, free in pairs),
        )

    @cached_property
    def sums(self) -> dict[tuple[str, int], ResponseSums]:
        """Normal equations of each element and degree."""
        found: dict[tuple[str, int], ResponseSums] = {}
        for symbol, around, change in zip(
            self.crystal.symbols, self.overlaps, self.changes, strict=True
        ):
            for degree, rows in _rows(self.channels[symbol]).items():
                inputs = around[degree**2 : (degree + 1) ** 2]
                mine = ResponseSums.of(inputs, np.stack([change[row] for row in rows], axis=1))
                key = symbol, degree
                found[key] = found[key] + mine if key in found else mine
        return found

    def left(
        self,
        responses: Mapping[str, Response],
        factors: Mapping[str, Callable[[np.ndarray], np.ndarray]] | None = None,
    ) -> dict[str, tuple[float, float]]:
        """Errors of the occupancies that follow from a density.

        Parameters
        ----------
        responses
            Of elements; the others keep the occupancies of the free atom.
        factors
            Form factors of the elements that the model's density is corrected with; None: for the
            converged density.

        Returns
        -------
        dict of str to tuple of float
            Of each element, sums over its ions: absolute error, and that of the free atoms.
        """
        overlaps = self.overlaps if factors is None else self.predicted
        if factors:
            correction = sum_of_form_factors(self.crystal, factors, self.shape)
            overlaps = overlaps + overlaps_on_ions(self.crystal, correction)
        known = {s: r for s, r in responses.items() if s in self.channels}
        response = AugmentationResponse.of(
            {s: (self.channels[s], r.coefficients, r.largest) for s, r in known.items()}
        )
        found: dict[str, tuple[float, float]] = {}
        for symbol, around, change in zip(
            self.crystal.symbols, overlaps, self.changes, strict=True
        ):
            rest = change
            if symbol in known:
                index = torch.tensor([response.elements.index(symbol)])
                (predicted,) = response(torch.from_numpy(around)[None], index)
                rest = change - predicted.numpy()
            error, size = found.get(symbol, (0.0, 0.0))
            found[symbol] = error + np.abs(rest).sum(), size + np.abs(change).sum()
        return found


@dataclass(frozen=True, eq=False)
class ResponseSums:
    """Normal equations of the blocks of one element and degree.

    Parameters
    ----------
    gram
        Products of the overlaps, shape (exponents, exponents).
    rhs
        Products of the overlaps with the changes, shape (exponents, blocks).
    size
        Sum of the squared changes, square electrons.
    """

    gram: np.ndarray
    rhs: np.ndarray
    size: float

    @classmethod
    def of(cls, inputs: np.ndarray, targets: np.ndarray) -> ResponseSums:
        """Sum the products of inputs and targets.

        Parameters
        ----------
        inputs
            Overlaps of the components, shape (components, exponents).
        targets
            Changes of the occupancies, shape (components, blocks).

        Returns
        -------
        ResponseSums
            Of one ion.
        """
        return cls(inputs.T @ inputs, inputs.T @ targets, float(np.sum(targets**2)))

    def __add__(self, other: ResponseSums) -> ResponseSums:
        return ResponseSums(self.gram + other.gram, self.rhs + other.rhs, self.size + other.size)

    def left(self, coefficients: np.ndarray) -> np.ndarray:
        """Squared errors of several sets of coefficients.

        Parameters
        ----------
        coefficients
            Shape (sets, exponents, blocks).

        Returns
        -------
        numpy.ndarray
            Shape (sets,), square electrons.
        """
        squares = np.sum(coefficients * (self.gram @ coefficients), axis=(1, 2))
        left: np.ndarray = self.size - 2 * np.sum(coefficients * self.rhs, axis=(1, 2)) + squares
        return left


def _rows(channels: Sequence[int]) -> dict[int, list[slice]]:
    """Places of the blocks of each degree that the Gaussians have in the occupancies."""
    found: dict[int, list[slice]] = {}
    for one in blocks(channels):
        if one.L <= LMAX:
            found.setdefault(one.L, []).append(slice(one.offset, one.offset + 2 * one.L + 1))
    return found


def overlaps_on_ions(crystal: Crystal, change: np.ndarray) -> np.ndarray:
    """Overlaps of a change of the density with the Gaussians on the ions.

    Parameters
    ----------
    crystal
        The ions.
    change
        Density less the superposition of atoms, electrons/angstrom^3, shape (nx, ny, nz).

    Returns
    -------
    numpy.ndarray
        Shape (ions, (lmax + 1)^2, exponents), electrons/angstrom^(3/2).
    """
    with torch.inference_mode():
        probes = AugmentationResponse([], {}, LMAX)
        overlaps: np.ndarray = probes.overlaps(crystal, change).double().numpy()
    return overlaps


def left_over(errors: Iterable[tuple[float, float]]) -> float:
    """Fraction of the free atoms' error that is left.

    Parameters
    ----------
    errors
        Absolute errors, and those of the free atoms, as :meth:`ResponseRun.left` gives them.

    Returns
    -------
    float
        Of all together.
    """
    error, size = np.sum([*errors], axis=0)
    return float(error / max(size, _TINY))
