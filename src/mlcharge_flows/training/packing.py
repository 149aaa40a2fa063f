"""A data set from an archive, one run in memory at a time, taken up again where it stopped.

.. code-block:: text

    OUT.parts/header.json      what was asked for
    OUT.parts/journal.jsonl    a line for each run: source, files, sample or problem
    OUT.parts/NAME.h5          the sample of a run

The parts are merged to OUT, and removed, once all runs were read.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import asdict, dataclass
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mlcharge_flows import __version__
from mlcharge_flows.errors import MlchargeError
from mlcharge_flows.io import atomic_write
from mlcharge_flows.training.archive import identity, repetition
from mlcharge_flows.training.dataset import DensityDataset, merge_datasets, write_dataset

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlcharge_flows.training.archive import Archive, ArchivedRun

_READ = ("CHGCAR", "OUTCAR", "POTCAR", "INCAR", "vasprun", "OSZICAR", "POSCAR", "task.json")


@dataclass(frozen=True)
class _Entry:
    """What became of one run: its sample in a file, or why it cannot be used."""

    source: str
    name: str
    stamp: str
    identity: str = ""
    file: str = ""
    problem: str = ""


class Packing:
    """Packs the runs of an archive; what an interrupted one has read is not read again.

    Parameters
    ----------
    archive
        The runs.
    out
        Data set to write.
    **request
        What the samples depend on beside the runs; parts of another request are dropped.

    Attributes
    ----------
    problems
        A line for each run that cannot be used, in the order of the archive.
    n_known
        Runs that an earlier, interrupted packing has read.
    """

    def __init__(self, archive: Archive, out: Path, **request: str) -> None:
        self.archive, self.out = archive, out
        self.folder = out.with_name(f"{out.name}.parts")
        self.problems: list[str] = []
        self.n_known = 0
        self._files: list[Path] = []
        self._known = self._resumed({**request, "version": __version__})

    def run(self) -> Iterator[str]:
        """Read every run that is not read yet, and write its sample.

        Yields
        ------
        str
            Source of each run, once it is read.

        Raises
        ------
        OSError
            The parts cannot be written.
        """
        seen: dict[str, str] = {}
        with (self.folder / "journal.jsonl").open("a") as journal:
            for run in self.archive.runs():
                stamp = _stamp(Path(run.source))
                entry = self._known.get((run.source, run.name))
                if entry is not None and entry.stamp == stamp:
                    self.n_known += 1
                else:
                    entry = self._read(run, stamp)
                    journal.write(json.dumps(asdict(entry)) + "\n")
                    journal.flush()
                problem = entry.problem or repetition(seen, entry.identity, run.source)
                if problem:
                    self.problems.append(problem)
                else:
                    self._files.append(self.folder / entry.file)
                yield run.source

    def write(self, *, allow_mixed: bool, left_out: list[str] | None) -> DensityDataset:
        """Merge the samples to the data set, and remove the parts.

        Parameters
        ----------
        allow_mixed
            Whether runs may differ in functional, DFT+U, charge, LMAXMIX, and in ISPIN where the
            magnetization is not known.
        left_out
            Given, samples that do not belong to those before them are left out, and a line for each
            is appended.

        Returns
        -------
        DensityDataset
            The data set.

        Raises
        ------
        DatasetError
            The samples do not belong together, or there is none; the parts stay.
        """
        dataset = merge_datasets(
            self._files, self.out, allow_mixed=allow_mixed, left_out=left_out, by_name=False
        )
        self.remove_parts()
        return dataset

    def remove_parts(self) -> None:
        """Remove what was kept for a resumption."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def _resumed(self, request: dict[str, Any]) -> dict[tuple[str, str], _Entry]:
        """Entries of an interrupted packing of the same request; an empty folder without one."""
        header = self.folder / "header.json"
        try:
            is_same = json.loads(header.read_text()) == request
            lines = (self.folder / "journal.jsonl").read_text().splitlines()
        except (OSError, ValueError):
            is_same, lines = False, []
        if not is_same:
            self.remove_parts()
            self.folder.mkdir(parents=True)
            atomic_write(header, json.dumps(request))
            return {}
        known = {}
        for line in lines:
            try:
                entry = _Entry(**json.loads(line))
            except (ValueError, TypeError):  # the line that was being written
                continue
            if entry.problem or (self.folder / entry.file).is_file():
                known[entry.source, entry.name] = entry
        kept = [json.dumps(asdict(entry)) + "\n" for entry in known.values()]
        atomic_write(self.folder / "journal.jsonl", "".join(kept))
        return known

    def _read(self, run: ArchivedRun, stamp: str) -> _Entry:
        try:
            sample = run.read()
        except MlchargeError as error:
            return _Entry(run.source, run.name, stamp, problem=str(error))
        file = f"{sha256(f'{run.source} {run.name}'.encode()).hexdigest()[:16]}.h5"
        write_dataset(self.folder / file, [sample])
        return _Entry(run.source, run.name, stamp, identity(sample), file)


def _stamp(folder: Path) -> str:
    """Hash of names, sizes and times of the files that a sample is made of."""
    if not folder.is_dir():
        return ""
    found = sorted(
        (path.name, status.st_size, status.st_mtime_ns)
        for path in folder.iterdir()
        if path.name.startswith(_READ)
        for status in [path.stat()]
    )
    return sha256(repr(found).encode()).hexdigest()[:16]
