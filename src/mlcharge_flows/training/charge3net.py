"""Training ChargE3Net: random grid points of every step, mean absolute error.

The loss is that of the paper (L1), but relative to the error of the superposition of the same
material, as for the other architectures. With ``target: difference`` the network learns what the
superposition lacks; the paper's learns the density.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from mlcharge_flows.models.charge3net.config import DIFFERENCE_SCALE, PRESETS, ChargE3NetConfig
from mlcharge_flows.models.charge3net.field import DensityField
from mlcharge_flows.models.charge3net.graph import Edges, atomic_numbers
from mlcharge_flows.models.charge3net.model import density_from_output
from mlcharge_flows.models.charge3net.neighbors import Surroundings
from mlcharge_flows.models.charge3net.network import ChargE3Net
from mlcharge_flows.training.options import read_options

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from torch import nn

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.training.config import TrainingConfig
    from mlcharge_flows.training.record import Record
    from mlcharge_flows.training.store import Store


@dataclass(frozen=True, eq=False)
class ChargE3NetExample:
    """A material, ready to be asked for the density at points.

    Parameters
    ----------
    crystal
        The ions.
    surroundings
        Finds the atoms around a point.
    numbers
        Atomic numbers.
    edges
        Edges into each atom.
    density
        Converged density on the fine grid, electrons/angstrom^3.
    start
        Superposition of atoms on the same points, if the network corrects it.
    change
        Mean over the grid of how far the superposition is from the density.
    start_error
        NMAE of the superposition, percent.
    """

    crystal: Crystal
    surroundings: Surroundings
    numbers: torch.Tensor
    edges: Edges
    density: np.ndarray
    start: np.ndarray | None
    change: float
    start_error: float


class ChargE3NetTask:
    """ChargE3Net and its loss.

    Parameters
    ----------
    config
        The training.
    store
        Data set.
    device
        Where tensors live.

    Raises
    ------
    ConfigError
        The model's options cannot be.
    """

    def __init__(self, config: TrainingConfig, store: Store, device: torch.device) -> None:
        self.model = read_options(ChargE3NetConfig, PRESETS, config)
        self.config, self.device = config, device
        self.network: nn.Module = ChargE3Net(self.model).to(device)

    @property
    def options(self) -> dict[str, Any]:
        """Options of the architecture, for the card."""
        return self.model.model_dump()

    def example(self, record: Record) -> ChargE3NetExample:
        """Find the atoms around atoms, once."""
        crystal = record.crystal
        surroundings = Surroundings(crystal, self.model.cutoff)
        density, change = record.density().total, record.difference().total
        corrects = self.model.target == "difference"
        return ChargE3NetExample(
            crystal,
            surroundings,
            torch.as_tensor(atomic_numbers(crystal.symbols), device=self.device),
            Edges.of(surroundings.of_atoms(), device=self.device),
            density.astype(np.float32),
            (density - change).astype(np.float32) if corrects else None,
            float(np.abs(change).mean()),
            record.start_error,
        )

    def lessons(self, examples: Iterable[ChargE3NetExample]) -> list[ChargE3NetExample]:
        """All of them: the published network has no scales but its weights."""
        return list(examples)

    def losses(
        self, network: nn.Module, examples: Sequence[ChargE3NetExample]
    ) -> dict[str, torch.Tensor]:
        """Terms of the loss, at grid points that are drawn: an estimate of that of all points."""
        assert isinstance(network, ChargE3Net)
        atoms = [len(example.crystal) for example in examples]
        drawn = [torch.randint(e.density.size, (self.config.probes,)).numpy() for e in examples]
        predicted = network(
            torch.cat([example.numbers for example in examples]),
            Edges.batch([example.edges for example in examples], atoms),
            Edges.batch([self._probes(*one) for one in zip(examples, drawn, strict=True)], atoms),
        )
        shares = []
        for example, points, values in zip(
            examples, drawn, predicted.split(self.config.probes), strict=True
        ):
            expected = example.density.ravel()[points]
            if example.start is not None:
                expected = expected - example.start.ravel()[points]
                values = DIFFERENCE_SCALE * values
            error = values - torch.from_numpy(expected).to(self.device)
            shares.append(error.abs().mean() / example.change)
        grid = torch.stack(shares).mean()
        return {"loss": self.config.loss.grid * grid, "grid": grid}

    def finish(self, lessons: Iterable[Any]) -> None:
        """Leave the network as it is: all of it is trained."""

    def errors(self, network: nn.Module, example: ChargE3NetExample) -> dict[str, float]:
        """Errors of one material on its full grid, scaled to NELECT as the model predicts it."""
        assert isinstance(network, ChargE3Net)
        nx, ny, nz = example.density.shape
        output = DensityField(network, example.crystal).on_grid((nx, ny, nz))
        predicted = density_from_output(output, example.start)
        electrons = predicted.sum()
        # Before any training there may be none to scale, and the model would refuse to predict.
        if electrons > 0:
            predicted *= example.density.sum(dtype=float) / electrons
        left = float(np.abs(predicted - example.density).mean() / example.change)
        return {"nmae": left * example.start_error, "density_left": left}

    def _probes(self, example: ChargE3NetExample, points: np.ndarray) -> Edges:
        """Edges into points of the fine grid, given by their places in the flattened grid."""
        steps = np.stack(np.unravel_index(points, example.density.shape), axis=-1)
        places = (steps / example.density.shape) @ example.crystal.lattice
        return Edges.of(example.surroundings.of_points(places), device=self.device)
