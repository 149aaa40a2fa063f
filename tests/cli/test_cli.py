import json
import subprocess
import sys
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
import typer
from pymatgen.core import SETTINGS as PYMATGEN
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp import Poscar
from typer.testing import CliRunner

from mlcharge_flows import __version__, settings
from mlcharge_flows.cli.app import Commands, app
from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.density import Density
from mlcharge_flows.scf.comparison import Comparison
from mlcharge_flows.scf.run import ScfRun
from mlcharge_flows.settings import SetupError
from mlcharge_flows.vasp.chgcar_writer import write_chgcar
from mlcharge_flows.yaml_files import YamlError


@pytest.fixture(autouse=True)
def unconfigured(monkeypatch):
    for name in ("VASP_CMD", "ATOMATE2_VASP_CMD", "MLCHARGE_VASP_CMD", "PMG_VASP_PSP_DIR"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.delitem(PYMATGEN, "PMG_VASP_PSP_DIR", raising=False)


def mlcharge(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def refused(*words):
    """The lines of a refusal."""
    result = mlcharge(*words)
    assert result.exit_code == 2, result.output
    assert "Traceback" not in result.output
    lines = result.stderr.splitlines()
    assert all(line.startswith("mlcharge: ") for line in lines)
    return lines


@pytest.fixture
def helium(tmp_path):
    path = tmp_path / "He.cif"
    Structure(Lattice.cubic(3.0), ["He"], [[0, 0, 0]]).to(filename=str(path))
    return path


@pytest.fixture
def nothing_runs(monkeypatch):
    """An executable and a library, as far as can be told before something runs."""
    monkeypatch.setenv("VASP_CMD", "vasp_std")
    monkeypatch.setattr(settings.Settings, "check", lambda self: None)
    monkeypatch.setattr(settings.Settings, "activated", lambda self: nullcontext())


def test_version():
    assert mlcharge("--version").output == f"mlcharge {__version__}\n"


@pytest.mark.parametrize("command", ["compare", "report", "inspect"])
def test_help_teaches_by_example(command):
    assert f"mlcharge {command} " in mlcharge(command, "--help").output


def test_help_needs_no_heavy_library():
    code = (
        "import sys; import mlcharge_flows.cli.app;"
        "print({'atomate2', 'pymatgen', 'gpaw', 'scipy', 'plotly', 'numpy'} & set(sys.modules))"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("error", "lines"),
    [
        (SetupError("two\nlines"), ["mlcharge: two lines"]),
        (
            YamlError("a: is missing", "b: is missing"),
            ["mlcharge: a: is missing", "mlcharge: b: is missing"],
        ),
    ],
)
def test_an_error_of_this_package_ends_any_command_with_its_lines(error, lines):
    commands = typer.Typer(cls=Commands)
    inner = typer.Typer(name="inner")
    commands.add_typer(inner)

    @inner.callback()
    def group():
        """A group of commands."""

    @inner.command()
    def fail():
        raise error

    result = CliRunner().invoke(commands, ["inner", "fail"])
    assert (result.exit_code, result.stderr.splitlines()) == (2, lines)
    error = ValueError("a fault of the program")
    assert CliRunner().invoke(commands, ["inner", "fail"]).exception is error


def test_bad_structures_stop_everything_before_it_starts(nothing_runs, tmp_path, helium):
    (tmp_path / "empty.cif").write_text("")
    lines = refused("compare", tmp_path, "--out", tmp_path / "out")
    assert lines[0] == f"mlcharge: {tmp_path}/empty.cif: the file is empty"
    assert "--skip-bad" in lines[1]
    assert not (tmp_path / "out").exists()


def test_nothing_to_compare(nothing_runs, helium):
    (line,) = refused("compare", helium.parent / "none.cif", "--skip-bad")
    assert "there is no such file" in line


def test_all_structures_are_too_large(nothing_runs, tmp_path):
    for name in "ab":
        crystal = Structure(Lattice.cubic(3.0), ["He", "He"], [[0] * 3, [0.5] * 3])
        crystal.to(filename=str(tmp_path / f"{name}.cif"))
    (line,) = refused("compare", tmp_path, "--max-atoms", 1, "--out", tmp_path / "out")
    assert line == "mlcharge: no structure is left: --max-atoms 1 leaves out 2"


def test_unknown_arm(nothing_runs, helium):
    (line,) = refused("compare", helium, "--arms", "magic")
    assert "'magic' is no source of densities; write DENSITY" in line


def test_options_that_name_nothing(nothing_runs, helium):
    (line,) = refused("compare", helium, "--arms", "superposition", "--occupancies", "x" * 5000)
    assert line.startswith("mlcharge: --occupancies: 'xxx")
    (line,) = refused("dataset", "build", helium, "--split", "bogus")
    assert line == "mlcharge: --split bogus: no structure is marked so; their splits: none"


def test_a_broken_vasp_cmd_is_found_before_anything_runs(monkeypatch, helium, tmp_path):
    monkeypatch.setenv("VASP_CMD", "no_such_vasp")
    (line,) = refused("compare", helium, "--out", tmp_path / "out")
    assert "'no_such_vasp' is not an executable" in line
    assert not (tmp_path / "out").exists()


def test_no_gpaw_installed(monkeypatch, helium, tmp_path):
    program = tmp_path / "gpaw-vasp"
    program.write_text("")
    program.chmod(0o755)
    monkeypatch.setattr(settings, "_embedded_program", lambda: str(program))
    monkeypatch.setattr(settings.importlib.util, "find_spec", lambda name: None)
    (line,) = refused("compare", helium, "--executable", "gpaw-vasp")
    assert "gpaw-vasp needs GPAW: pip install" in line


def test_an_element_without_paw_data(nothing_runs, monkeypatch, tmp_path):
    monkeypatch.setitem(PYMATGEN, "PMG_VASP_PSP_DIR", str(tmp_path))
    Structure(Lattice.cubic(5.0), ["Cm"], [[0, 0, 0]]).to(filename=str(tmp_path / "Cm.cif"))
    line = refused("compare", tmp_path / "Cm.cif", "--out", tmp_path / "out")[0]
    assert "Cm.cif: Cm needs PAW data for Cm" in line


def test_a_file_in_place_of_the_output_folder(nothing_runs, monkeypatch, helium, tmp_path):
    monkeypatch.setattr(
        "mlcharge_flows.sources.potcar_library.elements_without_potcar", lambda *_: set()
    )
    (tmp_path / "out").write_text("")
    (line,) = refused("compare", helium, "--out", tmp_path / "out")
    assert "out: cannot be written" in line
    # No bar of what never began.
    assert "materials" not in mlcharge("compare", helium, "--out", tmp_path / "out").stdout


def test_the_bar_is_there_once_it_begins(nothing_runs, monkeypatch, helium, tmp_path):
    def run_locally(materials, maker, out, workers, advance, begin, **_):
        begin()
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(
        "mlcharge_flows.sources.potcar_library.elements_without_potcar", lambda *_: set()
    )
    monkeypatch.setattr("mlcharge_flows.campaign.local.run_locally", run_locally)
    result = mlcharge("compare", helium, "--out", tmp_path / "out")
    assert "No space left" in result.stderr
    assert "0/1" in result.stdout


def test_nothing_could_be_compared(nothing_runs, monkeypatch, helium, tmp_path):
    monkeypatch.setattr(
        "mlcharge_flows.sources.potcar_library.elements_without_potcar", lambda *_: set()
    )
    failed = Comparison(
        material_id="He",
        formula="He",
        n_atoms=1,
        protocol="p",
        arms={"default": ScfRun(folder="", failure="no electronic step")},
    )
    monkeypatch.setattr("mlcharge_flows.campaign.local.run_locally", lambda *_, **__: [failed])
    result = mlcharge("compare", helium, "--out", tmp_path / "out")
    assert result.exit_code == 1
    assert "no material could be compared" in result.stderr


def test_ctrl_c(nothing_runs, monkeypatch, helium, tmp_path):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(
        "mlcharge_flows.sources.potcar_library.elements_without_potcar", lambda *_: set()
    )
    monkeypatch.setattr("mlcharge_flows.campaign.local.run_locally", interrupt)
    result = mlcharge("compare", helium, "--out", tmp_path / "out")
    assert result.exit_code == 130
    assert "give the same command" in result.stderr


def campaign(folder, *protocols):
    for number, protocol in enumerate(protocols):
        run = ScfRun(folder="", n_total=10, energy=-1.0, converged=True, started_from="atoms")
        comparison = Comparison(
            material_id=f"m{number}",
            formula="He",
            n_atoms=1,
            protocol=protocol,
            arms={"default": run},
        )
        (folder / f"m{number}").mkdir()
        (folder / f"m{number}" / "comparison.json").write_text(comparison.model_dump_json())


def test_report_of_a_folder(tmp_path):
    campaign(tmp_path, "p", "p")
    result = mlcharge("report", tmp_path)
    assert result.exit_code == 0
    assert str(tmp_path / "report.html") in result.output
    assert json.loads((tmp_path / "summary.json").read_text())["n_materials"] == 2


def test_a_report_that_cannot_be_written_names_the_file(tmp_path):
    campaign(tmp_path, "p")
    (tmp_path / "materials.csv").mkdir()
    (line,) = refused("report", tmp_path)
    assert line.startswith(f"mlcharge: {tmp_path / 'materials.csv'}: cannot be written (Is a dir")


def test_report_refuses_what_cannot_be_reported(tmp_path):
    assert "no such folder" in refused("report", tmp_path / "none")[0]
    (tmp_path / "empty.vasp").touch()
    reason = "empty.vasp: is a file; give the folder of --out"
    assert reason in refused("report", tmp_path / "empty.vasp")[0]
    assert "no material is finished" in refused("report", tmp_path)[0]
    campaign(tmp_path, "p", "q")
    assert "2 different settings" in refused("report", tmp_path)[0]


@pytest.fixture
def run_folder(tmp_path):
    """A CHGCAR and the POSCAR and INCAR of the run that it belongs to."""
    helium = Structure(Lattice.cubic(3.0), ["He"], [[0, 0, 0]])
    helium.to(filename=str(tmp_path / "POSCAR"), fmt="poscar")
    (tmp_path / "INCAR").write_text("NGXF = 4\nNGYF = 4\nNGZF = 4\nENCUT = 200\n")
    crystal = Crystal(helium.lattice.matrix, ("He",), np.zeros((1, 3)))
    write_chgcar(
        tmp_path / "CHGCAR",
        Density(crystal, np.full((4, 4, 4), 2 / 27), (np.ones(15),), comment="a start"),
    )
    return tmp_path


def test_inspect(run_folder):
    options = ["--poscar", run_folder / "POSCAR", "--incar", run_folder / "INCAR"]
    result = mlcharge("inspect", run_folder / "CHGCAR", *options)
    assert result.exit_code == 1
    assert "ICHARG is not set, 1 is needed" in result.output
    with (run_folder / "INCAR").open("a") as incar:
        incar.write("\nICHARG = 1\n")
    result = mlcharge("inspect", run_folder / "CHGCAR", *options)
    assert result.exit_code == 0
    for text in ("4 x 4 x 4", "2.00000", "ion 1 He: 15 values", "read from file: a\n"):
        assert text in result.output


def test_inspect_takes_the_cutoff_of_the_data_sets(run_folder, monkeypatch):
    """Grids follow from ENMAX where INCAR has no ENCUT; a blank comment has no name."""
    helium = SimpleNamespace(symbol="He", channels=(0, 0, 1, 1), enmax=120.0, zval=2.0)
    monkeypatch.setattr("mlcharge_flows.vasp.potcar.read_potcar", lambda path: [helium])
    (run_folder / "POTCAR").touch()
    files = [f"--{name.lower()}={run_folder / name}" for name in ("POSCAR", "INCAR", "POTCAR")]
    for incar in ("ICHARG = 1", "ICHARG = 1\nENMAX = 120", "ICHARG = 1\nENCUT = 120"):
        (run_folder / "INCAR").write_text(f"{incar}\n")
        told = " ".join(mlcharge("inspect", run_folder / "CHGCAR", *files).output.split())
        assert "dimensions on CHGCAR file are different" in told
    chgcar = (run_folder / "CHGCAR").read_text()
    (run_folder / "CHGCAR").write_text(chgcar[chgcar.index("\n") :])
    assert "str" not in mlcharge("inspect", run_folder / "CHGCAR").output.splitlines()[0]


def test_inspect_refuses_ions_in_another_order(tmp_path):
    """VASP compares nothing but their number, and would begin from this file."""
    crystal = Crystal(
        4 * np.eye(3),
        ("He", "He", "Ne"),
        np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.0], [0.5, 0.0, 0.5]]),
    )
    density = Density(crystal, np.full((4, 4, 4), 0.1), (np.zeros(15),) * 3, comment="a")
    write_chgcar(tmp_path / "CHGCAR", density)

    def inspected(symbols, positions):
        cell = Structure(Lattice.cubic(4.0), symbols, positions)
        Poscar(cell).write_file(tmp_path / "POSCAR")
        return mlcharge("inspect", tmp_path / "CHGCAR", "--poscar", tmp_path / "POSCAR")

    first, second, third = crystal.positions
    assert inspected(crystal.symbols, [first, second, third]).exit_code == 0
    moved = inspected(crystal.symbols, [first + 0.02, second, third])
    assert moved.exit_code == 0, "VASP adds the change of the superposition"
    assert "ions have moved" in moved.output
    swapped = inspected(crystal.symbols, [second, first, third])
    assert swapped.exit_code == 1
    assert "not of the run: ion 1 of the file is ion 2 of the run" in swapped.output
    swapped = inspected(("Ne", "He", "He"), [third, first, second])
    assert swapped.exit_code == 1
    assert "not of the run: ion 1 is He in the file and Ne in the run" in swapped.output


def test_inspect_tells_why_vasp_would_not_use_it(run_folder):
    (run_folder / "INCAR").write_text("NGXF = 8\nNGYF = 8\nNGZF = 8\nENCUT = 200\n")
    options = ["--poscar", run_folder / "POSCAR", "--incar", run_folder / "INCAR"]
    result = mlcharge("inspect", run_folder / "CHGCAR", *options)
    assert result.exit_code == 1
    assert "dimensions on CHGCAR file are different" in result.output


def test_inspect_refuses_bad_input(run_folder):
    chgcar = run_folder / "CHGCAR"
    assert "no such file" in refused("inspect", run_folder / "none")[0]
    assert f"{run_folder}: is a folder" in refused("inspect", run_folder)[0]
    (run_folder / "empty").touch()
    assert "empty: the file is empty" in refused("inspect", run_folder / "empty")[0]
    poscar = run_folder / "POSCAR"
    assert "POSCAR: is no CHGCAR: the file ends inside its header" in refused("inspect", poscar)[0]
    assert "is a folder" in refused("inspect", chgcar, "--poscar", run_folder)[0]
    assert "need --poscar" in refused("inspect", chgcar, "--incar", run_folder / "INCAR")[0]
    (run_folder / "POSCAR").write_text("He\n1.0\n")
    assert (
        "POSCAR: cannot be read" in refused("inspect", chgcar, "--poscar", run_folder / "POSCAR")[0]
    )


def test_nothing_of_a_file_reaches_the_terminal_as_an_escape(nothing_runs, tmp_path):
    path = tmp_path / "a\x1b[31m.cif"
    path.write_text("")
    (line,) = refused("compare", path, "--skip-bad")
    assert line.isprintable()


def test_the_executable_is_printed_and_can_be_chosen(nothing_runs, monkeypatch, helium, tmp_path):
    monkeypatch.setattr(
        "mlcharge_flows.sources.potcar_library.elements_without_potcar", lambda *_: set()
    )
    monkeypatch.setattr("mlcharge_flows.campaign.local.run_locally", lambda *_, **__: [])
    monkeypatch.setenv("VASP_CMD", "srun vasp_std")
    monkeypatch.setenv("PMG_VASP_PSP_DIR", "/theirs")
    words = ("compare", helium, "--out", tmp_path / "out")
    assert "Executable: srun vasp_std; POTCARs: /theirs\n" in mlcharge(*words).output
    chosen = mlcharge(*words, "--executable", "gpaw-vasp").output
    assert "Executable: gpaw-vasp (embedded); POTCARs: /" in chosen
    assert "/theirs" not in chosen


@pytest.mark.parametrize(
    ("words", "extra"),
    [
        (("models", "list"), "models"),
        (("models", "info", "orbital"), "models"),
        (("predict", "Si.cif", "--encut", 350), "models"),
        (("dataset", "info", "a.h5"), "train"),
        (("evaluate", "a.h5"), "train"),
        (("train", "a.yaml"), "models,train"),
    ],
)
def test_a_missing_extra_is_one_line(monkeypatch, words, extra):
    monkeypatch.setattr("mlcharge_flows.cli.terminal.find_spec", lambda name: None)
    (line,) = refused(*words)
    assert f"pip install 'mlcharge-flows[{extra}]'" in line


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--nope"], "mlcharge: No such option: --nope"),
        (["nope"], "mlcharge: No such command 'nope'; see 'mlcharge --help'"),
        (["predict", "--nope"], "mlcharge: predict: No such option: --nope"),
        (
            ["inspect"],
            "mlcharge: inspect: Missing argument 'chgcar'; see 'mlcharge inspect --help'",
        ),
        (["campaign", "run"], "mlcharge: campaign run: Missing argument 'spec'; see"),
        (["campaign", "nope"], "mlcharge: campaign: No such command 'nope'"),
        (["predict", "x", "--encut", "much"], "mlcharge: predict: Invalid value for '--encut'"),
        (["compare", "x", "--workers", "-1"], "mlcharge: compare: Invalid value for '--workers'"),
        (["bands", "x", "--line-density"], "mlcharge: Option '--line-density' requires an arg"),
        (["predict", "--no\x1b[2Jpe\nx"], "mlcharge: predict: No such option: --no"),
    ],
)
def test_usage_errors_are_one_line(words, line):
    (found,) = refused(*words)
    assert found.isprintable()
    # Versions of click differ in quotes and in the colon behind "No such option".
    plain = [text.lower().replace("'", "").replace("option:", "option") for text in (found, line)]
    assert plain[0].startswith(plain[1])


def test_without_a_subcommand_there_is_help():
    for words in ([], ["campaign"]):
        result = mlcharge(*words)
        assert result.exit_code == 2
        assert "Usage: " in result.output


@pytest.mark.gpaw
def test_a_wrong_tag_is_said_of_the_option_that_has_it(helium):
    words = ("compare", helium, "--executable", "gpaw-vasp")
    (line,) = refused(*words, "--incar", "ENCU = 300")
    assert line == "mlcharge: --incar: ENCU is no tag of INCAR; is ENCUT meant?"
    (line,) = refused(*words, "--kpoints", "density=3")
    assert line.startswith("mlcharge: --kpoints: density is unknown")
