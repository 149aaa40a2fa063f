from pathlib import Path

import pytest
from atomate2.vasp.jobs.core import StaticMaker
from jobflow import Flow

from conftest import CHEAP, POLLING
from mlcharge_flows.atomate2.jobs.batch import StartBatchMaker
from mlcharge_flows.atomate2.powerups import start_from_predicted_density
from mlcharge_flows.atomate2.provenance import StartRecord
from mlcharge_flows.atomate2.sets.comparison import ComparisonSetGenerator

pytestmark = pytest.mark.gpaw


def test_one_job_starts_many_runs(silicon, run, vasp):
    charged = silicon.copy().set_charge(1)
    strained = silicon.copy().apply_strain(0.05)
    generator = ComparisonSetGenerator(
        user_incar_settings=CHEAP | {"LCHARG": False}, use_structure_charge=True
    )
    structures = {"plain": silicon, "strained": strained, "charged": charged}
    batch = StartBatchMaker().make(list(structures.values()), generator)
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
        StartRecord.model_validate(documents[name]["additional_json"]["mlcharge"])
        for name in structures
    ]
    assert [fate.used for fate in fates] == [True, True, None]
    assert "the cell is charged" in fates[2].start.failure
    for fate in fates[:2]:
        path = Path(fate.start.path)
        assert path.name == f"{fate.start.sha256}.chgcar"
        assert path.is_file()
