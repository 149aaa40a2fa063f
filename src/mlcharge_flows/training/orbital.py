"""Training of the orbital model and of SCDP: samples, loss and errors in G-vector coefficients."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from typing_extensions import override

from mlcharge_flows.density.augmentation import n_occupancies
from mlcharge_flows.models.model import ModelError
from mlcharge_flows.models.orbital.boxed_vectors import BoxedGVectors
from mlcharge_flows.models.orbital.config import OrbitalConfig
from mlcharge_flows.models.orbital.elements import FormFactorFit
from mlcharge_flows.models.orbital.g_vectors import GVectors
from mlcharge_flows.models.orbital.graph import Graph
from mlcharge_flows.models.orbital.interaction import Interaction
from mlcharge_flows.models.orbital.network import OrbitalNetwork
from mlcharge_flows.models.scdp.config import PRESETS, ScdpConfig
from mlcharge_flows.models.scdp.network import ScdpNetwork
from mlcharge_flows.training.config import LossConfig, TrainingError, model_options
from mlcharge_flows.training.task import Task

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import nn

    from mlcharge_flows.models.orbital.config import SiteConfig
    from mlcharge_flows.models.orbital.g_vectors import Expansion
    from mlcharge_flows.training.config import TrainingConfig
    from mlcharge_flows.training.dataset import DensityDataset
    from mlcharge_flows.training.sample import DensitySample


LOSS_TERMS = tuple(LossConfig.model_fields)
"""Terms of the loss of an expansion in orbitals: all."""
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
    """

    graph: Graph
    g_vectors: GVectors
    phases: torch.Tensor
    grid_vectors: GVectors
    target: torch.Tensor
    weight: torch.Tensor
    norm: torch.Tensor
    baseline_error: torch.Tensor


@dataclass(frozen=True, eq=False)
class OrbitalSample(OrbitalTrainingSample):
    """A sample as tensors, with all G vectors and the quantities that its errors need.

    Parameters
    ----------
    graph, g_vectors, phases, grid_vectors, target, weight, norm, baseline_error
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


class OrbitalTask(Task[OrbitalSample, OrbitalTrainingSample]):
    """The orbital network; elements and channels are those of the data set.

    The mean number of neighbors and the augmentation response, in closed form, come from the
    training set before the first step, the form factors, if the network has any, from the residual
    of the trained network. The terms of the loss are ``coefficients``, and ``shells`` and ``grid``
    if their weights are not zero. Samples are thinned as the loss says: a thinning of 8 takes a
    fifth of the memory.
    """

    model: SiteConfig

    @override
    def _build(
        self, config: TrainingConfig, dataset: DensityDataset
    ) -> tuple[SiteConfig, OrbitalNetwork]:
        elements = sorted(dataset.paw)
        channels = {symbol: list(dataset.paw[symbol].channels) for symbol in elements}
        network = self._untrained(config, elements=elements, channels=channels)
        network.embedding.set_atoms({s: p for s, p in dataset.paw.items() if p.has_free_atom})
        return network.config, network

    def _untrained(self, config: TrainingConfig, **from_data: Any) -> OrbitalNetwork:
        return OrbitalNetwork(model_options(OrbitalConfig, {}, config, LOSS_TERMS, **from_data))

    @override
    def prepare(self, sample: DensitySample) -> OrbitalSample:
        network = self._network(self.network)
        crystal = sample.crystal
        graph = network.graph(crystal)
        many = len(graph.positions) > MAX_DIRECT_SITES and self.device.type == "cpu"
        kind = BoxedGVectors if many and network.takes_transforms else GVectors
        g_vectors = kind.of(crystal, sample.shape, network.config.g_max, network.basis.lmax)
        spectrum = torch.from_numpy(sample.coefficients().ravel() * crystal.volume)
        target = spectrum[g_vectors.index].to(torch.complex64)
        weight = g_vectors.multiplicity * (1 + (self.config.loss.coulomb / g_vectors.q) ** 2)
        packed = sample.difference()
        augmentation = np.concatenate(packed.augmentation or ()).astype(np.float32)
        converged = sample.density().augmentation or ()
        difference = torch.from_numpy(packed.total.astype(np.float32))
        return OrbitalSample(
            graph,
            g_vectors,
            g_vectors.phases(graph.positions),
            g_vectors,
            target,
            weight,
            (weight * target.abs() ** 2).sum(),
            difference.abs().mean(),
            difference,
            sample.baseline_nmae,
            torch.from_numpy(augmentation),
            float(sum(np.abs(values).sum() for values in converged)),
        )

    @override
    def fit_scales(self, samples: Iterable[OrbitalSample]) -> None:
        network = self._network(self.network)
        n_edges, n_sites = 0.0, 0
        lengths = [n_occupancies(self.model.channels[symbol]) for symbol in self.model.elements]
        known: dict[int, list[tuple[torch.Tensor, torch.Tensor]]] = {}
        for sample in samples:
            n_edges += sample.graph.n_neighbors
            n_sites += len(sample.graph.species)
            n_ions = sample.graph.n_ions[0]
            species = sample.graph.species[:n_ions].tolist()
            projections = network.augmentation.projections(
                sample.target, sample.g_vectors, sample.phases[:n_ions]
            )
            changes = torch.split(sample.augmentation, [lengths[index] for index in species])
            for index, projection, change in zip(species, projections, changes, strict=True):
                known.setdefault(index, []).append((projection, change))
        for module in network.modules():
            if isinstance(module, Interaction):
                module.mean_neighbors.fill_(n_edges / n_sites)
        for index, pairs in known.items():
            stacked = [torch.stack(tensors) for tensors in zip(*pairs, strict=True)]
            network.augmentation.fit(index, *stacked)

    @override
    def training_sample(self, sample: OrbitalSample) -> OrbitalTrainingSample:
        return thinned(sample, self.config.loss.thinning)

    @override
    def losses(
        self,
        network: nn.Module,
        samples: Sequence[OrbitalTrainingSample],
        seeds: Sequence[int] | None = None,
    ) -> dict[str, torch.Tensor]:
        network = self._network(network)
        expansions = network(Graph.batch([sample.graph for sample in samples]))
        with torch.autocast(self.device.type, enabled=False):
            return self._terms(network, samples, expansions)

    def _terms(
        self,
        network: OrbitalNetwork,
        samples: Sequence[OrbitalTrainingSample],
        expansions: Sequence[Expansion],
    ) -> dict[str, torch.Tensor]:
        """Terms of the loss, in full precision, of predicted expansions."""
        coefficients, shells, grid = [], [], []
        for sample, expansion in zip(samples, expansions, strict=True):
            density = network.density(expansion, sample.g_vectors, sample.phases)
            error = density - sample.target
            squares = error.real**2 + error.imag**2
            relative = (sample.weight * squares).sum() / sample.norm
            coefficients.append(torch.sqrt(relative + 1e-8))
            if self.config.loss.shells:
                shells.append(_shell_error(squares, sample))
            if self.config.loss.grid:
                on_grid = sample.grid_vectors.to_grid(error[: len(sample.grid_vectors.q)])
                grid.append(on_grid.abs().mean() / sample.baseline_error)
        terms = {"coefficients": torch.stack(coefficients).mean()}
        if shells:
            terms["shells"] = torch.stack(shells).mean()
        if grid:
            terms["grid"] = torch.stack(grid).mean()
        weights = self.config.loss
        loss = sum((getattr(weights, name) * term for name, term in terms.items()), torch.zeros(()))
        return {"loss": loss, **terms}

    @torch.no_grad()
    @override
    def fit_closed_form(self, samples: Iterable[OrbitalTrainingSample]) -> None:
        network = self._network(self.network)
        if network.form_factors is None:
            return
        fit = FormFactorFit(network.form_factors)
        for sample in samples:
            expansion, g_vectors, phases = network(sample.graph)[0], sample.g_vectors, sample.phases
            residual = sample.target - network.density(expansion, g_vectors, phases)
            fit.add(expansion.ions, g_vectors, phases[: expansion.n_ions], residual)
        fit.solve()

    @override
    def errors(self, network: nn.Module, sample: OrbitalSample) -> dict[str, float]:
        network = self._network(network)
        expansion, g_vectors, phases = network(sample.graph)[0], sample.g_vectors, sample.phases
        density = network.density(expansion, g_vectors, phases)
        changes = network.occupancy_changes(density, expansion.ions, g_vectors, phases)
        error = (g_vectors.to_grid(density) - sample.difference).abs().sum()
        left = float(error / sample.difference.abs().sum())
        return {
            "nmae": left * sample.baseline_nmae,
            "density_left": left,
            "occupancies_left": float(_occupancies_left(sample, changes)),
        }

    @staticmethod
    def _network(network: nn.Module) -> OrbitalNetwork:
        assert isinstance(network, OrbitalNetwork)
        return network


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
    )


def _shell_error(squares: torch.Tensor, sample: OrbitalTrainingSample) -> torch.Tensor:
    """Mean over |G| shells of the relative error, given the squared errors of the coefficients."""
    weight = sample.g_vectors.multiplicity
    shell = torch.bucketize(sample.g_vectors.q, torch.tensor(SHELL_BOUNDS, device=weight.device))
    sums = weight.new_zeros(len(SHELL_BOUNDS) + 1)
    error = sums.index_add(0, shell, weight * squares)
    size = sums.index_add(0, shell, weight * sample.target.abs() ** 2)
    present = size > _MIN_SHELL_WEIGHT * size.sum()
    return torch.sqrt(error[present] / size[present] + 1e-8).mean()


def _occupancies_left(sample: OrbitalSample, changes: Sequence[torch.Tensor]) -> torch.Tensor:
    """Fraction of the free atoms' error of the augmentation occupancies that remains."""
    error = (torch.cat(list(changes)) - sample.augmentation).abs().sum()
    baseline = sample.augmentation.abs().sum() + _MIN_OCCUPANCY_ERROR * sample.augmentation_size
    return error / baseline


class ScdpTask(OrbitalTask):
    """SCDP, with the loss of the orbital model.

    A sample whose cell holds no single molecule needs a periodic model.
    """

    @override
    def _untrained(self, config: TrainingConfig, **from_data: Any) -> ScdpNetwork:
        return ScdpNetwork(model_options(ScdpConfig, PRESETS, config, LOSS_TERMS, **from_data))

    @override
    def prepare(self, sample: DensitySample) -> OrbitalSample:
        try:
            return super().prepare(sample)
        except ModelError as error:
            raise TrainingError(
                f"{sample.id}: {error}; crystals take `periodic: true` under model"
            ) from None
