"""What a data set holds, in a few lines."""

from __future__ import annotations

from collections import Counter
from hashlib import sha256
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mlcharge_flows.training.store import Store


def summarize(store: Store) -> dict[str, str]:
    """Counts, medians, size and checksum of a store, by name.

    Parameters
    ----------
    store
        The store; all its records are read.
    """
    size = store.path.stat().st_size
    elements: Counter[str] = Counter()
    splits: Counter[str] = Counter()
    cutoffs: Counter[str] = Counter()
    rows = []
    for record in store:
        cutoffs["not known" if record.encut is None else f"{record.encut:g} eV"] += 1
        elements.update(set(record.crystal.symbols))
        splits[record.origin.split or "none"] += 1
        rows.append(
            (
                len(record.crystal),
                record.crystal.volume,
                np.prod(record.shape),
                record.n_total or np.nan,
                record.start_error,
            )
        )
    columns = np.array(rows, dtype=float).T
    atoms, volume, points, error = np.median(columns[[0, 1, 2, 4]], axis=1)
    steps = columns[3][np.isfinite(columns[3])]
    with store.path.open("rb") as file:
        digest = sha256()
        while block := file.read(1 << 20):
            digest.update(block)
    return {
        "materials": str(len(store)),
        "splits": _counts(splits),
        "protocol": store.protocol,
        "ENCUT": _counts(cutoffs),
        "elements": f"{len(elements)}: {_counts(elements)}",
        "PAW data sets": ", ".join(data.titel for data in store.paw.values()),
        "median atoms": f"{atoms:g}",
        "median volume": f"{volume:.1f} angstrom^3",
        "median grid points": f"{points:.0f}",
        "median steps from atoms": f"{np.median(steps):g}" if steps.size else "not known",
        "median start error": "atoms not known" if np.isnan(error) else f"{error:.2f} % NMAE",
        "size": f"{size / 1e6:.2f} MB, {size / len(store) / 1e3:.1f} kB per material",
        "sha256": digest.hexdigest(),
    }


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items()))
