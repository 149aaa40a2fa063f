"""A file of another run in a folder is named, when the run is counted and when it is packed."""

from __future__ import annotations

import gzip
import re
import shutil
from typing import TYPE_CHECKING

import pytest

from mlcharge_flows.scf.count import count_run
from mlcharge_flows.training.finished_run import RunError, read_finished_run
from mlcharge_flows.training.origin import Origin

if TYPE_CHECKING:
    from pathlib import Path

MESH = "Automatic mesh\n0\nGamma\n {}\n{}\n"


@pytest.fixture
def copy(vasp_samples, tmp_path):
    """Copy the files of a sample, unpacked and without a suffix of custodian."""

    def copy(name: str, suffix: str = "") -> Path:
        folder = tmp_path / f"{name}{suffix}"
        folder.mkdir()
        for path in (vasp_samples / name).iterdir():
            plain = path.name.removesuffix(".gz")
            if plain.endswith(suffix) and not plain.endswith(".orig") and plain != "WAVECAR":
                content = path.read_bytes()
                packed = content.startswith(b"\x1f\x8b")
                target = folder / (plain.removesuffix(suffix) if suffix else plain)
                target.write_bytes(gzip.decompress(content) if packed else content)
        return folder

    return copy


def reasons(folder: Path) -> tuple[str, str]:
    """Why a folder is not counted, and why it is not packed."""
    counted = count_run(folder).failure or ""
    try:
        read_finished_run(folder, Origin("x", "PBE"))
    except RunError as error:
        return counted, str(error)
    return counted, ""


@pytest.mark.parametrize(
    "name",
    [
        "fe2",
        "ga4_spin",
        "graphene_relax",
        "lih_scan",
        "mg2_relax",
        "no_spin_relax",
        "si2_aiida",
        "si_g0w0_static",
        "si_spin_vasp6",
    ],
)
def test_real_folders_contradict_themselves_nowhere(vasp_samples, name):
    counted, packed = reasons(vasp_samples / name)
    assert "different runs" not in counted
    assert packed == ""


@pytest.mark.parametrize("suffix", [".relax1", ".relax2"])
@pytest.mark.parametrize("name", ["si_relax_pair", "si_relax_relax12"])
def test_both_runs_of_a_double_relaxation_contradict_themselves_nowhere(copy, name, suffix):
    assert count_run(copy(name, suffix)).failure is None


@pytest.mark.parametrize("file", ["INCAR", "KPOINTS", "POSCAR", "CONTCAR", "IBZKPT", "OSZICAR"])
@pytest.mark.parametrize(
    ("name", "other"),
    [
        ("fe2", "graphene_relax"),
        ("graphene_relax", "no_spin_relax"),
        ("no_spin_relax", "mg2_relax"),
        ("mg2_relax", "si_spin_vasp6"),
        ("si_spin_vasp6", "fe2"),
    ],
)
def test_a_file_of_another_crystal_is_named(copy, vasp_samples, name, other, file):
    folder = copy(name)
    (folder / file).unlink()
    shutil.copy(vasp_samples / other / f"{file}.gz", folder)
    for reason in reasons(folder):
        assert "files of different runs: " in reason
        assert file in reason


@pytest.mark.parametrize(
    ("file", "reason"),
    [
        ("INCAR", "ISTART: 1 in INCAR, not set in vasprun.xml"),
        ("POSCAR", "lattice vectors of POSCAR and OUTCAR (ionic step 1; it fits the last one)"),
        ("vasprun.xml", "energies of OUTCAR and vasprun.xml"),
        ("OSZICAR", "electronic steps: 6 in OSZICAR, 10 in OUTCAR"),
    ],
)
def test_a_file_of_the_second_of_two_relaxations_is_named(copy, file, reason):
    folder = copy("si_relax_pair", ".relax1")
    shutil.copy(copy("si_relax_pair", ".relax2") / file, folder)
    assert (count_run(folder).failure or "").startswith(f"files of different runs: {reason}")


@pytest.mark.parametrize(
    ("name", "file", "old", "new", "reason"),
    [
        # VASP 5 repeats tags in vasprun.xml and some in OUTCAR, VASP 6 all of INCAR in OUTCAR.
        ("mg2_relax", "INCAR", r"NSW *= *60", "NSW = 40", "NSW: 40 in INCAR, 60 in OUTCAR"),
        ("mg2_relax", "INCAR", r"ISIF *= *3", "ISIF = 2", "ISIF: 2 in INCAR, 3 in OUTCAR"),
        (
            "mg2_relax",
            "INCAR",
            r"SIGMA *= *0\.2",
            "SIGMA = 0.1",
            "SIGMA: 0.1 in INCAR, 0.20 in OUTCAR",
        ),
        ("mg2_relax", "INCAR", r"\A", "ISYM = 0\n", "ISYM: 0 in INCAR, 2 in OUTCAR"),
        ("mg2_relax", "INCAR", r"NELMIN *= *5", "", "NELMIN: not set in INCAR, 5 in vasprun.xml"),
        ("si_spin_vasp6", "INCAR", r"ALGO = Normal", "ALGO = Fast", "ALGO: Fast in INCAR, Normal"),
        ("si_spin_vasp6", "INCAR", r"2\*-0.0", "2*1.0", "MAGMOM: [1.0, 1.0] in INCAR, [-0."),
        (
            "si_spin_vasp6",
            "INCAR",
            "PREC = Acc.*",
            "PREC = Normal",
            "PREC: normal in INCAR, ac",
        ),
        # The title is that of the run.
        (
            "mg2_relax",
            "KPOINTS",
            "17 17 9",
            "17 17 8",
            "k-points: Gamma 17 x 17 x 8 in KPOINTS, ",
        ),
        ("fe2", "KPOINTS", "Monk", "Gamma", "k-points: Gamma 4 x 4 x 4 in KPOINTS, Monk"),
        (
            "fe2",
            "KPOINTS",
            "0 0 0",
            "0 0 .5",
            "k-points: Monkhorst-Pack 4 x 4 x 4 shifted by",
        ),
        (
            "fe2",
            "KPOINTS",
            "pyCMW",
            "pyCMX",
            "title 'Kpoints file generated with pyCMX' in",
        ),
        ("fe2", "IBZKPT", "0.375", "0.125", "coordinates of the k-points in IBZKPT and OUTCAR"),
        # Positions of VASP 4, and of the last step of a relaxation.
        ("fe2", "POSCAR", r"0\.50+ 0\.50+ ", "0.49 0.5 ", "positions of POSCAR and OUTCAR"),
        (
            "mg2_relax",
            "CONTCAR",
            r" 0\.33333",
            " 0.33433",
            "positions of CONTCAR and OUTCAR (i",
        ),
    ],
)
def test_a_tag_a_mesh_or_a_geometry_of_another_run_is_named(copy, name, file, old, new, reason):
    folder = copy(name)
    text, n = re.subn(old, new, (folder / file).read_text(), count=1)
    assert n
    (folder / file).write_text(text)
    for found in reasons(folder):
        assert f"files of different runs: {reason}" in found


@pytest.mark.parametrize("name", ["fe2", "mg2_relax"])
@pytest.mark.parametrize(
    "tag",
    [
        "LHFCALC = T",
        "GGA = PS",
        "NELECT = 9",
        "LSORBIT = T",
        "LNONCOLLINEAR = T",
        "LDAU = T",
        "ISYM = 0",
        "SIGMA = 0.9",
        "LREAL = A",
        "NUPDOWN = 2",
        "LASPH = T",
        "NGXF = 20",
    ],
)
def test_without_vasprun_tags_are_those_of_the_list_in_outcar(copy, name, tag):
    folder = copy(name)
    (folder / "vasprun.xml").unlink()
    assert not count_run(folder).failure
    incar = (folder / "INCAR").read_text()
    (folder / "INCAR").write_text(f"{tag}\n{incar}")
    for found in reasons(folder):
        assert f"files of different runs: {tag.split()[0]}" in found


@pytest.mark.parametrize(
    ("divisions", "shift", "is_foreign"),
    [("3 3 3", "", False), ("2 2 2", "", True), ("9 9 9", "", True)],
)
def test_a_mesh_is_compared_with_outcar_alone(copy, divisions, shift, is_foreign):
    folder = copy("si_g0w0_static")
    (folder / "vasprun.xml").unlink()
    title = (folder / "KPOINTS").read_text().splitlines()[0]
    (folder / "KPOINTS").write_text(MESH.format(divisions, shift).replace("Automatic mesh", title))
    for reason in reasons(folder):
        expected = f"k-points: {' x '.join(divisions.split())} in KPOINTS, 4 others in OUTCAR"
        assert (expected in reason) is is_foreign


def test_a_list_of_kpoints_is_compared_point_by_point(copy):
    folder = copy("si_spin_nscf_atomate")
    assert count_run(folder).failure is None
    # An IBZKPT beside a list is of an earlier run.
    (folder / "IBZKPT").write_text("Automatically generated mesh\n 1\nReciprocal\n 0 0 0 1\n")
    assert count_run(folder).failure is None
    text = (folder / "KPOINTS").read_text()
    (folder / "KPOINTS").write_text(text.replace("0.0217391304348", "0.0317391304348", 1))
    failure = count_run(folder).failure
    assert failure == "files of different runs: coordinates of the k-points in KPOINTS and OUTCAR"
