"""Inputs of a hostile test, each refused in one line; every case of the folder has a test."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mlcharge_flows.cli.app import app

FOLDERS = {
    "gv_big": "POSCAR: the cell has a volume of",
    "gv_dexp": None,  # SIGMA = 2.0d-1 is 0.2
    "gv_ediff": "INCAR: EDIFF = inf is not a number",
    "gv_grid": "grids of 2000 x 2000 x 2000 and 4000 x 4000 x 4000 points are too large",
    "gv_nank": "KPOINTS: a number is not finite",
    "gv_nanpos": "POSCAR: line 9 is 'nan 0 0', expected the coordinates of ion 1",
    "gv_ngxf": "INCAR: NGXF = 1e400 is not an integer",
    "gv_potz": "POTCAR: is a gzip archive, VASP reads plain files only",
    "gv_tet": "Tetrahedron method fails for NKPT<4. NKPT = 3",
    "gv_tiny": "NBANDS = 5, but ENCUT = 150 leaves only 1 plane waves",
    "gv_wneg": "KPOINTS: weights must be positive or zero",
}
FILES = {
    "f0.h5": ("dataset info {}", "the sample of HF is damaged"),
    "f1.h5": ("dataset info {}", "the sample of N2 is damaged"),
    "spec_deep_list/SPEC.yaml": ("campaign status {}", "is nested too deeply"),
    "spec_laughs_incar/SPEC.yaml": ("campaign status {}", "aliases expand to more than 100,000"),
    "spec_long_model/SPEC.yaml": ("campaign status {}", "model: xxxx"),
    "spec_maker_rel/SPEC.yaml": (
        "campaign status {}",
        "maker: '.foo.Bar' cannot be imported; write",
    ),
}


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_refused_in_one_line(cases: Path, name: str, tmp_path: Path) -> None:
    pytest.importorskip("h5py", reason="needs the train extra")
    words, reason = FILES[name]
    given = words.format(cases / "attack" / name).split()
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    assert reason in line
    assert len(line) <= 620


@pytest.fixture(scope="module")
def potcar() -> str:
    """A POTCAR of aluminum as gpaw-vasp exports it today."""
    pytest.importorskip("gpaw", reason="needs the gpaw extra")
    from mlcharge_flows.gpaw_vasp.potcar import potcar_text

    return potcar_text("Al")


@pytest.mark.gpaw
@pytest.mark.parametrize("name", FOLDERS)
def test_inputs_of_gpaw_vasp(cases: Path, name: str, tmp_path: Path, potcar: str) -> None:
    from mlcharge_flows.gpaw_vasp.errors import UnsupportedInputError
    from mlcharge_flows.gpaw_vasp.inputs import read_inputs
    from mlcharge_flows.gpaw_vasp.kohn_sham import KohnSham

    for file in ("INCAR", "KPOINTS", "POSCAR", "POTCAR"):
        shutil.copy(cases / "attack" / name / file, tmp_path)
    if name != "gv_potz":  # the others are of an earlier release, which is refused
        (tmp_path / "POTCAR").write_text(potcar)
    reason = FOLDERS[name]
    if reason is None:
        assert read_inputs(tmp_path).incar["SIGMA"] == 0.2
        return
    with pytest.raises(UnsupportedInputError, match=re.escape(reason)) as error:
        KohnSham(read_inputs(tmp_path))
    assert "\n" not in str(error.value)


def test_every_case_is_named_by_a_test(cases: Path) -> None:
    """Structures and a CHGCAR of ``attack`` have tests of their own."""
    own = Path(__file__).parent
    tests = "".join(path.read_text() for path in own.rglob("test_*.py") if path != Path(__file__))
    named = {name.split("/")[0] for name in (*FOLDERS, *FILES)}
    folders = {path.name for path in cases.iterdir() if path.is_dir()} - {"attack"}
    attacks = {path.name for path in (cases / "attack").iterdir()}
    assert not {name for name in (folders | attacks) - named if name not in tests}
