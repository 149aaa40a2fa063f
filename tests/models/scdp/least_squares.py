r"""Best density of a basis by least squares over all G vectors, without a network.

The residual is a lower bound for every network with this basis. With scaling factors s of the
exponents, the best coefficients c for given factors are eliminated, and the factors follow the
gradient of the residual,

.. math:: \min_s \min_c \lVert A(s)\, c - t \rVert^2 ,

which at the best coefficients is the gradient at fixed coefficients (variable projection).

References
----------
G. H. Golub and V. Pereyra, SIAM J. Numer. Anal. 10, 413 (1973).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from mlcharge_flows.models.orbital.g_vectors import GVectors
    from mlcharge_flows.models.orbital.graph import Graph
    from mlcharge_flows.models.scdp.network import ScdpNetwork

_RIDGE = 1e-12
"""Damping of the normal equations, relative to their largest diagonal element."""


class Fit(NamedTuple):
    """Best density of a basis.

    Parameters
    ----------
    density
        Its Fourier coefficients, shape (G vectors,), electrons.
    n_orbitals
        Number of free coefficients.
    residual
        Norm of the residual relative to that of the target.
    """

    density: torch.Tensor
    n_orbitals: int
    residual: float


def least_squares(
    network: ScdpNetwork,
    graph: Graph,
    g_vectors: GVectors,
    target: torch.Tensor,
    scaling_steps: int = 0,
) -> Fit:
    """Fit a density by the orbitals of a network's basis.

    Parameters
    ----------
    network
        Provides the basis; its weights are not used. Its precision is that of the fit.
    graph
        The sites.
    g_vectors
        G vectors of the grid.
    target
        Fourier coefficients to fit, shape (G vectors,), complex, electrons.
    scaling_steps
        Evaluations of the gradient in the optimization of factors of all exponents; 0: no factors.

    Returns
    -------
    Fit
        The best density that was found.
    """
    phases, basis = g_vectors.phases(graph.positions), network.basis
    orbitals = basis.of(graph.species)
    shape = (len(graph.species), (basis.lmax + 1) * basis.n_exponents)
    raw = g_vectors.q.new_zeros(shape, requires_grad=scaling_steps > 0)
    weight = g_vectors.multiplicity**0.5

    def solve(scales: torch.Tensor | None) -> tuple[torch.Tensor, int]:
        with torch.no_grad():
            places, matrix = _matrix(network, graph, g_vectors, phases, scales)
            weighted = torch.view_as_real(matrix * weight).flatten(1)
            gram = weighted @ weighted.T
            right = weighted @ torch.view_as_real(target * weight).flatten()
            gram.diagonal().add_(_RIDGE * gram.diagonal().max())
            solution = torch.linalg.solve(gram, right)
            n_components = (basis.lmax + 1) ** 2
            found = g_vectors.q.new_zeros(len(graph.species), n_components, basis.n_exponents)
            found[places] = solution
            return found, len(solution)

    norm = torch.linalg.vector_norm(target * weight)
    best: list[Fit] = []

    def evaluate() -> torch.Tensor:
        scales = network.scales(raw) if scaling_steps else None
        coefficients, n_orbitals = solve(scales)
        density = g_vectors.density(coefficients, phases, orbitals, scales)
        residual: torch.Tensor = torch.linalg.vector_norm((density - target) * weight) / norm
        value = float(residual.detach())
        if not best or value < best[0].residual:
            best[:] = [Fit(density.detach(), n_orbitals, value)]
        return residual

    if scaling_steps == 0:
        evaluate()
        return best[0]
    optimizer = torch.optim.LBFGS(
        [raw], max_iter=scaling_steps, max_eval=scaling_steps, line_search_fn="strong_wolfe"
    )

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        residual = evaluate()
        residual.backward()
        return residual

    optimizer.step(closure)
    return best[0]


def _matrix(
    network: ScdpNetwork,
    graph: Graph,
    g_vectors: GVectors,
    phases: torch.Tensor,
    scales: torch.Tensor | None,
) -> tuple[tuple[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]:
    """Index of each coefficient, and Fourier coefficients (orbitals, G vectors) of each orbital."""
    rows, places = [], []
    orbitals = network.basis.of(graph.species)
    for sites, radials in orbitals.radial_groups(g_vectors.q, scales):
        for degree, radial in enumerate(radials):
            angular = (-1j) ** degree * g_vectors.harmonics[degree**2 : (degree + 1) ** 2]
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
