"""The published split and its inputs; no request leaves this machine."""

import json
from types import SimpleNamespace

import pytest
from pymatgen.core import SETTINGS, Lattice, Structure
from pymatgen.io.vasp import Kpoints

from mlcharge_flows.atomate2.flows.compare import CompareDensitiesMaker
from mlcharge_flows.atomate2.flows.material import compared
from mlcharge_flows.atomate2.sets.materials_project import TaskInputsSet, TaskStaticMaker
from mlcharge_flows.campaign import materials_project
from mlcharge_flows.campaign.materials_project import (
    MaterialsProjectError,
    fetch,
    open_rester,
    split_members,
    task_of_each,
    write_structures,
)
from mlcharge_flows.sources import RunInputs
from mlcharge_flows.structures import read_structures

SALT = Structure(Lattice.cubic(4.2), ["O", "Mg"], [[0, 0, 0], [0.5] * 3])
MESH = Kpoints.gamma_automatic((5, 5, 5))


def task(name, moments=(0.0, 0.0), total=0.0, **incar):
    """A task document in the form that mp-api's client gives without document models."""
    tags = {"ENCUT": 520, "ISPIN": 2, "NPAR": 4, "MAGMOM": [0.6, 0.6], "EDIFF": 1e-4, **incar}
    specs = [{"titel": "PAW_PBE O 08Apr2002"}, {"titel": "PAW_PBE Mg 13Apr2007"}]
    outcar = {"magnetization": [{"tot": m} for m in moments], "total_magnetization": total}
    return {
        "task_id": name,
        "orig_inputs": {"incar": tags, "kpoints": MESH, "potcar_spec": specs},
        "input": {"structure": SALT.as_dict()},
        "output": {},
        "calcs_reversed": [{"output": {"outcar": outcar}}],
    }


class Rester:
    """Answers like the service, and notes how often it was asked."""

    def __init__(self, documents):
        self.known = {document["task_id"]: document for document in documents}
        self.requests = []
        self.materials = SimpleNamespace(tasks=self)

    def search(self, task_ids, fields):
        self.requests.append(task_ids)
        return [self.known[name] for name in task_ids if name in self.known]


@pytest.fixture
def repository(tmp_path):
    (tmp_path / "split.json").write_text(json.dumps({"train": [0], "test": [2, 1]}))
    (tmp_path / "filelist.txt").write_text("mp-1\nmp-2\nmp-3\n")
    return tmp_path


def test_members_are_rows_of_the_list(repository):
    split, rows = repository / "split.json", repository / "filelist.txt"
    assert split_members(split, rows) == ["mp-3", "mp-2"]
    assert split_members(split, rows, "train") == ["mp-1"]
    with pytest.raises(MaterialsProjectError, match="no part 'tset' in it, but train, test"):
        split_members(split, rows, "tset")
    rows.write_text("mp-1\n")
    with pytest.raises(MaterialsProjectError, match="has 1 lines"):
        split_members(split, rows)
    with pytest.raises(MaterialsProjectError, match=r"none.json: cannot be read"):
        split_members(repository / "none.json", rows)
    split.write_text('{"test": [1')
    with pytest.raises(MaterialsProjectError, match="is the file complete"):
        split_members(split, rows)
    (repository / "tasks.json").write_text("[]")
    with pytest.raises(MaterialsProjectError, match="is not a mapping"):
        task_of_each(repository / "tasks.json")


def test_magnetic_materials_are_left_out_by_the_published_rule():
    documents = [
        task("t-1"),
        task("t-2", moments=(0.0, 0.1)),
        task("t-3", total=-0.1),
        task("t-4", moments=(0.09, -0.09), total=0.09),
        task("t-5", moments=(), total=None),
        task("t-6", moments=(), total=None, ISPIN=1),
    ]
    rester = Rester(documents)
    tasks = {f"mp-{n}": f"t-{n}" for n in range(1, 8)}
    seen = []
    entries, left_out = fetch([*tasks, "mp-8"], tasks, rester, seen.append)
    assert [entry["material_id"] for entry in entries] == ["mp-1", "mp-4", "mp-6"]
    assert left_out == {
        "magnetic": 2,
        "moments unknown": 1,
        "the task is not served": 1,
        "no task is known": 1,
    }
    assert sum(seen) == 8


def test_requests_are_few(monkeypatch):
    monkeypatch.setattr(materials_project, "BATCH_SIZE", 2)
    rester = Rester([])
    fetch(list("abcde"), {name: name for name in "abcde"}, rester)
    assert rester.requests == [["a", "b"], ["c", "d"], ["e"]]


def test_the_inputs_come_with_the_structure(tmp_path):
    entries, _ = fetch(["mp-1"], {"mp-1": "t-1"}, Rester([task("t-1")]))
    path = tmp_path / "structures.json.gz"
    write_structures(path, entries)
    (material,), problems = read_structures([path])
    assert (material.id, material.split, problems) == ("mp-1", "test", [])
    maker = CompareDensitiesMaker(static_maker=TaskStaticMaker())
    generator = compared(maker.static_maker).input_set_generator
    made = generator.get_input_set(material.structure, potcar_spec=True)
    incar = dict(made["INCAR"])
    assert incar.pop("MAGMOM") == [0.6, 0.6]
    assert incar == {"ENCUT": 520, "ISPIN": 2, "EDIFF": 1e-4, "LCHARG": True}
    assert made["KPOINTS"].kpts == [(5, 5, 5)]
    assert made["POTCAR.spec"].split() == ["Mg", "O"]
    assert RunInputs.from_generator(material.structure, generator).crystal.symbols == ("Mg", "O")
    # All that is known of the task is in the structure: the settings are those of the campaign.
    assert maker.protocol == CompareDensitiesMaker(static_maker=TaskStaticMaker()).protocol


def test_the_users_settings_win():
    structure = SALT.copy()
    structure.properties = {"task_incar": {"ENCUT": 520, "LORBIT": 11}, "task_kpoints": None}
    generator = TaskInputsSet(
        user_incar_settings={"ENCUT": 300, "LORBIT": None},
        user_kpoints_settings={"reciprocal_density": 1},
    )
    made = generator.get_input_set(structure, potcar_spec=True)
    assert dict(made["INCAR"]) == {"ENCUT": 300}
    assert made["KPOINTS"].kpts[0] == (1, 1, 1)


def test_without_a_task_it_is_the_static_set():
    made = TaskInputsSet().get_input_set(SALT, potcar_spec=True)
    incar = made["INCAR"]
    assert (incar["ENCUT"], incar["ISMEAR"], incar["NSW"]) == (520, -5, 0)
    assert made["POTCAR.spec"].split() == ["Mg_pv", "O"]


def test_a_key_is_needed(monkeypatch):
    monkeypatch.delenv("MP_API_KEY", raising=False)
    monkeypatch.delitem(SETTINGS, "PMG_MAPI_KEY", raising=False)
    monkeypatch.setattr(materials_project, "find_spec", lambda name: name)
    with pytest.raises(MaterialsProjectError, match="set MP_API_KEY"):
        open_rester()
    monkeypatch.setattr(materials_project, "find_spec", lambda name: None)
    with pytest.raises(MaterialsProjectError, match="pip install mp-api"):
        open_rester()
