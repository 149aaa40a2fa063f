from __future__ import annotations

import gzip
import os

import pytest

from mlcharge_flows.scf.run_files import RunFiles, RunFilesError, count_ions

NAMES = ("OSZICAR", "OUTCAR", "vasp.out")


@pytest.fixture
def write(tmp_path):
    def files(**texts):
        for name, text in texts.items():
            path = tmp_path / name.replace("_", ".")
            path.write_bytes(gzip.compress(text.encode()) if name.endswith("gz") else text.encode())
        return tmp_path

    return files


def test_an_empty_folder_has_no_files(tmp_path):
    assert RunFiles.find(tmp_path) == RunFiles(tmp_path)


def test_folders_are_no_files(tmp_path):
    (tmp_path / "OUTCAR").mkdir()
    assert RunFiles.find(tmp_path).outcar is None


@pytest.mark.parametrize("end", ["", ".gz", ".bz2", ".xz"])
def test_every_file_is_found(tmp_path, end):
    inputs = ("INCAR", "KPOINTS", "POSCAR", "POTCAR", "CHGCAR", "CONTCAR", "IBZKPT", "EIGENVAL")
    others = ("custodian.json", "std_err.txt", "vasprun.xml", *inputs)
    for name in (*NAMES, *others):
        (tmp_path / (name + end)).touch()
    (tmp_path / f"INCAR.orig{end}").touch()
    files = RunFiles.find(tmp_path)
    assert files.suffix == ""
    found = {path.name for path in vars(files).values() if path not in ("", tmp_path)}
    assert found == {path.name for path in tmp_path.iterdir()} - {f"INCAR.orig{end}"}


def test_the_first_relaxation_is_the_run(write):
    folder = write(OUTCAR_relax10_gz="ten", OUTCAR_relax2="two", OUTCAR_relax1_gz="one")
    assert RunFiles.find(folder).outcar.name == "OUTCAR.relax1.gz"


def test_another_suffix_is_taken_if_it_is_the_only_one(write):
    assert RunFiles.find(write(OUTCAR_static="", OSZICAR_static_gz="")).suffix == ".static"
    with pytest.raises(RunFilesError, match=r"several runs \(OUTCAR\.bands, OUTCAR\.static\)"):
        RunFiles.find(write(OUTCAR_bands=""))


def test_a_relaxation_that_custodian_has_copied_is_no_other_run(write):
    folder = write(OUTCAR="one", OUTCAR_relax1="one")
    assert RunFiles.find(folder).outcar.name == "OUTCAR.relax1"
    write(OUTCAR="two")
    with pytest.raises(RunFilesError, match=r"OUTCAR and OUTCAR\.relax1 in .* differ"):
        RunFiles.find(folder)


def test_two_versions_of_a_file_must_be_the_same(write):
    folder = write(OUTCAR="one", OUTCAR_gz="one")
    assert RunFiles.find(folder).outcar.name == "OUTCAR"
    write(OUTCAR="one and more")
    with pytest.raises(RunFilesError, match=r"OUTCAR and OUTCAR\.gz in .* differ; remove"):
        RunFiles.find(folder)


def test_ions_are_counted_with_and_without_elements(tmp_path):
    path = tmp_path / "POSCAR"
    cell = "comment\n1.0\n1 0 0\n0 1 0\n0 0 1\n"
    for text, n_ions in (
        (f"{cell} Li Co O\n 2 2 4 \nDirect\n", 8),
        (f"{cell} 2 2 ! no names\nDirect\n", 4),
        (cell, None),
        ("", None),
    ):
        path.write_text(text)
        assert count_ions(path) == n_ions


@pytest.mark.parametrize("name", ["OUTCAR.zst", "OSZICAR.Z", "vasp.out.zip", "OUTCAR.relax1.zst"])
def test_files_in_foreign_archives_are_named(tmp_path, name):
    (tmp_path / name).touch()
    with pytest.raises(RunFilesError, match=rf"{name}: is a \w+ archive; unpack it"):
        RunFiles.find(tmp_path)


def test_a_named_pipe_is_never_waited_for(tmp_path):
    os.mkfifo(tmp_path / "OUTCAR")
    with pytest.raises(RunFilesError, match="OUTCAR: is a named pipe, no file"):
        RunFiles.find(tmp_path)
