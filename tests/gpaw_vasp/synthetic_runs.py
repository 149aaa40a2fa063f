"""Runs that no solver made: every number is known, and different from its neighbors."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.paw_dataset import PawDataset
from mlcharge_flows.gpaw_vasp.oszicar import OszicarWriter
from mlcharge_flows.gpaw_vasp.outputs import write_outputs
from mlcharge_flows.gpaw_vasp.result import ElectronicStep, Run

if TYPE_CHECKING:
    from pathlib import Path

FERMI = 5.7
SILICON = PawDataset("Si", "PAW_PBE Si GPAW-1.0", 4.0, (0, 0, 1, 1), mass=28.085)


def electronic_steps(count: int = 8, entropy: float = 0.002) -> tuple[ElectronicStep, ...]:
    steps = []
    before = 0.0
    for n in range(1, count + 1):
        free = -10.84689 + 3.0 * (-0.3) ** n
        steps.append(
            ElectronicStep(
                number=n,
                free_energy=free,
                energy_without_entropy=free + entropy,
                energy_zero=free + entropy / 2,
                change=free - before,
                band_change=-abs(free - before) / 2,
                operations=1000 + n,
                residual=50.0 * 0.2**n,
                charge_residual=0.4 * 0.3**n if 5 <= n < count else None,
                seconds=0.25 + 0.01 * n,
            )
        )
        before = free
    return tuple(steps)


def silicon() -> Run:
    """An insulator on a Gamma-centered mesh: gap 0.6 eV, from k-point 1 to k-point 3."""
    crystal = Crystal(
        np.array([[0.0, 2.715, 2.715], [2.715, 0.0, 2.715], [2.715, 2.715, 0.0]]),
        ("Si", "Si"),
        np.array([[0.1234567891234567, 0.0, 0.0], [0.25, 0.25, 0.2512345678901234]]),
    )
    kpoints = np.array([[0.0, 0.0, 0.0], [0.5, 0.0, 0.0], [0.5, 0.5, 0.0]])
    valence = np.array([-6.0, 3.0, 4.5, 5.5])[None] - np.array([0.0, 0.4, 0.8])[:, None]
    conduction = np.array([6.6, 7.7, 8.8, 9.9])[None] - np.array([0.0, 0.3, 0.5])[:, None]
    energies = np.linspace(-8, 12, 301)
    dos = np.exp(-((energies + 1) ** 2) / 8)
    share = np.arange(1, 19).reshape(2, 9) / 200
    return Run(
        crystal=crystal,
        comment="Si2 & friends",
        incar={
            "SYSTEM": "silicon <test> & more",
            "ENCUT": 350,
            "EDIFF": 1e-4,
            "ICHARG": 1,
            "ISMEAR": 0,
            "SIGMA": 0.05,
            "NSW": 0,
            "NELM": 100,
            "LREAL": "Auto",
            "LORBIT": 11,
            "LWAVE": False,
            "MAGMOM": [0.6, 0.6],
            "HFSCREEN": 0.2,
        },
        parameters={
            "ENCUT": 350.0,
            "EDIFF": 1e-4,
            "PREC": "Normal",
            "ICHARG": 1,
            "ISTART": 0,
            "ISMEAR": 0,
            "SIGMA": 0.05,
            "NELM": 100,
            "NELMIN": 2,
            "NELMDL": -5,
            "LMAXMIX": 4,
            "LORBIT": 11,
            "GGA": "PE",
            "EMIN": None,
            **{f"NG{axis}": 18 for axis in "XYZ"},
            **{f"NG{axis}F": 36 for axis in "XYZ"},
        },
        datasets=(SILICON,),
        kpoints=kpoints,
        weights=np.array([0.125, 0.5, 0.375]),
        kpoint_scheme="Gamma",
        divisions=(2, 2, 2),
        shift=(0.0, 0.0, 0.0),
        line_ends=None,
        labels=None,
        eigenvalues=np.hstack([valence, conduction])[None],
        occupations=np.hstack([np.ones((3, 4)), np.zeros((3, 4))])[None],
        fermi_level=FERMI,
        electrons=8.0,
        steps=electronic_steps(),
        converged=True,
        forces=np.array([[0.1, -0.2, 0.3], [-0.1, 0.2, -0.25]]),
        stress=np.array([[10.0, 1.0, 2.0], [1.0, 20.0, 3.0], [2.0, 3.0, 33.0]]),
        dos_energies=energies,
        dos=dos[None],
        integrated_dos=np.cumsum(dos)[None] * (energies[1] - energies[0]),
        projections=np.broadcast_to(share, (1, 3, 8, 2, 9)) * (1 + np.arange(8))[:, None, None],
        projected_dos=(share[:, :, None] * dos)[None],
        started=1.7e9,
        seconds=12.5,
        user_seconds=11.0,
        system_seconds=0.5,
        cores=2,
    )


def magnetic() -> Run:
    """Both spins differ in every number; moments of 1.8 and -0.6 on the two ions."""
    run = silicon()
    spins = (1.0, 0.75)
    assert run.projections is not None
    assert run.projected_dos is not None
    return replace(
        run,
        incar={**run.incar, "ISPIN": 2},
        parameters={**run.parameters, "ISPIN": 2, "MAGMOM": np.array([2.0, -0.5])},
        eigenvalues=np.concatenate([run.eigenvalues, run.eigenvalues + 0.125]),
        occupations=np.concatenate([run.occupations] * 2),
        dos=np.concatenate([spin * run.dos / 2 for spin in spins]),
        integrated_dos=np.concatenate([spin * run.integrated_dos / 2 for spin in spins]),
        projections=np.concatenate([spin * run.projections for spin in spins]),
        projected_dos=np.concatenate([spin * run.projected_dos for spin in spins]),
        site_moments=np.array([[0.125, 0.25, 1.425], [-0.1, -0.5, 0.0]]),
        steps=tuple(
            replace(step, magnetization=1.2 + step.number / 100, density_moment=1.3)
            for step in run.steps
        ),
    )


def metal() -> Run:
    """Bands cross the Fermi level, occupations are partial; two species; nothing optional."""
    run = silicon()
    crystal = replace(run.crystal, symbols=("Cu", "Zn"))
    occupations = 1 / (1 + np.exp((run.eigenvalues - 4.3) / 0.2))
    return replace(
        run,
        crystal=crystal,
        incar={"ENCUT": 350.0, "NSW": 0, "ISMEAR": 1, "NELM": 100},
        parameters={**run.parameters, "LORBIT": 0},
        datasets=(
            PawDataset("Cu", "PAW_PBE Cu GPAW-1.0", 11.0, (0, 0, 1, 1, 2, 2), mass=63.546),
            PawDataset("Zn", "PAW_PBE Zn GPAW-1.0", 12.0, (0, 0, 1, 1, 2, 2), mass=65.38),
        ),
        occupations=occupations,
        electrons=23.0,
        fermi_level=4.3,
        kpoint_scheme="explicit",
        divisions=None,
        projections=None,
        projected_dos=None,
        forces=None,
        stress=None,
    )


def unconverged() -> Run:
    """NELM steps were not enough."""
    run = silicon()
    parameters = {**run.parameters, "NELM": 8}
    return replace(run, parameters=parameters, incar={**run.incar, "NELM": 8}, converged=False)


def line_mode() -> Run:
    """Bands from a fixed density (ICHARG=11) along G-X and X-L."""
    ends = np.array([[0.0, 0.0, 0.0], [0.5, 0.0, 0.5], [0.5, 0.0, 0.5], [0.5, 0.5, 0.5]])
    parts = np.linspace(0, 1, 5)[:, None]
    kpoints = np.vstack(
        [ends[0] + parts * (ends[1] - ends[0]), ends[2] + parts * (ends[3] - ends[2])]
    )
    run = silicon()
    dispersion = 0.3 * (1 - np.cos(2 * np.pi * kpoints.sum(axis=1)))[:, None] / 2
    bands = run.eigenvalues[0, :1] - dispersion
    return replace(
        run,
        incar={**run.incar, "ICHARG": 11},
        parameters={**run.parameters, "ICHARG": 11},
        kpoints=kpoints,
        weights=np.full(10, 0.1),
        kpoint_scheme="listgenerated",
        divisions=(5,),
        line_ends=ends,
        labels=("\\Gamma", "X", "X", "L"),
        eigenvalues=bands[None],
        occupations=np.hstack([np.ones((10, 4)), np.zeros((10, 4))])[None],
        steps=tuple(replace(step, charge_residual=None) for step in electronic_steps(6)),
        projections=None,
        projected_dos=None,
    )


def potcar_text(dataset: PawDataset) -> str:
    """A header like the ones that ``gpaw-vasp potcar`` exports, with two numbers for data."""
    return "\n".join(
        [
            f"  {dataset.titel}",
            f"   {dataset.zval:.14f}",
            " parameters from PSCTR are:",
            f"   VRHFIN ={dataset.symbol}: test",
            "   LEXCH  = PE",
            f"   TITEL  = {dataset.titel}",
            f"   POMASS = {dataset.mass:8.3f}; ZVAL   = {dataset.zval:8.3f}    mass and valenz",
            "   ENMAX  =  300.000; ENMIN  =  200.000 eV",
            "END of PSCTR-controll parameters",
            " local part",
            "   0.10000000E+01   0.20000000E+01",
            " End of Dataset\n",
        ]
    )


def kpoints_text(run: Run) -> str:
    if run.line_ends is not None and run.labels is not None and run.divisions:
        rows = [
            " ".join(f"{x:.8f}" for x in end) + f" ! {label}"
            for end, label in zip(run.line_ends, run.labels, strict=True)
        ]
        segments = "\n\n".join("\n".join(rows[i : i + 2]) for i in range(0, len(rows), 2))
        return f"bands\n{run.divisions[0]}\nLine_mode\nReciprocal\n{segments}\n"
    if run.divisions:
        return "mesh\n0\nGamma\n{} {} {}\n0 0 0\n".format(*run.divisions)
    rows = [
        " ".join(f"{x:.8f}" for x in (*point, weight))
        for point, weight in zip(run.kpoints, run.weights, strict=True)
    ]
    return f"list\n{len(rows)}\nReciprocal\n" + "\n".join(rows) + "\n"


def incar_text(run: Run) -> str:
    def value(item: object) -> str:
        return " ".join(map(str, item)) if isinstance(item, list) else str(item)

    return "".join(f"{tag} = {value(item)}\n" for tag, item in run.incar.items())


def finished_folder(folder: Path, run: Run) -> Path:
    """A run folder as gpaw-vasp leaves it, inputs included."""
    write_outputs(folder, run)
    with OszicarWriter(folder / "OSZICAR") as oszicar:
        for step in run.steps:
            oszicar.write(step)
        oszicar.finish(run.steps[-1])
    for suffix in ("", ".orig"):
        (folder / f"INCAR{suffix}").write_text(incar_text(run))
        (folder / f"KPOINTS{suffix}").write_text(kpoints_text(run))
        (folder / f"POSCAR{suffix}").write_text((folder / "CONTCAR").read_text())
        (folder / f"POTCAR{suffix}").write_text("".join(map(potcar_text, run.datasets)))
    (folder / "vasp.out").write_text(" entering main loop\n")
    return folder
