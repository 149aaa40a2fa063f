"""Training of the models of the density alone: ChargE3Net and the image network.

Both minimize the L1 norm of the error, relative to that of the superposition of the same material.
With ``target: difference`` a network learns the difference from the superposition, else the density
itself, as in the papers.

References
----------
T. Koker, K. Quigley, E. Taw, K. Tibbetts, L. Li, npj Comput. Mater. 10, 161 (2024) (ChargE3Net).
C. Li, O. Sharir, S. Yuan, G. K.-L. Chan, Nat. Commun. 16, 4811 (2025) (image network).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from typing_extensions import override

from mlcharge_flows.density.grid import regrid
from mlcharge_flows.models.charge3net.config import DIFFERENCE_SCALE, ChargE3NetConfig
from mlcharge_flows.models.charge3net.config import PRESETS as CHARGE3NET_PRESETS
from mlcharge_flows.models.charge3net.field import (
    DensityField,
    atom_neighbors,
    atomic_numbers,
    point_neighbors,
)
from mlcharge_flows.models.charge3net.model import density_from_output
from mlcharge_flows.models.charge3net.network import ChargE3Net, Edges
from mlcharge_flows.models.superres.config import PRESETS as SUPERRES_PRESETS
from mlcharge_flows.models.superres.config import SuperResConfig
from mlcharge_flows.models.superres.image import AXIS_PERMUTATIONS, Image
from mlcharge_flows.models.superres.network import SuperResNetwork, regrid_neutral
from mlcharge_flows.training.config import TrainingError, model_options
from mlcharge_flows.training.task import Task, generators

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


class ChargE3NetTask(Task[ChargE3NetSample, ChargE3NetSample]):
    """ChargE3Net, trained at random grid points.

    The loss, ``grid``, is an estimate of that of the whole grid. Errors are those on the fine grid,
    scaled to NELECT as the model predicts it. The network has no scales to initialize.
    """

    model: ChargE3NetConfig

    @override
    def _build(
        self, config: TrainingConfig, dataset: DensityDataset
    ) -> tuple[ChargE3NetConfig, ChargE3Net]:
        model = model_options(ChargE3NetConfig, CHARGE3NET_PRESETS, config)
        return model, ChargE3Net(model)

    @property
    @override
    def weights(self) -> dict[str, torch.Tensor]:
        assert isinstance(self.network, ChargE3Net)
        return self.network.learned()

    @override
    def prepare(self, sample: DensitySample) -> ChargE3NetSample:
        crystal = sample.crystal
        density, difference = sample.density().total, sample.difference().total
        superposition = None
        if self.model.target == "difference":
            superposition = (density - difference).astype(np.float32)
        return ChargE3NetSample(
            crystal,
            torch.as_tensor(atomic_numbers(crystal.symbols)),
            Edges.of(atom_neighbors(crystal, self.model.cutoff)),
            density.astype(np.float32),
            superposition,
            float(np.abs(difference).mean()),
            sample.baseline_nmae,
        )

    @override
    def fit_scales(self, samples: Iterable[ChargE3NetSample]) -> None:
        pass  # the network has none

    @override
    def training_sample(self, sample: ChargE3NetSample) -> ChargE3NetSample:
        return sample

    @override
    def losses(
        self,
        network: nn.Module,
        samples: Sequence[ChargE3NetSample],
        seeds: Sequence[int] | None = None,
    ) -> dict[str, torch.Tensor]:
        assert isinstance(network, ChargE3Net)
        n_atoms = [len(sample.crystal) for sample in samples]
        drawn = [
            torch.randint(sample.density.size, (self.config.probes,), generator=generator).numpy()
            for sample, generator in zip(samples, generators(seeds, samples), strict=True)
        ]
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

    @override
    def errors(self, network: nn.Module, sample: ChargE3NetSample) -> dict[str, float]:
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


@dataclass(frozen=True, eq=False)
class SuperResSample:
    """A sample as tensors.

    Parameters
    ----------
    image
        Input of the network.
    target
        Converged minus superposed density on the output grid, electrons/angstrom^3, shape
        (1, 1, nx, ny, nz).
    difference
        The same on the fine grid, shape (NGXF, NGYF, NGZF).
    baseline_nmae
        NMAE of the superposition, percent.
    """

    image: Image
    target: torch.Tensor
    difference: np.ndarray
    baseline_nmae: float


class SuperResTask(Task[SuperResSample, SuperResSample]):
    """The image network, trained on whole grids.

    The lattice vectors of each material are permuted and reversed at random in every step:
    symmetries that the network does not have by construction are learned from this augmentation.
    The scales of images and corrections are those of the training set. The loss, ``grid``, is
    relative to the superposition's error on the output grid, errors are those on the fine grid, as
    the model predicts it. A sample without free atoms has no superposition as input.
    """

    model: SuperResConfig

    @override
    def _build(
        self, config: TrainingConfig, dataset: DensityDataset
    ) -> tuple[SuperResConfig, SuperResNetwork]:
        self.atoms = {symbol: paw for symbol, paw in dataset.paw.items() if paw.has_free_atom}
        model = model_options(SuperResConfig, SUPERRES_PRESETS, config)
        return model, SuperResNetwork(model)

    @override
    def prepare(self, sample: DensitySample) -> SuperResSample:
        if not sample.has_free_atoms:
            raise TrainingError(
                f"{sample.id}: superres needs the free atoms of its elements; build the data set "
                "with POTCARs"
            )
        image = Image.of(sample.crystal, self.atoms, self.model)
        difference = sample.difference().total
        target = regrid(difference, image.superposition.shape[2:]).astype(np.float32)
        return SuperResSample(
            image,
            torch.from_numpy(target)[None, None],
            difference.astype(np.float32),
            sample.baseline_nmae,
        )

    @override
    def fit_scales(self, samples: Iterable[SuperResSample]) -> None:
        network = self.network
        assert isinstance(network, SuperResNetwork)
        squares, sizes = [], []
        for sample in samples:
            squares.append(float(sample.image.density.square().mean()))
            sizes.append(float(sample.target.abs().mean()))
        network.input_scale.fill_(float(np.sqrt(np.mean(squares))))
        if self.model.target == "difference":
            # The typical size between the nuclei; peaks at the nuclei would make it too large.
            network.output_scale.fill_(float(np.median(sizes)))

    @override
    def training_sample(self, sample: SuperResSample) -> SuperResSample:
        return sample

    @override
    def losses(
        self,
        network: nn.Module,
        samples: Sequence[SuperResSample],
        seeds: Sequence[int] | None = None,
    ) -> dict[str, torch.Tensor]:
        ratios = []
        for sample, generator in zip(samples, generators(seeds, samples), strict=True):
            drawn = torch.randint(len(AXIS_PERMUTATIONS), (), generator=generator)
            permutation = AXIS_PERMUTATIONS[int(drawn)]
            image, target = sample.image.permuted(permutation), permutation.of_grid(sample.target)
            error = (network(image) - image.superposition - target).abs().sum()
            ratios.append(error / target.abs().sum())
        grid = torch.stack(ratios).mean()
        return {"loss": self.config.loss.grid * grid, "grid": grid}

    @override
    def errors(self, network: nn.Module, sample: SuperResSample) -> dict[str, float]:
        predicted = (network(sample.image) - sample.image.superposition)[0, 0].cpu().numpy()
        correction = regrid_neutral(predicted, sample.difference.shape)
        error = np.abs(correction - sample.difference).sum()
        left = float(error / np.abs(sample.difference).sum())
        return {"nmae": left * sample.baseline_nmae, "density_left": left}
