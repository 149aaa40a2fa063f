"""A fake VASP with the outputs of one real run, and whatever fault is asked for."""

import os
from pathlib import Path

import pytest
from cheap_runs import POLLING
from jobflow import JobStore
from jobflow import run_locally as run_flow
from maggma.stores import MemoryStore

from mlcharge_flows.atomate2.sets.comparison import ComparisonSetGenerator
from mlcharge_flows.testing import fake_vasp


@pytest.fixture
def run(tmp_path):
    """Run a job or flow; the task documents of its VASP runs by name."""

    def run(work):
        store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
        run_flow(work, log=False, store=store, create_folders=True, root_dir=tmp_path)
        query = {"output.dir_name": {"$exists": True}}
        return {doc["name"]: doc["output"] for doc in store.query(query)}

    return run


@pytest.fixture(scope="session")
def finished(silicon, tmp_path_factory):
    """Folder of a finished run of gpaw-vasp."""
    pytest.importorskip("gpaw", reason="needs the gpaw extra")
    from atomate2.vasp.jobs.core import StaticMaker

    from mlcharge_flows.atomate2.jobs.run import RunFromDensityMaker

    folder = tmp_path_factory.mktemp("finished")
    generator = ComparisonSetGenerator(
        user_incar_settings={"ENCUT": 200, "EDIFF": 1e-3, "LCHARG": False},
        user_kpoints_settings={"reciprocal_density": 4},
    )
    maker = StaticMaker(
        input_set_generator=generator,
        run_vasp_kwargs={"handlers": (), "custodian_kwargs": POLLING},
    )
    before = Path.cwd()
    os.chdir(folder)
    try:
        run = RunFromDensityMaker(maker=maker, icharg=2)
        run.make.original(run, silicon)
    finally:
        os.chdir(before)
    return folder


@pytest.fixture
def vasp(finished, tmp_path, monkeypatch):
    """Put the fake executable in VASP's place; returns a function that sets its fault."""
    monkeypatch.setenv("MLCHARGE_VASP_CMD", str(fake_vasp.install(tmp_path)))
    monkeypatch.setenv("FAKE_VASP_OUTPUTS", str(finished))
    # The embedded library belongs to the embedded executable only.
    from mlcharge_flows.settings import Settings

    monkeypatch.setenv("PMG_VASP_PSP_DIR", str(Settings(vasp_cmd="gpaw-vasp")._embedded_library))
    return lambda fault: monkeypatch.setenv("FAKE_VASP_FAULT", fault)
