"""A fake VASP with the outputs of one real run, and whatever fault is asked for."""

import os
from pathlib import Path

import pytest
from jobflow import JobStore
from jobflow import run_locally as run_flow
from maggma.stores import MemoryStore
from pymatgen.core import Lattice, Structure

from mlcharge_flows.atomate2.sets.comparison import ComparisonSetGenerator
from mlcharge_flows.sources.inputs import VaspInputs
from mlcharge_flows.sources.learned import LearnedStartMaker
from mlcharge_flows.sources.start import StartError
from mlcharge_flows.testing import fake_vasp

#: What gpaw-vasp can do, and does quickly.
CHEAP = {
    "ALGO": "Normal",
    "EDIFF": 1e-3,
    "ENCUT": 200,
    "GGA": "PE",
    "ISMEAR": 0,
    "ISPIN": 1,
    "LREAL": False,
    "PREC": "Normal",
    "SIGMA": 0.1,
} | dict.fromkeys(
    ("KSPACING", "LAECHG", "LASPH", "LELF", "LMIXTAU", "LORBIT", "LVTOT", "MAGMOM", "NEDOS")
)
#: Custodian polls every ten seconds by default.
POLLING = {"polling_time_step": 0.05, "monitor_freq": 1}


@pytest.fixture(scope="session")
def silicon():
    cell = Structure.from_spacegroup("Fd-3m", Lattice.cubic(5.43), ["Si"], [[0, 0, 0]])
    return cell.get_primitive_structure()


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

    from mlcharge_flows.atomate2.jobs.run import RunFromStartMaker
    from mlcharge_flows.atomate2.sets.comparison import ComparisonSetGenerator

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
        run = RunFromStartMaker(maker=maker, icharg=2)
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


@pytest.fixture
def salt():
    """MgO, its ions given in the order that no input set keeps."""
    return Structure(Lattice.cubic(3.0), ["O", "Mg"], [[0.5, 0.5, 0.5], [0, 0, 0]])


@pytest.fixture
def atoms(tiny):
    """Free atoms of that salt."""
    return {"Mg": tiny.atom("Mg", 2.0), "O": tiny.atom("O", 6.0)}


@pytest.fixture
def inputs(salt, atoms, monkeypatch):
    """Inputs of the salt, with POTCARs of those atoms."""
    monkeypatch.setattr(VaspInputs, "potcars", atoms)
    return VaspInputs(salt, ComparisonSetGenerator())


@pytest.fixture
def trained(tiny, atoms, inputs, tmp_path):
    """Write a checkpoint of these atoms; gives its path."""

    def trained(name="tiny", **changes):
        path = tmp_path / "models" / f"{name}.safetensors"
        return str(tiny.write(path, atoms, [inputs.crystal], name=name, **changes))

    return trained


@pytest.fixture
def refusal(tmp_path):
    """Ask for a learned start; gives the line with which it is refused."""

    def refusal(inputs, **options):
        with pytest.raises(StartError) as error:
            LearnedStartMaker(**options).write(inputs, tmp_path)
        line = str(error.value)
        assert "\n" not in line
        assert not (tmp_path / "CHGCAR").exists()
        return line

    return refusal
