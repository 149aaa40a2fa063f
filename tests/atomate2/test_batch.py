from pathlib import Path

import pytest
from atomate2.vasp.jobs.core import StaticMaker
from cheap_runs import CHEAP, POLLING
from jobflow import Flow

from mlcharge_flows.atomate2.jobs.initial_density import InitialDensityMaker
from mlcharge_flows.atomate2.powerups import start_from_predicted_density
from mlcharge_flows.atomate2.schemas import RunProvenance
from mlcharge_flows.atomate2.sets.comparison import ComparisonSetGenerator
from mlcharge_flows.sources import InitialDensity, Superposition

pytestmark = pytest.mark.gpaw


def test_one_job_writes_the_initial_densities_of_many_runs(silicon, run, vasp):
    charged = silicon.copy().set_charge(1)
    strained = silicon.copy().apply_strain(0.05)
    generator = ComparisonSetGenerator(
        user_incar_settings=CHEAP | {"LCHARG": False}, use_structure_charge=True
    )
    structures = {"plain": silicon, "strained": strained, "charged": charged}
    maker = InitialDensityMaker(initial_density=InitialDensity(Superposition()))
    batch = maker.make_batch(list(structures.values()), generator)
    jobs = [batch]
    for number, (name, structure) in enumerate(structures.items()):
        maker = StaticMaker(
            name=name,
            input_set_generator=generator,
            run_vasp_kwargs={"custodian_kwargs": POLLING},
        )
        job = maker.make(structure)
        jobs.append(start_from_predicted_density(job, batch.output[number]))
    documents = run(Flow(jobs))
    fates = [
        RunProvenance.model_validate(documents[name]["additional_json"]["mlcharge"])
        for name in structures
    ]
    assert [fate.read_by_vasp for fate in fates] == [True, True, None]
    assert "the cell is charged" in fates[2].initial_density.failure
    for fate in fates[:2]:
        path = Path(fate.initial_density.path)
        assert path.name == f"{fate.initial_density.sha256}.chgcar"
        assert path.is_file()
