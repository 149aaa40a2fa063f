"""A campaign in rounds: after each, the finished runs calibrate the model for the next.

What a round does is a function of the results of the rounds before it, and is recorded before it
begins (:mod:`.round_record`). A material is run once, in one round; the calibrations that its round
may use were fitted to runs of earlier rounds only, so that no material is measured with a model
that has seen it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from mlcharge_flows.campaign.local import read_results
from mlcharge_flows.campaign.material_folder import structure_hash
from mlcharge_flows.campaign.measured_saving import Pair, paired_saving
from mlcharge_flows.campaign.round_calibration import (
    CalibrationRuns,
    calibrate_round,
    read_calibration_runs,
    runs_to_learn_from,
)
from mlcharge_flows.campaign.round_maker import RoundMaker
from mlcharge_flows.campaign.round_order import control_share, elements_of, next_rounds
from mlcharge_flows.campaign.round_record import (
    ROUNDS,
    Assignment,
    RecordError,
    RoundRecord,
    SourceRecord,
    read_records,
    write_record,
)
from mlcharge_flows.campaign.round_sources import RoundSource, choose_source
from mlcharge_flows.io import file_sha256
from mlcharge_flows.scf.comparison import REFERENCE
from mlcharge_flows.sources import InitialDensity, Learned, known_models

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from mlcharge_flows.atomate2.flows.compare import CompareDensitiesMaker
    from mlcharge_flows.campaign.rounds_spec import RoundsSpec
    from mlcharge_flows.scf.comparison import Comparison
    from mlcharge_flows.structures import Material

CALIBRATED = "+calibration"
"""Ending of the kind of a source that is calibrated by the rounds."""


@dataclass(frozen=True)
class Round:
    """A round that has begun.

    Parameters
    ----------
    record
        What was decided.
    materials
        Those of its materials that the campaign still has.
    n_rounds
        Rounds of the whole campaign, as far as they are known.
    """

    record: RoundRecord
    materials: list[Material]
    n_rounds: int


class Rounds:
    """The rounds of a campaign in its folder.

    Parameters
    ----------
    spec
        Size of the rounds, control share, and what they need.
    maker
        The run and the initial densities that the campaign begins with, in order of preference.
    materials
        What to run.
    folder
        Campaign folder; it need not exist.

    Attributes
    ----------
    records
        Of the rounds that have begun.

    Raises
    ------
    RecordError
        The record of a round cannot be used.
    """

    def __init__(
        self,
        spec: RoundsSpec,
        maker: CompareDensitiesMaker,
        materials: Sequence[Material],
        folder: Path,
    ) -> None:
        self.spec, self.base, self.folder = spec, maker, folder
        self.materials = {material.id: material for material in materials}
        self.records = read_records(folder)
        self._planned: dict[int, list[list[Material]]] = {}  # by number of rounds that have begun

    def begun_rounds(self) -> list[Round]:
        """List the rounds that have begun.

        Returns
        -------
        list of Round
            From the first on.
        """
        return [self._round(record) for record in self.records]

    def planned_rounds(self) -> list[list[Material]]:
        """Materials of the rounds that have not begun.

        Returns
        -------
        list of list of Material
            One list per round.
        """
        if (n_begun := len(self.records)) not in self._planned:
            begun = {name for record in self.records for name in record.materials}
            pending = [material for name, material in self.materials.items() if name not in begun]
            before = [self.materials[name] for name in begun if name in self.materials]
            self._planned[n_begun] = list(next_rounds(pending, self.spec, n_begun, before))
        return self._planned[n_begun]

    def run(
        self,
        tracked: Callable[[Iterable[str]], Iterable[str]] = iter,
        on_fit: Callable[[CalibrationRuns], None] = lambda made: None,
    ) -> Iterator[Round]:
        """Give each round, those that have begun before, too; run it before the next one.

        Parameters
        ----------
        tracked
            Iterates over the runs of a calibration, with a progress bar.
        on_fit
            Called for each calibration that is fitted now, also after the last round.

        Yields
        ------
        Round
            Recorded, with the sources of its materials decided.
        """
        number = 0
        while True:
            number += 1
            if number > len(self.records):
                if number > 1 and (made := self._calibrate(number - 1, tracked)) is not None:
                    on_fit(made)
                if not (planned := self.planned_rounds()):
                    return
                self._begin(number, planned[0])
            yield self._round(self.records[number - 1])

    def _calibrate(
        self, number: int, tracked: Callable[[Iterable[str]], Iterable[str]]
    ) -> CalibrationRuns | None:
        """Fit the calibration after a round to its runs and those before; None if it is there."""
        if read_calibration_runs(self.folder, number) is not None:
            return None
        results = self.results()
        finished = (
            (results[name], assignment.runs)
            for record in self.records[:number]
            for name, assignment in record.materials.items()
            if name in results
        )
        runs = runs_to_learn_from(self.folder, finished, self.spec.max_runs)
        learned = self.base.initial_densities[self.learned_word].density
        assert isinstance(learned, Learned)
        loaded = known_models().load(learned.model)
        return calibrate_round(self.folder, number, loaded, runs, tracked)

    def results(self) -> dict[str, Comparison]:
        """Results in the folder.

        Returns
        -------
        dict of str to Comparison
            By identifier of the material.
        """
        return {result.material_id: result for result in read_results(self.folder)}

    def maker(self) -> RoundMaker:
        """Maker of the flows of all materials of the rounds that have begun.

        Returns
        -------
        RoundMaker
            Materials whose source has failed for a physical reason also run from free atoms.

        Raises
        ------
        RecordError
            A source of a round is not known any more, or its calibration was changed.
        """
        densities = dict(self.base.initial_densities)
        for record in self.records:
            for arm, source in record.sources.items():
                densities[arm] = self._density(record, source)
        return RoundMaker(self.base, densities, self.assigned(self.results()))

    def assigned(self, results: Mapping[str, Comparison]) -> dict[str, tuple[str, ...]]:
        """Arms of each material of the rounds that have begun.

        Parameters
        ----------
        results
            Of :meth:`results`.

        Returns
        -------
        dict of str to tuple of str
            With the reference where the source has failed for a physical reason.
        """
        found = {}
        for record in self.records:
            for name, assignment in record.materials.items():
                runs = tuple(assignment.runs)
                needs_default = name in results and _is_left_without(results[name], runs)
                found[name] = (REFERENCE, *runs) if needs_default else runs
        return found

    def without_result(self, this: Round) -> list[Material]:
        """Materials of a round whose source has failed, and which run from free atoms instead.

        Parameters
        ----------
        this
            The round.

        Returns
        -------
        list of Material
            Not those that failed by the fault of the machine.
        """
        results, given = self.results(), this.record.materials
        return [
            material
            for material in this.materials
            if material.id in results
            and REFERENCE not in results[material.id].arms
            and _is_left_without(results[material.id], given[material.id].runs)
        ]

    @property
    def learned_word(self) -> str:
        """Word of the initial density whose model the rounds calibrate."""
        return learned_word(self.base.initial_densities)

    def _round(self, record: RoundRecord) -> Round:
        present = [self.materials[name] for name in record.materials if name in self.materials]
        return Round(record, present, len(self.records) + len(self.planned_rounds()))

    def _begin(self, number: int, materials: Sequence[Material]) -> None:
        """Decide and record what the materials of a round run."""
        sources = self._sources(number)
        pairs = self._pairs()
        usable = [
            RoundSource(
                arm,
                source.kind,
                self._density(None, source),
                pairs.get(source.kind, ()),
                self.spec.min_runs if source.calibration else 0,
                self.spec.measured_only,
            )
            for arm, source in sources.items()
        ]
        # The calibration may have seen a structure under another name.
        seen = {a.structure for record in self.records for a in record.materials.values()}
        hashes = {material.id: structure_hash(material.structure) for material in materials}
        fresh = [name for name, structure in hashes.items() if structure not in seen]
        control = control_share(fresh, self.spec, number)
        assigned = {}
        for material in materials:
            arm, reason = choose_source(material, usable, self.base.generator, self.spec.confidence)
            runs = [arm]
            if material.id in control:
                tried = [s.arm for s in usable if s.refusal(material) is None][:1]
                runs = list(dict.fromkeys([REFERENCE, arm, *tried]))
            assigned[material.id] = Assignment(
                structure=hashes[material.id],
                elements=sorted(elements_of(material)),
                arm=arm,
                reason=reason,
                runs=runs,
                control=material.id in control,
            )
        record = RoundRecord(
            number=number, seed=self.spec.seed, sources=sources, materials=assigned
        )
        write_record(self.folder, record)
        self.records.append(record)

    def _sources(self, number: int) -> dict[str, SourceRecord]:
        """Sources of a round, the newest calibration first."""
        found = {}
        for earlier in range(number - 1, 0, -1):
            made = read_calibration_runs(self.folder, earlier)
            if made is not None and made.sha256 is not None:
                word = self.learned_word
                found[f"{word}{CALIBRATED}-{earlier}"] = SourceRecord(
                    word=word,
                    kind=f"{word}{CALIBRATED}",
                    calibration=made.file,
                    sha256=made.sha256,
                )
                break
        words = self.base.initial_densities
        return found | {word: SourceRecord(word=word, kind=word) for word in words}

    def _density(self, record: RoundRecord | None, source: SourceRecord) -> InitialDensity:
        """Initial density of a source of a round."""
        density = self.base.initial_densities.get(source.word)
        if density is None:
            number = record.number if record else len(self.records) + 1
            raise RecordError(
                f"{self.folder / ROUNDS}: round {number} uses {source.word}, which the arms of the "
                "SPEC.yaml lack; name it there, or choose another --out"
            )
        if source.calibration is None:
            return density
        path = self.folder / ROUNDS / source.calibration
        try:
            now = file_sha256(path)
        except OSError as error:
            raise RecordError(f"{path}: cannot be read ({error.strerror or error})") from None
        if now != source.sha256:
            raise RecordError(f"{path}: was changed since it was fitted; restore it")
        return _without_calibration(density).calibrated(path)

    def _pairs(self) -> Mapping[str, list[Pair]]:
        """Control pairs of all rounds, by kind of source."""
        results, found = self.results(), dict[str, list[Pair]]()
        for record in self.records:
            for name, assignment in record.materials.items():
                if not assignment.control or name not in results:
                    continue
                for arm in assignment.runs:
                    saving = None if arm == REFERENCE else paired_saving(results[name], arm)
                    if saving is not None:
                        pair = Pair(frozenset(assignment.elements), saving)
                        found.setdefault(record.sources[arm].kind, []).append(pair)
        return found


def learned_word(densities: Mapping[str, InitialDensity]) -> str:
    """Word of the initial density whose model rounds calibrate.

    Parameters
    ----------
    densities
        By their words, in order of preference.

    Returns
    -------
    str
        The first learned density without a calibration in its word; empty if there is none.
    """
    return next(
        (
            word
            for word, density in densities.items()
            if isinstance(density.density, Learned) and f"{CALIBRATED}@" not in word
        ),
        "",
    )


def _without_calibration(density: InitialDensity) -> InitialDensity:
    """Initial density without the calibration that the SPEC.yaml gave to all models."""
    first, second = (
        replace(source, calibration="") if isinstance(source, Learned) else source
        for source in (density.density, density.augmentation)
    )
    return replace(density, density=first, augmentation=second)


def _is_left_without(result: Comparison, arms: Sequence[str]) -> bool:
    """Whether no source of a material counts, none of them by the fault of the machine."""
    runs = [result.arms.get(arm) for arm in arms]
    return REFERENCE not in arms and all(
        run is not None and run.exclusion_reason is not None and not run.failed_by_machine
        for run in runs
    )
