"""``mlcharge predict``: CHGCARs of structures, without any run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlcharge_flows.cli.options import (  # noqa: TC001 - typer needs them at run time
    CalibrationFile,
    Model,
    SkipBad,
    Structures,
)
from mlcharge_flows.cli.terminal import (
    bar_columns,
    check_file,
    exit_with_error,
    make_console,
    print_left_out,
    require,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from pymatgen.core import Structure
    from pymatgen.io.vasp import Kpoints
    from rich.console import Console

    from mlcharge_flows.sources import InitialDensity, InitialDensityDocument, RunInputs
    from mlcharge_flows.structures import Material

DOCUMENT = "initial_density.json"
ORBITALS_DOCUMENT = "initial_orbitals.json"

WITHOUT_POTCAR = (
    "give --potcar with the POTCAR of the runs: if its PAW data sets have other projectors than "
    "the model's, as those of VASP have, VASP does not use these files and begins from free atoms"
)
"""What cannot be promised without the POTCAR of the runs."""


def predict(
    structures: Structures,
    incar: Annotated[
        Path | None, typer.Option(help="INCAR of the runs; it determines the grid.")
    ] = None,
    encut: Annotated[
        float | None, typer.Option(help="Plane-wave cutoff of the runs, eV, without --incar.")
    ] = None,
    prec: Annotated[str | None, typer.Option(help="PREC of the runs, without --incar.")] = None,
    potcar: Annotated[
        Path | None,
        typer.Option(help="POTCAR of the runs: free atoms and PAW data sets."),
    ] = None,
    orbitals: Annotated[
        bool,
        typer.Option(
            "--orbitals",
            help="Also write a WAVECAR of atomic orbitals; needs --incar, --potcar and --kpoints, "
            "or KSPACING in the INCAR.",
        ),
    ] = False,
    kpoints: Annotated[
        Path | None, typer.Option(help="KPOINTS of the runs, for --orbitals.")
    ] = None,
    model: Model = "orbital",
    occupancies: Annotated[
        str,
        typer.Option(help="learned, atomic, element-mean, the name of another model, or a CHGCAR."),
    ] = "learned",
    calibration: CalibrationFile = None,
    out: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("predicted"),
    skip_bad: SkipBad = False,
) -> None:
    """Predict the converged density of structures: CHGCARs for runs with ICHARG = 1.

    Writes for each structure a folder with CHGCAR, POSCAR (one block of ions per element, in the
    order of --potcar), and initial_density.json with the sources of density and occupancies. The
    grid is VASP's grid for ENCUT and PREC. VASP and GPAW are not needed. Give --potcar to check
    that VASP will read the files: if its PAW data sets have other projectors than those of the
    model, VASP begins from free atoms.

    With --orbitals the folder also gets a WAVECAR of atomic orbitals for the k-points, cutoff, spin
    and bands of the runs, which then begin with ISTART = 1 and without steps at fixed density. It
    has the format of vasp_std; vasp_gam reads another format.

    [bold]Examples[/bold]

        mlcharge predict Si.cif --encut 350

        mlcharge predict structures.json.gz --incar INCAR --potcar POTCAR --out predicted

        mlcharge predict POSCAR --incar INCAR --potcar POTCAR --kpoints KPOINTS --orbitals
    """
    from mlcharge_flows.sources import RunInputs, SourceError, parse_initial_density
    from mlcharge_flows.structures import read_structures

    require("models need", "models", "torch", "e3nn", "safetensors")
    if "converged" in occupancies.split():
        exit_with_error(
            "--occupancies: converged ones need a run; give its CHGCAR, or the name of a model"
        )
    tags = _tags(incar, encut, prec, potcar)
    order = _order_of_elements(potcar)
    mesh = _kpoints(kpoints, tags, None if incar is None else potcar) if orbitals else None
    if kpoints is not None and not orbitals:
        exit_with_error("--kpoints is for --orbitals: the density does not depend on k-points")
    console = make_console()
    try:
        density = parse_initial_density("learned", model, occupancies)
    except SourceError as error:
        exit_with_error(f"--occupancies: {error}")
    if calibration is not None:
        density = density.calibrated(calibration)
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

    def inputs_of(material: Material) -> RunInputs:
        return RunInputs.from_files(ordered[material.id], tags, potcar, mesh)

    refused = _predict_all(console, materials, inputs_of, density, out, orbitals=orbitals)
    if len(refused) < len(materials):
        print_left_out(console, _notes(materials, ordered, tags, potcar, orbitals), "note")
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


def _kpoints(kpoints: Path | None, tags: dict[str, Any], potcar: Path | None) -> Kpoints | None:
    """KPOINTS of the runs; None where KSPACING of their INCAR decides."""
    from mlcharge_flows.vasp.kpoints import KPointsError, read_kpoints

    if potcar is None or (kpoints is None and "KSPACING" not in tags):
        exit_with_error(
            "--orbitals: the orbitals follow from the partial waves and the k-points of the runs; "
            "give their --incar, --potcar and --kpoints (or KSPACING in the INCAR)"
        )
    if kpoints is None:
        return None
    check_file(kpoints)
    try:
        return read_kpoints(kpoints)
    except KPointsError as error:
        exit_with_error(f"{kpoints}: {str(error).removeprefix('KPOINTS: ')}")
    except OSError as error:
        exit_with_error(f"{kpoints}: cannot be read ({error.strerror or error})")


def _in_blocks(structure: Structure, order: list[str]) -> Structure:
    """Put the ions of an element side by side: in a given order, or by electronegativity."""
    if not order:
        return structure.get_sorted_structure()
    rank = {symbol: number for number, symbol in enumerate(order)}
    return structure.get_sorted_structure(key=lambda site: rank.get(site.specie.symbol, len(rank)))


def _notes_on_structures(
    materials: list[Material], ordered: dict[str, Structure], is_spin_polarized: bool
) -> list[str]:
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
    if magnetic and not is_spin_polarized:
        notes.append(
            f"the moments of {_listed(magnetic)} are not in the files, which hold no "
            "magnetization: with ISPIN = 2, VASP superposes the moments of MAGMOM"
        )
    charged = [m.id for m in materials if m.charge and not getattr(m.structure, "_charge", None)]
    if charged:
        notes.append(
            f"{_listed(charged)}: predicted as neutral; the oxidation states do not add up to 0"
        )
    for material in materials:
        notes += [f"{material.id}: {e} in place of {name}" for name, e in material.replaced.items()]
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
            tags = read_incar(incar, tell=True)
        except OSError as error:
            exit_with_error(f"{incar}: cannot be read ({error.strerror or error})")
    if tags.get("ISPIN", 1) not in (1, 2):
        exit_with_error(f"{incar}: ISPIN = {tags['ISPIN']} is neither 1 nor 2")
    try:
        # Without ENCUT, VASP takes the largest ENMAX of the POTCAR.
        fft_grids(np.eye(3), tags if potcar is None or "ENMAX" in tags else {"ENCUT": 1.0, **tags})
    except ValueError as error:
        exit_with_error(f"{incar}: {error}" if incar else error)
    return tags


def _predict_all(
    console: Console,
    materials: list[Material],
    inputs_of: Callable[[Material], RunInputs],
    density: InitialDensity,
    out: Path,
    *,
    orbitals: bool,
) -> list[str]:
    """Predict one after the other; a line for each that was refused."""
    from rich.progress import Progress

    from mlcharge_flows.errors import MlchargeError

    refused, warnings = [], dict[str, None]()
    with Progress(*bar_columns(), console=console) as progress:
        for material in progress.track(materials, description="predicting"):
            try:
                inputs = inputs_of(material)
                document = _predict_one(inputs, density, out / material.id)
                grid = " x ".join(map(str, document.grid or ()))
                line = f"{material.id}: {document.path}, {grid} points"
                line += f", {document.preparation_time:.2f} s"
                if orbitals:
                    line += f"; {_write_orbitals(inputs, out / material.id)}"
            except MlchargeError as error:
                refused.append(f"{material.source}: {material.id}: {error}")
            except OSError as error:
                exit_with_error(f"{error.filename or out}: {error.strerror or error}")
            else:
                progress.console.print(line, markup=False, soft_wrap=True)
                warnings |= dict.fromkeys(document.warnings)
    print_left_out(console, warnings, "note")
    return refused


def _notes(
    materials: list[Material],
    ordered: dict[str, Structure],
    tags: dict[str, Any],
    potcar: Path | None,
    orbitals: bool,
) -> list[str]:
    """What a user has to know to begin runs from the files."""
    from mlcharge_flows.sources.initial_chgcar import incomplete_density_reason

    notes = []
    if reason := incomplete_density_reason(tags):
        notes.append(f"{reason}; workflows leave such runs their own density")
    if tags.get("ICHARG") not in (None, 1, 11):
        notes.append(f"runs with ICHARG = {tags['ICHARG']} do not read CHGCAR: set ICHARG = 1")
    if asked := [f"{tag} = {tags[tag]}" for tag in _OTHER_PHYSICS if _is_other(tag, tags)]:
        notes.append(
            f"INCAR asks for {', '.join(asked)}: the density is one of the functional that the "
            "model has learned (PE without DFT+U in the shipped model)"
        )
    notes += _notes_on_potcar(ordered, potcar)
    if potcar is None:
        notes.append(WITHOUT_POTCAR)
    if orbitals:
        notes.append(
            "runs with ISTART = 1 and ICHARG = 1 begin from these files; leave NELMDL out (0 then) "
            "or set -1 (-2 with ALGO = Fast): VASP's five steps at fixed density are for random "
            "orbitals"
        )
    return notes + _notes_on_structures(materials, ordered, tags.get("ISPIN") == 2)


_OTHER_PHYSICS = ("GGA", "LHFCALC", "LDAU", "IVDW", "NUPDOWN")


def _is_other(tag: str, tags: dict[str, Any]) -> bool:
    """Whether a tag asks for a functional or constraint unknown to the shipped model."""
    return tags.get(tag) not in (None, False, 0, -1, "Pe", "PE")


def _notes_on_potcar(ordered: dict[str, Structure], potcar: Path | None) -> list[str]:
    """Line about structures whose blocks of ions are not those of the given POTCAR."""
    from mlcharge_flows.vasp.potcar import read_potcar

    if potcar is None:
        return []
    symbols = [dataset.symbol for dataset in read_potcar(potcar)]
    others = {
        name: " ".join(blocks)
        for name, structure in ordered.items()
        if (blocks := list(dict.fromkeys(site.specie.symbol for site in structure))) != symbols
    }
    if not others:
        return []
    return [
        f"{potcar} holds {' '.join(symbols)}, and VASP assigns data sets to blocks of ions by "
        f"place: runs of {_listed([f'{name} need {blocks}' for name, blocks in others.items()])}"
    ]


def _predict_one(
    inputs: RunInputs, density: InitialDensity, folder: Path
) -> InitialDensityDocument:
    """Write POSCAR, CHGCAR and document of a structure."""
    from pymatgen.io.vasp import Poscar

    from mlcharge_flows.io import atomic_write
    from mlcharge_flows.sources import SourceError
    from mlcharge_flows.sources.initial_chgcar import is_initial_chgcar
    from mlcharge_flows.sources.initial_wavecar import is_initial_wavecar

    if getattr(inputs.structure, "_charge", None):
        raise SourceError("the cell is charged: models know neutral cells only")
    folder.mkdir(parents=True, exist_ok=True)
    chgcar, wavecar = folder / "CHGCAR", folder / "WAVECAR"
    for path, is_initial in ((chgcar, is_initial_chgcar), (wavecar, is_initial_wavecar)):
        # VASP leaves empty files with LCHARG and LWAVE = F.
        if path.exists() and path.stat().st_size and not is_initial(path):
            raise SourceError(f"{path}: is of a run and is not replaced; choose another --out")
    for earlier in (wavecar, folder / ORBITALS_DOCUMENT):
        earlier.unlink(missing_ok=True)
    document = density.write(inputs, folder)
    Poscar(inputs.structure, comment=str(document.comment)).write_file(folder / "POSCAR")
    atomic_write(folder / DOCUMENT, document.model_dump_json(indent=1) + "\n")
    return document


def _write_orbitals(inputs: RunInputs, folder: Path) -> str:
    """Write WAVECAR and its document, and KPOINTS where the points have to be listed; a summary."""
    from mlcharge_flows.io import atomic_write
    from mlcharge_flows.sources import AtomicOrbitals, SourceError

    listed = inputs.with_listed_kpoints()
    document = AtomicOrbitals().document(listed, folder)
    if document.failure is not None:
        raise SourceError(f"the CHGCAR is written, a WAVECAR is not: {document.failure}")
    text = (
        f"{folder.absolute()}/WAVECAR, {document.n_kpoints} k-points, {document.n_bands} bands, "
        f"ENCUT = {inputs.encut:g} eV, ISPIN = {inputs.incar.get('ISPIN', 1)}, "
        f"{1000 * (document.size or 0.0):.1f} MB"
    )
    if listed is not inputs:
        document.explicit_kpoints = True
        atomic_write(folder / "KPOINTS", str(listed.kpoints))
        text += "; run it with the KPOINTS beside it: the order of the mesh is not known"
    atomic_write(folder / ORBITALS_DOCUMENT, document.model_dump_json(indent=1) + "\n")
    return text
