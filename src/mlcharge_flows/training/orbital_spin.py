"""Magnetizations in the training of the orbital model: targets, closed form, loss and errors."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import torch

from mlcharge_flows.density.augmentation import n_occupancies
from mlcharge_flows.models.orbital.spin import SPIN_BASIS
from mlcharge_flows.training.magnetization_fit import fit_spin_densities
from mlcharge_flows.training.spin_response_fit import SpinIon, fit_spin_response

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from mlcharge_flows.models.orbital.expansion import Expansion, SpinExpansion
    from mlcharge_flows.models.orbital.g_vectors import GVectors
    from mlcharge_flows.models.orbital.graph import Graph
    from mlcharge_flows.models.orbital.network import OrbitalNetwork
    from mlcharge_flows.models.orbital.spin import SpinPart
    from mlcharge_flows.training.magnetic_run import MagneticRun
    from mlcharge_flows.training.spin_sample import SpinSample, SpinTarget

ERRORS = ("magnetization_left", "spin_occupancies_left", "closed_form_left")
"""Errors of a material with a magnetization: of the network on the grid and of its occupancies, and
of the closed form alone on the grid; relative to what VASP superposes for MAGMOM."""
MOMENTS_WEIGHT = 0.1
"""Of the likelihood of the sizes of moments, relative to the error of the magnetization."""


def with_signs(graph: Graph, target: SpinTarget | None, network: OrbitalNetwork) -> Graph:
    """Graph of a crystal with the signs of its moments.

    Parameters
    ----------
    graph
        Of one crystal.
    target
        Its magnetization, if it has one.
    network
        Knows which elements carry moments.

    Returns
    -------
    Graph
        The same without moments.
    """
    if target is None or network.spin is None:
        return graph
    signs = target.signs(network.spin, graph.species)
    return replace(graph, spins=signs) if signs.any() else graph


def predicted(
    network: OrbitalNetwork,
    expansion: Expansion,
    g_vectors: GVectors,
    phases: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Magnetization of an expansion.

    Parameters
    ----------
    network
        With spin.
    expansion
        Of one crystal with moments.
    g_vectors
        The G vectors.
    phases
        Phase factors of the sites, shape (sites, G vectors).

    Returns
    -------
    coefficients : torch.Tensor
        Bohr magnetons, shape (G vectors,).
    total : torch.Tensor
        Integral, Bohr magnetons.
    """
    spin, own, n = network.spin, expansion.spin, expansion.n_ions
    assert spin is not None
    assert own is not None
    moments = (own.signs * own.sizes)[:n]
    closed = spin.magnetization(moments, expansion.ions, g_vectors, phases[:n])
    basis = network.basis.of(expansion.species)
    orbitals = g_vectors.density(own.coefficients, phases, basis, None)
    total = moments.sum() + (own.coefficients[:n, 0] * basis.charges()).sum()
    return closed + orbitals, total


def spin_terms(
    network: OrbitalNetwork,
    expansions: Sequence[tuple[Expansion, SpinTarget, GVectors, torch.Tensor]],
    error_of: Callable[[torch.Tensor, torch.Tensor, SpinTarget, int], torch.Tensor],
    n_samples: int,
) -> dict[str, torch.Tensor]:
    """Terms of the loss of the magnetizations in a batch.

    Parameters
    ----------
    network
        With spin.
    expansions
        Expansion, target, G vectors and phases of each material with moments.
    error_of
        Relative error from that of the coefficients and of the integral, the target, and the place
        in the batch.
    n_samples
        Materials of the batch, with and without moments.

    Returns
    -------
    dict
        ``magnetization`` and ``moments``, sums over the materials with moments, divided by the
        number of all.
    """
    spin = network.spin
    assert spin is not None
    # Every weight takes part in every step, as averaging over devices needs.
    errors = sum((0.0 * weight.sum() for weight in spin.parameters()), torch.zeros(()))
    likelihood = torch.zeros_like(errors)
    for place, (expansion, target, g_vectors, phases) in enumerate(expansions):
        coefficients, total = predicted(network, expansion, g_vectors, phases)
        error = error_of(coefficients - target.target, total - target.total, target, place)
        errors = errors + error
        if expansion.spin is not None:
            likelihood = likelihood + _nll(expansion.spin, target.moments(spin, expansion.ions))
    return {"magnetization": errors / n_samples, "moments": likelihood / n_samples}


def _nll(spin: SpinExpansion, moments: torch.Tensor) -> torch.Tensor:
    """Negative log likelihood of the sizes of the moments, mean over the sites with a sign.

    Parameters
    ----------
    spin
        Predicted.
    moments
        Of the ions, Bohr magnetons, shape (ions,).

    Returns
    -------
    torch.Tensor
        A number without unit; zero without such sites.
    """
    ions = slice(0, len(moments))
    signs, sizes, spreads = spin.signs[ions], spin.sizes[ions], spin.spreads[ions]
    known = signs != 0
    if not known.any():
        return sizes.new_zeros(())
    error = (signs * moments - sizes)[known] / spreads[known]
    return (0.5 * error**2 + torch.log(spreads[known])).mean()


def spin_errors(
    network: OrbitalNetwork,
    expansion: Expansion,
    sample: SpinSample | None,
    g_vectors: GVectors,
    phases: torch.Tensor,
) -> dict[str, float]:
    """Errors of a magnetization, relative to what VASP superposes for MAGMOM.

    Parameters
    ----------
    network
        With spin.
    expansion
        Of one crystal.
    sample
        Its magnetization, if it has one.
    g_vectors
        The G vectors.
    phases
        Phase factors of the sites, shape (sites, G vectors).

    Returns
    -------
    dict
        The :data:`ERRORS`; not a number for a material without a magnetization.
    """
    if sample is None or network.spin is None or min(sample.superposed) == 0.0:
        return dict.fromkeys(ERRORS, float("nan"))
    spin, n = network.spin, expansion.n_ions
    found, total = torch.zeros_like(sample.target), torch.zeros_like(sample.total)
    closed, mean = found, total
    if (own := expansion.spin) is not None:
        found, total = predicted(network, expansion, g_vectors, phases)
        moments = own.signs[:n] * spin.mean[expansion.ions]
        closed = spin.magnetization(moments, expansion.ions, g_vectors, phases[:n])
        mean = moments.sum()

    def left(coefficients: torch.Tensor, integral: torch.Tensor) -> float:
        grid = g_vectors.to_grid(coefficients) + integral / g_vectors.volume
        return float((grid - sample.grid).abs().sum()) / sample.superposed[0]

    around = spin.augmentation.projections(found, g_vectors, phases[:n])
    predicted_moments = (
        own.signs * own.sizes if own is not None else torch.zeros_like(phases[:, 0].real)
    )
    lengths = [n_occupancies(spin.config.channels[spin.config.elements[i]]) for i in expansion.ions]
    totals = torch.split(sample.total_augmentation, lengths)
    occupancies = torch.cat(
        [
            spin.occupancies(values, index, moment, whole)
            for values, index, moment, whole in zip(
                spin.augmentation(around, expansion.ions),
                expansion.ions.tolist(),
                predicted_moments[:n],
                totals,
                strict=True,
            )
        ]
    )
    error = float((occupancies - sample.augmentation).abs().sum())
    values = left(found, total), error / sample.superposed[1], left(closed, mean)
    return dict(zip(ERRORS, values, strict=True))


class ClosedFormFit:
    """Fit of spin densities, sizes of moments and response of the occupancies, sample by sample.

    Parameters
    ----------
    spin
        What is fitted.
    channels
        l of each projector channel, per element.
    """

    def __init__(self, spin: SpinPart, channels: Mapping[str, Sequence[int]]) -> None:
        self.spin, self.channels = spin, channels
        self._runs: list[MagneticRun] = []
        self._ions: list[SpinIon] = []

    def add(
        self,
        sample: SpinSample | None,
        species: torch.Tensor,
        g_vectors: GVectors,
        phases: torch.Tensor,
    ) -> None:
        """Add a sample.

        Parameters
        ----------
        sample
            Its magnetization, if it has one.
        species
            Of each ion, shape (ions,).
        g_vectors
            The G vectors.
        phases
            Of the ions.
        """
        if sample is None:
            return
        self._runs.append(sample.run)
        elements = self.spin.config.elements
        lengths = [n_occupancies(self.channels[elements[index]]) for index in species.tolist()]
        projections = self.spin.augmentation.projections(sample.target, g_vectors, phases)
        parts = zip(
            species.tolist(),
            projections,
            torch.split(sample.augmentation, lengths),
            torch.split(sample.total_augmentation, lengths),
            sample.in_spheres.tolist(),
            strict=True,
        )
        self._ions += [SpinIon(index, sample.run.formula, *rest) for index, *rest in parts]

    def solve(self) -> None:
        """Fit, and give the results to the network."""
        self.spin.fit(*fit_spin_densities(self._runs, SPIN_BASIS))
        fit_spin_response(self.spin, self.channels, self._ions)
