"""What a response fitted to a few runs per element leaves of the occupancies' error.

    mlcharge campaign run archive.yaml --out runs
    mlcharge campaign run test.yaml --out compared
    python benchmarks/response.py runs compared --models orbital,charge3net

``mlcharge calibrate`` fits such a response for models of the density alone. Here it is fitted to
the first 1, 2, .. runs of each element in the first folder, in several random orders, and its
occupancies for the runs in the second folder are compared with the converged ones: for the
converged density, and for those of models (which are not calibrated). Printed is the mean absolute
error, in percent of that of the free atoms: the mean over runs and orders, and the worst mean of an
order.
"""

from __future__ import annotations

from harness import parser, print_table

# isort: split

import random
from collections import Counter
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import TYPE_CHECKING

from pymatgen.core import Composition

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.density import superpose
from mlcharge_flows.sources import known_models
from mlcharge_flows.training.archive import Archive
from mlcharge_flows.training.response_fit import fit_responses
from mlcharge_flows.training.response_run import ResponseRun, left_over, overlaps_on_ions
from mlcharge_flows.vasp.potcar import PotcarSearch

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from mlcharge_flows.density.density import Density


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    options = parser(__doc__)
    options.add_argument("archive", type=Path)
    options.add_argument("test", type=Path)
    options.add_argument("--models", default="", metavar="NAME,NAME", help="names or checkpoints")
    options.add_argument("--orders", type=int, default=8, help="random orders of the runs")
    options.add_argument("--most", type=int, default=6, help="runs per element")
    given = options.parse_args(arguments)
    models = [name for name in given.models.split(",") if name]
    fitted = [run for run, _ in prepared(given.archive, [])]
    tested = list(prepared(given.test, models))
    heads = ["runs per element", *(f"density {Path(name).stem}" for name in ("converged", *models))]
    print_table(heads, rows(fitted, tested, models, given.orders, given.most))


def prepared(
    folder: Path, models: Sequence[str]
) -> Iterator[tuple[ResponseRun, dict[str, ResponseRun]]]:
    """Read the runs of a folder, each once more with the density of every model."""
    loaded = {name: known_models().load(name).model for name in models}
    for sample in Archive([folder], PotcarSearch([])):
        if sample is None:
            continue
        crystal, converged = sample.crystal, sample.density()
        atomic = superpose(crystal, sample.paw, sample.shape)
        formula = Composition("".join(crystal.symbols)).reduced_formula
        channels = {symbol: paw.channels for symbol, paw in sample.paw.items()}
        run = ResponseRun.of(sample.id, formula, converged, atomic, converged, channels)

        def of(predicted: Density, run: ResponseRun = run, free: Density = atomic) -> ResponseRun:
            overlaps = overlaps_on_ions(run.crystal, predicted.total - free.total)
            return replace(run, overlaps=overlaps)

        yield run, {name: of(m.predict(crystal, sample.shape)) for name, m in loaded.items()}


def rows(
    fitted: Sequence[ResponseRun],
    tested: Sequence[tuple[ResponseRun, Mapping[str, ResponseRun]]],
    models: Sequence[str],
    n_orders: int,
    most: int,
) -> Iterator[list[str]]:
    """Errors for each number of runs per element."""
    orders = [random.Random(seed).sample(fitted, len(fitted)) for seed in range(n_orders)]
    largest = max(Counter(s for run in fitted for s in run.channels).values())
    for number in range(1, min(most, largest) + 1):
        means: dict[str, list[float]] = {}
        for order in orders:
            responses = fit_responses(list(first(order, number))).responses
            for name in ("converged", *models):
                runs = [run if name == "converged" else its[name] for run, its in tested]
                left = [left_over(run.left(responses).values()) for run in runs]
                means.setdefault(name, []).append(100 * mean(left))
        yield [str(number), *(f"{mean(of):.1f} ({max(of):.1f})" for of in means.values())]


def first(order: Sequence[ResponseRun], number: int) -> Iterator[ResponseRun]:
    """The first runs of each element; of the others only the ions of elements that lack some."""
    counts = Counter[str]()
    for run in order:
        lacking = {symbol for symbol in run.channels if counts[symbol] < number}
        counts.update(lacking)
        ions = [n for n, symbol in enumerate(run.crystal.symbols) if symbol in lacking]
        if ions:
            crystal = run.crystal
            symbols = tuple(crystal.symbols[n] for n in ions)
            yield replace(
                run,
                crystal=Crystal(crystal.lattice, symbols, crystal.positions[ions]),
                channels={symbol: run.channels[symbol] for symbol in lacking},
                overlaps=run.overlaps[ions],
                changes=tuple(run.changes[n] for n in ions),
            )


if __name__ == "__main__":
    main()
