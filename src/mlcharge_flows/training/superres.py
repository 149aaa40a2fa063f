"""Training of the image network: whole grids, mean absolute error relative to the superposition's.

References
----------
C. Li, O. Sharir, S. Yuan, G. K.-L. Chan, Nat. Commun. 16, 4811 (2025).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mlcharge_flows.density.grid import regrid
from mlcharge_flows.models.superres.config import PRESETS, SuperResConfig
from mlcharge_flows.models.superres.image import Image
from mlcharge_flows.models.superres.model import regrid_neutral
from mlcharge_flows.models.superres.network import SuperResNetwork
from mlcharge_flows.models.superres.symmetry import AXIS_PERMUTATIONS
from mlcharge_flows.training.config import TrainingError, model_options

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import nn

    from mlcharge_flows.training.config import TrainingConfig
    from mlcharge_flows.training.dataset import DensityDataset
    from mlcharge_flows.training.sample import DensitySample


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


class SuperResTask:
    """The image network and its loss; see :class:`~mlcharge_flows.training.task.Task`.

    Parameters
    ----------
    config
        The training.
    dataset
        Data set with the free atoms.
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
        self.model = model_options(SuperResConfig, PRESETS, config)
        self.config, self.device = config, device
        self.atoms = {symbol: paw for symbol, paw in dataset.paw.items() if paw.has_free_atom}
        self.network: nn.Module = SuperResNetwork(self.model).to(device)

    @property
    def options(self) -> dict[str, Any]:
        """Options of the architecture, for the card."""
        return self.model.model_dump()

    def prepare(self, sample: DensitySample) -> SuperResSample:
        """Convert a sample to tensors.

        Parameters
        ----------
        sample
            A converged density.

        Returns
        -------
        SuperResSample
            On the device of the task.

        Raises
        ------
        TrainingError
            The free atoms are not known, so there is no superposition as input.
        """
        if not sample.has_free_atoms:
            raise TrainingError(
                f"{sample.id}: superres needs the free atoms of its elements; build the data set "
                "with POTCARs"
            )
        image = Image.of(sample.crystal, self.atoms, self.model)
        difference = sample.difference().total
        target = regrid(difference, image.superposition.shape[2:]).astype(np.float32)
        return SuperResSample(
            image.to(self.device),
            torch.from_numpy(target)[None, None].to(self.device),
            difference.astype(np.float32),
            sample.baseline_nmae,
        )

    def initialize(self, samples: Iterable[SuperResSample]) -> list[SuperResSample]:
        """Take the scales of images and corrections from the training set.

        Parameters
        ----------
        samples
            The training set.

        Returns
        -------
        list of SuperResSample
            The same samples.
        """
        network, samples = self.network, list(samples)
        assert isinstance(network, SuperResNetwork)
        squares = [float(sample.image.density.square().mean()) for sample in samples]
        network.input_scale.fill_(float(np.sqrt(np.mean(squares))))
        if self.model.target == "difference":
            # The typical size between the nuclei; peaks at the nuclei would make it too large.
            sizes = [float(sample.target.abs().mean()) for sample in samples]
            network.output_scale.fill_(float(np.median(sizes)))
        return samples

    def losses(
        self, network: nn.Module, samples: Sequence[SuperResSample]
    ) -> dict[str, torch.Tensor]:
        """Terms of the loss, relative to the superposition's error on the same grid.

        The lattice vectors of each material are permuted and reversed at random: symmetries that
        the network does not have by construction are learned from this augmentation.

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
        ratios = []
        for sample in samples:
            permutation = AXIS_PERMUTATIONS[int(torch.randint(len(AXIS_PERMUTATIONS), ()))]
            image, target = sample.image.permuted(permutation), permutation.of_grid(sample.target)
            error = (network(image) - image.superposition - target).abs().sum()
            ratios.append(error / target.abs().sum())
        grid = torch.stack(ratios).mean()
        return {"loss": self.config.loss.grid * grid, "grid": grid}

    def fit_closed_form(self, samples: Iterable[SuperResSample]) -> None:
        """Nothing: all parameters are trained.

        Parameters
        ----------
        samples
            The training set.
        """

    def errors(self, network: nn.Module, sample: SuperResSample) -> dict[str, float]:
        """Errors of one material on its fine grid, as the model predicts it.

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
        predicted = (network(sample.image) - sample.image.superposition)[0, 0].cpu().numpy()
        correction = regrid_neutral(predicted, sample.difference.shape)
        error = np.abs(correction - sample.difference).sum()
        left = float(error / np.abs(sample.difference).sum())
        return {"nmae": left * sample.baseline_nmae, "density_left": left}
