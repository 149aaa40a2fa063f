"""An archive: folders of finished runs and data sets of packed ones, read one run at a time."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlcharge_flows.errors import MlchargeError
from mlcharge_flows.training.dataset import DensityDataset
from mlcharge_flows.training.finished_run import find_runs, read_finished_run
from mlcharge_flows.training.origin import Origin

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mlcharge_flows.training.sample import DensitySample


class Archive:
    """Finished runs in folders and data sets.

    Parameters
    ----------
    paths
        Folders of runs, to any depth, and files of packed runs.

    Attributes
    ----------
    problems
        A line for each run that cannot be read, or is of the same crystal and settings as another
        one; complete when all runs were read.

    Raises
    ------
    DatasetError
        A file is no data set.
    """

    def __init__(self, paths: Iterable[str | Path]) -> None:
        given = [Path(path) for path in paths]
        self._datasets = [DensityDataset(path) for path in given if not path.is_dir()]
        self._folders = find_runs(path for path in given if path.is_dir())
        self.problems: list[str] = []

    def __len__(self) -> int:
        return len(self._folders) + sum(len(dataset) for dataset in self._datasets)

    def __iter__(self) -> Iterator[DensitySample | None]:
        """Read the runs.

        Yields
        ------
        DensitySample or None
            None where a run cannot be used.
        """
        seen: set[object] = set()
        for source, read in self._readers():
            try:
                sample = read()
            except MlchargeError as error:
                self.problems.append(str(error))
                yield None
                continue
            if (identity := _identity(sample)) in seen:
                self.problems.append(f"{source}: the same crystal with the same settings again")
                yield None
                continue
            seen.add(identity)
            yield sample

    def _readers(self) -> Iterator[tuple[str, Callable[[], DensitySample]]]:
        for name, folder in self._folders.items():
            origin = Origin(name, "archive", str(folder))
            read = partial(read_finished_run, folder, origin, with_magnetization=True)
            yield str(folder), read
        for dataset in self._datasets:
            for name in dataset.ids:
                yield f"{dataset.path}: {name}", partial(dataset.__getitem__, name)


def _identity(sample: DensitySample) -> object:
    """Equal for runs of one crystal with the same settings and PAW data sets."""
    crystal = sample.crystal
    cell = (*crystal.lattice.ravel(), *(crystal.positions % 1.0).ravel())
    datasets = tuple(dataset.fingerprint for dataset in sample.paw.values())
    settings = sample.settings.model_dump_json()
    return crystal.symbols, np.round(cell, 3).tobytes(), sample.encut, settings, datasets
