"""``mlcharge compare``: run, count, report."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlcharge_flows.cli.options import (
    AsJson,
    CalibrationFile,
    Cutoff,
    Executable,
    Gamma,
    IncarTags,
    KPoints,
    Limit,
    MaxAtoms,
    Models,
    Occupancies,
    RetryFailed,
    SkipBad,
    Spin,
    StaticMaker,
    Structures,
    Workers,
    chosen_arms,
    chosen_static,
    default_arms,
)
from mlcharge_flows.cli.runs import prepare, run_materials, select_structures
from mlcharge_flows.cli.terminal import NOTHING_DONE, exit_with_error, make_console

if TYPE_CHECKING:
    from mlcharge_flows.atomate2.flows.compare import CompareDensitiesMaker
    from mlcharge_flows.scf.comparison import Comparison


def compare(
    context: typer.Context,
    structures: Structures,
    arms: Annotated[
        str | None,
        typer.Option(
            help="Initial densities to compare with default, which always runs: superposition, "
            "learned, converged, and DENSITY/AUGMENTATION with other augmentation occupancies "
            "(converged/atomic, learned/atomic, ..). With +orbitals a run also begins with atomic "
            "orbitals, or with +orbitals@WAVECAR those of a file, instead of random ones; "
            "+delay=N sets N steps at fixed density (NELMDL): learned+orbitals, default+delay=3. "
            "+calibration@FILE calibrates one arm. \\[superposition,learned,converged]",
            show_default=False,
        ),
    ] = None,
    model: Models = "orbital",
    occupancies: Occupancies = "learned",
    calibration: CalibrationFile = None,
    executable: Executable = None,
    workers: Workers = 0,
    out: Annotated[Path, typer.Option(help="Folder of the runs and of the report.")] = Path(
        "comparison"
    ),
    max_atoms: MaxAtoms = None,
    limit: Limit = None,
    maker: StaticMaker = None,
    incar: IncarTags = None,
    encut: Cutoff = None,
    kpoints: KPoints = None,
    spin: Spin = False,
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
    as_json: AsJson = False,
) -> None:
    """Compare how many electronic steps a run takes from each initial density.

    Finished materials are not run again, nor arms that failed without --retry-failed: after an
    interruption, give the same command. With more arms and the same --out, only the new arms run.

    [bold]Examples[/bold]

        mlcharge compare Si.cif POSCAR --executable gpaw-vasp --out demo

        mlcharge compare structures.json.gz --max-atoms 6 --limit 12 --workers 4

        mlcharge compare cifs/ --arms superposition,converged,converged/atomic

        mlcharge compare cifs/ --arms learned,converged --model orbital

        mlcharge compare cifs/ --arms learned,converged --nelmdl 2 --out short-delay

        mlcharge compare cifs/ --encut 520 --incar "PREC = Accurate" --kpoints reciprocal_density=64

        mlcharge compare cifs/ --maker atomate2.vasp.jobs.mp.MPGGAStaticMaker --out mp

        mlcharge compare cifs/ --arms learned,learned+orbitals,atoms+orbitals+delay=1

        mlcharge compare cifs/ --arms learned --model orbital,charge3net-mp --occupancies orbital

        mlcharge compare molecules.json --gamma --arms learned --model molecules.safetensors
    """
    from mlcharge_flows.cli.report import results_to_show, show_report

    def build() -> CompareDensitiesMaker:
        from mlcharge_flows.atomate2.flows.compare import CompareDensitiesMaker
        from mlcharge_flows.atomate2.sets.spin import with_ion_moments

        chosen = default_arms() if arms is None else arms
        static = chosen_static(maker, incar, kpoints, encut, gamma=gamma, nelmdl=nelmdl, spin=spin)
        if spin:
            settings: Any = with_ion_moments(static.input_set_generator)
            static.input_set_generator = settings
        return CompareDensitiesMaker(
            static_maker=static,
            initial_densities=chosen_arms(chosen, model, occupancies, calibration),
        )

    console = make_console(as_json=as_json)
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
    found, left_out = results_to_show(console, out, prepared.materials, prepared.maker)
    show_report(console, found, out, left_out, as_json=as_json)
    requested = prepared.maker.arms
    if not any(_is_compared(comparison, requested) for comparison in compared):
        exit_with_error(f"no material could be compared; see {out}/*/flow.log", status=NOTHING_DONE)


def _is_compared(comparison: Comparison, requested: list[str]) -> bool:
    """Whether the reference and, if there is any, another of the requested arms count."""
    from mlcharge_flows.scf.comparison import REFERENCE

    runs = {arm: run for arm, run in comparison.arms.items() if arm in requested}
    counted = {arm for arm, run in runs.items() if run.exclusion_reason is None}
    return REFERENCE in counted and len(counted) >= min(2, len(runs))
