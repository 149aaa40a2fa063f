"""Training of ChargE3Net: random grid points in every step, mean absolute error.

The loss is the L1 norm of the paper, but relative to the error of the superposition of the same
material, as for the other architectures. With ``target: difference`` the network learns the
difference from the superposition, else the density itself, as in the paper.

References
----------
T. Koker, K. Quigley, E. Taw, K. Tibbetts, L. Li, npj Comput. Mater. 10, 161 (2024).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mlcharge_flows.models.charge3net.config import DIFFERENCE_SCALE, PRESETS, ChargE3NetConfig
from mlcharge_flows.models.charge3net.field import DensityField
from mlcharge_flows.models.charge3net.graph import (
    Edges,
    atom_neighbors,
    atomic_numbers,
    point_neighbors,
)
from mlcharge_flows.models.charge3net.model import density_from_output
from mlcharge_flows.models.charge3net.network import ChargE3Net
from mlcharge_flows.training.config import model_options

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import nn

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.training.config import TrainingConfig
    from mlcharge_flows.training.dataset import DensityDataset
    from mlcharge_flows.training.sample import DensitySample


@dataclass(frozen=True, eq=False)
class ChargE3NetSample:
    """A sample with its graph, ready for probes at any points.

    Parameters
    ----------
    crystal
        The ions.
    numbers
        Atomic numbers, shape (atoms,).
    edges
        Edges into each atom.
    density
        Converged density on the fine grid, electrons/angstrom^3, shape (nx, ny, nz).
    superposition
        Superposition of atoms on the same points, if the target is the difference.
    baseline_error
        Mean absolute difference of superposition and density, electrons/angstrom^3.
    baseline_nmae
        NMAE of the superposition, percent.
    """

    crystal: Crystal
    numbers: torch.Tensor
    edges: Edges
    density: np.ndarray
    superposition: np.ndarray | None
    baseline_error: float
    baseline_nmae: float


class ChargE3NetTask:
    """ChargE3Net and its loss; see :class:`~mlcharge_flows.training.task.Task`.

    Parameters
    ----------
    config
        The training.
    dataset
        Data set.
    device
        Device of the network and of all tensors.

    Raises
    ------
    TrainingError
        The options of the model are impossible.
    """

    def __init__(
        self, config: TrainingConfig, dataset: DensityDataset, device: torch.device
    ) -> None:
        self.model = model_options(ChargE3NetConfig, PRESETS, config)
        self.config, self.device = config, device
        self.network: nn.Module = ChargE3Net(self.model).to(device)

    @property
    def options(self) -> dict[str, Any]:
        """Options of the architecture, for the card."""
        return self.model.model_dump()

    def prepare(self, sample: DensitySample) -> ChargE3NetSample:
        """Build the graph of a sample.

        Parameters
        ----------
        sample
            A converged density.

        Returns
        -------
        ChargE3NetSample
            Its tensors are on the device of the task.
        """
        crystal = sample.crystal
        density, difference = sample.density().total, sample.difference().total
        superposition = None
        if self.model.target == "difference":
            superposition = (density - difference).astype(np.float32)
        return ChargE3NetSample(
            crystal,
            torch.as_tensor(atomic_numbers(crystal.symbols), device=self.device),
            Edges.of(atom_neighbors(crystal, self.model.cutoff), device=self.device),
            density.astype(np.float32),
            superposition,
            float(np.abs(difference).mean()),
            sample.baseline_nmae,
        )

    def initialize(self, samples: Iterable[ChargE3NetSample]) -> list[ChargE3NetSample]:
        """The samples as they are: the network has no scales.

        Parameters
        ----------
        samples
            The training set.

        Returns
        -------
        list of ChargE3NetSample
            The same samples.
        """
        return list(samples)

    def losses(
        self, network: nn.Module, samples: Sequence[ChargE3NetSample]
    ) -> dict[str, torch.Tensor]:
        """Terms of the loss at random grid points, an estimate of that of the whole grid.

        Parameters
        ----------
        network
            The network, or a copy with averaged weights.
        samples
            One batch.

        Returns
        -------
        dict
            ``grid`` and ``loss``.
        """
        assert isinstance(network, ChargE3Net)
        n_atoms = [len(sample.crystal) for sample in samples]
        drawn = [torch.randint(s.density.size, (self.config.probes,)).numpy() for s in samples]
        probes = [self._probes(*one) for one in zip(samples, drawn, strict=True)]
        predicted = network(
            torch.cat([sample.numbers for sample in samples]),
            Edges.batch([sample.edges for sample in samples], n_atoms),
            Edges.batch(probes, n_atoms),
        )
        ratios = []
        for sample, points, values in zip(
            samples, drawn, predicted.split(self.config.probes), strict=True
        ):
            expected = sample.density.ravel()[points]
            if sample.superposition is not None:
                expected = expected - sample.superposition.ravel()[points]
                values = DIFFERENCE_SCALE * values
            error = values - torch.from_numpy(expected).to(self.device)
            ratios.append(error.abs().mean() / sample.baseline_error)
        grid = torch.stack(ratios).mean()
        return {"loss": self.config.loss.grid * grid, "grid": grid}

    def fit_closed_form(self, samples: Iterable[ChargE3NetSample]) -> None:
        """Nothing: all parameters are trained.

        Parameters
        ----------
        samples
            The training set.
        """

    def errors(self, network: nn.Module, sample: ChargE3NetSample) -> dict[str, float]:
        """Errors of one material on its fine grid, scaled to NELECT as the model predicts it.

        Parameters
        ----------
        network
            The network, or a copy with averaged weights.
        sample
            The material.

        Returns
        -------
        dict
            ``nmae`` in percent and ``density_left``.
        """
        assert isinstance(network, ChargE3Net)
        nx, ny, nz = sample.density.shape
        output = DensityField(network, sample.crystal).on_grid((nx, ny, nz))
        predicted = density_from_output(output, sample.superposition)
        electrons = predicted.sum()
        # An untrained network may predict no electrons; the model then refuses to predict.
        if electrons > 0:
            predicted *= sample.density.sum(dtype=float) / electrons
        left = float(np.abs(predicted - sample.density).mean() / sample.baseline_error)
        return {"nmae": left * sample.baseline_nmae, "density_left": left}

    def _probes(self, sample: ChargE3NetSample, points: np.ndarray) -> Edges:
        """Edges into grid points, given by their flat indices in C order."""
        steps = np.stack(np.unravel_index(points, sample.density.shape), axis=-1)
        cartesian = (steps / sample.density.shape) @ sample.crystal.lattice
        neighbors = point_neighbors(cartesian, sample.crystal, self.model.cutoff)
        return Edges.of(neighbors, device=self.device)
