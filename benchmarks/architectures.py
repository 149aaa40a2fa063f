r"""Architectures side by side: errors, cost and saved steps, as one Markdown table and a plot.

Give it a data set that none of the models has seen (``mlcharge dataset build ... --test``), the
models, and the folder of a comparison of the same::

    mlcharge compare STRUCTURES --arms learned,learned/atomic \
        --model orbital,charge3net.safetensors --occupancies orbital --out COMPARED
    python benchmarks/architectures.py TEST.h5 orbital charge3net.safetensors \
        --compare COMPARED --figure pareto.png

Models without occupancies take those that ``orbital``, or the model given with ``--occupancies``,
assigns to their density (column `occupancies`). Saved steps are the mean reductions of the arms
`learned` and `learned/atomic`.
"""

from __future__ import annotations

from harness import parser, print_table

# isort: split

from contextlib import suppress
from dataclasses import dataclass
from math import isnan, nan
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator, NullFormatter
from rich.progress import track

from mlcharge_flows.campaign.local import read_results
from mlcharge_flows.density.density import error_removed, nmae
from mlcharge_flows.models.checkpoint import SUFFIX, read_checkpoint
from mlcharge_flows.models.model import ModelError
from mlcharge_flows.models.registry import DEFAULT
from mlcharge_flows.reports.palette import colors
from mlcharge_flows.scf.statistics import summarize
from mlcharge_flows.sources import known_models
from mlcharge_flows.training.dataset import DensityDataset

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlcharge_flows.models.model import DensityModel
    from mlcharge_flows.models.registry import LoadedModel
    from mlcharge_flows.scf.statistics import ArmSummary, Summary
    from mlcharge_flows.training.sample import DensitySample

_BESIDE_AXIS = {
    "xycoords": ("axes fraction", "data"),
    "textcoords": "offset points",
    "color": "0.4",
}
ARMS = ("learned", "learned/atomic")


@dataclass(frozen=True)
class Row:
    """One model."""

    name: str
    architecture: str
    parameters: int
    training: str
    nmae: float
    density: float
    occupancies: float
    seconds: float
    microseconds: float
    saved: tuple[str, ...]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, save the plot."""
    options = parser(__doc__)
    options.add_argument("data", type=Path)
    options.add_argument("models", nargs="+")
    options.add_argument("--compare", type=Path, metavar="FOLDER")
    options.add_argument("--occupancies", default=DEFAULT, metavar="MODEL")
    options.add_argument("--figure", type=Path)
    given = options.parse_args(arguments)
    registry = known_models()
    summary = summarize(read_results(given.compare)) if given.compare else None
    loaded = {name: registry.load(name) for name in given.models}
    helper = registry.load(given.occupancies).model
    assert helper.completes_densities
    samples = [sample for sample in DensityDataset(given.data) if _known(sample, loaded.values())]
    print(f"{len(samples)} materials of {given.data.name} that every model knows\n")
    rows = [
        _row(model, helper, samples, registry.path(name), summary) for name, model in loaded.items()
    ]
    heads = ["model", "parameters", "trained", "NMAE", "density", "occupancies", "s / material"]
    heads += ["us / point", *(f"saved, {arm}" for arm in ARMS)]
    print_table(heads, map(_cells, rows))
    if given.figure is not None:
        _plot(rows, given.figure)


def _cells(row: Row) -> list[str]:
    return [
        f"{row.name} ({row.architecture})",
        f"{row.parameters:,}",
        row.training,
        f"{row.nmae:.2f} %",
        f"{100 * row.density:.1f} %",
        "-" if isnan(row.occupancies) else f"{100 * row.occupancies:.1f} %",
        f"{row.seconds:.3f}",
        f"{row.microseconds:.1f}",
        *row.saved,
    ]


def _known(sample: DensitySample, models: Iterable[LoadedModel]) -> bool:
    try:
        for model in models:
            model.domain.check(sample.crystal, sample.shape)
    except ValueError:
        return False
    return sample.superposition() is not None


def _row(
    loaded: LoadedModel,
    helper: DensityModel,
    samples: list[DensitySample],
    path: Path,
    summary: Summary | None,
) -> Row:
    errors, removed, seconds = [], [], []
    loaded.model.predict(samples[0].crystal, samples[0].shape)  # what is made once is not counted
    for sample in track(samples, f"predicting with {loaded.card.name}"):
        began = perf_counter()
        predicted = loaded.model.predict(sample.crystal, sample.shape)
        if predicted.augmentation is None:
            with suppress(ModelError):  # far from any crystal's: only the density counts
                predicted = helper.complete(predicted)
        seconds.append(perf_counter() - began)
        start, reference = sample.superposition(), sample.density()
        errors.append(nmae(predicted.total, reference.total))
        removed.append(error_removed(predicted, start, reference))
    points = [float(np.prod(sample.shape)) for sample in samples]
    density, occupancies = (
        median([share for share in part if not isnan(share)] or [nan])
        for part in zip(*removed, strict=True)
    )
    took = loaded.card.training
    name = path.name.removesuffix(SUFFIX)
    arms = {} if summary is None else summary.arms
    # A comparison of one model alone does not name it.
    saved = [_saved(arms.get(f"{arm}@{name}", arms.get(arm))) for arm in ARMS]
    return Row(
        name=loaded.card.name,
        architecture=loaded.card.architecture,
        parameters=sum(weights.numel() for weights in read_checkpoint(path).weights.values()),
        training=f"{60 * took.hours:.0f} min, {took.epochs} epochs" if took else "-",
        nmae=median(errors),
        density=density,
        occupancies=occupancies,
        seconds=median(seconds),
        microseconds=1e6 * median(s / n for s, n in zip(seconds, points, strict=True)),
        saved=tuple(saved),
    )


def _saved(arm: ArmSummary | None) -> str:
    mean = None if arm is None else arm.mean_reduction
    return "-" if mean is None else f"{100 * mean:.1f} %"


def _plot(rows: list[Row], target: Path) -> None:
    """Error left against cost: below and to the left is better."""
    figure = Figure(figsize=(6.0, 4.0), layout="constrained")
    axes = figure.subplots()
    axes.axhline(100, color="0.5", linestyle="--")
    axes.annotate("superposition of atoms", (0.02, 100), (0, 4), **_BESIDE_AXIS)
    color = colors(row.name for row in rows)
    for row in rows:
        place = row.seconds, 100 * (1 - row.density)
        axes.plot(*place, "o", color=color[row.name])
        axes.annotate(
            row.name,
            place,
            (0, -14),
            textcoords="offset points",
            ha="center",
            color=color[row.name],
        )
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="seconds per material (one core)",
        ylabel="superposition's density error left (%)",
    )
    axes.margins(0.2)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter("{x:g}")
        axis.set_minor_formatter(NullFormatter())
    axes.grid(visible=True, alpha=0.3)
    target.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(target, dpi=150)


if __name__ == "__main__":
    main()
