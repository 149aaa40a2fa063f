"""Training the orbital model: examples, loss and errors, all in plane waves."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from mlcharge_flows.models.orbital.config import OrbitalConfig
from mlcharge_flows.models.orbital.form_factors import FormFactorFit
from mlcharge_flows.models.orbital.g_vectors import GVectors
from mlcharge_flows.models.orbital.graph import Graph
from mlcharge_flows.models.orbital.interaction import Interaction
from mlcharge_flows.models.orbital.network import OrbitalNetwork
from mlcharge_flows.training.config import LossConfig
from mlcharge_flows.training.options import read_options

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlcharge_flows.models.orbital.config import SiteConfig
    from mlcharge_flows.training.config import TrainingConfig
    from mlcharge_flows.training.record import Record
    from mlcharge_flows.training.store import Store

TERMS = tuple(LossConfig.model_fields)
"""Of the loss: a model of orbitals knows all of them."""
SHELLS = (2.5, 5.0, 8.0, 12.0)
"""Lengths of waves (1/angstrom) between the shells of the loss."""
_FAINT = 1e-6
"""Share of the square sum below which a shell has no say."""
_FLOOR = 1e-3
"""A start that is better than this share of the occupancies is not worth improving."""


@dataclass(frozen=True, eq=False)
class OrbitalLesson:
    """What the loss looks at of a material.

    Parameters
    ----------
    graph
        Its sites.
    waves, phases
        Plane waves and structure factors.
    gridded
        Those of them that the error on the grid looks at: all, or with a thinned loss the ones up
        to the last shell, on a coarser grid. They come first.
    target
        Converged less superposed density in plane waves, electrons, shape (waves,).
    weight
        Of each wave in the loss.
    norm
        Weighted square sum of the target, of all waves.
    size
        Mean absolute value of the same density on the grid, electrons/angstrom^3.
    """

    graph: Graph
    waves: GVectors
    phases: torch.Tensor
    gridded: GVectors
    target: torch.Tensor
    weight: torch.Tensor
    norm: torch.Tensor
    size: torch.Tensor


@dataclass(frozen=True, eq=False)
class OrbitalExample(OrbitalLesson):
    """A material as tensors, with all that its errors need.

    Parameters
    ----------
    graph, waves, phases, gridded, target, weight, norm, size
        See :class:`OrbitalLesson`; all waves.
    change
        Converged less superposed density on the full grid, electrons/angstrom^3.
    start_error
        NMAE of the superposition, percent.
    occupancies
        Converged less atomic occupancies of all ions, one after the other.
    occupancies_size
        Sum of the absolute converged occupancies.
    """

    change: torch.Tensor
    start_error: float
    occupancies: torch.Tensor
    occupancies_size: float


class OrbitalTask:
    """The orbital network and its loss.

    Parameters
    ----------
    config
        The training.
    store
        Data set; its PAW data sets name elements and channels.
    device
        Where tensors live.

    Raises
    ------
    ConfigError
        The model's options cannot be.
    """

    def __init__(self, config: TrainingConfig, store: Store, device: torch.device) -> None:
        elements = sorted(store.paw)
        channels = {symbol: list(store.paw[symbol].channels) for symbol in elements}
        self.model, network = self._made(config, elements, channels)
        self.config, self.device = config, device
        network.embedding.set_atoms({s: d for s, d in store.paw.items() if d.has_free_atom})
        self.network: nn.Module = network.to(device)

    @staticmethod
    def _made(
        config: TrainingConfig, elements: list[str], channels: dict[str, list[int]]
    ) -> tuple[SiteConfig, OrbitalNetwork]:
        """Options of the architecture and its network."""
        model = read_options(OrbitalConfig, {}, config, TERMS, elements=elements, channels=channels)
        return model, OrbitalNetwork(model)

    @property
    def options(self) -> dict[str, Any]:
        """Options of the architecture, for the card."""
        return self.model.model_dump()

    def example(self, record: Record) -> OrbitalExample:
        """Turn a material into tensors, once."""
        network = self._network(self.network)
        graph = network.graph(record.crystal)
        waves = GVectors.of(record.crystal, record.shape, network.config.g_max, network.basis.lmax)
        difference = record.difference()
        spectrum = torch.from_numpy(record.waves().ravel() * record.crystal.volume)
        target = spectrum[waves.index].to(torch.complex64)
        weight = waves.multiplicity * (1 + (self.config.loss.coulomb / waves.q) ** 2)
        records = difference.augmentation or ()
        converged = record.density().augmentation or ()
        change = torch.from_numpy(difference.total.astype(np.float32))
        there = waves.to(self.device)
        return OrbitalExample(
            graph.to(self.device),
            there,
            waves.phases(graph.positions).to(self.device),
            there,
            target.to(self.device),
            weight.to(self.device),
            (weight * target.abs() ** 2).sum().to(self.device),
            change.abs().mean().to(self.device),
            change.to(self.device),
            record.start_error,
            torch.from_numpy(np.concatenate(records).astype(np.float32)).to(self.device),
            float(sum(np.abs(values).sum() for values in converged)),
        )

    def lessons(self, examples: Iterable[OrbitalExample]) -> list[OrbitalLesson]:
        """Take the number of neighbors and the response of the occupancies from examples.

        What a lesson does not need is forgotten: a thinned one takes a fifth of the memory.
        """
        network = self._network(self.network)
        lessons, pairs, sites = [], 0.0, 0
        known: dict[int, list[tuple[torch.Tensor, torch.Tensor]]] = {}
        for example in examples:
            pairs += example.graph.n_neighbors
            sites += len(example.graph.species)
            n_ions = example.graph.n_ions[0]
            species = example.graph.species[:n_ions].tolist()
            seen = network.augmentation.projections(
                example.target, example.waves, example.phases[:n_ions]
            )
            lengths = [network.augmentation.n_occupancies(index) for index in species]
            parts = example.occupancies.split(lengths)
            for index, *pair in zip(species, seen, parts, strict=True):
                known.setdefault(index, []).append(tuple(pair))
            lessons.append(thinned(example, self.config.loss.thinning))
        for module in network.modules():
            if isinstance(module, Interaction):
                module.mean_neighbors.fill_(pairs / sites)
        for index, pairs_of in known.items():
            seen, changes = map(torch.stack, zip(*pairs_of, strict=True))
            network.augmentation.fit(index, seen, changes)
        return lessons

    def losses(
        self, network: nn.Module, examples: Sequence[OrbitalLesson]
    ) -> dict[str, torch.Tensor]:
        """Terms of the loss, each relative to the superposition's error."""
        network = self._network(network)
        predictions = network(Graph.batch([example.graph for example in examples]))
        waves, shells, grid = [], [], []
        for example, prediction in zip(examples, predictions, strict=True):
            density = network.density(prediction, example.waves, example.phases)
            difference = density - example.target
            squares = difference.real**2 + difference.imag**2
            waves.append(torch.sqrt((example.weight * squares).sum() / example.norm + 1e-8))
            if self.config.loss.shells:
                shells.append(_shell_errors(squares, example))
            if self.config.loss.grid:
                error = example.gridded.to_grid(difference[: len(example.gridded.q)]).abs().mean()
                grid.append(error / example.size)
        terms = {"waves": torch.stack(waves).mean()}
        if shells:
            terms["shells"] = torch.stack(shells).mean()
        if grid:
            terms["grid"] = torch.stack(grid).mean()
        weights = self.config.loss
        loss = sum((getattr(weights, name) * term for name, term in terms.items()), torch.zeros(()))
        return {"loss": loss, **terms}

    @torch.no_grad()
    def finish(self, lessons: Iterable[OrbitalLesson]) -> None:
        """Fit the form factors to what the trained network leaves, if it has any."""
        network = self._network(self.network)
        if network.form_factors is None:
            return
        fit = FormFactorFit(network.form_factors)
        for lesson in lessons:
            prediction, waves, phases = network(lesson.graph)[0], lesson.waves, lesson.phases
            left = lesson.target - network.density(prediction, waves, phases)
            fit.add(prediction.ions, waves, phases[: prediction.n_ions], left)
        fit.solve()

    def errors(self, network: nn.Module, example: OrbitalExample) -> dict[str, float]:
        """Errors of one material on its full grid."""
        network = self._network(network)
        prediction, waves, phases = network(example.graph)[0], example.waves, example.phases
        density = network.density(prediction, waves, phases)
        records = network.occupancy_changes(density, prediction.ions, waves, phases)
        predicted = waves.to_grid(density)
        left = float((predicted - example.change).abs().sum() / example.change.abs().sum())
        return {
            "nmae": left * example.start_error,
            "density_left": left,
            "occupancies_left": float(_occupancies_left(example, records)),
        }

    @staticmethod
    def _network(network: nn.Module) -> OrbitalNetwork:
        assert isinstance(network, OrbitalNetwork)
        return network


def thinned(example: OrbitalLesson, thinning: int) -> OrbitalLesson:
    """Leave out most waves beyond the last shell; those that stay stand for them all.

    There are many and their amplitudes vary little from one to the next: they take most of the
    time of a step and of the memory, and hold little of what can be learned.

    Parameters
    ----------
    example
        With all waves, sorted by their length; those up to the last shell all stay.
    thinning
        One in so many stays, from a first one that is drawn.
    """
    n_waves = len(example.waves.q)
    n_long = int(torch.searchsorted(example.waves.q, SHELLS[-1], right=True))
    first = n_long + int(torch.randint(thinning, ()))
    drawn = torch.arange(min(first, n_waves), n_waves, thinning)
    chosen = torch.cat([torch.arange(n_long), drawn]).to(example.target.device)
    stands_for = example.weight.new_ones(len(chosen))
    stands_for[n_long:] = (n_waves - n_long) / max(len(drawn), 1)
    waves = example.waves.select(chosen)
    waves = replace(waves, multiplicity=waves.multiplicity * stands_for)
    return OrbitalLesson(
        example.graph,
        waves,
        example.phases[:, chosen],
        waves if thinning == 1 else waves.up_to(SHELLS[-1]),
        example.target[chosen],
        example.weight[chosen] * stands_for,
        example.norm,
        example.size,
    )


def _shell_errors(squares: torch.Tensor, example: OrbitalLesson) -> torch.Tensor:
    """Mean over the shells of the error, given its squares, relative to the superposition's."""
    weight = example.waves.multiplicity
    shell = torch.bucketize(example.waves.q, torch.tensor(SHELLS, device=weight.device))
    sums = weight.new_zeros(len(SHELLS) + 1)
    error = sums.index_add(0, shell, weight * squares)
    size = sums.index_add(0, shell, weight * example.target.abs() ** 2)
    there = size > _FAINT * size.sum()
    return torch.sqrt(error[there] / size[there] + 1e-8).mean()


def _occupancies_left(example: OrbitalExample, records: Sequence[torch.Tensor]) -> torch.Tensor:
    """Share of the free atoms' error of the occupancies that is left."""
    difference = torch.cat(list(records)) - example.occupancies
    start = example.occupancies.abs().sum() + _FLOOR * example.occupancies_size
    return difference.abs().sum() / start
