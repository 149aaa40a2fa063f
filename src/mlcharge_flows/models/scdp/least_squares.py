r"""The best density of a basis, without a network: least squares over all plane waves.

What is left is a floor under every network with this basis. With scaling factors, the best
coefficients for given factors are eliminated, and the factors follow the gradient of what is left,

.. math:: \min_s \min_c \lVert A(s)\, c - t \rVert^2 ,

which at the best coefficients is that at fixed coefficients.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from mlcharge_flows.models.orbital.graph import Graph
    from mlcharge_flows.models.orbital.plane_waves import PlaneWaves
    from mlcharge_flows.models.scdp.network import ScdpNetwork

_RIDGE = 1e-12
"""Least pivot of the normal equations, relative to the largest."""


class Fit(NamedTuple):
    """The best density of a basis.

    Parameters
    ----------
    waves
        Its plane waves, shape (waves,), electrons.
    n_orbitals
        Coefficients that were free.
    left
        Norm of what is left of the target, relative to the target's.
    """

    waves: torch.Tensor
    n_orbitals: int
    left: float


def least_squares(
    network: ScdpNetwork,
    graph: Graph,
    waves: PlaneWaves,
    target: torch.Tensor,
    scaling_steps: int = 0,
) -> Fit:
    """Fit plane waves by the orbitals of a network's basis.

    Parameters
    ----------
    network
        Its basis is used, none of its weights. In double precision for double precision.
    graph
        The sites.
    waves
        Plane waves of the grid.
    target
        What to fit, shape (waves,), complex.
    scaling_steps
        Evaluations of the gradient with which factors of all exponents are sought; 0: no factors.
    """
    phases, basis = waves.phases(graph.positions), network.basis
    orbitals = basis.of(graph.species)
    shape = (len(graph.species), (basis.lmax + 1) * basis.n_exponents)
    raw = waves.q.new_zeros(shape, requires_grad=scaling_steps > 0)
    weight = waves.multiplicity**0.5

    def solve(scales: torch.Tensor | None) -> tuple[torch.Tensor, int]:
        with torch.no_grad():
            places, matrix = _matrix(network, graph, waves, phases, scales)
            weighted = torch.view_as_real(matrix * weight).flatten(1)
            gram = weighted @ weighted.T
            right = weighted @ torch.view_as_real(target * weight).flatten()
            gram.diagonal().add_(_RIDGE * gram.diagonal().max())
            best = torch.linalg.solve(gram, right)
            n_components = (basis.lmax + 1) ** 2
            found = waves.q.new_zeros(len(graph.species), n_components, basis.n_exponents)
            found[places] = best
            return found, len(best)

    def density(coefficients: torch.Tensor, scales: torch.Tensor | None) -> torch.Tensor:
        return waves.density(coefficients, phases, orbitals, scales)

    def left(found: torch.Tensor) -> torch.Tensor:
        return torch.linalg.vector_norm((found - target) * weight)

    norm = torch.linalg.vector_norm(target * weight)
    best: list[Fit] = []

    def evaluate() -> torch.Tensor:
        scales = network.scales(raw) if scaling_steps else None
        coefficients, n_orbitals = solve(scales)
        found = density(coefficients, scales)
        share = left(found) / norm
        if not best or float(share.detach()) < best[0].left:
            best[:] = [Fit(found.detach(), n_orbitals, float(share.detach()))]
        return share

    if scaling_steps == 0:
        evaluate()
        return best[0]
    optimiser = torch.optim.LBFGS(
        [raw], max_iter=scaling_steps, max_eval=scaling_steps, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimiser.zero_grad()
        share = evaluate()
        share.backward()
        return share

    optimiser.step(closure)
    return best[0]


def _matrix(
    network: ScdpNetwork,
    graph: Graph,
    waves: PlaneWaves,
    phases: torch.Tensor,
    scales: torch.Tensor | None,
) -> tuple[tuple[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]:
    """Plane waves of every orbital, shape (orbitals, waves), and where each coefficient belongs."""
    rows, places = [], []
    orbitals = network.basis.of(graph.species)
    for sites, radials in orbitals.radials_of_sites(waves.q, scales):
        for degree, radial in enumerate(radials):
            angular = (-1j) ** degree * waves.harmonics[degree**2 : (degree + 1) ** 2]
            one = (angular[:, None] * radial).flatten(0, 1)
            for site in torch.arange(len(graph.species))[sites].tolist():
                rows.append(one * phases[site])
                places += [
                    (site, component, k)
                    for component in range(degree**2, (degree + 1) ** 2)
                    for k in range(len(radial))
                ]
    site, component, k = torch.tensor(places).T
    return (site, component, k), torch.cat(rows)
