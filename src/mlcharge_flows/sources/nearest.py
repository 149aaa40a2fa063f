"""The nearest of the finished runs that there are when a run begins, else a prediction."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NamedTuple

from atomate2.utils.path import strip_hostname
from typing_extensions import override

from mlcharge_flows.errors import one_line
from mlcharge_flows.models.registry import DEFAULT
from mlcharge_flows.partial_files import is_hidden
from mlcharge_flows.scf.run_files import read_ions
from mlcharge_flows.sources.anchored import Anchored
from mlcharge_flows.sources.carried import Carried
from mlcharge_flows.sources.crystal_match import CrystalMatch, MatchError
from mlcharge_flows.sources.fallback import Fallback
from mlcharge_flows.sources.initial_chgcar import is_initial_chgcar
from mlcharge_flows.sources.learned import Learned
from mlcharge_flows.sources.source import Evaluated, Source, Superposition

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.sources.run_inputs import RunInputs

_CHGCAR = re.compile(r"CHGCAR(?:\.relax\d+)?(?:\.(?:gz|bz2|xz))?").fullmatch
_BOND = 2.5
"""Length in angstrom by which a strain becomes a displacement, for comparison."""
_TRIED = 3
"""Runs that are tried in turn, the nearest first: one may have failed or have other data sets."""
_EQUAL = 1e-4
"""Difference of distances, in angstrom, that decides nothing: the rounding of coordinates. One ion
of a thousand that is displaced by 0.01 angstrom, as for phonons, makes three times as much."""


class _Neighbor(NamedTuple):
    """A finished run of almost the same crystal."""

    distance: float
    folder: str
    is_previous: bool


@dataclass(frozen=True)
class Nearest(Source):
    """The density of the nearest finished run, moved to the run; else a prediction; else atoms.

    The previous run of the flow and the given ones are compared with the crystal of the run. The
    nearest is anchored by the model; where that refuses a crystal, it is carried over without.
    Without any run that corresponds, the density is learned, or else the superposition of atoms.

    Parameters
    ----------
    runs
        Folders of finished runs, or folders of them to any depth, absolute. They are looked at when
        the run begins.
    model
        Name of a model, or path of its checkpoint; None for no model.
    calibration
        Path of a calibration of the model; empty without one.

    Examples
    --------
    >>> str(Nearest(("/archive",)))
    'nearest@/archive'
    """

    runs: tuple[str, ...] = ()
    model: str | None = DEFAULT
    calibration: str = ""
    word: ClassVar[str] = "nearest"

    def __post_init__(self) -> None:
        object.__setattr__(self, "runs", tuple(self.runs))  # JSON knows lists only

    @property
    def argument(self) -> str:
        """Folders of finished runs, with colons between."""
        return ":".join(map(str, self.runs))

    @property
    def augmentation_word(self) -> str:
        """The word, without the folders."""
        return self.word

    @property
    def uses_model(self) -> bool:
        """Whether a model is named."""
        return self.model is not None

    @property
    def model_name(self) -> str | None:
        """Name on the card of the model; None without one, or if it is lost."""
        return self._chain().model_name

    @property
    def checkpoint(self) -> str | None:
        """SHA-256 of the checkpoint, and of the calibration; None without one."""
        return self._chain().checkpoint

    @override
    def calibrated(self, calibration: str) -> Nearest:
        if self.calibration or self.model is None:
            return self
        return replace(self, calibration=calibration)

    @override
    def load_model(self) -> None:
        self._chain().load_model()

    @override
    def check(self, augmentation: bool = False) -> None:
        self._chain().check(augmentation)

    @override
    def known_datasets(self, elements: frozenset[str]) -> Mapping[str, PawDataset] | None:
        return self._chain().known_datasets(elements)

    def _chain(self, neighbors: tuple[_Neighbor, ...] = ()) -> Fallback:
        """Sources of a run with these neighbors, in the order in which they are tried."""
        sources: list[Source] = []
        for neighbor in neighbors:
            if self.model is not None:
                sources.append(Anchored(neighbor.folder, self.model, self.calibration))
            sources.append(Carried(neighbor.folder))
        if self.model is not None:
            sources.append(Learned(self.model, self.calibration))
        return Fallback((*sources, Superposition()))

    def evaluate(self, inputs: RunInputs, given: Evaluated | None = None) -> Evaluated:
        """Take the nearest finished run, or what there is without one.

        Parameters
        ----------
        inputs
            Inputs of the run, with the folder of the previous run.
        given
            Density that augmentation occupancies are wanted for.

        Returns
        -------
        Evaluated
            Of the source that was taken, which is named; the warnings tell why.

        Raises
        ------
        SourceError
            Not even atoms can be superposed.
        """
        reasons: list[str] = []
        neighbors = self._neighbors(inputs, reasons)
        found = self._chain(tuple(neighbors[:_TRIED])).evaluate(inputs, given)
        taken = [n for n in neighbors if n.folder == found.reference_run]
        if taken:
            what = "the previous run" if taken[0].is_previous else taken[0].folder
            reasons = [f"from {what}, the nearest of {len(neighbors)} finished runs"]
        return replace(found, warnings=(*reasons, *found.warnings))

    def _neighbors(self, inputs: RunInputs, reasons: list[str]) -> list[_Neighbor]:
        """Finished runs whose crystals correspond to that of a run, the nearest first."""
        previous = None if inputs.reference_run is None else str(inputs.reference_run)
        given = dict.fromkeys(strip_hostname(run) for run in self.runs)
        paths = [path for path in (previous, *given) if path is not None]
        found: dict[str, _Neighbor] = {}
        for path in paths:
            chgcars = list(_chgcars(Path(path)))
            if not chgcars:
                reasons.append(f"{path}: holds no CHGCAR")
            for chgcar in chgcars:
                folder = str(chgcar.parent)
                if folder in found or is_initial_chgcar(chgcar):
                    continue  # of a run that has not ended, or left no density
                try:
                    distance = _distance(read_ions(chgcar), inputs.crystal)
                except (MatchError, ValueError, OSError) as error:
                    if folder == path:  # of an archive, most are of other crystals
                        reasons.append(f"{folder}: {one_line(error)}")
                    continue
                found[folder] = _Neighbor(distance, folder, path == previous)
        return sorted(
            found.values(), key=lambda n: (round(n.distance / _EQUAL), not n.is_previous, n.folder)
        )


def _chgcars(path: Path) -> Iterator[Path]:
    """CHGCAR of each run in a folder, or in folders within it but hidden ones."""
    seen = set()
    for chgcar in sorted(path.rglob("CHGCAR*"), reverse=True):  # .relax2 before .relax1
        is_first = _CHGCAR(chgcar.name) and chgcar.parent not in seen
        if is_first and not is_hidden(chgcar.parent, path):
            seen.add(chgcar.parent)
            yield chgcar


def _distance(reference: Crystal, crystal: Crystal) -> float:
    """How far a crystal is from another one, in angstrom."""
    match = CrystalMatch.of(reference, crystal)
    return match.rms + _BOND * match.strain
