"""Every command that reads a file says in one line why it cannot: no traceback, no waiting."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from mlcharge_flows.cli.app import app

READERS = [
    ("inspect", "{}"),
    ("inspect", "CHGCAR", "--poscar", "{}"),
    ("inspect", "CHGCAR", "--poscar", "POSCAR", "--incar", "{}"),
    ("inspect", "CHGCAR", "--poscar", "POSCAR", "--potcar", "{}"),
    ("predict", "{}", "--encut", "300"),
    ("predict", "POSCAR", "--incar", "{}"),
    ("predict", "POSCAR", "--encut", "300", "--potcar", "{}"),
    ("compare", "{}"),
    ("bands", "{}"),
    ("campaign", "status", "{}"),
    ("campaign", "report", "{}"),
    ("train", "{}"),
    ("evaluate", "{}"),
    ("dataset", "info", "{}"),
    ("dataset", "merge", "{}", "--out", "all.h5"),
    ("dataset", "split", "{}"),
    ("dataset", "build", "{}"),
    ("models", "add", "{}"),
]
POSCAR = "x\n4.12\n1 0 0\n0 1 0\n0 0 1\nCs Cl\n1 1\nDirect\n0 0 0\n.5 .5 .5\n"


@pytest.mark.parametrize("kind", ["named pipe", "ZIP archive", "folder", "device", "dangling"])
@pytest.mark.parametrize("words", READERS, ids=" ".join)
def test_what_is_no_readable_file_is_named(vasp_samples, tmp_path, monkeypatch, words, kind):
    pytest.importorskip("h5py", reason="needs the train extra")
    pytest.importorskip("torch", reason="needs the models extra")
    if words[0] in ("compare", "bands") or words[:2] == ("dataset", "build"):
        pytest.importorskip("gpaw", reason="the executable is looked for first")
    monkeypatch.chdir(tmp_path)
    Path("POSCAR").write_text(POSCAR)
    shutil.copy(vasp_samples / "li_nospin" / "CHGCAR.gz", "CHGCAR")
    name = "given" if kind != "device" else "/dev/null"
    if kind == "named pipe":
        os.mkfifo(name)
    elif kind == "ZIP archive":
        Path(name).write_bytes(b"PK\x03\x04" + bytes(range(256)))
    elif kind == "folder":
        Path(name).mkdir()
    elif kind == "dangling":
        Path(name).symlink_to("nowhere")
    result = CliRunner().invoke(app, [word.format(name) for word in words])
    if words == ("inspect", "{}") and kind == "ZIP archive":  # what VASP makes of it is told
        assert "is a ZIP archive; unpack it" in result.output
        assert result.exit_code == 1
        return
    assert result.exit_code == 2, (result.output, result.exception)
    lines = result.stderr.strip().splitlines()
    assert any(name in line for line in lines), lines
    if kind in ("named pipe", "device"):
        assert any(f"is a {kind}, no file" in line for line in lines), lines
    if kind == "dangling":
        assert any("no such file" in line for line in lines), lines
