"""What a calibration saves at another cutoff, and what it leaves of the superposition's error.

    mlcharge calibrate ARCHIVE --out calibration.json
    mlcharge campaign run test.yaml --out FOLDER
    python benchmarks/calibration.py FOLDER

The SPEC.yaml of the comparison has the cutoff under ``incar``, and the arms ``learned`` and
``learned+calibration@calibration.json``. Printed are, for each crystal, the steps of every arm and,
in brackets, what is left of the superposition's error in density and occupancies (L1 norms,
percent), then the mean of what the arms save. Arms that need a run have no brackets.
"""

from __future__ import annotations

from harness import parser, print_table

# isort: split

from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

from pymatgen.io.vasp import Poscar

from mlcharge_flows.campaign.local import read_results
from mlcharge_flows.density.density import error_removed
from mlcharge_flows.io import plain_or_compressed
from mlcharge_flows.scf.comparison import REFERENCE
from mlcharge_flows.sources import RunInputs, SourceError, Superposition, parse_initial_density
from mlcharge_flows.sources.initial_density import CALIBRATION
from mlcharge_flows.vasp.chgcar import read_chgcar
from mlcharge_flows.vasp.incar import read_incar

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from mlcharge_flows.scf.comparison import Comparison

FILES = ("INCAR", "POSCAR", "POTCAR", "CHGCAR")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    options = parser(__doc__)
    options.add_argument("folder", type=Path)
    options.add_argument("--only", metavar="ARM,ARM", help="arms in the table; default: all")
    options.add_argument("--spec", type=Path, help="folder that paths in arms are relative to")
    given = options.parse_args(arguments)
    found = read_results(given.folder)
    names = dict.fromkeys(arm for comparison in found for arm in comparison.arms)
    arms = [arm for arm in names if given.only is None or arm in given.only.split(",")]
    heads = ["crystal", *(short(arm) for arm in arms)]
    print_table(heads, rows(found, arms, given.folder, given.spec))
    print()
    print_table(
        ["arm", "crystals", "mean saved", "slower than default", "by more than one step"],
        summary_rows(found, arms),
    )


def rows(
    found: list[Comparison], arms: list[str], folder: Path, spec: Path | None
) -> Iterator[list[str]]:
    """Steps of every crystal, with errors where the initial density can be made again."""
    for comparison in sorted(found, key=lambda c: c.formula):
        errors = errors_left(comparison, folder / comparison.material_id, arms, spec)
        cells = []
        for arm in arms:
            run = comparison.arms.get(arm)
            steps = "–" if run is None or run.exclusion_reason else str(run.n_total)
            cells.append(f"{steps} ({errors[arm]})" if arm in errors else steps)
        yield [f"{comparison.formula} ({comparison.material_id})", *cells]


def errors_left(
    comparison: Comparison, folder: Path, arms: list[str], spec: Path | None
) -> dict[str, str]:
    """Percent of the superposition's error that learned initial densities leave."""
    run = folder / f"{REFERENCE}-run"
    try:
        files = {name: plain_or_compressed(run / name) for name in FILES}
        structure = Poscar.from_file(files["POSCAR"], check_for_potcar=False).structure
        inputs = RunInputs.from_files(structure, read_incar(files["INCAR"]), files["POTCAR"])
        converged = read_chgcar(files["CHGCAR"])
    except OSError:
        return {}
    superposition = Superposition().evaluate(inputs).density
    found = {}
    for arm in arms:
        if arm == REFERENCE or arm not in comparison.arms:
            continue
        density = parse_initial_density(arm, folder=spec)
        if not density.uses_model:
            continue
        try:
            predicted = density.evaluate(inputs).density
        except SourceError:
            continue
        removed = error_removed(predicted, superposition, converged)
        found[arm] = "/".join(f"{100 * (1 - part):.1f}" for part in removed)
    return found


def summary_rows(found: list[Comparison], arms: list[str]) -> Iterator[list[str]]:
    """Mean saving of the arms over the crystals where both runs count."""
    for arm in arms:
        pairs = [
            (comparison.arms[arm].n_total or 0, comparison.arms[REFERENCE].n_total or 0)
            for comparison in found
            if all(
                name in comparison.arms and comparison.arms[name].exclusion_reason is None
                for name in (arm, REFERENCE)
            )
        ]
        if arm != REFERENCE and pairs:
            saved = mean(1 - mine / default for mine, default in pairs)
            slower = [mine - default for mine, default in pairs if mine > default]
            counts = str(len(slower)), str(sum(more > 1 for more in slower))
            yield [short(arm), str(len(pairs)), f"{saved:.1%}", *counts]


def short(arm: str) -> str:
    """Name of an arm without the path of its calibration."""
    before, _, path = arm.partition(f"+{CALIBRATION}@")
    return f"{before}, calibrated" if path else before


if __name__ == "__main__":
    main()
