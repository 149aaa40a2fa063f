"""What the power-up changes in Makers, Jobs and Flows, before anything runs."""

import json
import re
from pathlib import Path

import pytest
from atomate2.vasp.flows.core import BandStructureMaker, DoubleRelaxMaker, RelaxBandStructureMaker
from atomate2.vasp.flows.elastic import ElasticMaker
from atomate2.vasp.flows.mp import MPGGADoubleRelaxStaticMaker
from atomate2.vasp.jobs.base import BaseVaspMaker
from atomate2.vasp.jobs.core import StaticMaker
from atomate2.vasp.jobs.mp import MPGGARelaxMaker, MPGGAStaticMaker
from atomate2.vasp.jobs.neb import NebFromImagesMaker
from atomate2.vasp.jobs.phonons import PhononDisplacementMaker
from atomate2.vasp.powerups import update_user_incar_settings
from jobflow import Flow, Job, JobOrder, Maker
from monty.json import MontyDecoder, MontyEncoder
from pymatgen.core import Lattice, Structure

from mlcharge_flows.atomate2.flows.compare import CompareDensitiesMaker
from mlcharge_flows.atomate2.jobs.run import RunFromDensityMaker
from mlcharge_flows.atomate2.powerups import start_from_predicted_density
from mlcharge_flows.sources import (
    AtomicOrbitals,
    Fallback,
    FromFile,
    InitialDensity,
    InitialDensityDocument,
    Learned,
    Superposition,
)

PAGE = Path(__file__).parents[2] / "docs" / "powerup.md"
WRITTEN = InitialDensityDocument(density_source="file")

MAKERS = [
    StaticMaker,
    MPGGAStaticMaker,
    MPGGARelaxMaker,
    DoubleRelaxMaker,
    BandStructureMaker,
    RelaxBandStructureMaker,
    MPGGADoubleRelaxStaticMaker,
    ElasticMaker,
]


try:
    from atomate2.common.jobs.phonons import run_phonon_displacements
    from atomate2.vasp.flows.phonons import PhononMaker
except ImportError:
    NO_PHONONS = pytest.mark.skip(reason="needs phonopy and seekpath")
    MAKERS.append(pytest.param(None, marks=NO_PHONONS, id="PhononMaker"))
else:
    NO_PHONONS = []
    MAKERS.append(PhononMaker)


@pytest.fixture(scope="module")
def silicon():
    cell = Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.43), ["Si"], [[0, 0, 0]])
    return cell.get_primitive_structure()


def started(work, *options, **filters):
    return start_from_predicted_density(work, Superposition(), *options, **filters)


def vasp_makers(work):
    """Every VASP Maker within, and whether it is wrapped; found in the serialized form."""
    found = []

    def visit(item, inside):
        if isinstance(item, list):
            for value in item:
                visit(value, inside)
        elif isinstance(item, dict):
            here = item.get("@class") == "RunFromDensityMaker"
            if "run_vasp_kwargs" in item:
                found.append((item["@class"], inside, item))
            for value in item.values():
                visit(value, here)

    visit(json.loads(json.dumps(work, cls=MontyEncoder)), False)
    return found


def check_all_wrapped(changed, before):
    makers = vasp_makers(changed)
    assert makers
    assert [name for name, _, _ in makers] == [name for name, _, _ in before]
    for name, wrapped, item in makers:
        assert wrapped, name
        assert item["input_set_generator"]["user_incar_settings"]["ENCUT"] == 444
    assert not any(wrapped for _, wrapped, _ in before)


@pytest.mark.parametrize("kind", MAKERS)
def test_every_vasp_run_of_a_maker_with_atomate2s_power_ups_after(kind):
    changed = update_user_incar_settings(started(kind()), {"ENCUT": 444})
    check_all_wrapped(changed, vasp_makers(kind()))


@pytest.mark.parametrize("kind", MAKERS)
def test_every_vasp_run_of_a_flow_with_atomate2s_power_ups_before(kind, silicon):
    work = update_user_incar_settings(kind().make(silicon), {"ENCUT": 444})
    check_all_wrapped(started(work), vasp_makers(work))


def test_it_survives_serialization(silicon):
    flow = started(RelaxBandStructureMaker().make(silicon), "upstream")
    text = json.dumps(flow, cls=MontyEncoder)
    again = json.loads(text, cls=MontyDecoder)
    assert isinstance(again, Flow)
    assert again.job_uuids == flow.job_uuids
    makers = [job.maker for job, _ in again.iterflow()]
    assert sum(isinstance(maker, RunFromDensityMaker) for maker in makers) == 5
    assert json.loads(json.dumps(again, cls=MontyEncoder)) == json.loads(text)


def test_the_work_given_stays_as_it_is(silicon):
    job = StaticMaker().make(silicon)
    assert isinstance(started(job).maker, RunFromDensityMaker)
    assert type(job.maker) is StaticMaker
    assert isinstance(started(job), Job)


def test_filters(silicon):
    flow = started(BandStructureMaker().make(silicon), name_filter="static")
    assert [wrapped for _, wrapped, _ in vasp_makers(flow)] == [True, False, False]
    maker = started(BandStructureMaker(), class_filter=StaticMaker)
    assert isinstance(maker.static_maker, RunFromDensityMaker)
    assert not isinstance(maker.bs_maker, RunFromDensityMaker)


def test_the_last_initial_density_counts():
    maker = start_from_predicted_density(started(StaticMaker()), "some/CHGCAR")
    assert maker.initial_density == InitialDensity(FromFile(str(Path("some/CHGCAR").absolute())))
    assert type(maker.maker) is StaticMaker
    flow = started(started(DoubleRelaxMaker()))
    assert type(flow.relax_maker1.maker) is type(DoubleRelaxMaker().relax_maker1)


@pytest.mark.skipif(bool(NO_PHONONS), reason="needs phonopy and seekpath")
def test_phonon_displacements_keep_their_information(silicon):
    made = run_phonon_displacements.original(
        displacements=[silicon],
        structure=silicon,
        supercell_matrix=None,
        phonon_maker=started(PhononDisplacementMaker()),
    )
    (job,) = made.replace.jobs
    inner = job.maker.maker
    assert inner.write_additional_data["phonon_info:json"]["displacement_number"] == 0
    assert job.maker.initial_density == InitialDensity(Superposition())


def test_what_a_job_is_told_without_a_filter_goes_to_the_inner_maker(silicon):
    # As atomate2's phonons do, within suppress(Exception): a wrapper that fails is never noticed.
    job = started(PhononDisplacementMaker()).make(silicon)
    job.update_maker_kwargs({"_set": {"write_additional_data->info:json": 3}}, dict_mod=True)
    assert job.maker.maker.write_additional_data == {"info:json": 3}
    assert job.maker.initial_density == InitialDensity(Superposition())


def test_settings_without_a_filter_reach_the_inner_maker():
    flow = started(BandStructureMaker())
    changed = flow.update_kwargs(
        {"_set": {"run_vasp_kwargs->max_errors": 1}}, name_filter="static", dict_mod=True
    )
    assert changed.static_maker.maker.run_vasp_kwargs == {"max_errors": 1}
    assert flow.static_maker.run_vasp_kwargs == {}


def test_a_wrapped_maker_looks_like_the_inner_one():
    maker = started(StaticMaker())
    assert isinstance(maker, Maker)
    assert not isinstance(maker, BaseVaspMaker)
    assert maker.name == "static"
    assert maker.input_set_generator is maker.maker.input_set_generator
    maker.task_document_kwargs = {"store_volumetric_data": ["locpot"]}
    assert maker.maker.task_document_kwargs == {"store_volumetric_data": ["locpot"]}
    other = maker.update_kwargs({"kind": "x"}, class_filter=BandStructureMaker)
    assert other == maker


def test_upstream_jobs_stand_before_the_runs_they_can_know(silicon):
    flow = started(RelaxBandStructureMaker().make(silicon), "upstream")
    names = [job.name for job, _ in flow.iterflow()]
    # The bands inherit the density of the static run: nothing is made for them.
    assert sorted(name for name in names if name.endswith("density")) == [
        "relax 1 density",
        "relax 2 density",
        "static density",
    ]
    for name in ("relax 1", "relax 2", "static"):
        assert names.index(f"{name} density") < names.index(name)


@pytest.mark.parametrize(
    ("work", "density", "route", "reason"),
    [
        (lambda s: NebFromImagesMaker(), Superposition(), "inline", "elastic band"),
        (
            lambda s: StaticMaker(),
            WRITTEN,
            "inline",
            "call make",
        ),
        (lambda s: StaticMaker(), Superposition(), "upstream", "call make"),
        (
            lambda s: StaticMaker().make(s),
            WRITTEN,
            "upstream",
            "not a written initial density",
        ),
        (
            lambda s: Flow([StaticMaker().make(s)], order=JobOrder.LINEAR),
            Superposition(),
            "upstream",
            "linear order",
        ),
        (
            lambda s: CompareDensitiesMaker().make(s),
            Superposition(),
            "inline",
            "already ordered to run with ICHARG = 2",
        ),
    ],
)
def test_refusals_are_one_line(silicon, work, density, route, reason):
    with pytest.raises(ValueError, match=reason) as error:
        start_from_predicted_density(work(silicon), density, route)
    assert "\n" not in str(error.value)


def test_the_default_is_learned_or_atoms_with_orbitals():
    maker = start_from_predicted_density(StaticMaker())
    assert maker.initial_density == InitialDensity(
        Fallback((Learned(), Superposition())), orbitals=AtomicOrbitals()
    )


@pytest.mark.gpaw
def test_the_examples_on_the_page_run(tmp_path, monkeypatch, capsys):
    pytest.importorskip("gpaw", reason="needs the gpaw extra")
    text = PAGE.read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    for code in re.findall(r"```python\n(.*?)```", text, re.DOTALL):
        exec(compile(code, str(PAGE), "exec"), {})
    assert "chgcar True mlcharge-superposition-" in capsys.readouterr().out
