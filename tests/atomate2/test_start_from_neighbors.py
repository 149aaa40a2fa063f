"""Runs of a workflow that begin from the finished runs of almost the same crystal."""

import json
from pathlib import Path

import pytest
from atomate2.vasp.flows.core import DoubleRelaxMaker
from atomate2.vasp.flows.elastic import ElasticMaker
from atomate2.vasp.jobs.core import RelaxMaker, StaticMaker
from atomate2.vasp.jobs.neb import NebFromImagesMaker
from atomate2.vasp.jobs.phonons import PhononDisplacementMaker
from atomate2.vasp.powerups import (
    update_user_incar_settings,
    update_user_kpoints_settings,
    update_vasp_input_generators,
)
from cheap_runs import CHEAP, POLLING
from jobflow import Flow, Response, job
from monty.json import MontyDecoder, MontyEncoder

from mlcharge_flows import start_from_neighbors, start_from_predicted_density
from mlcharge_flows.atomate2.jobs.run import RunFromDensityMaker
from mlcharge_flows.atomate2.powerups import jobs_of
from mlcharge_flows.atomate2.schemas import RunProvenance
from mlcharge_flows.sources import AtomicOrbitals, InitialDensity, Nearest


def test_a_maker_is_wrapped_and_keeps_its_densities():
    maker = start_from_neighbors(DoubleRelaxMaker(), ["/archive"], "my.safetensors", orbitals=False)
    for one in (maker.relax_maker1, maker.relax_maker2):
        assert isinstance(one, RunFromDensityMaker)
        own = str(Path("my.safetensors").absolute())
        assert one.initial_density == InitialDensity(Nearest(("/archive",), own))
        assert one.maker.input_set_generator.user_incar_settings == {"LCHARG": True}
    assert json.loads(json.dumps(maker, cls=MontyEncoder), cls=MontyDecoder) == maker


def test_densities_that_no_later_run_is_near_to_are_not_kept():
    maker = start_from_neighbors(PhononDisplacementMaker())
    assert maker.maker.input_set_generator.user_incar_settings["LCHARG"] is False
    assert maker.initial_density.orbitals == AtomicOrbitals()
    maker = start_from_neighbors(RelaxMaker(), keep_densities=False, model=None)
    assert maker.maker.input_set_generator.user_incar_settings == {}
    assert maker.initial_density.density == Nearest((), None)


def test_options_are_those_of_the_other_power_up(silicon):
    flow = Flow([RelaxMaker().make(silicon), StaticMaker().make(silicon)])
    changed = start_from_neighbors(flow, name_filter="static", explicit_kpoints=True)
    makers = [job.maker for job, _ in jobs_of(changed)]
    assert [isinstance(maker, RunFromDensityMaker) for maker in makers] == [False, True]
    assert makers[1].explicit_kpoints
    assert makers[0].input_set_generator.user_incar_settings == {}
    with pytest.raises(ValueError, match="nudged elastic band"):
        start_from_neighbors(NebFromImagesMaker())
    with pytest.raises(ValueError, match="calibration is for learned"):
        start_from_neighbors(RelaxMaker(), model=None, calibration="c.json")
    again = start_from_neighbors(start_from_predicted_density(RelaxMaker()))
    assert again.initial_density.density == Nearest()


def test_deformed_cells_are_told_where_the_relaxed_one_is(silicon):
    """ElasticMaker hands its jobs the folder, and these do not hand it on."""
    flow = start_from_neighbors(ElasticMaker().make(silicon))
    (deformed,) = (j for j, _ in jobs_of(flow) if "elastic_relax_maker" in j.function_kwargs)
    parent = deformed.function_kwargs["prev_dir"]
    density = deformed.function_kwargs["elastic_relax_maker"].initial_density.density
    assert density.runs == (parent,)
    assert parent.uuid in [reference.uuid for reference in deformed.input_references]
    text = json.dumps(flow, cls=MontyEncoder)
    assert json.dumps(json.loads(text, cls=MontyDecoder), cls=MontyEncoder) == text
    with pytest.raises(ValueError, match=r"call make\(\) first"):
        start_from_neighbors(ElasticMaker())


@job
def strained_runs(structure, maker, prev_dir=None):
    """Like the jobs of elastic constants: the runs are not told of prev_dir."""
    del prev_dir
    strained = structure.copy()
    strained.apply_strain(0.01)
    run = maker.make(strained)
    run.append_name(" strained")
    return Response(replace=Flow([run], output=run.output))


@pytest.mark.gpaw
def test_parents_are_found_and_save_steps(silicon, run):
    displaced = silicon.copy()
    displaced.translate_sites([0], [0.004, 0.0, 0.0])
    maker = update_user_incar_settings(StaticMaker(), CHEAP | {"EDIFF": 1e-5, "LCHARG": False})
    maker = update_user_kpoints_settings(maker, {"reciprocal_density": 8})
    maker = update_vasp_input_generators(maker, {"run_vasp_kwargs->custodian_kwargs": POLLING})
    parent = maker.make(silicon)
    child = maker.make(displaced, prev_dir=parent.output.dir_name)
    child.append_name(" displaced")
    strained = strained_runs(silicon, maker=maker, prev_dir=parent.output.dir_name)
    flow = Flow([parent, child, strained], name="neighbors")
    documents = run(start_from_neighbors(flow, model=None, orbitals=False))
    fates = {
        name: RunProvenance.model_validate(document["additional_json"]["mlcharge"])
        for name, document in documents.items()
    }
    assert all(fate.read_by_vasp for fate in fates.values())
    densities = {name: fate.initial_density for name, fate in fates.items()}
    folder = documents["static"]["dir_name"].split(":")[-1]
    assert densities["static"].density_source == "superposition"
    for name in ("static displaced", "static strained"):
        assert densities[name].density_source == "carried"
        assert densities[name].reference_run == folder
    assert densities["static displaced"].warnings[0].startswith("from the previous run, the near")
    steps = {
        name: document["calcs_reversed"][0]["output"]["num_electronic_steps"][0]
        for name, document in documents.items()
    }
    assert steps["static displaced"] < steps["static"]
    assert steps["static strained"] < steps["static"]
