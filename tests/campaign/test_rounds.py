"""Campaigns in rounds, with stand-ins for runs and fits: what is decided, recorded and resumed."""

import json
import re

import pytest
import typer
from pymatgen.core import Lattice, Structure
from rich.console import Console

pytest.importorskip("torch", reason="needs the models extra")
pytest.importorskip("h5py", reason="needs the train extra")

from round_stand_ins import DEFAULT, calibration, crystals, fit, one_by_one, run_material

from mlcharge_flows.atomate2.flows.compare import CompareDensitiesMaker
from mlcharge_flows.campaign import local, round_calibration, rounds
from mlcharge_flows.campaign.request import CampaignRequest
from mlcharge_flows.campaign.round_maker import RoundMaker
from mlcharge_flows.campaign.round_record import ROUNDS, RecordError, record_path
from mlcharge_flows.campaign.round_sources import RoundSource
from mlcharge_flows.campaign.round_summary import summarize_rounds
from mlcharge_flows.campaign.rounds import Rounds
from mlcharge_flows.campaign.rounds_spec import RoundsSpec
from mlcharge_flows.cli.rounds import run_rounds
from mlcharge_flows.cli.runs import Prepared
from mlcharge_flows.models.calibration import write_calibration
from mlcharge_flows.scf.comparison import REFERENCE
from mlcharge_flows.sources import InitialDensity, Learned, parse_arms
from mlcharge_flows.structures import Material


@pytest.fixture
def maker(trained, monkeypatch):
    """Comparison of a learned density; runs and fits are stand-ins, gates are open."""
    monkeypatch.setattr(local, "run_material", run_material)
    monkeypatch.setattr(local, "run_in_workers", one_by_one)
    monkeypatch.setattr(rounds, "calibrate_round", fit())
    monkeypatch.setattr(RoundSource, "_domain_gate", lambda *_: None)
    return CompareDensitiesMaker(initial_densities=parse_arms(["learned"], trained()))


def start(maker, materials, folder, **keys):
    return Rounds(RoundsSpec(**keys), maker, materials, folder)


def run_all(maker, materials, folder, **keys):
    """Run a campaign to its end; its rounds."""
    found = start(maker, materials, folder, **keys)
    run_rounds(Console(quiet=True), Prepared(maker, materials, 1), found)
    return found


def used(record, metal):
    return {a.arm for a in record.materials.values() if metal in a.elements}


def test_a_source_is_dropped_for_the_element_that_it_harms_and_kept_for_the_other(
    tmp_path, maker, monkeypatch
):
    monkeypatch.setattr(rounds, "calibrate_round", round_calibration.calibrate_round)
    found = run_all(maker, crystals(32), tmp_path, number=2, control=0.5)
    first, second = found.records
    assert used(first, "Li") == used(first, "Mg") == {"learned"}
    assert used(second, "Li") == {REFERENCE}
    assert used(second, "Mg") == {"learned"}
    reason = next(a.reason for a in second.materials.values() if "Li" in a.elements)
    assert reason.startswith("not learned: measured saving -")
    summaries = summarize_rounds(found)
    assert summaries[0].saving < summaries[1].saving == pytest.approx(0.15, abs=0.08)
    assert summaries[1].used.keys() == {"learned", REFERENCE}
    assert summaries[0].control_steps == DEFAULT * summaries[0].n_control


def test_a_campaign_is_never_slower_than_the_default_by_more_than_its_control(tmp_path, maker):
    """Where the sources harm all, only control runs them."""
    found = run_all(
        maker, crystals(15, metals=("Li",)), tmp_path, number=3, control=0.4, measured_only=True
    )
    results = found.results()
    for record in found.records:
        for name, assignment in record.materials.items():
            steps = {arm: run.n_total for arm, run in results[name].arms.items()}
            assert assignment.arm == REFERENCE
            assert assignment.control or sum(steps.values()) == DEFAULT
        assert sum(a.control for a in record.materials.values()) == 2
    assert all(one.saving == 0 for one in summarize_rounds(found))


def test_errors_of_left_out_runs_hold_until_a_saving_is_measured(tmp_path, maker):
    found = run_all(maker, crystals(15, metals=("Li",)), tmp_path, number=3, control=0.4)
    arms = [used(record, "Li") for record in found.records]
    assert arms == [{"learned"}, {"learned+calibration-1"}, {REFERENCE}]


def test_no_material_is_measured_with_a_calibration_that_has_seen_it(tmp_path, maker):
    materials = crystals(24)
    found = run_all(maker, materials, tmp_path, number=4, control=0.5)
    results = found.results()
    assert len(found.records) == 4
    seen = set()
    for record in found.records:
        if record.number > 1:
            made = round_calibration.read_calibration_runs(tmp_path, record.number - 1)
            later = {n for r in found.records[record.number - 1 :] for n in r.materials}
            assert made.runs.keys()
            assert not made.runs.keys() & later
            assert made.runs.keys() <= seen
            fitted = json.loads((tmp_path / ROUNDS / made.file).read_text())
            assert not {one["name"] for one in fitted["runs"]} & later
        for name, assignment in record.materials.items():
            arms = set(results[name].arms)
            assert arms == set(assignment.runs)
            own = {arm for arm in arms if "calibration" in arm}
            assert own <= {f"learned+calibration-{record.number - 1}"}
        seen |= record.materials.keys()
    assert used(found.records[3], "Mg") == {"learned+calibration-3"}
    final = round_calibration.read_calibration_runs(tmp_path, 4)
    assert final.runs.keys() <= seen
    assert len(final.runs) > len(made.runs)


def test_a_structure_that_was_run_under_another_name_is_no_control(tmp_path, maker):
    materials = crystals(8)
    run_all(maker, materials, tmp_path, size=8)
    twins = [Material(f"twin{n}", m.structure, m.source) for n, m in enumerate(materials)]
    found = run_all(maker, [*materials, *twins], tmp_path, size=8)
    assert not any(a.control for a in found.records[1].materials.values())


def test_what_is_finished_is_not_decided_again(tmp_path, maker, monkeypatch):
    materials = crystals(16)
    run_all(maker, materials, tmp_path, number=2)
    before = {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in tmp_path.rglob("*.json")}
    assert len(before) > 16
    monkeypatch.setattr(rounds, "choose_source", lambda *_: pytest.fail("decided again"))
    monkeypatch.setattr(local, "run_material", lambda *_: pytest.fail("run again"))
    run_all(maker, materials, tmp_path, number=2, seed=5, control=1.0)
    assert before == {p: (p.stat().st_mtime_ns, p.read_bytes()) for p in tmp_path.rglob("*.json")}


class KilledError(BaseException):
    """Stands for SIGKILL: nothing is cleared up."""


def outcome(folder):
    """All that a campaign decided and counted."""
    places = [*folder.glob(f"{ROUNDS}/*.json"), *folder.glob("*/comparison.json")]
    return {
        str(p.relative_to(folder)): p.read_text().replace(str(folder), "")
        for p in places
        if not p.name.startswith("calibration")  # their constants are of a stand-in
    }


def test_a_campaign_that_is_killed_anywhere_ends_as_one_that_is_not(tmp_path, maker, monkeypatch):
    materials, keys = crystals(6), {"number": 3, "control": 0.5}
    events = 0

    def counted(work, limit):
        def wrapped(*words, **more):
            nonlocal events
            events += 1
            if events == limit:
                raise KilledError
            return work(*words, **more)

        return wrapped

    def disturbed(limit):
        """Kill before the event of this number: a run, the record of a round, a fit and its end."""
        nonlocal events
        events = 0
        monkeypatch.setattr(local, "run_material", counted(run_material, limit))
        monkeypatch.setattr(rounds, "write_record", counted(rounds_write, limit))
        monkeypatch.setattr(rounds, "calibrate_round", counted(fit(), limit))
        monkeypatch.setattr(round_calibration, "atomic_write", counted(calibration_write, limit))

    rounds_write, calibration_write = rounds.write_record, round_calibration.atomic_write
    disturbed(0)
    run_all(maker, materials, tmp_path / "whole", **keys)
    expected, total = outcome(tmp_path / "whole"), events
    assert total == 6 + 3 + 3 + 3
    for limit in range(1, total + 1):
        folder = tmp_path / f"killed-{limit}"
        disturbed(limit)
        with pytest.raises(KilledError):
            run_all(maker, materials, folder, **keys)
        disturbed(0)
        run_all(maker, materials, folder, **keys)
        assert outcome(folder) == expected, limit


def test_materials_that_come_later_are_further_rounds(tmp_path, maker):
    run_all(maker, crystals(8), tmp_path, number=2)
    found = run_all(maker, crystals(12), tmp_path, number=2)
    assert [len(record.materials) for record in found.records] == [4, 4, 4]
    fewer = run_all(maker, crystals(3), tmp_path, number=2)
    assert [len(this.materials) for this in fewer.begun_rounds()] != [4, 4, 4]


def test_a_calibration_with_large_errors_in_left_out_runs_waits_for_its_measurement(
    tmp_path, maker, monkeypatch
):
    monkeypatch.setattr(rounds, "calibrate_round", fit(left=1.2))
    found = run_all(maker, crystals(24, metals=("Mg",)), tmp_path, number=3, control=0.3)
    second, third = found.records[1:]
    assert used(second, "Mg") == {"learned"}
    assert any("learned+calibration-1" in a.runs for a in second.materials.values()), "control"
    assert used(third, "Mg") == {"learned+calibration-2"}, "it saves, as control has found"


def test_a_material_whose_source_fails_runs_from_free_atoms(tmp_path, maker, monkeypatch):
    def refusing(material, maker, path):
        found = run_material(material, maker, path)
        for arm, one in found.arms.items():
            if arm != REFERENCE and material.id in ("m01", "m04"):
                one.failure = "no initial density: a reason" if material.id == "m01" else "stopped"
        return found

    monkeypatch.setattr(local, "run_material", refusing)
    found = run_all(maker, crystals(8, metals=("Mg",)), tmp_path, number=1, control=0.3)
    for result in found.results().values():
        assert any(run.exclusion_reason is None for run in result.arms.values())
    results = found.results()
    for name, assignment in found.records[0].materials.items():
        extra = {REFERENCE} if name in ("m01", "m04") else set()
        assert set(results[name].arms) == set(assignment.runs) | extra
    assert summarize_rounds(found)[0].n_finished == 8


def test_records_and_calibrations_that_were_changed_are_refused(tmp_path, maker):
    materials = crystals(8)
    run_all(maker, materials, tmp_path, number=2)
    calibration = tmp_path / ROUNDS / "calibration-1.json"
    content = calibration.read_text()
    calibration.write_text(content + "\n")
    with pytest.raises(RecordError, match=r"calibration-1.json: was changed since it was fitted"):
        run_all(maker, materials, tmp_path, number=2)
    calibration.unlink()
    with pytest.raises(RecordError, match=r"calibration-1.json: cannot be read"):
        start(maker, materials, tmp_path).maker()
    calibration.write_text(content)
    record_path(tmp_path, 1).write_text("{")
    with pytest.raises(RecordError, match=r"round-1.json: is not the record of a round"):
        start(maker, materials, tmp_path)


def _edit(path, change):
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_a_missing_record_is_no_new_campaign(tmp_path, maker):
    materials = crystals(8)
    run_all(maker, materials, tmp_path, number=2)
    first, second = (record_path(tmp_path, number) for number in (1, 2))
    before = second.read_bytes()
    for lost in (first, second):
        content = lost.read_bytes()
        lost.unlink()
        with pytest.raises(RecordError, match=f"{lost.name}: is missing, .*; restore it"):
            run_all(maker, materials, tmp_path, number=2)
        assert not lost.exists()
        lost.write_bytes(content)
    assert second.read_bytes() == before
    run_all(maker, materials, tmp_path, number=2)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda a: a.update(arm="learnt"), "m0. runs learnt, which is no source"),
        (lambda a: a.update(runs=[*a["runs"], "old"]), "m0. runs old, which is no source"),
        (lambda a: a.update(runs=["default"]), "m0. does not run its source"),
        (lambda a: a.update(runs=[]), "m0. does not run its source"),
    ],
)
def test_a_record_of_unknown_sources_is_refused(tmp_path, maker, change, reason):
    run_all(maker, crystals(8), tmp_path, number=2)
    path = record_path(tmp_path, 2)
    _edit(path, lambda document: change(next(iter(document["materials"].values()))))
    with pytest.raises(RecordError, match=rf"round-2.json: is not the record .*{reason}"):
        start(maker, crystals(8), tmp_path)


def test_records_and_calibrations_of_other_rounds_are_refused(tmp_path, maker):
    materials = crystals(8)
    run_all(maker, materials, tmp_path, number=2)
    path = record_path(tmp_path, 2)
    content = path.read_text()
    path.write_bytes(record_path(tmp_path, 1).read_bytes())
    with pytest.raises(RecordError, match=r"round-2.json: is the record of round 1; restore it"):
        start(maker, materials, tmp_path)
    _edit(path, lambda document: document.update(number=2))
    with pytest.raises(RecordError, match=r"round-2.json: m0. is in round 1, too"):
        start(maker, materials, tmp_path)
    for file in ("calibration-x.json", "../calibration-1.json"):
        path.write_text(content.replace("calibration-1.json", file))
        with pytest.raises(RecordError, match=r"round-2.json: is not the record of a round"):
            start(maker, materials, tmp_path)
    path.write_text(content)
    runs = tmp_path / ROUNDS / "calibration-2.runs.json"
    _edit(runs, lambda document: document.update(number=1))
    with pytest.raises(RecordError, match=r"calibration-2.runs.json: is of round 1; restore it"):
        run_all(maker, materials, tmp_path, number=2)


def test_each_material_has_the_runs_that_its_round_gave_it(maker):
    arms = {"a": ("learned",), "b": (REFERENCE, "learned"), "c": (REFERENCE,)}
    flows = RoundMaker(maker, dict(maker.initial_densities), arms)
    cell = crystals(1)[0].structure
    runs = {n: [j.name for j in flows.make(cell, n).jobs if j.name.endswith("run")] for n in arms}
    assert runs == {
        "a": ["learned run"],
        "b": ["default run", "learned run"],
        "c": ["default run"],
    }
    request = CampaignRequest.by_material(flows)
    assert {name: request(name).arms for name in arms} == arms
    assert len({request(name).protocol for name in arms}) == 1


def failing(cause):
    def run(material, maker, path):
        found = run_material(material, maker, path)
        for one in found.arms.values():
            one.failure = cause
        return found

    return run


def test_a_round_that_the_machine_has_spoilt_is_repeated_before_the_next_one(
    tmp_path, maker, monkeypatch, capsys
):
    materials, keys = crystals(6), {"number": 2, "control": 0.5}
    monkeypatch.setattr(local, "run_material", failing("no space left on device"))
    with pytest.raises(typer.Exit) as left:
        run_all(maker, materials, tmp_path, **keys)
    assert left.value.exit_code == 1
    assert "round 1: all runs failed by the fault of the machine" in capsys.readouterr().err
    before = record_path(tmp_path, 1).read_bytes()
    assert not record_path(tmp_path, 2).exists()
    monkeypatch.setattr(local, "run_material", run_material)
    found = run_all(maker, materials, tmp_path, **keys)
    assert record_path(tmp_path, 1).read_bytes() == before
    assert [one.n_finished for one in summarize_rounds(found)] == [3, 3]


def test_physical_failures_do_not_stop_the_rounds(tmp_path, maker, monkeypatch):
    monkeypatch.setattr(rounds, "calibrate_round", round_calibration.calibrate_round)
    monkeypatch.setattr(local, "run_material", failing("not converged: 60 steps"))
    found = run_all(maker, crystals(6), tmp_path, number=2)
    assert len(found.records) == 2
    assert round_calibration.read_calibration_runs(tmp_path, 1).sha256 is None
    assert list(found.records[1].sources) == ["learned"]


@pytest.mark.parametrize(
    ("keys", "elements", "reason"),
    [
        ({}, "MgO", None),
        ({"left": 0.6}, "MgO", "errors of left-out runs with Mg: density 60 %, .* above those"),
        ({"left": 1.1, "before": 1.5}, "MgO", "errors of left-out runs with Mg: density 110 %"),
        ({"shared": ("Mg",)}, "LiO", None),
        ({"shared": ("Mg",), "left": 0.6}, "LiO", "errors of left-out runs with any element: "),
        ({"shared": ()}, "MgO", "no run that it was fitted to shares an element with another one"),
    ],
)
def test_the_gate_of_a_calibration(tmp_path, keys, elements, reason):
    path = tmp_path / "calibration.json"
    write_calibration(path, calibration({"a": "MgO", "b": "MgS", "c": "Li2O"}, **keys))
    density = InitialDensity(Learned(calibration=str(path)))
    cell = Structure(Lattice.cubic(4), [elements[:2], elements[2:]], [[0, 0, 0], [0.5, 0.5, 0.5]])
    crystal = Material("m", cell, tmp_path)
    found = RoundSource("learned+calibration-1", "learned", density).gate(crystal, None)
    assert (found is None) if reason is None else re.match(reason, found)


def test_a_calibration_needs_runs_of_each_element(tmp_path):
    path = tmp_path / "calibration.json"
    write_calibration(path, calibration({"a": "MgO"}, shared=("Mg",)))
    density = InitialDensity(Learned(calibration=str(path)))
    salt, other = crystals(1, metals=("Mg",))[0], crystals(1, metals=("Cs",))[0]
    sources = [RoundSource("calibrated", "", density, min_runs=n) for n in (1, 2)]
    assert [source.refusal(salt) for source in sources] == [None, "too few runs of O (1)"]
    assert sources[0].refusal(other) == "too few runs of Cs (0), O (0)"
