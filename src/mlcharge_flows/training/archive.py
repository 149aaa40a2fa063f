"""An archive: folders of finished runs and data sets of packed ones, read one run at a time."""

from __future__ import annotations

import os
import re
from collections import Counter
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING

from mlcharge_flows.errors import MlchargeError
from mlcharge_flows.partial_files import is_hidden
from mlcharge_flows.training.dataset import DensityDataset
from mlcharge_flows.training.finished_run import read_finished_run
from mlcharge_flows.training.origin import Origin
from mlcharge_flows.training.public_density import TASK, read_public_density

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from mlcharge_flows.training.sample import DensitySample
    from mlcharge_flows.vasp.potcar import PotcarSearch

_OUTPUT = re.compile(
    r"(?:CHGCAR|OUTCAR)(?:\.relax\d+)?(?:\.(?:gz|bz2|xz|Z|zst|zip|7z|lz4))?"
).fullmatch
_DETAIL = re.compile(r" \(.*|[:;,] .*| as \S*/.*")


def find_runs(paths: Iterable[str | Path]) -> dict[str, Path]:
    """Find run folders, and name them by their paths.

    Parameters
    ----------
    paths
        Run folders, and folders of them to any depth; hidden ones within are left out.

    Returns
    -------
    dict of str to Path
        Folders with a CHGCAR or an OUTCAR, by the shortest end of the path that no other one has,
        its parts joined by hyphens. A given folder without one below it is kept as it is.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> with TemporaryDirectory() as root:
    ...     for run in ("Si/relax", "Si/static", "Ge/static"):
    ...         Path(root, run).mkdir(parents=True)
    ...         Path(root, run, "CHGCAR.gz").touch()
    ...     sorted(find_runs([root]))
    ['Ge-static', 'Si-static', 'relax']
    """
    folders: dict[Path, Path] = {}
    for path in map(Path, paths):
        below = sorted(
            Path(folder)
            for folder, _, files in os.walk(path)
            if any(map(_OUTPUT, files)) and not is_hidden(Path(folder), path)
        )
        folders |= {folder.resolve(): folder for folder in below or [path]}
    ends = Counter(full.parts[-n:] for full in folders for n in range(1, len(full.parts) + 1))
    named: dict[str, Path] = {}
    for full, folder in folders.items():
        for n in range(1, len(full.parts) + 1):
            name = "-".join(full.parts[-n:])
            if ends[full.parts[-n:]] == 1 and name not in named:
                break
        named[name] = folder
    return named


@dataclass(frozen=True)
class ArchivedRun:
    """A run of an archive that is not read yet.

    Parameters
    ----------
    name
        Identifier of its sample.
    source
        Folder, or data set and identifier in it.
    read
        Reads it; raises :class:`~mlcharge_flows.errors.MlchargeError` if it cannot be used.
    """

    name: str
    source: str
    read: Callable[[], DensitySample]


class Archive:
    """Finished runs in folders and data sets.

    Parameters
    ----------
    paths
        Folders of runs, to any depth, and files of packed runs.
    library
        POTCARs for runs that have none.
    protocol
        Name of the settings of runs in folders.
    split
        Split of runs in folders.

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

    def __init__(
        self,
        paths: Iterable[str | Path],
        library: PotcarSearch | None = None,
        *,
        protocol: str = "archive",
        split: str = "",
    ) -> None:
        given = [Path(path) for path in paths]
        self._datasets = [DensityDataset(path) for path in given if path.is_file()]
        self._folders = find_runs(path for path in given if not path.is_file())
        self._library, self._protocol, self._split = library, protocol, split
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
        seen: dict[str, str] = {}
        for run in self.runs():
            try:
                sample = run.read()
            except MlchargeError as error:
                self.problems.append(str(error))
                yield None
                continue
            if problem := repetition(seen, identity(sample), run.source):
                self.problems.append(problem)
                yield None
                continue
            yield sample

    def runs(self) -> Iterator[ArchivedRun]:
        """List the runs without reading them.

        Yields
        ------
        ArchivedRun
            Folders in the order of their paths, then those of data sets.
        """
        for name, folder in self._folders.items():
            origin = Origin(name, self._protocol, str(folder), self._split)
            if (folder / TASK).is_file() and not any(folder.glob("OUTCAR*")):
                yield ArchivedRun(
                    name, str(folder), partial(read_public_density, folder, origin, self._library)
                )
                continue
            read = partial(read_finished_run, folder, origin, self._library)
            yield ArchivedRun(name, str(folder), read)
        for dataset in self._datasets:
            for name in dataset.ids:
                read_sample = partial(dataset.__getitem__, name)
                yield ArchivedRun(name, f"{dataset.path}: {name}", read_sample)


def identity(sample: DensitySample) -> str:
    """Hash that is the same for runs of one crystal with the same settings and PAW data sets.

    Parameters
    ----------
    sample
        A run.

    Returns
    -------
    str
        SHA-256, hexadecimal; of rounded lattice (1e-4 angstrom) and fractional coordinates (1e-5).
    """
    crystal = sample.crystal
    digest = sha256()
    for values in (crystal.lattice.round(4), crystal.positions.round(5) % 1.0):
        digest.update((values + 0.0).tobytes())  # no negative zeros
    datasets = [(d.titel, d.fingerprint) for d in sample.paw.values()]
    facts = (crystal.symbols, sample.encut, sample.settings.model_dump_json(), datasets)
    digest.update(repr(facts).encode())
    return digest.hexdigest()


def repetition(seen: dict[str, str], key: str, source: str) -> str | None:
    """Tell whether a run repeats an earlier one, and remember it if it does not.

    Parameters
    ----------
    seen
        Source of the first run of each identity; a new one is added.
    key
        Identity of the run.
    source
        Where it is.

    Returns
    -------
    str or None
        A line that names both runs; None for the first one.

    Examples
    --------
    >>> seen = {}
    >>> repetition(seen, "Si", "a"), repetition(seen, "Si", "b")
    (None, 'b: is the same crystal as a')
    """
    if key in seen:  # also of a data set that is given twice
        return f"{source}: is the same crystal as {seen[key]}"
    seen[key] = source
    return None


def count_reasons(problems: Iterable[str]) -> Counter[str]:
    """Count the problems of runs by their reason.

    Parameters
    ----------
    problems
        A line each, which begins with a path.

    Returns
    -------
    Counter
        Reasons without paths and details.

    Examples
    --------
    >>> count_reasons(
    ...     ["a/b: there is no CHGCAR", "c: there is no CHGCAR", "d: ICHARG = 11: a band run"]
    ... ).most_common()
    [('there is no CHGCAR', 2), ('ICHARG = 11', 1)]
    """
    reasons = (problem.partition(": ")[2] or problem for problem in problems)
    return Counter(_DETAIL.sub("", reason).strip() for reason in reasons)
