import os
import sys

import pytest
from pymatgen.core import SETTINGS as PYMATGEN

from mlcharge_flows import settings as module
from mlcharge_flows.settings import Settings, SetupError


@pytest.fixture(autouse=True)
def unconfigured(monkeypatch, tmp_path):
    """A user who configured nothing."""
    for name in ("VASP_CMD", "ATOMATE2_VASP_CMD", "MLCHARGE_VASP_CMD", "PMG_VASP_PSP_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delitem(PYMATGEN, "PMG_VASP_PSP_DIR", raising=False)
    monkeypatch.setenv("MLCHARGE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def vasp(tmp_path, monkeypatch):
    """An executable called vasp_std on the PATH."""
    program = tmp_path / "bin" / "vasp_std"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=os.pathsep)
    return program


def test_the_embedded_executable_is_the_default():
    settings = Settings()
    assert settings.embedded
    assert settings.potcar_library.is_relative_to(settings.cache)


def test_a_users_vasp_and_library_win(vasp, monkeypatch, tmp_path):
    monkeypatch.setenv("VASP_CMD", "vasp_std -x")
    monkeypatch.setenv("PMG_VASP_PSP_DIR", str(tmp_path))
    settings = Settings()
    settings.activate()
    assert settings.vasp_cmd == "vasp_std -x"
    assert not settings.embedded
    assert settings.potcar_library == tmp_path
    assert PYMATGEN["PMG_VASP_PSP_DIR"] == str(tmp_path)


def test_atomate2s_own_setting_counts(vasp, monkeypatch, tmp_path):
    monkeypatch.setenv("ATOMATE2_VASP_CMD", "vasp_std")
    monkeypatch.setenv("PMG_VASP_PSP_DIR", str(tmp_path))
    assert Settings().program == "vasp_std"


def test_a_library_for_another_executable_is_not_given_to_the_embedded_one(monkeypatch, tmp_path):
    monkeypatch.setenv("PMG_VASP_PSP_DIR", str(tmp_path))
    assert Settings().potcar_library != tmp_path


def test_vasp_needs_a_library(vasp, monkeypatch):
    monkeypatch.setenv("VASP_CMD", "vasp_std")
    with pytest.raises(SetupError, match="vasp_std needs POTCARs: set PMG_VASP_PSP_DIR"):
        Settings().check()


@pytest.mark.parametrize(
    "command", ["no_such_vasp", "/no/such/vasp_std", "mpirun -n 2 no_such_vasp"]
)
def test_a_command_that_does_not_exist(monkeypatch, tmp_path, command):
    launcher = tmp_path / "mpirun"
    launcher.write_text("#!/bin/sh\n")
    launcher.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("VASP_CMD", command)
    with pytest.raises(SetupError, match=r"VASP_CMD: '.*vasp.*' is not an executable"):
        Settings().check()


@pytest.mark.parametrize("command", [" ", "vasp 'half a quote"])
def test_a_command_that_cannot_be_read(monkeypatch, command):
    monkeypatch.setenv("VASP_CMD", command)
    with pytest.raises(SetupError, match="VASP_CMD"):
        Settings().check()


def test_no_gpaw_installed(monkeypatch, vasp):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    embedded = vasp.rename(vasp.parent / "gpaw-vasp")
    monkeypatch.setattr(module, "_embedded_command", lambda: str(embedded))
    with pytest.raises(SetupError, match=r"pip install 'mlcharge-flows\[gpaw\]'"):
        Settings().check()


def exporter(folder, script):
    """A stand-in for gpaw-vasp that runs a piece of Python."""
    program = folder / "gpaw-vasp"
    program.write_text(f"#!{sys.executable}\nimport sys, os\n{script}\n")
    program.chmod(0o755)
    return str(program)


def test_the_library_is_filled_once(monkeypatch, tmp_path):
    log = tmp_path / "calls"
    script = f"os.makedirs(sys.argv[2]); open({str(log)!r}, 'a').write('x')"
    monkeypatch.setattr(module, "_embedded_command", lambda: exporter(tmp_path, script))
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: object())
    Settings().activate()
    Settings().activate()
    assert log.read_text() == "x"
    assert os.environ["PMG_VASP_PSP_DIR"] == str(Settings().potcar_library)


def test_a_failed_export_leaves_no_library(monkeypatch, tmp_path):
    script = "os.makedirs(sys.argv[2]); sys.exit('no data sets')"
    monkeypatch.setattr(module, "_embedded_command", lambda: exporter(tmp_path, script))
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: object())
    with pytest.raises(SetupError, match="no data sets"):
        Settings().activate()
    assert not Settings().potcar_library.exists()


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MLCHARGE_CACHE", str(tmp_path / "file"))
    monkeypatch.setattr(module, "_embedded_command", lambda: exporter(tmp_path, "pass"))
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: object())
    with pytest.raises(SetupError, match="set MLCHARGE_CACHE"):
        Settings().activate()
