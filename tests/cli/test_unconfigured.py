"""The embedded executable runs only where it is asked for: commands where nothing is configured."""

import os
import subprocess
import sys

import atomate2
import pytest
import typer
from pymatgen.core import SETTINGS as PYMATGEN
from pymatgen.core import Lattice, Structure
from test_cli import mlcharge, refused

from mlcharge_flows.cli.app import app
from mlcharge_flows.errors import MlchargeError

#: Words of every command that runs or submits something, or reads the library of POTCARs for it.
COMMANDS = {
    "compare": ("He.cif", "--arms", "superposition"),
    "bands": ("He.cif", "--density", "superposition"),
    "campaign run": ("SPEC.yaml",),
    "campaign submit": ("SPEC.yaml",),
    "dataset build": ("He.cif",),
    "dataset pseudo-label": ("He.cif",),
}
WITH_OPTION = [name for name in COMMANDS if name != "campaign submit"]


class ReachedError(MlchargeError, RuntimeError):
    """The command was about to begin."""


@pytest.fixture(autouse=True)
def unconfigured(monkeypatch, tmp_path):
    """A user who forgot to configure an executable, in a folder with a structure and a SPEC."""
    for name in ("VASP_CMD", "ATOMATE2_VASP_CMD", "MLCHARGE_VASP_CMD", "PMG_VASP_PSP_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(atomate2, "SETTINGS", atomate2.settings.Atomate2Settings.model_construct())
    monkeypatch.delitem(PYMATGEN, "PMG_VASP_PSP_DIR", raising=False)
    (tmp_path / "bin").mkdir()
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    monkeypatch.chdir(tmp_path)
    Structure(Lattice.cubic(3.0), ["He"], [[0, 0, 0]]).to(filename="He.cif")
    (tmp_path / "SPEC.yaml").write_text("structures: He.cif\narms: [superposition]\n")

    def reached(*_, **__):
        raise ReachedError("reached")

    monkeypatch.setattr("mlcharge_flows.settings.Settings.activated", reached)
    monkeypatch.setattr("mlcharge_flows.campaign.launchpad.open_launchpad", reached)


def commands(group, *before):
    """Names of all commands, and whether each has the option of an executable."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            yield from commands(command, *before, name)
        else:
            yield (
                " ".join([*before, name]),
                any(option.name == "executable" for option in command.params),
            )


def test_no_command_that_runs_something_is_left_out():
    with_option = {name for name, has_option in commands(typer.main.get_command(app)) if has_option}
    assert with_option == set(WITH_OPTION)


@pytest.mark.parametrize("library", ["none", "VASP's", "exports"])
@pytest.mark.parametrize("command", COMMANDS)
def test_without_an_executable_nothing_runs(command, library, tmp_path, monkeypatch):
    if library != "none":
        potcar = tmp_path / "potcars" / "POT_GGA_PAW_PBE" / "POTCAR.He"
        potcar.parent.mkdir(parents=True)
        potcar.write_text("  PAW_PBE He 05Jan2001\n" if library == "VASP's" else "  PAW He GPAW\n")
        monkeypatch.setitem(PYMATGEN, "PMG_VASP_PSP_DIR", str(tmp_path / "potcars"))
    before = set(tmp_path.iterdir())
    (line,) = refused(*command.split(), *COMMANDS[command])
    assert line.startswith("mlcharge: no executable is configured")
    assert "set VASP_CMD, such as 'mpirun -n 16 vasp_std', and PMG_VASP_PSP_DIR" in line
    assert "MLCHARGE_VASP_CMD=gpaw-vasp" in line
    assert ("--executable gpaw-vasp" in line) is (command in WITH_OPTION)
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize("command", COMMANDS)
def test_the_embedded_executable_runs_where_a_setting_asks_for_it(command, monkeypatch):
    pytest.importorskip("gpaw", reason="needs the gpaw extra")
    monkeypatch.setenv("MLCHARGE_VASP_CMD", "gpaw-vasp")
    assert refused(*command.split(), *COMMANDS[command]) == ["mlcharge: reached"]


@pytest.mark.parametrize("command", WITH_OPTION)
def test_the_embedded_executable_runs_where_the_option_asks_for_it(command):
    pytest.importorskip("gpaw", reason="needs the gpaw extra")
    words = (*command.split(), *COMMANDS[command], "--executable", "gpaw-vasp")
    assert refused(*words) == ["mlcharge: reached"]


@pytest.mark.parametrize("command", COMMANDS)
def test_a_vasp_on_the_path_is_what_atomate2_would_run(command, tmp_path, monkeypatch):
    program = tmp_path / "bin" / "vasp_std"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    monkeypatch.setitem(PYMATGEN, "PMG_VASP_PSP_DIR", str(tmp_path))
    result = mlcharge(*command.split(), *COMMANDS[command])
    assert (result.exit_code, result.stderr) == (2, "mlcharge: reached\n")
    assert "vasp_std" in result.stdout
    assert "gpaw-vasp" not in result.stdout


def test_settings_of_atomate2_that_are_no_yaml_are_one_line(tmp_path):
    """atomate2 reads them when it is imported, so in a process of its own."""
    (tmp_path / ".atomate2.yaml").write_text("VASP_CMD: [unclosed\n")
    code = "import sys; sys.argv[0] = 'mlcharge'; from mlcharge_flows.cli.app import main; main()"
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, "compare", "He.cif"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path)},
    )
    assert ran.returncode == 2, ran.stderr
    assert "Traceback" not in ran.stderr
    assert "~/.atomate2.yaml: is no YAML" in ran.stderr
