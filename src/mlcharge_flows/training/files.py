"""Files of a training: the initial weights, the final checkpoint, the log and learning curves."""

from __future__ import annotations

import csv
from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from mlcharge_flows import __version__
from mlcharge_flows.io import file_sha256
from mlcharge_flows.models.card import Card, DataCard
from mlcharge_flows.models.checkpoint import Checkpoint, read_checkpoint
from mlcharge_flows.models.domain import GeometryBounds
from mlcharge_flows.models.model import ModelError
from mlcharge_flows.models.orbital.coupling import Coupling
from mlcharge_flows.training.config import TrainingError
from mlcharge_flows.training.element_rows import rows_by_element
from mlcharge_flows.training.header import read_headers
from mlcharge_flows.training.origin import PSEUDO_LABELED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from torch import nn

    from mlcharge_flows.models.card import TrainingCard
    from mlcharge_flows.training.config import TrainingConfig
    from mlcharge_flows.training.dataset import DensityDataset
    from mlcharge_flows.training.task import FittedEstimate, Task

RESPONSE = "augmentation."
"""Prefix of the weights of the augmentation response, which is fitted, not trained."""
_SPIN, _TRAINED_SPIN = "spin.", ("spin.sign.", "spin.readout", "spin.size.")
"""Prefixes of the weights of magnetizations, and of those that are trained."""


def load_initial_weights(
    network: nn.Module, config: TrainingConfig, dataset: DensityDataset | None = None
) -> list[str]:
    """Load the weights of the checkpoint that a training finetunes, if it names one.

    Parts that the checkpoint does not have, such as scaling factors, keep their initial weights; an
    additional interaction layer, or an additional coupling in an old one, is zero-initialized. The
    response of the augmentation occupancies is kept, too: it is no trained weight but fitted to
    the training set at hand. Elements, PAW data sets and cutoff may be others than those of the
    checkpoint, see :mod:`mlcharge_flows.training.element_rows`. Everything else must fit.

    Parameters
    ----------
    network
        Changed in place.
    config
        The training; ``finetune_from`` names the checkpoint.
    dataset
        Data set of the training; by default one of the checkpoint's PAW data sets and cutoff.

    Returns
    -------
    list of str
        A line for each thing that does not come from the checkpoint.

    Raises
    ------
    TrainingError
        The file is no checkpoint, or of another network.
    """
    if config.finetune_from is None:
        return []
    try:
        checkpoint = read_checkpoint(config.finetune_from)
    except ModelError as error:
        raise TrainingError(f"finetune_from: {error}") from None
    card = checkpoint.card
    if card.architecture != config.architecture:
        raise TrainingError(
            f"finetune_from: {config.finetune_from} is of architecture {card.architecture}"
        )
    own = network.state_dict()
    taken = {name: w for name, w in checkpoint.weights.items() if not _is_fitted(name)}
    notes: list[str] = []
    elements = getattr(getattr(network, "config", None), "elements", None)
    if elements is not None and (known := card.config.get("elements")):
        same = set(card.paw) if dataset is None else _same_data(card, dataset)
        taken, notes = rows_by_element(taken, own, known, elements, same)
    for name, weight in taken.items():
        if name not in own or own[name].shape != weight.shape:
            raise TrainingError(
                f"finetune_from: {config.finetune_from} is another network ({name}); both stages "
                "need the same options of the model, except those that the second adds"
            )
    network.load_state_dict({**own, **taken})
    for name, module in network.named_modules():
        if isinstance(module, Coupling) and not any(key.startswith(f"{name}.") for key in taken):
            module.zero_init()
    return notes


def _is_fitted(name: str) -> bool:
    """Whether a weight is fitted to the training set before the first step."""
    is_spin = name.startswith(_SPIN) and not name.startswith(_TRAINED_SPIN)
    return is_spin or name.startswith(RESPONSE)


def _same_data(card: Card, dataset: DensityDataset) -> set[str]:
    """Elements whose PAW data set and cutoff are those of an earlier training."""
    headers = read_headers(dataset, dataset.ids)
    cutoffs = {header.encut for header in headers if header.encut is not None}
    if cutoffs and card.data.encut not in (None, (min(cutoffs), max(cutoffs))):
        return set()
    return {
        symbol
        for symbol, known in card.paw.items()
        if symbol in dataset.paw
        and known.titel == dataset.paw[symbol].titel
        and dataset.paw[symbol].has_fingerprint(known.fingerprint)
    }


def checkpoint_of(
    task: Task[Any, Any],
    config: TrainingConfig,
    dataset: DensityDataset,
    names: Sequence[str],
    n_validation: int,
    errors: Mapping[str, float],
    training: TrainingCard,
    estimate: FittedEstimate | None = None,
) -> Checkpoint:
    """Make the checkpoint of a trained network, card included.

    Parameters
    ----------
    task
        Architecture, with the trained network.
    config
        The training.
    dataset
        Its data set.
    names
        Identifiers of the training set; it determines the range of the model.
    n_validation
        Size of the validation set.
    errors
        On the validation set, see :func:`mlcharge_flows.training.loop.validate`.
    training
        Epochs, time and device.
    estimate
        Fit of the expected error, if there is one.

    Returns
    -------
    Checkpoint
        Ready to be written.
    """
    materials: Counter[str] = Counter()
    cutoffs: set[float] = set()
    n_pseudo_labeled, shapes = 0, []
    for header in read_headers(dataset, names):
        materials.update(set(header.crystal.symbols))
        cutoffs.update(() if header.encut is None else (header.encut,))
        n_pseudo_labeled += header.split == PSEUDO_LABELED
        shapes.append(header.shape)
    paw = {symbol: dataset.paw[symbol] for symbol in sorted(materials)}
    if not config.free_atoms:
        paw = {symbol: known.without_free_atom() for symbol, known in paw.items()}
    card = Card(
        name=config.name,
        architecture=config.architecture,
        config=dict(task.options),
        description=config.description,
        data=DataCard(
            name=config.data_name or config.data.stem,
            train=len(names),
            pseudo_labeled=n_pseudo_labeled,
            validation=n_validation,
            sha256=file_sha256(dataset.path),
            protocol=dataset.protocol,
            encut=(min(cutoffs), max(cutoffs)) if cutoffs else None,
            per_element=dict(sorted(materials.items())),
        ),
        paw_family=_family([paw_dataset.titel for paw_dataset in paw.values()]),
        paw=paw,
        geometry=GeometryBounds.of(
            (header.crystal for header in read_headers(dataset, names)), shapes
        ),
        occupancies="own" if "occupancies_left" in errors else "none",
        errors={
            "nmae_median": round(errors["nmae"], 4),
            "nmae_mean": round(errors["nmae_mean"], 4),
            **{
                f"{part}_removed": round(1 - errors[f"{part}_left"], 4)
                for part in ("density", "occupancies", "magnetization", "spin_occupancies")
                if f"{part}_left" in errors
            },
        },
        expected_error=None if estimate is None else estimate.reliability.card,
        training=training,
        license=config.license,
        created=datetime.now(UTC).date(),
        version=__version__,
    )
    return Checkpoint(card, task.weights, {} if estimate is None else estimate.tensors)


def write_log(path: Path, rows: Sequence[dict[str, float]]) -> None:
    """Write the log of a training as CSV, one line per epoch.

    Parameters
    ----------
    path
        The file.
    rows
        One per epoch; a column is empty for epochs without validation.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    names = list(dict.fromkeys(name for row in rows for name in row))
    with path.open("w", newline="") as file:
        table = csv.DictWriter(file, names)
        table.writeheader()
        table.writerows({k: f"{v:.6g}" for k, v in row.items()} for row in rows)


def draw_curves(path: Path, rows: Sequence[dict[str, float]]) -> None:
    """Draw the learning curves: the fraction of the superposition's error that remains.

    Parameters
    ----------
    path
        File of the figure.
    rows
        One per epoch.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4.0), layout="constrained")
    axes = figure.subplots()
    for name, label, style in (
        ("grid", "density, training", "C0--"),
        ("coefficients", "G-vector coefficients, training", "C2--"),
        ("density_left", "density, validation", "C0-"),
        ("occupancies_left", "occupancies, validation", "C1-"),
        ("magnetization_left", "magnetization, validation", "C3-"),
        ("spin_occupancies_left", "its occupancies, validation", "C4-"),
    ):
        points = [(row["epoch"], 100 * row[name]) for row in rows if name in row]
        if points:
            axes.plot(*zip(*points, strict=True), style, label=label)
    axes.set(xlabel="epoch", ylabel="superposition's error left (%)", yscale="log")
    axes.grid(visible=True, which="both", alpha=0.3)
    axes.legend()
    figure.savefig(path, dpi=130)


def _family(titles: Sequence[str]) -> str:
    """First and last words that the TITELs share: functional and library."""
    words = [title.split() for title in titles]
    first = sorted({title[0] for title in words})
    last = sorted({title[-1] for title in words if len(title) > 2})
    return " ".join([*first, *(last if len(last) == 1 else [])])
