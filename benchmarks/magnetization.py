"""Steps that a magnetization fitted to other runs saves: docs/models.md.

    python benchmarks/magnetization.py FOLDER [Fe NiO ..] [--encut 350]

FOLDER/fit gets the runs of the fit, strained crystals and other compounds; they are those of
``mlcharge calibrate FOLDER/fit``. Each test crystal runs with VASP's superposition, with its
converged total density and the moments of MAGMOM, the same with the fitted magnetization, and with
its own CHGCAR. Finished runs are kept.
"""

from __future__ import annotations

from harness import parser, print_table

# isort: split

import contextlib
import io
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pymatgen.core import Lattice, Structure

from gpaw_vasp_spin import CRYSTALS, Crystal, write_inputs
from mlcharge_flows.density.augmentation import spherical
from mlcharge_flows.density.magnetization import SpinDensity, SpinSines, superpose_moments
from mlcharge_flows.gpaw_vasp.execute import execute
from mlcharge_flows.models.magnetization import predict_magnetization
from mlcharge_flows.scf.count import count_run
from mlcharge_flows.training.finished_run import read_finished_run
from mlcharge_flows.training.magnetic_run import MagneticRun
from mlcharge_flows.training.magnetization_fit import fit_magnetization
from mlcharge_flows.training.origin import Origin
from mlcharge_flows.vasp.chgcar import read_chgcar
from mlcharge_flows.vasp.chgcar_writer import write_chgcar
from mlcharge_flows.vasp.potcar import datasets_by_element, read_potcar

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mlcharge_flows.density.density import Density, Magnetization
    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.models.magnetization import ElementMagnetization

HEADS = [
    "",
    "MAGMOM (muB)",
    "default (steps)",
    "converged total density, MAGMOM",
    "and fitted magnetization",
    "own CHGCAR",
    "initial moments (muB)",
    "final moments (muB)",
    "error of the magnetization: MAGMOM (%)",
    "fitted (%)",
    "its occupancies of L > 0 (%)",
]
EDIFF_PER_ATOM = 5e-5
BASIS = SpinSines()
NO_MOMENTS = 0.01
"""Sum of |occupancies| below which a crystal has no magnetization to compare with, electrons."""


@dataclass(frozen=True)
class Test:
    """A crystal and the MAGMOM of its runs."""

    crystal: str
    magmom: tuple[float, ...]


def _strained(name: str, factor: float, anion: str = "O") -> Crystal:
    given = CRYSTALS[name]
    structure = given.structure.copy()
    structure.scale_lattice(factor**3 * structure.volume)
    structure.replace_species({"O": anion})
    return replace(given, structure=structure)


def _ordered(one: str, other: str, a: float, c: float, moments: list[float]) -> Crystal:
    """Tetragonal cell of two ions: CsCl's structure, or L1_0."""
    sites = [[0, 0, 0], [0.5] * 3]
    return Crystal(Structure(Lattice.tetragonal(a, c), [one, other], sites), moments, (4, 4, 4))


CRYSTALS["CoO"] = Crystal(
    _strained("NiO", 4.26 / 4.17).structure.copy(), [3, -3, 0, 0], (2, 2, 2), 3.32
)
CRYSTALS["CoO"].structure.replace_species({"Ni": "Co"})
FIT = {
    "Fe-compressed": _strained("Fe", 2.75 / 2.83),
    "Fe-expanded": _strained("Fe", 2.95 / 2.83),
    "FeCo": _ordered("Fe", "Co", 2.84, 2.84, [2.5, 1.7]),
    "FeNi": _ordered("Fe", "Ni", 3.56 / 2**0.5, 3.58, [2.5, 0.7]),
    "MnO-expanded": _strained("MnO", 4.6 / 4.44),
    "MnS": _strained("MnO", 5.2 / 4.44, "S"),
    "NiO-expanded": _strained("NiO", 4.3 / 4.17),
    "CoO-expanded": _strained("CoO", 4.4 / 4.26),
    "Si-expanded": _strained("Si", 1.03),
    "MgO-expanded": _strained("MgO", 1.03),
}
TESTS = {
    "Fe": Test("Fe", (5.0,)),
    "Fe, 2.3": Test("Fe", (2.3,)),
    "MnO": Test("MnO", (5.0, -5.0, 0.6, 0.6)),
    "NiO": Test("NiO", (5.0, -5.0, 0.6, 0.6)),
    "NiO, 2": Test("NiO", (2.0, -2.0, 0.0, 0.0)),
    "CoO": Test("CoO", (3.0, -3.0, 0.0, 0.0)),
    "Si": Test("Si", (0.6, 0.6)),
    "MgO": Test("MgO", (0.6, 0.6)),
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables of the fit and of the steps."""
    options = parser(__doc__)
    options.add_argument("folder", type=Path)
    options.add_argument("names", nargs="*", metavar="TEST", help="default: all")
    options.add_argument("--encut", type=float, default=350.0, help="eV, default 350")
    options.add_argument("--fit", nargs="*", metavar="RUN", help="default: all")
    options.add_argument("--mesh", type=int, help="k-points along each axis; default: of the table")
    given = options.parse_args(arguments)
    if given.mesh:
        for crystals in (CRYSTALS, FIT):
            crystals |= {n: replace(c, mesh=(given.mesh,) * 3) for n, c in crystals.items()}
    runs = []
    for name in given.fit or FIT:
        folder = given.folder / "fit" / name
        compute(folder, FIT[name], given.encut, 2)
        sample = read_finished_run(folder, Origin(name, "fit"))
        formula = FIT[name].structure.composition.reduced_formula
        density, settings = sample.density(), (given.encut, "PE")
        assert density.magnetization is not None
        run = MagneticRun.of(
            name, formula, settings, density, density.magnetization, sample.paw, BASIS
        )
        runs += [] if run is None else [run]
    fit = fit_magnetization(runs, BASIS)
    print_table(["", "runs", "moments", "density left (%)", "occupancies left (%)"], elements(fit))
    print()
    chosen = {name: TESTS[name] for name in given.names or TESTS}
    print_table(
        HEADS, (row(given.folder, name, one, fit, given.encut) for name, one in chosen.items())
    )


def elements(fit: Mapping[str, ElementMagnetization]) -> Iterator[list[str]]:
    """Moments of the elements in the fit, and leave-one-out errors."""
    for symbol, mine in fit.items():
        moments = mine.all_moments
        errors = (mine.density_left, mine.occupancies_left)
        left = ("-" if error is None else f"{100 * error:.0f}" for error in errors)
        yield [symbol, str(moments.n_runs), f"{moments.mean:.2f} ± {moments.spread:.2f}", *left]


def row(
    folder: Path, name: str, test: Test, fit: Mapping[str, ElementMagnetization], encut: float
) -> list[str]:
    """Steps of one crystal from every initial density."""
    crystal = replace(CRYSTALS[test.crystal], moments=list(test.magmom))
    place = folder / name.replace(", ", "-")

    def steps(arm: str, start: Density | None = None) -> str:
        return str(compute(place / arm, crystal, encut, 2 if start is None else 1, start))

    default = steps("default")
    own = read_chgcar(place / "default" / "CHGCAR")
    paw = datasets_by_element(read_potcar(place / "default" / "POTCAR"))
    magmom = np.array(test.magmom)
    fitted, _ = predict_magnetization(own, magmom, fit, paw, BASIS)
    atoms = {symbol: SpinDensity.of_free_atom(dataset) for symbol, dataset in paw.items()}
    begun = superpose_moments(own.crystal, magmom, atoms, own.shape)
    shown = " ".join(f"{moment:.2f}" for moment in (magmom if fitted is None else fitted.moments))
    return [
        name,
        " ".join(f"{moment:g}" for moment in test.magmom),
        default,
        steps("total", replace(own, magnetization=None)),
        "-" if fitted is None else steps("fitted", replace(own, magnetization=fitted)),
        steps("own", own),
        shown,
        " ".join(f"{moment:.2f}" for moment in site_moments(place / "own")),
        *("-" if one is None else error(one, own) for one in (begun, fitted)),
        not_spherical(own, paw),
    ]


def error(one: Magnetization, own: Density) -> str:
    """Difference from the converged magnetization over its size: grid (L2), occupancies (L1)."""
    converged = own.magnetization
    assert converged is not None
    pairs = list(zip(one.augmentation or (), converged.augmentation or (), strict=True))
    size = sum(np.abs(b).sum() for _, b in pairs)
    if size < NO_MOMENTS:
        return "-"
    occupancies = sum(np.abs(a - b).sum() for a, b in pairs) / size
    grid = np.linalg.norm(one.grid - converged.grid) / np.linalg.norm(converged.grid)
    return f"{100 * grid:.0f}/{100 * occupancies:.0f}"


def not_spherical(own: Density, paw: Mapping[str, PawDataset]) -> str:
    """Occupancies of L > 0 of the converged magnetization over all of them (L1)."""
    assert own.magnetization is not None
    others = total = 0.0
    for symbol, values in zip(
        own.crystal.symbols, own.magnetization.augmentation or (), strict=True
    ):
        total += np.abs(values).sum()
        others += np.abs(np.delete(values, spherical(paw[symbol].channels))).sum()
    return f"{100 * others / total:.0f}" if total >= NO_MOMENTS else "-"


def site_moments(folder: Path) -> list[float]:
    """Moments of the ions at the end of a run, Bohr magnetons."""
    lines = (folder / "OUTCAR").read_text().split("magnetization (x)")[-1].splitlines()
    n_ions = len(read_chgcar(folder / "CHGCAR").crystal)
    rows = [line.split() for line in lines if line.strip()[:1].isdigit()]
    return [float(words[-1]) for words in rows[:n_ions]]


def compute(
    folder: Path, crystal: Crystal, encut: float, icharg: int, start: Density | None = None
) -> int:
    """Make one run, unless it is there; its stdout is dropped. Gives its electronic steps."""
    if not (folder / "OUTCAR").exists():
        folder.parent.mkdir(parents=True, exist_ok=True)
        ediff = EDIFF_PER_ATOM * len(crystal.structure)
        made = write_inputs(folder.parent, crystal, encut, icharg, EDIFF=ediff)
        if start is not None:
            write_chgcar(made / "CHGCAR", start)
        with contextlib.redirect_stdout(io.StringIO()):
            execute(made)
        made.rename(folder)
    return count_run(folder).n_total or 0


if __name__ == "__main__":
    main()
