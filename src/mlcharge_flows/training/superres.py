"""Training the image network: whole grids, mean absolute error relative to the superposition's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mlcharge_flows.density.fourier import regrid
from mlcharge_flows.models.superres.config import PRESETS, SuperResConfig
from mlcharge_flows.models.superres.image import Image
from mlcharge_flows.models.superres.model import regrid_neutral
from mlcharge_flows.models.superres.network import SuperResNetwork
from mlcharge_flows.models.superres.symmetry import AXIS_PERMUTATIONS
from mlcharge_flows.training.config import ConfigError
from mlcharge_flows.training.options import read_options

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import nn

    from mlcharge_flows.training.config import TrainingConfig
    from mlcharge_flows.training.record import Record
    from mlcharge_flows.training.store import Store


@dataclass(frozen=True, eq=False)
class SuperResExample:
    """A material as tensors.

    Parameters
    ----------
    image
        What the network sees.
    target
        Converged less superposed density on the grid that comes out, electrons/angstrom^3.
    change
        The same on the fine grid.
    start_error
        NMAE of the superposition, percent.
    """

    image: Image
    target: torch.Tensor
    change: np.ndarray
    start_error: float


class SuperResTask:
    """The image network and its loss.

    Parameters
    ----------
    config
        The training.
    store
        Data set with the free atoms.
    device
        Where tensors live.

    Raises
    ------
    ConfigError
        The model's options cannot be.
    """

    def __init__(self, config: TrainingConfig, store: Store, device: torch.device) -> None:
        self.model = read_options(SuperResConfig, PRESETS, config)
        self.config, self.device = config, device
        self.atoms = {symbol: paw for symbol, paw in store.paw.items() if paw.has_free_atom}
        self.network: nn.Module = SuperResNetwork(self.model).to(device)

    @property
    def options(self) -> dict[str, Any]:
        """Options of the architecture, for the card."""
        return self.model.model_dump()

    def example(self, record: Record) -> SuperResExample:
        """Turn a material into tensors, once.

        Raises
        ------
        ConfigError
            Its free atoms are not known: there is no superposition to see.
        """
        if not record.has_atoms:
            raise ConfigError(
                f"{record.id}: superres needs the free atoms of its elements; build the data set "
                "with POTCARs"
            )
        image = Image.of(record.crystal, self.atoms, self.model)
        change = record.difference().total
        target = regrid(change, image.superposition.shape[2:]).astype(np.float32)
        return SuperResExample(
            image.to(self.device),
            torch.from_numpy(target)[None, None].to(self.device),
            change.astype(np.float32),
            record.start_error,
        )

    def lessons(self, examples: Iterable[SuperResExample]) -> list[SuperResExample]:
        """Take the sizes of images and corrections from examples."""
        network, lessons = self.network, list(examples)
        assert isinstance(network, SuperResNetwork)
        seen = [float(example.image.density.square().mean()) for example in lessons]
        network.input_scale.fill_(float(np.sqrt(np.mean(seen))))
        if self.model.target == "difference":
            # What is usual between the nuclei: by the peaks at them, all else would be drowned.
            sizes = [float(example.target.abs().mean()) for example in lessons]
            network.output_scale.fill_(float(np.median(sizes)))
        return lessons

    def losses(
        self, network: nn.Module, examples: Sequence[SuperResExample]
    ) -> dict[str, torch.Tensor]:
        """Terms of the loss, relative to the superposition's error on the same grid.

        Each material is seen with its lattice vectors in an order and directions that are drawn:
        what the network cannot know of its symmetries, it has to learn.
        """
        shares = []
        for example in examples:
            drawn = AXIS_PERMUTATIONS[int(torch.randint(len(AXIS_PERMUTATIONS), ()))]
            image, target = example.image.permuted(drawn), drawn.of_grid(example.target)
            error = (network(image) - image.superposition - target).abs().sum()
            shares.append(error / target.abs().sum())
        grid = torch.stack(shares).mean()
        return {"loss": self.config.loss.grid * grid, "grid": grid}

    def finish(self, lessons: Iterable[Any]) -> None:
        """Leave the network as it is: all of it is trained."""

    def errors(self, network: nn.Module, example: SuperResExample) -> dict[str, float]:
        """Errors of one material on its full grid, as the model predicts it."""
        predicted = (network(example.image) - example.image.superposition)[0, 0].cpu().numpy()
        correction = regrid_neutral(predicted, example.change.shape)
        left = float(np.abs(correction - example.change).sum() / np.abs(example.change).sum())
        return {"nmae": left * example.start_error, "density_left": left}
