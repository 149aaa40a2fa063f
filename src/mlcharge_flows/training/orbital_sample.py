"""Samples of the orbital model as tensors, and the errors of predictions of them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import torch

from mlcharge_flows.models.orbital.boxed_vectors import BoxedGVectors
from mlcharge_flows.training.spin_sample import small_moments

if TYPE_CHECKING:
    from collections.abc import Sequence

    from mlcharge_flows.models.orbital.g_vectors import GVectors
    from mlcharge_flows.models.orbital.graph import Graph
    from mlcharge_flows.training.spin_sample import SpinSample, SpinTarget

SHELL_BOUNDS = (2.5, 5.0, 8.0, 12.0)
"""Bounds of the |G| shells of the loss, 1/angstrom."""
MAX_DIRECT_SITES = 25
"""Sites up to which a step with direct sums over all G vectors is the faster one; times the
fraction of the G vectors that a thinned loss takes."""
_MIN_SHELL_WEIGHT = 1e-6
"""Fraction of the square sum below which a shell does not enter the loss."""
_MIN_OCCUPANCY_ERROR = 1e-3
"""Regularization of ``occupancies_left``, relative to the sum of the converged occupancies."""


@dataclass(frozen=True, eq=False)
class OrbitalTrainingSample:
    """The part of a sample that the loss needs.

    Parameters
    ----------
    graph
        Graph of the sites.
    g_vectors
        G vectors, sorted by length.
    phases
        The sites as the method `phases` of the G vectors gives them.
    grid_vectors
        G vectors of the term on the grid: all, or with a thinned loss those up to the last shell,
        on a coarser grid. They come first.
    target
        Coefficients of the converged minus the superposed density, electrons, shape (G vectors,).
    weight
        Weight of each G vector in the loss.
    norm
        Weighted square sum of the target over all G vectors.
    baseline_error
        Mean absolute value of the same density on the grid, electrons/angstrom^3.
    spin
        The magnetization, if there is one.
    """

    graph: Graph
    g_vectors: GVectors
    phases: torch.Tensor
    grid_vectors: GVectors
    target: torch.Tensor
    weight: torch.Tensor
    norm: torch.Tensor
    baseline_error: torch.Tensor
    spin: SpinTarget | None = field(default=None, kw_only=True)


@dataclass(frozen=True, eq=False)
class OrbitalSample(OrbitalTrainingSample):
    """A sample as tensors, with all G vectors and the quantities that its errors need.

    Parameters
    ----------
    graph, g_vectors, phases, grid_vectors, target, weight, norm, baseline_error, spin
        See :class:`OrbitalTrainingSample`.
    difference
        Converged minus superposed density on the fine grid, electrons/angstrom^3.
    baseline_nmae
        NMAE of the superposition, percent.
    augmentation
        Converged minus atomic augmentation occupancies, ion after ion.
    augmentation_size
        Sum of the absolute converged augmentation occupancies.
    """

    difference: torch.Tensor
    baseline_nmae: float
    augmentation: torch.Tensor
    augmentation_size: float
    spin: SpinSample | None = field(default=None, kw_only=True)


def thinned(sample: OrbitalTrainingSample, thinning: int) -> OrbitalTrainingSample:
    """Leave out most G vectors beyond the last shell; the others are weighted to represent them.

    There are many, and their coefficients vary slowly with G: they take most of the time and memory
    of a step, and contribute little to the loss.

    Parameters
    ----------
    sample
        With all G vectors, sorted by length; those up to the last shell are kept.
    thinning
        Every so many-th of the others is kept, the first one drawn at random.

    Returns
    -------
    OrbitalTrainingSample
        With fewer G vectors.
    """
    n_all = len(sample.g_vectors.q)
    n_low = int(torch.searchsorted(sample.g_vectors.q, SHELL_BOUNDS[-1], right=True))
    first = n_low + int(torch.randint(thinning, ()))
    drawn = torch.arange(min(first, n_all), n_all, thinning)
    chosen = torch.cat([torch.arange(n_low), drawn]).to(sample.target.device)
    represented = sample.weight.new_ones(len(chosen))
    represented[n_low:] = (n_all - n_low) / max(len(drawn), 1)
    g_vectors = sample.g_vectors.select(chosen)
    g_vectors = replace(g_vectors, multiplicity=g_vectors.multiplicity * represented)
    if not isinstance(g_vectors, BoxedGVectors):
        phases = sample.phases[:, chosen]
    else:
        if len(sample.phases) * len(chosen) <= MAX_DIRECT_SITES * n_all:
            g_vectors = g_vectors.direct()
        phases = g_vectors.phases(sample.phases)
    return OrbitalTrainingSample(
        sample.graph,
        g_vectors,
        phases,
        g_vectors if thinning == 1 else g_vectors.up_to(SHELL_BOUNDS[-1]),
        sample.target[chosen],
        sample.weight[chosen] * represented,
        sample.norm,
        sample.baseline_error,
        spin=sample.spin and sample.spin.thinned(chosen),
    )


def shell_error(
    squares: torch.Tensor, sample: OrbitalTrainingSample, spin: SpinTarget | None = None
) -> torch.Tensor:
    """Mean over |G| shells of the relative error of density or magnetization.

    Parameters
    ----------
    squares
        Squared errors of the coefficients, shape (G vectors,).
    sample
        The material.
    spin
        Its magnetization, if the errors are of it. A small moment on each ion is added to the size
        of a shell.

    Returns
    -------
    torch.Tensor
        A number without unit.
    """
    wanted = sample.target.abs() ** 2
    if spin is not None:
        wanted = spin.target.abs() ** 2 + small_moments(spin.least_square, sample.g_vectors.q)
    weight = sample.g_vectors.multiplicity
    shell = torch.bucketize(sample.g_vectors.q, torch.tensor(SHELL_BOUNDS, device=weight.device))
    sums = weight.new_zeros(len(SHELL_BOUNDS) + 1)
    error = sums.index_add(0, shell, weight * squares)
    size = sums.index_add(0, shell, weight * wanted)
    present = size > _MIN_SHELL_WEIGHT * size.sum()
    return torch.sqrt(error[present] / size[present] + 1e-8).mean()


def occupancies_left(sample: OrbitalSample, changes: Sequence[torch.Tensor]) -> torch.Tensor:
    """Fraction of the free atoms' error of the augmentation occupancies that remains.

    Parameters
    ----------
    sample
        The material.
    changes
        Predicted change of the occupancies of each ion.

    Returns
    -------
    torch.Tensor
        A number without unit.
    """
    error = (torch.cat(list(changes)) - sample.augmentation).abs().sum()
    baseline = sample.augmentation.abs().sum() + _MIN_OCCUPANCY_ERROR * sample.augmentation_size
    return error / baseline
