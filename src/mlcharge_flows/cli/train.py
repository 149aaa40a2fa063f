"""``mlcharge train``: a data set in, a checkpoint out."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path  # noqa: TC003 - typer needs it at run time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlcharge_flows.cli.terminal import (
    INTERRUPTED,
    bar_columns,
    exit_with_error,
    make_console,
    require,
    tracked,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from lightning_fabric import Fabric
    from rich.console import Console

    from mlcharge_flows.training.batches import Samples
    from mlcharge_flows.training.config import TrainingConfig
    from mlcharge_flows.training.dataset import DensityDataset
    from mlcharge_flows.training.loop import Progress
    from mlcharge_flows.training.task import Task


def train(
    config: Annotated[Path, typer.Argument(help="YAML file: data, model, loss, epochs, ..")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of state, log, curves and checkpoint. [NAME]")
    ] = None,
    threads: Annotated[
        int, typer.Option(min=0, help="CPU threads; 0: as OMP_NUM_THREADS says, else all.")
    ] = 0,
    devices: Annotated[
        int, typer.Option(min=1, help="GPUs of each node, or processes on the CPU.")
    ] = 1,
    nodes: Annotated[
        int, typer.Option(min=1, help="Nodes; torchrun or srun starts their processes.")
    ] = 1,
) -> None:
    """Train a model and write its checkpoint, card included.

    On a GPU where there is one; on several with --devices and --nodes, each of which then takes
    batch_size materials per step. After an interruption, give the same command: it continues after
    the last epoch. While it runs, log.csv and curves.png in the folder show the errors.

    [bold]Example[/bold], a file orbital.yaml:

        name: orbital-1000

        data: dataset.h5

        epochs: 100

        model: {n_channels: 64}

    and then [cyan]mlcharge train orbital.yaml[/cyan], and [cyan]mlcharge models add[/cyan] the
    checkpoint that it writes.
    """
    needed = ("torch", "e3nn", "lightning_fabric", "safetensors", "h5py")
    require("training needs", "models,train", *needed)
    from mlcharge_flows.errors import MlchargeError
    from mlcharge_flows.training.config import TrainingError, read_config
    from mlcharge_flows.training.dataset import DensityDataset
    from mlcharge_flows.training.devices import fabric_of
    from mlcharge_flows.training.origin import split_materials

    console = make_console()
    try:
        settings = read_config(config)
        store = DensityDataset(settings.data)
        chosen = split_materials(
            store.splits(), settings.validation_fraction, settings.train_fraction
        )
        if not all(chosen):
            raise TrainingError(_one_sided(settings, len(store), chosen))
        folder = out or config.parent / settings.name
        folder.mkdir(parents=True, exist_ok=True)
        fabric = fabric_of(settings, devices, nodes)
        fabric.launch()
        console.quiet |= not fabric.is_global_zero
        _train(console, settings, store, chosen, folder, threads, fabric)
    except MlchargeError as error:
        exit_with_error(error if str(config) in str(error) else f"{config}: {error}")
    except KeyboardInterrupt:
        exit_with_error(
            "interrupted; the same command continues after the last epoch", status=INTERRUPTED
        )
    except OSError as error:
        exit_with_error(
            f"{error.filename or out}: {error.strerror or error}; "
            "the same command continues from there"
        )


def _one_sided(config: TrainingConfig, n_all: int, chosen: tuple[list[str], list[str]]) -> str:
    """Tell that there is nothing to train on or to validate with, and what to do."""
    from mlcharge_flows.reports.table import count_of

    train, validation = chosen
    change = f", or {'raise' if train else 'lower'} validation_fraction"
    if not train and config.train_fraction < 1.0:
        change = ", or raise train_fraction"
    return (
        f"{config.data}: of {count_of(n_all, 'material')}, {len(train)} are to train on and "
        f"{len(validation)} to validate with; a training needs one of each: add runs of other "
        f"materials (mlcharge dataset merge){change if n_all > 1 else ''}"
    )


def _train(
    console: Console,
    config: TrainingConfig,
    store: DensityDataset,
    chosen: tuple[Sequence[str], Sequence[str]],
    folder: Path,
    threads: int,
    fabric: Fabric,
) -> None:
    import torch

    from mlcharge_flows.models.card import TrainingCard
    from mlcharge_flows.models.checkpoint import SUFFIX, write_checkpoint
    from mlcharge_flows.reports.reliability import reliability_figure
    from mlcharge_flows.training.batches import to_device
    from mlcharge_flows.training.files import checkpoint_of
    from mlcharge_flows.training.loop import train as run
    from mlcharge_flows.training.loop import validate
    from mlcharge_flows.training.task import task_of

    if threads:
        torch.set_num_threads(threads)
    device = fabric.device
    torch.manual_seed(config.seed)
    task = task_of(config, store, device)
    samples, held_out = _samples(console, task, store, chosen)
    n_parameters = sum(parameter.numel() for parameter in task.network.parameters())
    where = f"{device}" if fabric.world_size == 1 else f"{fabric.world_size} x {device.type}"
    console.print(f"{n_parameters:,} parameters on {where}; results go to {folder}", markup=False)
    with _progress(console, config.epochs, folder) as watch:
        progress = run(task, (samples, held_out), config, folder / "state.pt", watch, fabric)
    what = "fitting what the network leaves"
    on_device = (to_device(sample, device) for sample in samples)
    task.fit_closed_form(tracked(on_device, console, len(samples), what))
    errors = validate(task, task.network, held_out, fabric)
    if not fabric.is_global_zero:
        return
    training = TrainingCard(
        epochs=progress.epoch,
        hours=round(sum(row["seconds"] for row in progress.rows) / 3600, 3),
        device=device.type,
        threads=torch.get_num_threads(),
    )
    on_device = (to_device(sample, device) for sample in samples)
    what = "fitting the expected error"
    estimate = task.error_estimate(
        tracked(on_device, console, len(samples), what),
        (to_device(sample, device) for sample in held_out),
    )
    facts = (store, chosen[0], len(held_out), errors, training, estimate)
    checkpoint = checkpoint_of(task, config, *facts)
    path = folder / f"{config.name}{SUFFIX}"
    digest = write_checkpoint(path, checkpoint)
    removed = ", ".join(
        f"{part} {100 * (1 - errors[f'{part}_left']):.1f} %"
        for part in ("density", "occupancies", "magnetization", "spin_occupancies")
        if f"{part}_left" in errors
    ).replace("spin_occupancies", "its occupancies")
    if "closed_form_left" in errors:
        alone = 100 * (1 - errors["closed_form_left"])
        removed += f" (of the magnetization in closed form alone {alone:.1f} %)"
    console.print(
        f"removed of the superposition's error (median of {len(held_out)} materials): {removed}; "
        f"NMAE {errors['nmae']:.3f} %"
    )
    if estimate is not None:
        console.print(f"expected errors, {estimate.reliability.summary}")
        figure = reliability_figure(*estimate.reliability.columns)
        figure.savefig(folder / "reliability.png", dpi=150)
    console.print(f"{path}\nsha256 {digest}", markup=False)


def _samples(
    console: Console,
    task: Task[Any, Any],
    store: DensityDataset,
    chosen: tuple[Sequence[str], Sequence[str]],
) -> tuple[Samples[Any], Samples[Any]]:
    """Training and validation set, in memory or on disk; scales are fitted to the former."""
    from mlcharge_flows.training.batches import SamplesOnDisk, covering, to_device
    from mlcharge_flows.training.header import read_headers

    def prepared(names: Sequence[str], side: str) -> Iterator[Any]:
        for name in tracked(names, console, len(names), f"reading {side} materials"):
            yield to_device(task.prepare(store[name]), task.device)

    if not task.config.stream:
        training = task.initialize(prepared(chosen[0], "training"))
        return training, list(prepared(chosen[1], "validation"))
    task.fit_scales(prepared(covering(read_headers(store, chosen[0])), "training"))
    return (
        SamplesOnDisk(store, chosen[0], lambda one: task.training_sample(task.prepare(one))),
        SamplesOnDisk(store, chosen[1], task.prepare),
    )


@contextmanager
def _progress(console: Console, epochs: int, folder: Path) -> Iterator[Callable[[Progress], None]]:
    """Bar over epochs, with a line for each validation; log and curves are kept up to date."""
    from rich.progress import Progress as Bar

    from mlcharge_flows.training.files import draw_curves, write_log

    with Bar(*bar_columns(), console=console) as bar:
        task = bar.add_task("epochs", total=epochs)

        def watch(progress: Progress) -> None:
            row = progress.rows[-1]
            bar.update(task, completed=progress.epoch)
            write_log(folder / "log.csv", progress.rows)
            if "density_left" not in row:
                return
            draw_curves(folder / "curves.png", progress.rows)
            training = row["grid" if "grid" in row else "coefficients"]
            left = f"density {100 * row['density_left']:.1f} % (training {100 * training:.1f} %)"
            if "occupancies_left" in row:
                left += f", occupancies {100 * row['occupancies_left']:.1f} %"
            if "magnetization_left" in row:
                left += f", magnetization {100 * row['magnetization_left']:.1f} %"
                left += f", its occupancies {100 * row['spin_occupancies_left']:.1f} %"
            bar.console.print(
                f"epoch {progress.epoch}: left of the superposition's error: "
                f"{left}; NMAE {row['nmae']:.3f} %"
            )

        yield watch
