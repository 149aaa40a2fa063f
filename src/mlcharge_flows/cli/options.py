"""Arguments and options that several commands share."""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlcharge_flows.cli.terminal import exit_with_error
from mlcharge_flows.errors import one_line
from mlcharge_flows.file_kinds import not_a_file
from mlcharge_flows.io import is_file

if TYPE_CHECKING:
    from atomate2.vasp.jobs.base import BaseVaspMaker

    from mlcharge_flows.sources import InitialDensity

Structures = Annotated[
    list[str],
    typer.Argument(help="CIF, POSCAR or JSON files (also .gz, .bz2, .xz), and folders of them."),
]
Executable = Annotated[
    str | None,
    typer.Option(
        help="Command line of the executable, such as gpaw-vasp, instead of the configured one; "
        "needed where none is configured.",
        show_default=False,
    ),
]


def _named(value: str) -> str:
    if not value.strip():
        exit_with_error("--model: is empty; give the name of a model, or a checkpoint")
    return value


Models = Annotated[
    str,
    typer.Option(
        callback=_named,
        help="Model of the learned densities: a name or a checkpoint, or several with commas. Each "
        "of several models has its own arms, such as learned@superres.",
    ),
]
Model = Annotated[str, typer.Option(callback=_named, help="Name of a model, or a checkpoint.")]
Occupancies = Annotated[
    str,
    typer.Option(
        help="Augmentation occupancies of the learned densities: learned, element-mean, the name "
        "of another model, or a CHGCAR."
    ),
]
CalibrationFile = Annotated[
    Path | None,
    typer.Option(
        "--calibration",
        help="File of mlcharge calibrate: adapts learned densities to a cutoff and PAW data sets.",
        show_default=False,
    ),
]
Workers = Annotated[
    int, typer.Option(min=0, help="Materials at a time; 0: one per CPU, or 1 with VASP.")
]
MaxAtoms = Annotated[int | None, typer.Option(min=1, help="Leave out structures with more atoms.")]
Limit = Annotated[int | None, typer.Option(min=1, help="Use only the first N structures.")]
StaticMaker = Annotated[
    str | None,
    typer.Option(
        "--maker",
        help="Import path of the static Maker to run, such as "
        "atomate2.vasp.jobs.mp.MPGGAStaticMaker, instead of this package's settings.",
        show_default=False,
    ),
]
IncarTags = Annotated[
    str | None,
    typer.Option(
        "--incar",
        help="INCAR tags of every run over those of the Maker: a file, or text such as "
        "'ISPIN = 1; EDIFF = 1e-5'. A YAML or JSON file may have values by element, as pymatgen's "
        "input sets take them.",
        show_default=False,
    ),
]
Cutoff = Annotated[
    float | None,
    typer.Option("--encut", min=1, help="Cutoff of every run, eV.", show_default=False),
]
KPoints = Annotated[
    str | None,
    typer.Option(
        "--kpoints",
        help="K-points of every run: a KPOINTS file, or settings of the input set such as "
        "reciprocal_density=64.",
        show_default=False,
    ),
]
Spin = Annotated[
    bool,
    typer.Option(
        "--spin",
        help="Spin-polarized runs: ISPIN = 2, moments of the sites or of Materials Project, and "
        "its DFT+U of oxides and fluorides.",
    ),
]
Gamma = Annotated[bool, typer.Option("--gamma", help="Gamma point only, for molecules in boxes.")]
SkipBad = Annotated[
    bool, typer.Option("--skip-bad", help="Continue without structures that cannot be used.")
]

AsJson = Annotated[
    bool,
    typer.Option(
        "--json", help="Print the results as JSON on standard output, all else on standard error."
    ),
]
DryRun = Annotated[
    bool, typer.Option("--dry-run", help="Check everything and print what would run; run nothing.")
]
RetryFailed = Annotated[
    bool,
    typer.Option(
        "--retry-failed",
        help="Also run again what failed for a physical reason. Failures of the machine (memory, "
        "disk, a signal, a missing launcher) run again without this option.",
    ),
]


def parse_shard(text: str) -> tuple[int, int]:
    """Part and number of parts of a text such as ``2/4``.

    Parameters
    ----------
    text
        ``I/N``, with I from 1 to N.

    Returns
    -------
    tuple of int
        Part and number of parts.
    """
    match = re.fullmatch(r"(\d+)/(\d+)", text)
    part, parts = (int(match[1]), int(match[2])) if match else (0, 0)
    if not 1 <= part <= parts:
        exit_with_error(f"--shard {text}: give I/N with I from 1 to N, such as 2/4")
    return part, parts


def default_arms() -> str:
    """Arms of a comparison beside the reference where none are named.

    Returns
    -------
    str
        With ``learned`` where the packages of the models are installed.
    """
    with_models = all(find_spec(name) for name in ("torch", "e3nn", "safetensors"))
    return "superposition,learned,converged" if with_models else "superposition,converged"


def chosen_static(
    maker: str | None,
    incar: str | None,
    kpoints: str | None,
    encut: float | None,
    *,
    gamma: bool,
    nelmdl: int | None = None,
    spin: bool = False,
) -> BaseVaspMaker:
    """Build the run that is compared from the options.

    Parameters
    ----------
    maker
        Import path of a static Maker.
    incar
        Tags over its settings, as in an INCAR, or the path of a file: an INCAR, YAML or JSON.
    kpoints
        ``key=value`` of its k-point settings, or the path of a KPOINTS file.
    encut
        Cutoff, eV.
    gamma
        Whether the Gamma point alone is taken.
    nelmdl
        Steps at fixed density at the beginning.
    spin
        Whether it is spin-polarized, as Materials Project's are.

    Returns
    -------
    BaseVaspMaker
        One VASP run.

    Raises
    ------
    MlchargeError
        A file cannot be read, the Maker cannot be imported, or options exclude each other.
    """
    from pydantic import ConfigDict, ValidationError, create_model
    from pymatgen.io.vasp import Kpoints

    from mlcharge_flows.atomate2.flows.compare import comparison_static
    from mlcharge_flows.atomate2.sets.spin import is_spin_polarized, spin_polarized
    from mlcharge_flows.campaign.spec import CampaignSpec, SpecError
    from mlcharge_flows.campaign.spec_runs import static_maker
    from mlcharge_flows.vasp.incar import parse_incar, read_incar
    from mlcharge_flows.vasp.kpoints import read_kpoints
    from mlcharge_flows.yaml_files import read_yaml

    if maker is None and incar is None and kpoints is None and encut is None and not spin:
        return comparison_static(gamma=gamma, nelmdl=nelmdl)
    if gamma and kpoints is not None:
        raise SpecError("--gamma and --kpoints exclude each other")
    tags: dict[str, Any] = {}
    is_text = incar is not None and ("=" in incar or not incar.strip()) and not is_file(incar)
    if incar is not None and is_text:
        tags |= parse_incar(incar, "--incar", tell=True)
    elif incar is not None:
        if reason := not_a_file(incar):
            shown = one_line(incar, 60)
            raise SpecError(f"--incar {shown}: {reason}; tags as text have '=': 'ISPIN = 1'")
        is_mapping = Path(incar).suffix in (".yaml", ".yml", ".json")
        any_tags = create_model("Tags", __config__=ConfigDict(extra="allow"))
        tags |= (
            read_yaml(Path(incar), any_tags).model_dump()
            if is_mapping
            else read_incar(Path(incar), tell=True)
        )
    if encut is not None:
        tags["ENCUT"] = encut
    if nelmdl is not None:
        tags["NELMDL"] = -nelmdl
    mesh = {} if kpoints is None or is_file(kpoints) else _mesh(kpoints)
    try:
        spec = CampaignSpec(name="compare", structures=["."], maker=maker, incar=tags, kpoints=mesh)
    except ValidationError as error:
        first = error.errors()[0]
        option = f"--{first['loc'][0]}" if first["loc"] else "--maker, --incar, --kpoints"
        raise SpecError(f"{option}: {first['msg'].removeprefix('Value error, ')}") from None
    try:
        chosen = static_maker(spec, "give a static Maker")
    except SpecError as error:
        raise SpecError(f"--{error}") from None
    if gamma or (kpoints is not None and not mesh):
        points = Kpoints() if kpoints is None else read_kpoints(Path(kpoints))
        generator: Any = chosen.input_set_generator
        generator.user_kpoints_settings = points
    if spin:
        settings: Any = spin_polarized(chosen.input_set_generator)
        if not is_spin_polarized(settings):
            raise SpecError(
                "--spin: the runs would have ISPIN = 1, by --incar, the Maker or atomate2's "
                "VASP_INCAR_UPDATES; leave that or --spin out"
            )
        chosen.input_set_generator = settings
    return chosen


def _mesh(text: str) -> dict[str, Any]:
    """Settings of k-points from text such as ``reciprocal_density=64``."""
    from mlcharge_flows.campaign.spec import SpecError

    found: dict[str, Any] = {}
    for word in text.split(","):
        key, equals, value = (part.strip() for part in word.partition("="))
        try:
            found[key] = float(value) if "." in value else int(value)
        except ValueError:
            equals = ""
        if not (key and equals):
            raise SpecError(
                f"--kpoints {one_line(text, 60)}: {not_a_file(text)}; give a KPOINTS file, or "
                "settings such as reciprocal_density=64"
            )
    return found


def chosen_arms(
    arms: str, models: str, occupancies: str, calibration: Path | None = None
) -> dict[str, InitialDensity]:
    """Read the arms of a comparison from the options, and load their models.

    Parameters
    ----------
    arms
        Words of initial densities, separated by commas.
    models
        Names or paths of models, separated by commas.
    occupancies
        Source of the augmentation occupancies of learned densities.
    calibration
        Calibration of the model of learned densities that name none.

    Returns
    -------
    dict of str to InitialDensity
        By name of the arm.

    Raises
    ------
    SourceError
        A word is unknown, or there is nothing to calibrate; the message begins with the option if
        it is not that of the arms.
    ModelError
        A model cannot be loaded, or the calibration is none of it.
    """
    from mlcharge_flows.sources import (
        SourceError,
        calibrated_arms,
        load_arms,
        parse_initial_density,
    )

    names = [name.strip() for name in models.split(",") if name.strip()]
    if not names:
        raise SourceError("--model: give at least one, such as orbital")
    try:
        parse_initial_density("learned", augmentation=occupancies)
    except SourceError as error:
        raise SourceError(f"--occupancies: {error}") from None
    densities = load_arms(arms.split(","), names, occupancies)
    if calibration is None:
        return densities
    try:
        densities = calibrated_arms(densities, calibration)
    except SourceError as error:
        raise SourceError(f"--calibration: {error}") from None
    for density in densities.values():
        density.check()
    return densities
