"""Contents of a data set in a few lines."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from mlcharge_flows.io import file_sha256

if TYPE_CHECKING:
    from mlcharge_flows.training.dataset import DensityDataset


def summarize(dataset: DensityDataset) -> dict[str, str]:
    """Counts, medians, size and checksum of a data set.

    Parameters
    ----------
    dataset
        All its samples are read.

    Returns
    -------
    dict
        Text by name of the quantity.
    """
    size = dataset.path.stat().st_size
    elements: Counter[str] = Counter()
    splits: Counter[str] = Counter()
    cutoffs: Counter[str] = Counter()
    settings: Counter[str] = Counter()
    rows = []
    for sample in dataset:
        cutoffs["not known" if sample.encut is None else f"{sample.encut:g} eV"] += 1
        settings[sample.settings.summary] += 1
        elements.update(set(sample.crystal.symbols))
        splits[sample.origin.split or "none"] += 1
        rows.append(
            (
                len(sample.crystal),
                sample.crystal.volume,
                np.prod(sample.shape),
                sample.n_total or np.nan,
                sample.baseline_nmae,
            )
        )
    columns = np.array(rows, dtype=float).T
    atoms, volume, points, error = np.median(columns[[0, 1, 2, 4]], axis=1)
    steps = columns[3][np.isfinite(columns[3])]
    return {
        "materials": str(len(dataset)),
        "splits": _counts(splits),
        "protocol": dataset.protocol,
        "settings": _counts(settings),
        "ENCUT": _counts(cutoffs),
        "elements": f"{len(elements)}: {_counts(elements)}",
        "PAW data sets": ", ".join(paw_dataset.titel for paw_dataset in dataset.paw.values()),
        "median atoms": f"{atoms:g}",
        "median volume": f"{volume:.1f} angstrom^3",
        "median grid points": f"{points:.0f}",
        "median steps from atoms": f"{np.median(steps):g}" if steps.size else "not known",
        "median baseline": "atoms not known" if np.isnan(error) else f"{error:.2f} % NMAE",
        "size": f"{size / 1e6:.2f} MB, {size / len(dataset) / 1e3:.1f} kB per material",
        "sha256": file_sha256(dataset.path),
    }


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items()))
