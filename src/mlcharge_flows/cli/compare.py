"""``mlcharge compare``: run, count, report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlcharge_flows.cli.options import (  # noqa: TC001 - typer needs them at run time
    Executable,
    Gamma,
    Limit,
    MaxAtoms,
    Models,
    Occupancies,
    RetryFailed,
    SkipBad,
    Structures,
    Workers,
)
from mlcharge_flows.cli.runs import prepare, run_materials, select_structures
from mlcharge_flows.cli.terminal import NOTHING_DONE, exit_with_error

if TYPE_CHECKING:
    from mlcharge_flows.atomate2.flows.compare import CompareDensitiesMaker
    from mlcharge_flows.scf.comparison import Comparison
    from mlcharge_flows.sources import InitialDensity


def compare(
    context: typer.Context,
    structures: Structures,
    arms: Annotated[
        str,
        typer.Option(
            help="Initial densities to compare with default, which always runs: superposition, "
            "learned, converged, and DENSITY/AUGMENTATION with other augmentation occupancies "
            "(converged/atomic, learned/atomic, ..). With +orbitals a run also begins with atomic "
            "orbitals, or with +orbitals@WAVECAR those of a file, instead of random ones; "
            "+delay=N sets N steps at fixed density (NELMDL): learned+orbitals, default+delay=3."
        ),
    ] = "default,superposition,converged",
    model: Models = "orbital",
    occupancies: Occupancies = "learned",
    executable: Executable = None,
    workers: Workers = 0,
    out: Annotated[Path, typer.Option(help="Folder of the runs and of the report.")] = Path(
        "comparison"
    ),
    max_atoms: MaxAtoms = None,
    limit: Limit = None,
    gamma: Gamma = False,
    nelmdl: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="Fixed-density steps at the beginning of every run; VASP: 5.",
            show_default=False,
        ),
    ] = None,
    skip_bad: SkipBad = False,
    retry_failed: RetryFailed = False,
) -> None:
    """Compare how many electronic steps a run takes from each initial density.

    Finished materials are not run again, nor arms that failed without --retry-failed: after an
    interruption, give the same command. With more arms and the same --out, only the new arms run.

    [bold]Examples[/bold]

        mlcharge compare Si.cif POSCAR --out demo

        mlcharge compare structures.json.gz --max-atoms 6 --limit 12 --workers 4

        mlcharge compare cifs/ --arms superposition,converged,converged/atomic

        mlcharge compare cifs/ --arms learned,converged --model orbital

        mlcharge compare cifs/ --arms learned,converged --nelmdl 2 --out short-delay

        mlcharge compare cifs/ --arms learned,learned+orbitals,atoms+orbitals+delay=1

        mlcharge compare cifs/ --arms learned --model orbital,charge3net-mp --occupancies orbital

        mlcharge compare molecules.json --gamma --arms learned --model molecules.safetensors
    """
    from rich.console import Console

    from mlcharge_flows.cli.report import results_to_show, show_report

    def build() -> CompareDensitiesMaker:
        from mlcharge_flows.atomate2.flows.compare import CompareDensitiesMaker, comparison_static

        return CompareDensitiesMaker(
            static_maker=comparison_static(gamma=gamma, nelmdl=nelmdl),
            initial_densities=load_arms(arms, model, occupancies),
        )

    console = Console(highlight=False)
    prepared = prepare(
        context,
        console,
        executable,
        build,
        lambda: select_structures(structures, max_atoms, limit),
        workers=workers,
        skip_bad=skip_bad,
    )
    compared = run_materials(console, prepared, out, retry_failed=retry_failed)
    maker = prepared.maker
    found, left_out = results_to_show(console, out, prepared.materials, maker)
    show_report(console, found, out, left_out)
    if not any(_is_compared(comparison, maker.arms) for comparison in compared):
        exit_with_error(f"no material could be compared; see {out}/*/flow.log", status=NOTHING_DONE)


def load_arms(arms: str, models: str, occupancies: str) -> dict[str, InitialDensity]:
    """Read the arms of a comparison from the options, and load their models.

    Parameters
    ----------
    arms
        Words of initial densities, separated by commas.
    models
        Names or paths of models, separated by commas; of several, each has its own arms, such as
        ``learned@superres``.
    occupancies
        Source of the augmentation occupancies of learned densities.

    Returns
    -------
    dict of str to InitialDensity
        By name of the arm.

    Raises
    ------
    ValueError
        A word is unknown, or a model cannot be loaded.
    """
    from mlcharge_flows.models.checkpoint import SUFFIX
    from mlcharge_flows.sources import SourceError, parse_arms, parse_initial_density
    from mlcharge_flows.sources.grammar import arm_of_model

    names = [name.strip() for name in models.split(",") if name.strip()]
    if not names:
        raise ValueError("--model: give at least one, such as orbital")
    try:
        parse_initial_density("learned", augmentation=_absolute(occupancies))
    except SourceError as error:
        raise SourceError(f"--occupancies: {error}") from None
    found: dict[str, InitialDensity] = {}
    parsed = [
        parse_arms(arms.split(","), _absolute(name), _absolute(occupancies)) for name in names
    ]
    for name, densities in zip(names, parsed, strict=True):
        for arm, density in densities.items():
            density.check()
            if all(other[arm] == density for other in parsed):
                found[arm] = density
                continue
            label = Path(name).name.removesuffix(SUFFIX)
            if (own := arm_of_model(arm, label)) in found:
                raise ValueError(f"--model: two are called {label}; rename a file")
            found[own] = density
    return found


def _absolute(name: str) -> str:
    """Absolute path of a file, for jobs, which run in other folders; other names as they are."""
    from mlcharge_flows.io import is_file

    return str(Path(name).absolute()) if is_file(name) else name


def _is_compared(comparison: Comparison, requested: list[str]) -> bool:
    """Whether the reference and, if there is any, another of the requested arms count."""
    from mlcharge_flows.scf.comparison import REFERENCE

    runs = {arm: run for arm, run in comparison.arms.items() if arm in requested}
    counted = {arm for arm, run in runs.items() if run.exclusion_reason is None}
    return REFERENCE in counted and len(counted) >= min(2, len(runs))
