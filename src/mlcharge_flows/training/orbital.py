"""Training of the orbital model and of SCDP: samples, loss and errors in G-vector coefficients."""

from __future__ import annotations

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
from mlcharge_flows.training.orbital_error import fit_estimate
from mlcharge_flows.training.orbital_sample import (
    MAX_DIRECT_SITES,
    OrbitalSample,
    OrbitalTrainingSample,
    occupancies_left,
    shell_error,
    thinned,
)
from mlcharge_flows.training.orbital_spin import (
    ERRORS,
    MOMENTS_WEIGHT,
    ClosedFormFit,
    spin_errors,
    spin_terms,
    with_signs,
)
from mlcharge_flows.training.spin_sample import SpinSample
from mlcharge_flows.training.task import FittedEstimate, Task

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import nn

    from mlcharge_flows.models.orbital.config import SiteConfig
    from mlcharge_flows.models.orbital.expansion import Expansion
    from mlcharge_flows.training.config import TrainingConfig
    from mlcharge_flows.training.dataset import DensityDataset
    from mlcharge_flows.training.sample import DensitySample
    from mlcharge_flows.training.spin_sample import SpinTarget


LOSS_TERMS = tuple(LossConfig.model_fields)
"""Terms of the loss of an expansion in orbitals: all."""


class OrbitalTask(Task[OrbitalSample, OrbitalTrainingSample]):
    """The orbital network; elements and channels are those of the data set.

    The mean number of neighbors and the augmentation response, in closed form, come from the
    training set before the first step, the form factors, if the network has any, from the residual
    of the trained network. The terms of the loss are ``coefficients``, and ``shells`` and ``grid``
    if their weights are not zero. Samples are thinned as the loss says: a thinning of 8 takes a
    fifth of the memory. With spin, the terms ``magnetization`` and ``moments`` follow.
    """

    model: SiteConfig

    @property
    @override
    def optional_errors(self) -> tuple[str, ...]:
        return ERRORS

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
        has_spin = network.spin is not None and sample.packed_magnetization is not None
        many = len(graph.positions) > MAX_DIRECT_SITES and self.device.type == "cpu"
        many &= not has_spin
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
            spin=SpinSample.of(sample, g_vectors, weight) if has_spin else None,
        )

    @override
    def fit_scales(self, samples: Iterable[OrbitalSample]) -> None:
        network = self._network(self.network)
        n_edges, n_sites, n_spin = 0.0, 0, 0
        lengths = [n_occupancies(self.model.channels[symbol]) for symbol in self.model.elements]
        known: dict[int, list[tuple[torch.Tensor, torch.Tensor]]] = {}
        spin = network.spin
        closed = None if spin is None else ClosedFormFit(spin, self.model.channels)
        for sample in samples:
            n_edges += sample.graph.n_neighbors
            n_sites += len(sample.graph.species)
            n_ions = sample.graph.n_ions[0]
            species = sample.graph.species[:n_ions].tolist()
            n_spin += sample.spin is not None
            if closed is not None:
                ions, phases = sample.graph.species[:n_ions], sample.phases[:n_ions]
                closed.add(sample.spin, ions, sample.g_vectors, phases)
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
        if closed is not None:
            if not n_spin:
                raise TrainingError(
                    f"model: spin is true, and no training material of {self.config.data} has a "
                    "known magnetization; add runs of 'mlcharge dataset build --spin', or leave "
                    "spin out"
                )
            closed.solve()

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
        # Materials without moments need one pass of the network, the others two.
        graphs = [with_signs(sample.graph, sample.spin, network) for sample in samples]
        plain = [i for i, graph in enumerate(graphs) if graph.spins is None]
        spin = [i for i, graph in enumerate(graphs) if graph.spins is not None]
        expansions: dict[int, Expansion] = {}
        for group in filter(None, (plain, spin)):
            found = network(Graph.batch([graphs[i] for i in group]))
            expansions.update(zip(group, found, strict=True))
        with torch.autocast(self.device.type, enabled=False):
            return self._terms(network, samples, [expansions[i] for i in range(len(samples))])

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
                shells.append(shell_error(squares, sample))
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
        if network.spin is not None:
            own = self._spin_terms(network, samples, expansions)
            loss = loss + weights.spin * (own["magnetization"] + MOMENTS_WEIGHT * own["moments"])
            terms |= own
        return {"loss": loss, **terms}

    def _spin_terms(
        self,
        network: OrbitalNetwork,
        samples: Sequence[OrbitalTrainingSample],
        expansions: Sequence[Expansion],
    ) -> dict[str, torch.Tensor]:
        """Terms of the magnetizations, with the weights of the terms of the density."""
        chosen = [
            (sample, sample.spin, expansion)
            for sample, expansion in zip(samples, expansions, strict=True)
            if sample.spin is not None and expansion.spin is not None
        ]
        weights = self.config.loss

        def error_of(
            error: torch.Tensor, total: torch.Tensor, target: SpinTarget, place: int
        ) -> torch.Tensor:
            sample = chosen[place][0]
            squares = error.real**2 + error.imag**2
            relative = torch.sqrt((sample.weight * squares).sum() / target.norm + 1e-8)
            found = weights.coefficients * relative
            if weights.shells:
                found = found + weights.shells * shell_error(squares, sample, target)
            if weights.grid:
                on_grid = sample.grid_vectors.to_grid(error[: len(sample.grid_vectors.q)])
                on_grid = on_grid + total / sample.g_vectors.volume
                found = found + weights.grid * on_grid.abs().mean() / target.size
            return found

        parts = [(e, target, sample.g_vectors, sample.phases) for sample, target, e in chosen]
        return spin_terms(network, parts, error_of, len(samples))

    @torch.no_grad()
    @override
    def fit_closed_form(self, samples: Iterable[OrbitalTrainingSample]) -> None:
        network = self._network(self.network)
        if network.form_factors is None:
            return
        fit = FormFactorFit(network.form_factors)
        for sample in samples:
            graph = with_signs(sample.graph, sample.spin, network)
            expansion, g_vectors, phases = network(graph)[0], sample.g_vectors, sample.phases
            residual = sample.target - network.density(expansion, g_vectors, phases)
            fit.add(expansion.ions, g_vectors, phases[: expansion.n_ions], residual)
        fit.solve()

    @torch.no_grad()
    @override
    def error_estimate(
        self, training: Iterable[OrbitalTrainingSample], validation: Iterable[OrbitalSample]
    ) -> FittedEstimate | None:
        network = self._network(self.network).eval()
        return fit_estimate(
            network, training, ((sample, self.errors(network, sample)) for sample in validation)
        )

    @override
    def errors(self, network: nn.Module, sample: OrbitalSample) -> dict[str, float]:
        network = self._network(network)
        graph = with_signs(sample.graph, sample.spin, network)
        expansion, g_vectors, phases = network(graph)[0], sample.g_vectors, sample.phases
        density = network.density(expansion, g_vectors, phases)
        changes = network.occupancy_changes(density, expansion.ions, g_vectors, phases)
        error = (g_vectors.to_grid(density) - sample.difference).abs().sum()
        left = float(error / sample.difference.abs().sum())
        own = {}
        if network.spin is not None:
            own = spin_errors(network, expansion, sample.spin, g_vectors, phases)
        return {
            "nmae": left * sample.baseline_nmae,
            "density_left": left,
            "occupancies_left": float(occupancies_left(sample, changes)),
            **own,
        }

    @staticmethod
    def _network(network: nn.Module) -> OrbitalNetwork:
        assert isinstance(network, OrbitalNetwork)
        return network


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
