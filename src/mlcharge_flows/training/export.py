"""From a finished training to a checkpoint with its card."""

from __future__ import annotations

from collections import Counter
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from mlcharge_flows import __version__
from mlcharge_flows.models.card import Card, DataCard
from mlcharge_flows.models.checkpoint import Checkpoint, checksum
from mlcharge_flows.models.range import TrainingRange
from mlcharge_flows.training.hold_out import RECALLED

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import torch
    from torch import nn

    from mlcharge_flows.models.card import TrainingCard
    from mlcharge_flows.training.config import TrainingConfig
    from mlcharge_flows.training.record import Record
    from mlcharge_flows.training.store import Store
    from mlcharge_flows.training.task import Task


@runtime_checkable
class Learned(Protocol):
    """A network that tells its weights from the constants of the libraries that it is built of."""

    def learned(self) -> Mapping[str, torch.Tensor]:
        """All that training determines, by name."""
        ...


def checkpoint_of(
    task: Task,
    config: TrainingConfig,
    store: Store,
    records: Sequence[Record],
    n_validation: int,
    errors: Mapping[str, float],
    training: TrainingCard,
) -> Checkpoint:
    """Put the weights of a trained network together with all that a user must know of them.

    Parameters
    ----------
    task
        With the trained network.
    config
        Of the training.
    store
        The data set.
    records
        The materials that were trained on; they set the range of the model.
    n_validation
        Materials held out.
    errors
        On those, see :func:`mlcharge_flows.training.loop.validate`.
    training
        What it took.
    """
    examples = Counter(symbol for record in records for symbol in set(record.crystal.symbols))
    cutoffs = [record.encut for record in records if record.encut is not None]
    paw = {symbol: store.paw[symbol] for symbol in sorted(examples)}
    atoms = {symbol: dataset for symbol, dataset in paw.items() if dataset.has_free_atom}
    titles = [dataset.titel for dataset in paw.values()]
    card = Card(
        name=config.name,
        architecture=config.architecture,
        config=dict(task.options),
        description=config.description,
        data=DataCard(
            name=config.data_name or config.data.stem,
            train=len(records),
            recalled=sum(record.origin.split == RECALLED for record in records),
            validation=n_validation,
            sha256=checksum(store.path),
            protocol=store.protocol,
            encut=(min(cutoffs), max(cutoffs)) if cutoffs else None,
            examples=dict(sorted(examples.items())),
        ),
        paw_family=_family(titles),
        paw=paw,
        range=TrainingRange.of(
            [record.crystal for record in records], [record.shape for record in records]
        ),
        occupancies="own" if "occupancies_left" in errors else "none",
        errors={
            "nmae_median": round(errors["nmae"], 4),
            "nmae_mean": round(errors["nmae_mean"], 4),
            **{
                f"{part}_removed": round(1 - errors[f"{part}_left"], 4)
                for part in ("density", "occupancies")
                if f"{part}_left" in errors
            },
        },
        training=training,
        licence=config.licence,
        created=datetime.now(UTC).date(),
        version=__version__,
    )
    return Checkpoint(card, atoms, _weights(task.network))


def _weights(network: nn.Module) -> Mapping[str, torch.Tensor]:
    """What was learned: a network may say that the rest of its state are constants."""
    if isinstance(network, Learned):
        return network.learned()
    return network.state_dict()


def _family(titles: Sequence[str]) -> str:
    """What the titles have in common at their start and their end: functional and library."""
    words = [title.split() for title in titles]
    first = sorted({title[0] for title in words})
    last = sorted({title[-1] for title in words if len(title) > 2})
    return " ".join([*first, *(last if len(last) == 1 else [])])
