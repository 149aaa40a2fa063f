import os
import sys

import atomate2
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


@pytest.mark.parametrize("titel", [None, "Si 05Jan2001", "Si GPAW-1.2.1"])
@pytest.mark.parametrize("empty", [None, "VASP_CMD", "ATOMATE2_VASP_CMD"])
def test_without_an_executable_commands_are_refused(tmp_path, monkeypatch, titel, empty):
    """Whatever POTCARs are configured: a module is not loaded, or an export is forgotten."""
    if titel is not None:
        potcar = tmp_path / "POT_GGA_PAW_PBE" / "POTCAR.Si"
        potcar.parent.mkdir()
        potcar.write_text(f"  PAW_PBE {titel}\n")
        monkeypatch.setitem(PYMATGEN, "PMG_VASP_PSP_DIR", str(tmp_path))  # as from .pmgrc.yaml
    if empty is not None:
        monkeypatch.setenv(empty, "")
    asked_for = "--executable gpaw-vasp, or set MLCHARGE_VASP_CMD=gpaw-vasp$"
    with pytest.raises(SetupError, match=f"^no executable .* set VASP_CMD.*{asked_for}"):
        Settings.for_command()
    with pytest.raises(SetupError, match=r"MLCHARGE_VASP_CMD=gpaw-vasp here and on the workers$"):
        Settings.for_command(of_workers=True)
    assert Settings.for_command("gpaw-vasp").embedded


def test_the_library_of_the_embedded_executable_is_in_the_cache():
    settings = Settings.for_command("gpaw-vasp")
    assert settings.embedded
    assert settings.potcar_library.is_relative_to(settings.cache)


def test_whose_potcars_the_library_holds(tmp_path, monkeypatch):
    assert not Settings().exported_potcars
    assert Settings.for_command("gpaw-vasp").exported_potcars
    monkeypatch.setitem(PYMATGEN, "PMG_VASP_PSP_DIR", str(tmp_path))
    potcar = tmp_path / "POT_GGA_PAW_PBE" / "POTCAR.Si"
    potcar.parent.mkdir()
    for titel, exported in (("Si 05Jan2001", False), ("Si GPAW-1.2.1", True)):
        potcar.write_text(f"  PAW_PBE {titel}\n")
        assert Settings().exported_potcars is exported


def test_jobs_never_choose_the_embedded_executable():
    settings = Settings()
    assert (settings.program, settings.embedded) == ("vasp_std", False)
    assert settings.run_vasp_kwargs == {}


def test_a_vasp_on_the_path_is_taken_as_atomate2_would(vasp):
    assert Settings.for_command().program == "vasp_std"
    assert Settings.for_command("gpaw-vasp").embedded


@pytest.mark.parametrize("variable", ["MLCHARGE_VASP_CMD", "VASP_CMD", "ATOMATE2_VASP_CMD"])
def test_a_configured_command_is_taken(vasp, monkeypatch, variable):
    monkeypatch.setenv(variable, "/opt/vasp_ncl")
    assert Settings.for_command().program == Settings().program == "vasp_ncl"


def test_the_embedded_executable_is_asked_for(monkeypatch):
    monkeypatch.setenv("VASP_CMD", "vasp_std")
    monkeypatch.setenv("MLCHARGE_VASP_CMD", "gpaw-vasp")
    assert Settings().embedded
    commands = Settings().run_vasp_kwargs
    assert commands["vasp_cmd"] == commands["vasp_gamma_cmd"]
    assert commands["vasp_cmd"].endswith("gpaw-vasp")


def test_a_users_vasp_and_library_win(vasp, monkeypatch, tmp_path):
    monkeypatch.setenv("VASP_CMD", "vasp_std -x")
    monkeypatch.setenv("PMG_VASP_PSP_DIR", str(tmp_path))
    settings = Settings()
    settings.check()
    assert settings.vasp_cmd == "vasp_std -x"
    assert not settings.embedded
    assert settings.potcar_library == tmp_path
    with settings.activated():
        assert PYMATGEN["PMG_VASP_PSP_DIR"] == str(tmp_path)


def test_a_users_configuration_is_left_alone(monkeypatch, tmp_path):
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setenv("VASP_CMD", "mpirun vasp_std")
    monkeypatch.setitem(PYMATGEN, "PMG_VASP_PSP_DIR", str(tmp_path))  # as from .pmgrc.yaml
    before = dict(os.environ), dict(PYMATGEN)
    with Settings().activated():
        assert (dict(os.environ), dict(PYMATGEN)) == before


def test_atomate2s_own_setting_counts(vasp, monkeypatch, tmp_path):
    monkeypatch.setenv("ATOMATE2_VASP_CMD", "vasp_std")
    monkeypatch.setenv("PMG_VASP_PSP_DIR", str(tmp_path))
    assert Settings().program == "vasp_std"


def test_atomate2s_own_setting_is_atomate2s_to_read(monkeypatch):
    own = atomate2.settings.Atomate2Settings(VASP_CMD="srun vasp_std")
    monkeypatch.setattr(atomate2, "SETTINGS", own)
    monkeypatch.setenv("VASP_CMD", "vasp_ncl")
    assert Settings().vasp_cmd == "srun vasp_std"
    assert Settings().run_vasp_kwargs == {}


def test_a_library_for_another_executable_is_not_given_to_the_embedded_one(monkeypatch, tmp_path):
    (tmp_path / "POT_GGA_PAW_PBE").mkdir()
    potcar = tmp_path / "POT_GGA_PAW_PBE" / "POTCAR.Si"
    potcar.write_text("  PAW_PBE Si 05Jan2001\n")
    monkeypatch.setenv("PMG_VASP_PSP_DIR", str(tmp_path))
    settings = Settings.for_command("gpaw-vasp")
    assert settings.potcar_library != tmp_path
    potcar.write_text("  PAW_PBE Si GPAW-1.2.1\n")
    assert settings.potcar_library == tmp_path


@pytest.mark.parametrize(
    ("command", "program", "standard", "gamma"),
    [
        ("vasp_std", "vasp_std", "vasp_std", "vasp_gam"),
        (
            "mpirun -n 4 /o/vasp_std",
            "vasp_std",
            "mpirun -n 4 /o/vasp_std",
            "mpirun -n 4 /o/vasp_gam",
        ),
        ("srun vasp_std > vasp.out 2>&1", "vasp_std", "srun vasp_std", "srun vasp_gam"),
        ("srun vasp_std 2> err >>log", "vasp_std", "srun vasp_std", "srun vasp_gam"),
        ("vasp_std -x", "vasp_std", "vasp_std -x", "vasp_gam -x"),
        ("'/a b/vasp_std'", "vasp_std", "'/a b/vasp_std'", "'/a b/vasp_gam'"),
        ("mpirun $BIN/vasp_std", "vasp_std", "mpirun $BIN/vasp_std", "mpirun $BIN/vasp_gam"),
        ("env A=vasp mpirun -n 2 runner", "runner", None, "env A=vasp mpirun -n 2 runner"),
        (
            "singularity exec vasp.sif vasp_std",
            "vasp_std",
            None,
            "singularity exec vasp.sif vasp_gam",
        ),
        ("/opt/runner --fast", "runner", None, "/opt/runner --fast"),
    ],
)
def test_the_program_of_a_command_and_its_gamma_point_variant(command, program, standard, gamma):
    settings = Settings(vasp_cmd=command)
    assert settings.program == program
    assert settings.run_vasp_kwargs == {"vasp_cmd": standard or command, "vasp_gamma_cmd": gamma}


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


@pytest.mark.parametrize("command", [" ", "vasp 'half a quote", "> vasp.out"])
def test_a_command_that_cannot_be_read(monkeypatch, command):
    monkeypatch.setenv("VASP_CMD", command)
    with pytest.raises(SetupError, match="VASP_CMD"):
        Settings().check()
    assert not Settings().embedded


def test_a_command_of_an_option_is_not_called_by_another_setting(monkeypatch):
    monkeypatch.setenv("VASP_CMD", "vasp_of_the_environment")
    with pytest.raises(SetupError, match=r"^--executable or MLCHARGE_VASP_CMD: 'no_such_vasp' is"):
        Settings.for_command("no_such_vasp").check()


def test_no_gpaw_installed(monkeypatch, vasp):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    embedded = vasp.rename(vasp.parent / "gpaw-vasp")
    monkeypatch.setattr(module, "_embedded_program", lambda: str(embedded))
    with pytest.raises(SetupError, match=r"pip install 'mlcharge-flows\[gpaw\]'"):
        Settings.for_command("gpaw-vasp").check()


@pytest.fixture
def exporter(monkeypatch, tmp_path):
    """Put a piece of Python in the place of the embedded executable."""

    def exporter(script):
        program = tmp_path / "gpaw-vasp"
        program.write_text(f"#!{sys.executable}\nimport sys, os\n{script}\n")
        program.chmod(0o755)
        monkeypatch.setattr(module, "_embedded_program", lambda: str(program))

    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: object())
    return exporter


def test_the_library_is_filled_once_and_the_environment_restored(monkeypatch, tmp_path, exporter):
    log = tmp_path / "calls"
    exporter(f"os.makedirs(sys.argv[2]); open({str(log)!r}, 'a').write('x')")
    monkeypatch.delenv("OMP_NUM_THREADS")
    before = dict(os.environ), dict(PYMATGEN)
    for _ in range(2):
        with Settings.for_command("gpaw-vasp").activated():
            library = str(Settings().potcar_library)
            assert Settings().embedded, "child processes and jobs use it, too"
            assert os.environ["PMG_VASP_PSP_DIR"] == PYMATGEN["PMG_VASP_PSP_DIR"] == library
            assert os.environ["OMP_NUM_THREADS"] == "1"
        assert (dict(os.environ), dict(PYMATGEN)) == before
    assert log.read_text() == "x"


def test_the_environment_is_restored_after_an_error(monkeypatch, exporter):
    exporter("os.makedirs(sys.argv[2])")
    monkeypatch.setitem(PYMATGEN, "PMG_VASP_PSP_DIR", "/theirs")
    with pytest.raises(KeyError), Settings.for_command("gpaw-vasp").activated():
        raise KeyError
    assert PYMATGEN["PMG_VASP_PSP_DIR"] == "/theirs"
    assert "PMG_VASP_PSP_DIR" not in os.environ


def test_a_failed_export_leaves_no_library(exporter):
    exporter("os.makedirs(sys.argv[2]); sys.exit('no data sets')")
    with (
        pytest.raises(SetupError, match="no data sets"),
        Settings.for_command("gpaw-vasp").activated(),
    ):
        pass
    assert not Settings.for_command("gpaw-vasp").potcar_library.exists()


def test_an_export_that_was_killed_goes_with_the_next_one(tmp_path, exporter):
    killed = "import signal; os.kill(os.getppid(), signal.SIGKILL)"
    exporter(f"os.makedirs(sys.argv[2]); {killed}")
    library = Settings.for_command("gpaw-vasp").potcar_library
    if os.fork() == 0:  # killed while it fills the library
        module._fill(library)
        os._exit(0)
    os.wait()
    assert [path.suffix for path in library.parent.iterdir()] == [".partial"]
    exporter("os.makedirs(sys.argv[2])")
    module._fill(library)
    assert list(library.parent.iterdir()) == [library]


def test_a_cache_that_cannot_be_written(monkeypatch, tmp_path, exporter):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("MLCHARGE_CACHE", str(tmp_path / "file"))
    exporter("pass")
    with (
        pytest.raises(SetupError, match="set MLCHARGE_CACHE"),
        Settings.for_command("gpaw-vasp").activated(),
    ):
        pass


@pytest.mark.parametrize(
    ("command", "program", "gamma"),
    [
        ("srun vasp_std >vasp.out 2>err.log", "vasp_std", "srun vasp_gam"),
        ("bash -lc 'module load vasp && srun vasp_std'", "bash", None),
        ("singularity exec /img/vasp.sif /bin/std", "std", None),
        ("docker run vasp:6.4 vasp_std", "vasp_std", "docker run vasp:6.4 vasp_gam"),
        ("mpirun 'my codes/vasp_std'", "vasp_std", "mpirun 'my codes/vasp_gam'"),
    ],
)
def test_the_executable_of_a_command_line(command, program, gamma):
    settings = Settings(vasp_cmd=command)
    assert settings.program == program
    if gamma is not None:
        assert settings.run_vasp_kwargs["vasp_gamma_cmd"] == gamma


def test_a_script_between_quotes_stays_whole():
    assert Settings(vasp_cmd="bash -c 'vasp_std > out'").run_vasp_kwargs == {
        "vasp_cmd": "bash -c 'vasp_std > out'",
        "vasp_gamma_cmd": "bash -c 'vasp_gam > out'",
    }


@pytest.mark.parametrize("command", ["srun vasp_std | tee log", "ulimit -s 9; vasp_std", "a && b"])
def test_a_command_for_a_shell_is_refused(command):
    with pytest.raises(SetupError, match="is for a shell: write a script"):
        Settings(vasp_cmd=command).check()


@pytest.mark.parametrize("value", ["-1", "nan", "many", ""])
def test_a_setting_that_cannot_be_used_is_named_in_one_line(monkeypatch, value):
    monkeypatch.setenv("MLCHARGE_MAX_WAVECAR_SIZE", value)
    with pytest.raises(SetupError, match=rf"MLCHARGE_MAX_WAVECAR_SIZE = {value}: [^\n]*unset it$"):
        Settings()
