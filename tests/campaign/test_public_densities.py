"""Public charge densities, as mp-api's client gives them; no request leaves this machine."""

import gzip
import json
from datetime import UTC, datetime

import numpy as np
import pytest
from typer.testing import CliRunner

pytest.importorskip("h5py", reason="needs the train extra")

from emmet.core.tasks import CoreTaskDoc
from pymatgen.core import SETTINGS
from pymatgen.io.vasp.outputs import Chgcar

from mlcharge_flows.campaign import materials_project
from mlcharge_flows.campaign.materials_project import MaterialsProjectError
from mlcharge_flows.campaign.public_densities import (
    density_of,
    fetch_densities,
    read_identifiers,
)
from mlcharge_flows.cli.app import app
from mlcharge_flows.training.dataset import DensityDataset
from mlcharge_flows.training.origin import Origin
from mlcharge_flows.training.public_density import PublicDensityError, read_public_density
from mlcharge_flows.vasp.chgcar import read_chgcar
from mlcharge_flows.vasp.potcar import PotcarSearch

SILICON = "PAW_PBE Si 05Jan2001"


def task(as_model=False, **changes):
    """A task document in either form of the client."""
    incar = {"ENCUT": 520, "ISPIN": 2, "MAGMOM": [0.6, 0.6], "LMAXMIX": 4, "GGA": "--"}
    document = {
        "task_id": "mp-1",
        "last_updated": datetime(2024, 1, 2, tzinfo=UTC),
        "input": {
            "incar": incar,
            "parameters": {"ENMAX": 520.0, "LHFCALC": False, "METAGGA": "None"},
            "potcar_spec": [{"titel": SILICON, "hash": None, "summary_stats": None}],
        },
        "output": {"energy": -10.8},
        **changes,
    }
    return CoreTaskDoc(**document) if as_model else document


@pytest.fixture(scope="session")
def chgcar(vasp_samples, tmp_path_factory):
    """The density of a run of silicon as pymatgen's object, with arrays or lines of occupancies."""
    folder = tmp_path_factory.mktemp("chgcar")
    text = gzip.decompress((vasp_samples / "si2_aiida" / "CHGCAR.gz").read_bytes()).decode()
    (folder / "CHGCAR").write_text(text)
    found = Chgcar.from_file(folder / "CHGCAR")

    def chgcar(form="arrays"):
        lines = text.splitlines(keepends=True)
        first = next(n for n, line in enumerate(lines) if line.startswith("augmentation"))
        forms = {"arrays": found.data_aug, "lines": {"total": lines[first:]}, "none": None}
        return Chgcar(found.poscar, found.data, data_aug=forms[form])

    return chgcar


class Rester:
    """Answers like mp-api's client, and notes what it was asked for."""

    def __init__(self, answers):
        self.answers, self.asked = answers, []

    def __enter__(self):
        return self

    def __exit__(self, *error):
        pass

    def get_charge_density_from_task_id(self, task_id, inc_task_doc=False):
        self.asked.append(task_id)
        assert inc_task_doc
        answer = self.answers.get(task_id)
        if isinstance(answer, Exception):
            raise answer
        return answer

    get_charge_density_from_material_id = get_charge_density_from_task_id


@pytest.mark.parametrize("form", ["arrays", "lines"])
def test_the_density_is_that_of_the_file(chgcar, vasp_samples, form):
    given = read_chgcar(vasp_samples / "si2_aiida" / "CHGCAR.gz")
    found = density_of(chgcar(form))
    assert found.crystal.symbols == given.crystal.symbols
    np.testing.assert_allclose(found.total, given.total, rtol=1e-12, atol=1e-14)
    for mine, its in zip(found.augmentation, given.augmentation, strict=True):
        np.testing.assert_allclose(mine, its, atol=1e-9)
    with pytest.raises(MaterialsProjectError, match="occupancies of 0 ions, the crystal 2"):
        density_of(chgcar("none"))


def test_what_is_there_is_not_fetched_again(chgcar, tmp_path):
    rester = Rester(
        {
            "mp-1": (chgcar(), task()),
            "mp-2": (chgcar("none"), task()),
            "t-4": (chgcar("lines"), task(as_model=True)),
            "mp-5": ConnectionError("reset\nby peer"),
        }
    )
    names, tasks = ["mp-1", "mp-2", "mp-3", "mp-4", "mp-5"], {"mp-4": "t-4"}
    found = dict(fetch_densities(names, rester, tmp_path, tasks))
    assert [name for name, reason in found.items() if not reason] == ["mp-1", "mp-4"]
    assert found["mp-3"] == "no task of it has a charge density"
    assert found["mp-5"] == "not served (ConnectionError: reset by peer)"
    assert rester.asked == ["mp-1", "mp-2", "mp-3", "t-4", "mp-5"]
    rester.asked.clear()
    dict(fetch_densities(names, rester, tmp_path, tasks))
    assert rester.asked == ["mp-2", "mp-3", "mp-5"]
    one, other = (read_chgcar(tmp_path / name / "CHGCAR.gz") for name in ("mp-1", "mp-4"))
    np.testing.assert_array_equal(one.total, other.total)
    paths = (tmp_path / name / "task.json" for name in ("mp-1", "mp-4"))
    one, other = (json.loads(path.read_text()) for path in paths)
    assert one["input"]["incar"]["ENCUT"] == other["input"]["incar"]["ENCUT"] == 520
    assert one["energy"] == other["energy"] == -10.8


def test_a_public_density_becomes_a_sample(chgcar, tmp_path, silicon_library):
    dict(fetch_densities(["mp-1"], Rester({"mp-1": (chgcar(), task())}), tmp_path))
    library = PotcarSearch([silicon_library])
    sample = read_public_density(tmp_path / "mp-1", Origin("mp-1", "MP"), library)
    assert sample.has_free_atoms
    assert (sample.encut, sample.energy, sample.n_electrons) == (520.0, -10.8, 8.0)
    settings = sample.settings
    assert (settings.functional, settings.ispin, settings.lmaxmix) == ("PE", 2, 4)
    assert (settings.metagga, settings.hybrid, settings.charged) == ("", False, False)
    assert settings.occupancy_lmax == {"Si": 2}
    with pytest.raises(PublicDensityError, match="needs the POTCARs that its document names"):
        read_public_density(tmp_path / "mp-1", Origin("mp-1", "MP"))
    original = json.loads((tmp_path / "mp-1" / "task.json").read_text())
    for change, reason in (
        ({"state": "failed"}, "the task is failed"),
        ({"input": {}}, "no PAW data set for Si"),
        ({"input": {"potcar_spec": [{"titel": "PAW_PBE Ge 1"}]}}, "none of PAW_PBE Ge 1 in the"),
    ):
        (tmp_path / "mp-1" / "task.json").write_text(json.dumps(original | change))
        with pytest.raises(PublicDensityError, match=reason):
            read_public_density(tmp_path / "mp-1", Origin("mp-1", "MP"), library)
    (tmp_path / "mp-1" / "task.json").write_text("{")
    with pytest.raises(PublicDensityError, match="mp-1: "):
        read_public_density(tmp_path / "mp-1", Origin("mp-1", "MP"), library)


def test_hubbard_terms_are_read(chgcar, tmp_path, silicon_library):
    document = task()
    document["input"]["incar"] |= {"LDAU": True, "LDAUL": [1], "LDAUU": [2.5], "LDAUJ": [0.0]}
    dict(fetch_densities(["mp-1"], Rester({"mp-1": (chgcar(), document)}), tmp_path))
    search = PotcarSearch([silicon_library])
    sample = read_public_density(tmp_path / "mp-1", Origin("mp-1", "MP"), search)
    assert sample.settings.hubbard == {"Si": (1, 2.5, 0.0)}


def test_the_commands_fetch_and_pack(chgcar, tmp_path, silicon_library, monkeypatch):
    rester = Rester({"mp-1": (chgcar(), task())})
    monkeypatch.setattr(materials_project, "open_rester", lambda: rester)
    (tmp_path / "ids.txt").write_text("mp-1\nmp-9\n")
    words = ["dataset", "fetch-mp", str(tmp_path / "ids.txt"), "--out", str(tmp_path / "mp")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output + result.stderr
    shown = " ".join((result.output + result.stderr).split())
    assert "mp-9: no task of it has a charge density" in shown
    assert f"1 of 2 densities in {tmp_path}/mp" in shown
    words = ["dataset", "pack", str(tmp_path / "mp"), "--protocol", "MP", "--potcars"]
    words += [str(silicon_library), "--out", str(tmp_path / "mp.h5")]
    result = CliRunner().invoke(app, words)
    assert result.exit_code == 0, result.output + result.stderr
    assert DensityDataset(tmp_path / "mp.h5").ids == ("mp-1",)


def test_without_a_key_or_identifiers_there_is_one_line(tmp_path, monkeypatch):
    monkeypatch.delenv("MP_API_KEY", raising=False)
    monkeypatch.setitem(SETTINGS, "PMG_MAPI_KEY", "")
    result = CliRunner().invoke(app, ["dataset", "fetch-mp", "mp-149", "--out", str(tmp_path)])
    assert result.exit_code == 2
    assert "mp-api is not installed" in result.stderr or "there is no key" in result.stderr
    assert read_identifiers(["mp-149", "mvc-12", "mp-149"]) == ["mp-149", "mvc-12"]
    with pytest.raises(MaterialsProjectError, match="is neither an identifier such as mp-149"):
        read_identifiers(["Si.cif"])
    (tmp_path / "list").write_text("mp-1\n../x\n")
    with pytest.raises(MaterialsProjectError, match=r"\.\./x is no identifier"):
        read_identifiers([str(tmp_path / "list")])
