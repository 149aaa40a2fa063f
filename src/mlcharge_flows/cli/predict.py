"""``mlcharge predict``: CHGCARs of structures, without any run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlcharge_flows.cli.options import (  # noqa: TC001 - typer needs them at run time
    Model,
    SkipBad,
    Structures,
)
from mlcharge_flows.cli.terminal import (
    bar_columns,
    check_file,
    exit_with_error,
    print_left_out,
    require,
)

if TYPE_CHECKING:
    from pymatgen.core import Structure
    from rich.console import Console

    from mlcharge_flows.sources import InitialDensity, InitialDensityDocument, RunInputs
    from mlcharge_flows.structures import Material

DOCUMENT = "initial_density.json"

WITHOUT_POTCAR = (
    "VASP drops these files, and begins from free atoms, if its PAW data sets have other "
    "projectors than the model's, as VASP's own have for the shipped models: give --potcar with "
    "the data sets of the runs, for which a model either was made or refuses to predict"
)
"""What cannot be promised without the POTCAR of the runs."""


def predict(
    structures: Structures,
    incar: Annotated[
        Path | None, typer.Option(help="INCAR of the runs: the grid, and that they are neutral.")
    ] = None,
    encut: Annotated[
        float | None, typer.Option(help="Plane-wave cut-off of the runs in eV, without --incar.")
    ] = None,
    prec: Annotated[str | None, typer.Option(help="PREC of the runs, without --incar.")] = None,
    potcar: Annotated[
        Path | None,
        typer.Option(help="POTCAR of the runs: refuse other PAW data than the model's."),
    ] = None,
    model: Model = "orbital",
    occupancies: Annotated[
        str,
        typer.Option(help="learned, atomic, element-mean, the name of another model, or a CHGCAR."),
    ] = "learned",
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("predicted"),
    skip_bad: SkipBad = False,
) -> None:
    """Predict the converged density of structures: CHGCARs for runs with ICHARG = 1.

    For each structure, a folder with CHGCAR, the POSCAR that it belongs to (one block of ions per
    element, in the order of --potcar), and initial_density.json with the sources of density and
    occupancies. The grid is the one that VASP takes for ENCUT and PREC. VASP and GPAW are not
    needed. Without --potcar, whether VASP reads the files is not known: with PAW data sets of other
    projectors than the model's, it drops them and begins from free atoms.

    [bold]Examples[/bold]

        mlcharge predict Si.cif --encut 350

        mlcharge predict structures.json.gz --incar INCAR --potcar POTCAR --out predicted
    """
    from rich.console import Console

    from mlcharge_flows.sources import SourceError, parse_initial_density
    from mlcharge_flows.structures import read_structures

    require("models need", "models", "torch", "e3nn", "safetensors")
    if "converged" in occupancies.split():
        exit_with_error(
            "--occupancies: converged ones need a run; give its CHGCAR, or the name of a model"
        )
    tags = _tags(incar, encut, prec, potcar)
    order = _order_of_elements(potcar)
    console = Console(highlight=False)
    try:
        density = parse_initial_density("learned", model, occupancies)
    except SourceError as error:
        exit_with_error(f"--occupancies: {error}")
    density.check()
    materials, problems = read_structures(structures)
    if problems and not skip_bad:
        exit_with_error(
            *problems, "nothing was predicted: correct this, or leave it out with --skip-bad"
        )
    print_left_out(console, problems)
    if not materials:
        exit_with_error("there is no structure to predict")
    ordered = {material.id: _in_blocks(material.structure, order) for material in materials}
    refused = _predict_all(console, materials, ordered, density, tags, potcar, out)
    if refused and (len(refused) == len(materials) or not skip_bad):
        exit_with_error(*refused)
    print_left_out(console, refused)


def _order_of_elements(potcar: Path | None) -> list[str]:
    """Elements in the order of a POTCAR; empty without one."""
    from mlcharge_flows.vasp.potcar import PotcarError, datasets_by_element, read_potcar

    if potcar is None:
        return []
    check_file(potcar)
    try:
        return list(datasets_by_element(read_potcar(potcar)))
    except PotcarError as error:
        exit_with_error(error if str(potcar) in str(error) else f"{potcar}: {error}")
    except OSError as error:
        exit_with_error(f"{potcar}: cannot be read ({error.strerror or error})")


def _in_blocks(structure: Structure, order: list[str]) -> Structure:
    """Put the ions of an element side by side: in a given order, or by electronegativity."""
    if not order:
        return structure.get_sorted_structure()
    rank = {symbol: number for number, symbol in enumerate(order)}
    return structure.get_sorted_structure(key=lambda site: rank.get(site.specie.symbol, len(rank)))


def _notes_on_structures(materials: list[Material], ordered: dict[str, Structure]) -> list[str]:
    """Line about structures whose ions were put in another order, and about those with moments."""
    notes = []
    reordered = [m.id for m in materials if list(m.structure) != list(ordered[m.id])]
    if reordered:
        notes.append(
            f"the ions of {_listed(reordered)} were put in another order than in the structure "
            "file: a CHGCAR belongs to the POSCAR beside it, and the POTCAR has to follow that; no "
            "other POSCAR fits"
        )
    magnetic = [m.id for m in materials if _has_moments(m.structure)]
    if magnetic:
        notes.append(
            f"the moments of {_listed(magnetic)} are not in the files, which hold no "
            "magnetization: with ISPIN = 2, VASP superposes the moments of MAGMOM"
        )
    return notes


def _has_moments(structure: Structure) -> bool:
    return any(
        site.properties.get("magmom") or getattr(site.specie, "spin", None) for site in structure
    )


def _listed(names: list[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def _tags(
    incar: Path | None, encut: float | None, prec: str | None, potcar: Path | None
) -> dict[str, Any]:
    """INCAR tags of the runs, as far as they determine the initial density."""
    import numpy as np

    from mlcharge_flows.vasp.incar import fft_grids, read_incar

    if incar is not None and not (encut is None and prec is None):
        exit_with_error("give either --incar, or --encut and --prec")
    if incar is None:
        if encut is None:
            exit_with_error(
                "the grid depends on the run: give --encut (and --prec), or its --incar"
            )
        tags: dict[str, Any] = {"ENCUT": encut, "PREC": "Normal" if prec is None else prec}
    else:
        check_file(incar)
        try:
            tags = read_incar(incar)
        except OSError as error:
            exit_with_error(f"{incar}: cannot be read ({error.strerror or error})")
    try:
        # Without ENCUT, VASP takes the largest ENMAX of the POTCAR.
        fft_grids(np.eye(3), tags if potcar is None else {"ENCUT": 1.0, **tags})
    except ValueError as error:
        exit_with_error(f"{incar}: {error}" if incar else error)
    return tags


def _predict_all(
    console: Console,
    materials: list[Material],
    ordered: dict[str, Structure],
    density: InitialDensity,
    tags: dict[str, Any],
    potcar: Path | None,
    out: Path,
) -> list[str]:
    """Predict one after the other; a line for each that was refused."""
    from rich.progress import Progress

    from mlcharge_flows.errors import MlchargeError
    from mlcharge_flows.sources import RunInputs
    from mlcharge_flows.sources.initial_chgcar import incomplete_density_reason

    refused, notes = [], dict[str, None]()
    with Progress(*bar_columns(), console=console) as progress:
        for material in progress.track(materials, description="predicting"):
            try:
                inputs = RunInputs.from_files(ordered[material.id], tags, potcar)
                document = _predict_one(inputs, density, out / material.id)
            except MlchargeError as error:
                refused.append(f"{material.source}: {material.id}: {error}")
            except OSError as error:
                exit_with_error(f"{error.filename or out}: {error.strerror or error}")
            else:
                grid = " x ".join(map(str, document.grid or ()))
                line = f"{material.id}: {document.path}, {grid}, {document.preparation_time:.2f} s"
                progress.console.print(line, markup=False, soft_wrap=True)
                notes |= dict.fromkeys(document.warnings)
    if len(refused) < len(materials):
        if reason := incomplete_density_reason(tags):
            notes[f"{reason}; workflows leave such runs their own density"] = None
        if potcar is None:
            notes[WITHOUT_POTCAR] = None
        notes |= dict.fromkeys(_notes_on_structures(materials, ordered))
    print_left_out(console, notes, "note")
    return refused


def _predict_one(
    inputs: RunInputs, density: InitialDensity, folder: Path
) -> InitialDensityDocument:
    """Write POSCAR, CHGCAR and document of a structure."""
    from pymatgen.io.vasp import Poscar

    from mlcharge_flows.io import atomic_write
    from mlcharge_flows.sources import SourceError
    from mlcharge_flows.sources.initial_chgcar import is_initial_chgcar

    if getattr(inputs.structure, "_charge", None):
        raise SourceError("the cell is charged: models know neutral cells only")
    folder.mkdir(parents=True, exist_ok=True)
    chgcar = folder / "CHGCAR"
    if chgcar.exists() and not is_initial_chgcar(chgcar):
        raise SourceError(f"{chgcar}: is of a run and is not replaced; choose another --out")
    document = density.write(inputs, folder)
    Poscar(inputs.structure, comment=str(document.comment)).write_file(folder / "POSCAR")
    atomic_write(folder / DOCUMENT, document.model_dump_json(indent=1) + "\n")
    return document
