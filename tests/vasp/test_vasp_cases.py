"""Files that people have: each case of the shared folder is read rightly or refused in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from typer.testing import CliRunner

from mlcharge_flows.cli.app import app
from mlcharge_flows.vasp.chgcar import read_chgcar
from mlcharge_flows.vasp.density_messages import chgcar_acceptance
from mlcharge_flows.vasp.incar import read_incar
from mlcharge_flows.vasp.poscar import read_poscar
from mlcharge_flows.vasp.potcar import read_potcar

if TYPE_CHECKING:
    from pathlib import Path


def test_a_chgcar_whose_last_line_does_not_end_is_whole(cases: Path) -> None:
    folder = cases / "C01_no_final_newline"
    assert not (folder / "CHGCAR").read_bytes().endswith(b"\n")
    assert read_chgcar(folder / "CHGCAR").augmentation is not None
    assert chgcar_acceptance(folder / "CHGCAR").read_by_vasp


def test_exponents_of_an_incar_may_be_fortrans(cases: Path) -> None:
    tags = read_incar(cases / "I02_d_exponents" / "INCAR")
    assert (tags["EDIFF"], tags["ENCUT"]) == (1e-6, 350.0)


def test_two_data_sets_of_one_element_are_told_apart_by_their_place(cases: Path) -> None:
    folder = cases / "P01_pseudo_hydrogens"
    datasets = read_potcar(folder / "POTCAR")
    assert [dataset.symbol for dataset in datasets] == ["Zn", "H", "H"]
    assert [dataset.zval for dataset in datasets] == [12.0, 1.25, 0.75]
    assert read_poscar(folder / "POSCAR").symbols == ("Zn", "H", "H")


def test_an_element_that_is_none_is_taken_from_titel(cases: Path) -> None:
    (dataset,) = read_potcar(cases / "P02_vrhfin_Xe" / "POTCAR")
    assert dataset.symbol == "Xe"


def test_only_the_first_word_of_a_comment_is_echoed(cases: Path) -> None:
    path = cases / "attack" / "CHGCAR_esc"
    (message,) = chgcar_acceptance(path).messages
    assert message.endswith(read_chgcar(path).comment.split()[0])


@pytest.mark.parametrize("name", ["P01_pseudo_hydrogens/CHGCAR", "attack/CHGCAR_esc"])
def test_what_inspect_prints(cases: Path, name: str) -> None:
    folder = (cases / name).parent
    inputs = [f"--{file.lower()}={folder / file}" for file in ("POSCAR", "INCAR", "POTCAR")]
    given = [inputs[0], inputs[2]] if (folder / "POTCAR").is_file() else []
    result = CliRunner().invoke(app, ["inspect", str(cases / name), *given])
    assert result.exit_code == 0
    assert result.output.replace("\n", "").isprintable()
    assert "electrons, not" not in result.output
