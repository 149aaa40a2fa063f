"""The console script ``gpaw-vasp``."""

from __future__ import annotations

import os

# One thread unless the user says otherwise; it must be set before numpy is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import sys
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from mlcharge_flows import __version__
from mlcharge_flows.errors import MlchargeError, one_line
from mlcharge_flows.progress_lines import ProgressLines

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from rich.progress import Progress

app = typer.Typer(
    add_completion=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
)

NO_GPAW = "GPAW is not installed: pip install 'mlcharge-flows[gpaw]'"


def use_mkl_transforms() -> bool:
    """Let scipy.fft, and so GPAW built without FFTW, take its Fourier transforms from Intel's MKL.

    On Intel's processors a transform of an orbital then takes a third of the time of scipy's own.
    The results are the same to rounding.

    Returns
    -------
    bool
        Whether ``mkl_fft`` and ``mkl-service`` are installed (``pip install
        'mlcharge-flows[mkl]'``); without them nothing changes.
    """
    if find_spec("mkl_fft") is None or find_spec("mkl") is None:
        return False
    from mkl_fft.interfaces import scipy_fft
    from scipy import fft

    fft.set_global_backend(scipy_fft)
    return True


def _fail(message: str) -> NoReturn:
    """Print the reason in one line and exit with status 2.

    The line goes to standard error, and also to standard output where that is a file: under a
    workflow manager ``vasp.out`` is where people look, as they do after VASP.

    Raises
    ------
    Exit
        Always.
    """
    typer.echo(f"gpaw-vasp: {message}", err=True)
    if not sys.stdout.isatty():
        typer.echo(f" ERROR: {message}")
    raise typer.Exit(2)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"gpaw-vasp {__version__}")
        raise typer.Exit


@app.callback(invoke_without_command=True)
def run(
    context: typer.Context,
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Print the version."
        ),
    ] = False,
    lcao: Annotated[
        bool,
        typer.Option(
            "--lcao",
            help="Begin with diagonalized atomic orbitals, which VASP does not have, instead of "
            "random ones: fewer steps are needed, and step counts are no longer VASP's.",
        ),
    ] = False,
) -> None:
    """Run like `vasp_std`: compute the folder you are in, with GPAW.

    Reads INCAR, POSCAR, KPOINTS (or KSPACING), POTCAR and, for ICHARG = 1 or 11, CHGCAR. Writes
    OSZICAR, OUTCAR, vasprun.xml, CONTCAR, EIGENVAL, DOSCAR, IBZKPT and CHGCAR, with XDATCAR where
    ions move.

    The POTCAR must come from a library made by `gpaw-vasp potcar DIR`. For atomate2:

        gpaw-vasp potcar ~/gpaw-potcars

        export PMG_VASP_PSP_DIR=~/gpaw-potcars ATOMATE2_VASP_CMD=gpaw-vasp

    Exit status: 0 when the run ended (converged or not), 2 when an input cannot be computed.
    """
    if context.invoked_subcommand is not None:
        return
    _require_gpaw()
    from mlcharge_flows.gpaw_vasp.execute import execute

    use_mkl_transforms()
    try:
        execute(Path.cwd(), lcao=lcao)
    except MlchargeError as error:
        _fail(str(error))
    except OSError as error:
        _fail(f"{error.filename or 'a file'}: {error.strerror or error}")


@app.command()
def potcar(
    folder: Annotated[Path, typer.Argument(help="Folder of the library; made if missing.")],
    family: Annotated[
        str,
        typer.Option(
            help="PAW data sets: `gpaw`, its own; `jth`, those of Debian's package abinit-data; or "
            "a folder of PAW-XML files such as Si.PBE or Si.xml.",
        ),
    ] = "gpaw",
) -> None:
    """Fill a POTCAR library from PAW data sets (PBE, every element that has one).

    The layout is pymatgen's: set PMG_VASP_PSP_DIR to the folder. Each file carries header, ZVAL,
    channels, atomic density and occupancies, and says in its title that it is GPAW's. POTCARs of
    other families contain the data set itself, so that they run anywhere. Elements that a family
    lacks keep the file that they have.
    """
    _require_gpaw()
    from rich.progress import Progress

    from mlcharge_flows.gpaw_vasp.paw_family import find_family
    from mlcharge_flows.gpaw_vasp.potcar import fill_library

    with _failures(folder), Progress(transient=True) as bar:
        n_elements = fill_library(folder, _shown(bar), find_family(family))
    typer.echo(f"{n_elements} elements in {folder}; use it with PMG_VASP_PSP_DIR={folder}")


@app.command("generate-family")
def generate(
    folder: Annotated[Path, typer.Argument(help="Folder of the files; made if missing.")],
    elements: Annotated[
        list[str] | None, typer.Argument(help="Elements; all 46 that have a recipe by default.")
    ] = None,
) -> None:
    """Make a second family of PAW data sets (PBE) with GPAW's generator.

    Then export it with `gpaw-vasp potcar LIBRARY --family FOLDER`. Elements differ from GPAW's own
    data sets in radii, some in valence and projectors.
    """
    _require_gpaw()
    from rich.progress import Progress

    from mlcharge_flows.gpaw_vasp.generated_family import generate_family

    with _failures(folder), Progress(transient=True) as bar:
        n_elements = generate_family(folder, elements or (), _shown(bar))
    typer.echo(f"{n_elements} PAW data sets in {folder}: gpaw-vasp potcar DIR --family {folder}")


@contextmanager
def _failures(folder: Path) -> Iterator[None]:
    """Turn errors about data sets and folders into one line."""
    try:
        yield
    except MlchargeError as error:
        _fail(one_line(error))
    except OSError as error:
        _fail(f"{error.filename or folder}: {error.strerror or error}")


def _shown(bar: Progress) -> Callable[[str, int, int], None]:
    """Show the progress over data sets."""
    task = bar.add_task("PAW data sets", total=None)
    lines = ProgressLines("PAW data sets", 0)

    def show(element: str, done: int, total: int) -> None:
        lines.total = total
        if not bar.console.is_terminal and (line := lines.line(done)):
            typer.echo(line)
        bar.update(task, completed=done, total=total, description=f"PAW data set of {element}")

    return show


def _require_gpaw() -> None:
    if find_spec("gpaw") is None:
        _fail(NO_GPAW)


def main() -> None:
    """Run the console script."""
    app(prog_name="gpaw-vasp")
