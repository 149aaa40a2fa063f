"""OUTCAR: the whole run for people, and for the many programs that search it line by line.

The words and columns that such programs look for are VASP's. Quantities that GPAW does not have
(single energy contributions, radii of a data set) are left out.

References
----------
VASP wiki, OUTCAR.
"""

from __future__ import annotations

import resource
import time
from typing import TYPE_CHECKING

import numpy as np

from mlcharge_flows.gpaw_vasp.hubbard import DEFAULTS
from mlcharge_flows.gpaw_vasp.parameters import grouped_parameters
from mlcharge_flows.gpaw_vasp.result import EV_PER_A3_IN_KB, FORMAT_VERSION, program
from mlcharge_flows.gpaw_vasp.site_tables import site_tables
from mlcharge_flows.vasp.fortran import format_e, format_i
from mlcharge_flows.vasp.plane_waves import count_plane_waves

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.gpaw_vasp.result import ElectronicStep, IonicStep, Motion, Run

ACCURACY_REACHED = " reached required accuracy - stopping structural energy minimisation"
"""VASP's words for a relaxation that met EDIFFG."""

_HUBBARD_LINES = (("LDAUL", "angular momentum", 0), ("LDAUU", "U (eV)", 1), ("LDAUJ", "J (eV)", 1))
_RULE = "\n\n" + "-" * 104 + "\n\n"


def outcar(run: Run) -> str:
    """Format the OUTCAR.

    Parameters
    ----------
    run
        The run.

    Returns
    -------
    str
        Text of the file. The memory is that of the present process.
    """
    steps = "".join(outcar_ionic_step(run, index) for index in range(len(run.ionic_steps) - 1))
    lines = [*_ionic_step(run, len(run.ionic_steps) - 1, last=True), _RULE, *_timing(run)]
    return outcar_opening(run) + steps + "\n".join(lines) + "\n"


def outcar_opening(run: Run) -> str:
    """Format what stands in the OUTCAR before the first electronic step.

    Parameters
    ----------
    run
        The run, or what was computed of it so far.

    Returns
    -------
    str
        Beginning of the file.
    """
    first = run.ionic_steps[0].crystal
    lines = [
        *_head(run),
        *(line for dataset in run.datasets for line in _dataset(dataset)),
        "",
        f" POSCAR: {run.comment}",
        _RULE,
        *_parameters(run),
        _RULE,
        *_cell(run, first),
        *_kpoints(run, first),
        _RULE,
        *_plane_waves(run, first),
        "",
        *_initial_density(run),
        _RULE,
    ]
    return "\n".join(lines) + "\n"


def outcar_ionic_step(run: Run, index: int) -> str:
    """Format an ionic step that another one follows.

    Parameters
    ----------
    run
        The run, or what was computed of it so far.
    index
        Index of the ionic step, from 0.

    Returns
    -------
    str
        The part of the file.
    """
    return "\n".join([*_ionic_step(run, index, last=False), _RULE]) + "\n"


def _ionic_step(run: Run, index: int, last: bool) -> Iterator[str]:
    """Electronic steps of a geometry, and its forces, stress and energies."""
    step = run.ionic_steps[index]
    for electronic in step.steps:
        yield from _iteration(run, electronic, index + 1)
    if last:
        yield from _bands(run)
    yield from _end_of_loop(step)
    if last:
        yield from site_tables(run)
    if step.stress is not None:
        yield from _stress(step.crystal, step.stress)
    yield from _cell(run, step.crystal)
    if step.forces is not None:
        yield from _forces(step, step.forces)
    yield _RULE
    yield "  FREE ENERGIE OF THE ION-ELECTRON SYSTEM (eV)"
    yield "  ---------------------------------------------------"
    yield from _energies(
        step.steps[-1], free="free  energy   TOTEN", bare="energy  without entropy"
    )
    if step.motion is not None:
        yield from _motion(step, step.motion)
    if last and run.relaxed:
        yield f"\n{ACCURACY_REACHED}"
    if not last:
        yield f"     LOOP+:  cpu time{step.seconds:10.4f}: real time{step.seconds:10.4f}"


def _head(run: Run) -> Iterator[str]:
    yield f" vasp.{FORMAT_VERSION} layout, written by {program()}, not by VASP"
    yield ""
    stamp = time.strftime("%Y.%m.%d  %H:%M:%S", time.localtime(run.started))
    yield f" executed on             gpaw-vasp date {stamp}"
    yield f" running on {run.cores:4d} total cores"
    yield _RULE
    yield from (f" POTCAR:    {dataset.titel}" for dataset in run.datasets)


def _dataset(dataset: PawDataset) -> Iterator[str]:
    yield f" POTCAR:    {dataset.titel}"
    yield f"   VRHFIN ={dataset.symbol}: GPAW data set"
    yield f"   TITEL  = {dataset.titel}"
    yield f"   POMASS ={dataset.mass:9.3f}; ZVAL   ={dataset.zval:9.3f}    mass and valence"
    for angular in dataset.channels:
        yield f"  non local Contribution for L={angular:12d}  read in"
    yield ""
    yield f"   number of l-projection  operators is LMAX  ={len(dataset.channels):12d}"
    functions = sum(2 * angular + 1 for angular in dataset.channels)
    yield f"   number of lm-projection operators is LMMAX ={functions:12d}"
    yield ""


def _parameters(run: Run) -> Iterator[str]:
    """Parameter block: sizes of the run and the tags that decided it."""
    tag = {name: value for tags in grouped_parameters(run).values() for name, value in tags.items()}
    _, points, bands = run.eigenvalues.shape
    per_type = "".join(f"{count:4d}" for _, count in run.crystal.species)
    coarse = (tag["NGX"], tag["NGY"], tag["NGZ"])
    fine = (tag["NGXF"], tag["NGYF"], tag["NGZF"])
    yield " Dimension of arrays:"
    yield (
        f"   k-points           NKPTS ={points:7d}   k-points in BZ     NKDIM ={points:7d}"
        f"   number of bands    NBANDS={bands:7d}"
    )
    yield (
        f"   number of dos      NEDOS ={len(run.dos_energies):7d}"
        f"   number of ions     NIONS ={len(run.crystal):7d}"
    )
    yield f"   total plane-waves  NPLWV = {format_i(coarse[0] * coarse[1] * coarse[2], 6)}"
    yield "   dimension x,y,z NGX ={:6d} NGY ={:5d} NGZ ={:5d}".format(*coarse)
    yield "   dimension x,y,z NGXF={:6d} NGYF={:5d} NGZF={:5d}".format(*fine)
    yield f"   ions per type =            {per_type}"
    yield ""
    yield f" SYSTEM =  {tag['SYSTEM']}"
    yield f" POSCAR =  {run.comment}"
    yield ""
    yield " Startparameter for this run:"
    yield f"   PREC   = {tag['PREC']}"
    yield f"   ISTART ={tag['ISTART']:7d}    job"
    yield f"   ICHARG ={tag['ICHARG']:7d}    charge: 1-file 2-atom 10-const"
    yield f"   ISPIN  ={tag['ISPIN']:7d}    spin polarized calculation?"
    yield "   LNONCOLLINEAR =      F non collinear calculations"
    yield "   LSORBIT =      F    spin-orbit coupling"
    yield f"   LASPH  ={_logical(tag['LASPH']):>7s}"
    yield ""
    yield " Electronic Relaxation 1"
    yield f"   ENCUT  ={tag['ENMAX']:7.1f} eV"
    yield (
        f"   NELM   ={tag['NELM']:7d};   NELMIN={tag['NELMIN']:3d};"
        f" NELMDL={tag['NELMDL']:3d}     # of ELM steps"
    )
    yield f"   EDIFF  = {format_e(tag['EDIFF'], 7, 1)}   stopping-criterion for ELM"
    yield f"   LMAXMIX     ={tag['LMAXMIX']:5d} max onsite mixed and CHGCAR"
    yield " Ionic relaxation"
    yield f"   NSW    ={tag['NSW']:7d}    number of steps for IOM"
    yield f"   IBRION ={tag['IBRION']:7d}    ionic relax"
    yield f"   ISIF   ={tag['ISIF']:7d}    stress and relaxation"
    yield f"   ISYM   ={tag['ISYM']:7d}    symmetry"
    yield "  Mass of Ions in am"
    yield "   POMASS =" + "".join(f"{data.mass:7.2f}" for data in run.datasets)
    yield "  Ionic Valenz"
    yield "   ZVAL   =" + "".join(f"{data.zval:7.2f}" for data in run.datasets)
    yield f"   NELECT ={run.electrons:13.4f}    total number of electrons"
    yield ""
    yield " DOS related values:"
    yield f"   ISMEAR ={tag['ISMEAR']:6d};   SIGMA  ={tag['SIGMA']:7.2f}  broadening in eV"
    yield ""
    yield " Write flags"
    yield f"   LCHARG ={_logical(tag['LCHARG']):>7s}    write CHGCAR"
    yield f"   LORBIT ={tag['LORBIT']:7d}"
    yield ""
    yield " Exchange correlation treatment:"
    yield f"   GGA     ={tag['GGA']:>6s}    GGA type"
    yield f"   LHFCALC ={_logical(tag['LHFCALC']):>6s}    Hartree Fock"
    yield from _hubbard(run)


def _hubbard(run: Run) -> Iterator[str]:
    if run.incar.get("LDAU"):
        yield " LDA+U is selected, type is set to LDAUTYPE =  2"
        for name, what, digits in _HUBBARD_LINES:
            values = np.atleast_1d(run.incar.get(name, [DEFAULTS[name]] * len(run.datasets)))
            row = "".join(f"{value:6.{digits}f}" for value in values)
            yield f"   {what:<17s}for each species {name} ={row}"


def _cell(run: Run, crystal: Crystal) -> Iterator[str]:
    yield " VOLUME and BASIS-vectors are now :"
    yield " " + "-" * 77
    yield f"  energy-cutoff  : {run.parameters.get('ENCUT', 0.0):11.2f}"
    yield f"  volume of cell : {crystal.volume:11.2f}"
    yield "      direct lattice vectors                 reciprocal lattice vectors"
    vectors = np.hstack([crystal.lattice, crystal.reciprocal / (2 * np.pi)])
    yield from (_numbers(row[:3], 13, 9) + "  " + _numbers(row[3:], 13, 9) for row in vectors)
    yield ""


def _kpoints(run: Run, crystal: Crystal) -> Iterator[str]:
    yield " k-points in reciprocal lattice and weights: " + run.kpoint_scheme
    for point, weight in zip(run.kpoints, run.weights, strict=True):
        yield f" {_numbers(point, 12, 8)}{weight:12.8f}"
    yield ""
    yield " position of ions in fractional coordinates (direct lattice)"
    yield from (f" {_numbers(position, 12, 8)}" for position in crystal.positions)
    yield ""
    yield " position of ions in cartesian coordinates  (Angst):"
    yield from (f" {_numbers(position, 12, 8)}" for position in _cartesian(crystal))


def _plane_waves(run: Run, crystal: Crystal) -> Iterator[str]:
    counts = count_plane_waves(crystal.lattice, run.parameters.get("ENCUT", 0.0), run.kpoints)
    for k, (point, count) in enumerate(zip(run.kpoints, counts, strict=True), 1):
        yield f" k-point {k:3d} : {_numbers(point, 9, 4)}  plane waves: {count:7d}"
    yield ""
    yield (
        f" maximum and minimum number of plane-waves per node : {max(counts):9d}{min(counts):9d}"
    )


def _initial_density(run: Run) -> Iterator[str]:
    yield " initial charge density was supplied:"
    if not any("charge-density read from file" in message for message in run.messages):
        yield " charge density of overlapping atoms calculated"
    yield _electrons(run, run.ionic_steps[0].steps[0])
    yield " keeping initial charge density in first step"


def _electrons(run: Run, step: ElectronicStep) -> str:
    moment = "" if step.density_moment is None else f" {step.density_moment:15.7f}"
    return f" number of electron  {run.electrons:14.7f} magnetization{moment}"


def _iteration(run: Run, step: ElectronicStep, ionic_step: int) -> Iterator[str]:
    yield f"\n{'-' * 41} Iteration {ionic_step:4d}({step.number:4d})  {'-' * 39}\n\n"
    yield f"      LOOP:  cpu time{step.seconds:10.4f}: real time{step.seconds:10.4f}"
    yield ""
    yield f" eigenvalue-minimizations  :{step.operations:6d}"
    change, band_change = (format_e(x, 14, 7) for x in (step.change, step.band_change))
    yield f" total energy-change (2. order) :{change}  ({band_change})"
    yield _electrons(run, step)
    yield ""
    if step.charge_residual is not None:
        yield " density mixing:"
        yield f"  rms(total) ={format_e(step.charge_residual, 12, 5)}"
        yield ""
    yield " Free energy of the ion-electron system (eV)"
    yield "  ---------------------------------------------------"
    entropy = step.free_energy - step.energy_without_entropy
    yield f"  entropy T*S    EENTRO ={entropy:19.8f}"
    yield "  ---------------------------------------------------"
    yield from _energies(step, free="free energy    TOTEN ", bare="energy without entropy ")
    yield _RULE


def _energies(step: ElectronicStep, free: str, bare: str) -> Iterator[str]:
    yield f"  {free}  ={step.free_energy:19.8f} eV"
    yield ""
    yield (
        f"  {bare}={step.energy_without_entropy:19.8f}  energy(sigma->0) ={step.energy_zero:19.8f}"
    )


def _bands(run: Run) -> Iterator[str]:
    yield f" E-fermi :{run.fermi_level:12.6f}"
    yield ""
    electrons = 2 / run.n_spins  # of a full band
    for spin in range(run.n_spins):
        if run.n_spins == 2:
            yield f" spin component {spin + 1}"
        rows = zip(run.kpoints, run.eigenvalues[spin], run.occupations[spin], strict=True)
        for k, (point, energies, fillings) in enumerate(rows, 1):
            yield f"\n k-point {k:5d} : {_numbers(point, 12, 4)}"
            yield "  band No.  band energies     occupation "
            for band, (energy, filling) in enumerate(zip(energies, fillings, strict=True), 1):
                yield f"{band:7d}{energy:14.6f}{electrons * filling:13.5f}"
        yield ""


def _end_of_loop(step: IonicStep) -> Iterator[str]:
    reason = "because EDIFF is reached" if step.converged else "EDIFF was not reached (unconverged)"
    yield f"\n{'-' * 24} aborting loop {reason} {'-' * 40}\n\n"


def _stress(crystal: Crystal, stress: np.ndarray) -> Iterator[str]:
    yield "  FORCE on cell =-STRESS in cart. coord.  units (eV):"
    yield "  Direction    XX          YY          ZZ          XY          YZ          ZX"
    yield "  " + "-" * 86
    components = stress[[0, 1, 2, 0, 1, 2], [0, 1, 2, 1, 2, 0]]
    energies = components * crystal.volume / EV_PER_A3_IN_KB
    yield f"  Total  {_numbers(energies, 12, 5)}"
    yield f"  in kB  {_numbers(components, 12, 5)}"
    pressure = float(np.trace(stress)) / 3
    yield f"  external pressure = {pressure:12.2f} kB  Pullay stress = {0:11.2f} kB"
    yield "\n"


def _forces(step: IonicStep, forces: np.ndarray) -> Iterator[str]:
    rule = " " + "-" * 83
    yield " POSITION                                       TOTAL-FORCE (eV/Angst)"
    yield rule
    for position, force in zip(_cartesian(step.crystal), forces, strict=True):
        yield f"{_numbers(position, 13, 5)}    {_numbers(force, 14, 6)}"
    yield rule
    drift = forces.sum(axis=0) if step.drift is None else step.drift
    yield f"    total drift:                           {_numbers(drift, 14, 6)}"


def _motion(step: IonicStep, motion: Motion) -> Iterator[str]:
    total = step.free_energy + motion.kinetic_energy
    yield "\n"
    yield "  ENERGY OF THE ELECTRON-ION-THERMOSTAT SYSTEM (eV)"
    yield "  ---------------------------------------------------"
    yield f"% ion-electron   TOTEN  ={step.free_energy:16.6f}  see above"
    yield (
        f"  kinetic energy EKIN   ={motion.kinetic_energy:16.6f}  (temperature"
        f"{motion.temperature:8.2f} K)"
    )
    yield f"  nose potential ES     ={motion.thermostat_energy:16.6f}"
    yield f"  nose kinetic   EPS    ={0:16.6f}"
    yield "  ---------------------------------------------------"
    yield f"  total energy   ETOTAL ={total + motion.thermostat_energy:16.6f} eV"


def _timing(run: Run) -> Iterator[str]:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    cpu_time = run.user_seconds + run.system_seconds
    yield f"     LOOP+:  cpu time{run.seconds:10.4f}: real time{run.seconds:10.4f}"
    yield "\n"
    yield " General timing and accounting informations for this job:"
    yield " ========================================================"
    yield ""
    yield f"                  Total CPU time used (sec):{cpu_time:13.3f}"
    yield f"                            User time (sec):{run.user_seconds:13.3f}"
    yield f"                          System time (sec):{run.system_seconds:13.3f}"
    yield f"                         Elapsed time (sec):{run.seconds:13.3f}"
    yield ""
    yield f"                   Maximum memory used (kb):{usage.ru_maxrss:12d}."
    yield f"                   Average memory used (kb):{0:12d}."


def _logical(value: object) -> str:
    return "T" if value else "F"


def _cartesian(crystal: Crystal) -> np.ndarray:
    return np.asarray(crystal.positions @ crystal.lattice)


def _numbers(values: np.ndarray, width: int, decimals: int) -> str:
    return "".join(f"{value:{width}.{decimals}f}" for value in values)
