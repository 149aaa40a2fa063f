"""One run, from the input files of a folder to its output files."""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from gpaw.mpi import world

from mlcharge_flows.gpaw_vasp.calculation import check_data_sets
from mlcharge_flows.gpaw_vasp.electronic_structure import check_highest_band, electronic_structure
from mlcharge_flows.gpaw_vasp.initial_density import initial_density, spin_channels
from mlcharge_flows.gpaw_vasp.initial_orbitals import random_orbitals
from mlcharge_flows.gpaw_vasp.inputs import Inputs, read_inputs
from mlcharge_flows.gpaw_vasp.ionic_steps import IonicLoop
from mlcharge_flows.gpaw_vasp.kohn_sham import KohnSham
from mlcharge_flows.gpaw_vasp.lcao import lcao_guess
from mlcharge_flows.gpaw_vasp.oszicar import (
    OSZICAR_HEADER,
    OszicarWriter,
    format_final,
    format_step,
)
from mlcharge_flows.gpaw_vasp.outcar import ACCURACY_REACHED
from mlcharge_flows.gpaw_vasp.outputs import (
    PartialOutputs,
    clear_outputs,
    open_state_files,
    write_outputs,
)
from mlcharge_flows.gpaw_vasp.result import ElectronicStep, IonicStep, Run, program
from mlcharge_flows.gpaw_vasp.stored_orbitals import NOT_READ, StoredOrbitals, write_wavecar
from mlcharge_flows.vasp.chgcar_writer import write_chgcar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from mlcharge_flows.density.density import Density
    from mlcharge_flows.gpaw_vasp.initial_orbitals import InitialOrbitals

#: First line of the CHGCAR where the INCAR names no SYSTEM, as VASP has it.
NO_SYSTEM = "unknown system"


#: Said of ISPIN = 2 where the initial density has no moments.
ONE_CHANNEL = "gpaw-vasp: all moments are zero, one spin is computed for both"

#: Said of ISPIN = 2 where the first geometry has ended without moments.
EQUAL_SPINS = "gpaw-vasp: an insulator without moments, one spin is computed for both from here on"

LCAO = "orbitals begin as diagonalized atomic orbitals, which VASP does not have"


def execute(folder: Path, *, lcao: bool = False) -> Run:
    """Compute a run folder and write VASP's output files into it.

    Standard output gets VASP's lines about initial orbitals and density and the electronic steps as
    they happen. WAVECAR and CHGCAR are replaced atomically, when the run, or an ionic step of
    several, has ended; where there are none, empty ones stand there until then.

    Parameters
    ----------
    folder
        Run folder with INCAR, POSCAR, KPOINTS or KSPACING, POTCAR, CHGCAR for ICHARG = 1 or
        11, and WAVECAR unless ISTART = 0.
    lcao
        Begin with diagonalized atomic orbitals instead of VASP's random ones, without a WAVECAR.

    Returns
    -------
    Run
        What was computed.

    Raises
    ------
    UnsupportedInputError
        If the input cannot be computed.
    """
    started, clock, cpu = time.time(), time.perf_counter(), os.times()
    echo: Callable[[str], None] = _print if world.rank == 0 else _discard
    echo(f" running on {world.size:4d} total cores")
    echo(f" {program()}, file formats of VASP 6; this is not VASP")
    if world.rank == 0:
        clear_outputs(folder)
    inputs = read_inputs(folder)
    for line in inputs.warnings:
        echo(f" WARNING: {line}")
    echo(
        f" POSCAR found : {len(inputs.crystal.species):2d} types and {len(inputs.crystal):7d} ions"
    )
    for line in inputs.notices:
        echo(f" {line}")
    n_spins = spin_channels(folder, inputs)
    if n_spins < inputs.settings.ispin:
        echo(f" {ONE_CHANNEL}")
    solver = KohnSham(inputs, n_spins)
    check_data_sets(inputs, solver.builder.setups)
    echo(" POSCAR, INCAR and KPOINTS ok, starting setup")
    messages = _set_initial_state(solver, folder, lcao, echo)
    if world.rank == 0:
        open_state_files(folder, inputs.settings.lcharg)

    def result(path: Sequence[IonicStep], **outcome: Any) -> Run:
        times = {
            "seconds": time.perf_counter() - clock,
            "user_seconds": os.times().user - cpu.user,
            "system_seconds": os.times().system - cpu.system,
        }
        return _result(solver, path, messages, started=started, **times, **outcome)

    with ExitStack() as stack:
        oszicar = None
        if world.rank == 0:
            oszicar = stack.enter_context(OszicarWriter(folder / "OSZICAR"))
        echo(" entering main loop")
        if inputs.ionic.moves:
            run = _move_ions(solver, folder, echo, oszicar, result)
        else:
            steps = _iterate(solver, echo, oszicar)
            echo(format_final(steps[-1]))
            if oszicar:
                oszicar.finish(steps[-1])
            for line in check_highest_band(solver):
                echo(f" WARNING: {line}")
            forces, stress = solver.forces_and_stress()
            only = IonicStep(inputs.crystal, steps, solver.converged, forces, stress)
            run = result([only])
            _write_state(solver, folder)
    if world.rank == 0:
        write_outputs(folder, run)
    return run


def _result(
    solver: KohnSham, path: Sequence[IonicStep], messages: list[str], **outcome: Any
) -> Run:
    """Collect what was computed up to the last ionic step."""
    inputs, last = solver.inputs, path[-1]
    states = electronic_structure(solver)
    return Run(
        crystal=last.crystal,
        comment=inputs.comment,
        incar=inputs.incar,
        parameters=resolved(inputs),
        datasets=inputs.datasets,
        kpoints=solver.builder.ibz.kpt_kc,
        weights=solver.builder.ibz.weight_k,
        kpoint_scheme=inputs.kpoints.scheme,
        divisions=inputs.kpoints.divisions,
        shift=inputs.kpoints.shift,
        line_ends=inputs.kpoints.line_ends,
        labels=inputs.kpoints.labels or None,
        eigenvalues=states.eigenvalues,
        occupations=states.occupations,
        fermi_level=states.fermi_level,
        electrons=inputs.n_electrons,
        steps=last.steps,
        converged=last.converged,
        forces=last.forces,
        stress=last.stress,
        dos_energies=states.energies,
        dos=states.dos,
        integrated_dos=states.integrated,
        projections=states.projections,
        projected_dos=states.projected,
        site_moments=states.site_moments,
        messages=messages,
        cores=world.size,
        path=path if inputs.ionic.moves else (),
        selective_dynamics=inputs.selective_dynamics if inputs.ionic.moves else None,
        **outcome,
    )


def _move_ions(
    solver: KohnSham,
    folder: Path,
    echo: Callable[[str], None],
    oszicar: OszicarWriter | None,
    result: Callable[..., Run],
) -> Run:
    """Take ionic steps; after each, files hold what is complete."""
    files = PartialOutputs(folder)

    n_spins = solver.n_spins

    def compute(delay: int | None, previous: float) -> list[ElectronicStep]:
        if loop.path:
            echo(" bond charge predicted")
            if len(loop.path) == 1 and solver.n_spins < n_spins:
                echo(f" {EQUAL_SPINS}")
            if oszicar:
                oszicar.begin()
        return _iterate(solver, echo, oszicar, delay, previous)

    def report(step: IonicStep) -> None:
        line = len(loop.path), step.change, step.motion
        echo(format_final(step.steps[-1], *line))
        if oszicar:
            oszicar.finish(step.steps[-1], *line)
        _write_state(solver, folder)
        if len(loop.path) == 1:
            check_highest_band(solver)  # rather now than after the last step
            so_far.append(result(loop.path))
        now = replace(so_far[0], crystal=step.crystal, path=loop.path, velocities=loop.velocities)
        if world.rank == 0:
            files.write(now)

    so_far: list[Run] = []
    loop = IonicLoop(solver, compute, report)
    loop.run()
    for line in check_highest_band(solver):
        echo(f" WARNING: {line}")
    if loop.relaxed:
        echo(ACCURACY_REACHED)
    return result(loop.path, relaxed=loop.relaxed, velocities=loop.velocities)


def _write_state(solver: KohnSham, folder: Path) -> None:
    """Write WAVECAR and CHGCAR of the present geometry."""
    settings = solver.inputs.settings
    if settings.lwave:
        write_wavecar(folder / "WAVECAR", solver)
    if world.rank == 0 and settings.lcharg and not settings.fixed_density:
        write_chgcar(folder / "CHGCAR", final_density(solver))


def final_density(solver: KohnSham) -> Density:
    """Convert the density of the last step to the content of a CHGCAR.

    Parameters
    ----------
    solver
        Finished run.

    Returns
    -------
    Density
        Density and augmentation occupancies on the fine grid.
    """
    settings = solver.inputs.settings
    comment = str(solver.inputs.incar.get("SYSTEM", NO_SYSTEM))
    moments = solver.inputs.moments
    return solver.converter.from_gpaw(solver.density, settings.lmaxmix, comment, moments)


def resolved(inputs: Inputs) -> dict[str, Any]:
    """Collect the tags that a run uses, with VASP's defaults filled in.

    Parameters
    ----------
    inputs
        What the run folder asks for.

    Returns
    -------
    dict
        Tag to value.
    """
    settings, grids = inputs.settings, inputs.grids
    names = ("NGX", "NGY", "NGZ"), ("NGXF", "NGYF", "NGZF")
    return {
        **settings.model_dump(by_alias=True, exclude_none=True),
        "SYSTEM": str(inputs.incar.get("SYSTEM", NO_SYSTEM)),
        "NELMDL": -settings.nelmdl,
        "NELECT": inputs.n_electrons,
        "ISTART": 0 if inputs.wavecar is None else 1,
        **({} if inputs.moments is None else {"MAGMOM": inputs.moments}),
        **({"LDAU": True, "LDAUTYPE": 2} if inputs.hubbard else {}),
        **inputs.ionic.tags(),
        "LREAL": False,
        **dict(zip(names[0], grids.coarse, strict=True)),
        **dict(zip(names[1], grids.fine, strict=True)),
    }


def _set_initial_state(
    solver: KohnSham, folder: Path, lcao: bool, echo: Callable[[str], None]
) -> list[str]:
    """Read or make orbitals and density; return the lines about the density that stdout got."""
    inputs = solver.inputs
    with ExitStack() as stack:
        orbitals: InitialOrbitals = lcao_guess if lcao else random_orbitals
        if inputs.wavecar is None:
            echo(f" {NOT_READ}")
            if lcao:
                echo(f" WARNING: {LCAO}")
        else:
            kpoints = solver.builder.ibz.kpt_kc
            stored = stack.enter_context(StoredOrbitals(folder / "WAVECAR", inputs, kpoints))
            for line in stored.messages:
                echo(f" {line}")
            orbitals = stored
        density, messages = initial_density(folder, inputs)
        for line in messages:
            echo(f" {line}")
        solver.set_initial_state(density, orbitals)
    return messages


def _iterate(
    solver: KohnSham,
    echo: Callable[[str], None],
    oszicar: OszicarWriter | None,
    delay: int | None = None,
    previous: float = 0.0,
) -> list[ElectronicStep]:
    """Take electronic steps; stdout and OSZICAR get each as it ends."""
    steps: list[ElectronicStep] = []
    echo(OSZICAR_HEADER)
    for step in solver.iterate(delay, previous):
        steps.append(step)
        echo(format_step(step))
        if oszicar:
            oszicar.write(step)
    return steps


def _print(line: str) -> None:
    print(line, flush=True)


def _discard(line: str) -> None:
    """Print nothing: only the first process prints."""
