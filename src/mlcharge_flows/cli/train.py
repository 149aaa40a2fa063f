"""``mlcharge train``: a data set in, a checkpoint out."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path  # noqa: TC003 - typer needs it at run time
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mlcharge_flows.cli.terminal import INTERRUPTED, bar_columns, exit_with_error, require

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from rich.console import Console

    from mlcharge_flows.training.config import TrainingConfig
    from mlcharge_flows.training.dataset import DensityDataset
    from mlcharge_flows.training.loop import Progress
    from mlcharge_flows.training.sample import DensitySample


def train(
    config: Annotated[Path, typer.Argument(help="YAML file: data, model, loss, epochs, ..")],
    out: Annotated[
        Path | None, typer.Option(help="Folder of state, log, curves and checkpoint. [NAME]")
    ] = None,
    threads: Annotated[
        int, typer.Option(min=0, help="CPU threads; 0: as OMP_NUM_THREADS says, else all.")
    ] = 0,
) -> None:
    """Train a model and write its checkpoint, card included.

    On a GPU where there is one. After an interruption, give the same command: it continues after
    the last epoch. While it runs, log.csv and curves.png in the folder show the errors.

    [bold]Example[/bold], a file orbital.yaml:

        name: orbital-1000

        data: dataset.h5

        epochs: 100

        model: {n_channels: 64}

    and then [cyan]mlcharge train orbital.yaml[/cyan], and [cyan]mlcharge models add[/cyan] the
    checkpoint that it writes.
    """
    require("training needs", "models,train", "torch", "e3nn", "safetensors", "h5py")
    from rich.console import Console

    from mlcharge_flows.errors import MlchargeError
    from mlcharge_flows.training.config import TrainingError, read_config
    from mlcharge_flows.training.dataset import DensityDataset
    from mlcharge_flows.training.origin import split_materials

    console = Console(highlight=False)
    try:
        settings = read_config(config)
        store = DensityDataset(settings.data)
        chosen = split_materials(
            store.splits(), settings.validation_fraction, settings.train_fraction
        )
        for names, side in zip(chosen, ("train on", "validate with"), strict=True):
            if not names:
                raise TrainingError(f"{settings.data}: holds no material to {side}")
        folder = out or config.parent / settings.name
        folder.mkdir(parents=True, exist_ok=True)
        _train(console, settings, store, chosen, folder, threads)
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


def _train(
    console: Console,
    config: TrainingConfig,
    store: DensityDataset,
    chosen: tuple[Sequence[str], Sequence[str]],
    folder: Path,
    threads: int,
) -> None:
    import torch
    from rich.progress import track

    from mlcharge_flows.models.card import TrainingCard
    from mlcharge_flows.models.checkpoint import SUFFIX, write_checkpoint
    from mlcharge_flows.training.files import checkpoint_of
    from mlcharge_flows.training.loop import train as run
    from mlcharge_flows.training.loop import validate
    from mlcharge_flows.training.task import task_of

    if threads:
        torch.set_num_threads(threads)
    gpu = torch.cuda.is_available()
    device = torch.device(("cuda" if gpu else "cpu") if config.device == "auto" else config.device)
    torch.manual_seed(config.seed)
    task = task_of(config, store, device)
    training_set: list[DensitySample] = []

    def prepared(names: Sequence[str], side: str) -> Iterator[Any]:
        for name in track(names, f"reading {len(names)} {side} materials", console=console):
            sample = store[name]
            if side == "training":
                training_set.append(sample)
            yield task.prepare(sample)

    samples = task.initialize(prepared(chosen[0], "training"))
    held_out = list(prepared(chosen[1], "validation"))
    n_parameters = sum(parameter.numel() for parameter in task.network.parameters())
    console.print(f"{n_parameters:,} parameters on {device}; results go to {folder}", markup=False)
    with _progress(console, config.epochs, folder) as watch:
        progress = run(task, (samples, held_out), config, folder / "state.pt", watch)
    task.fit_closed_form(track(samples, "fitting what the network leaves", console=console))
    errors = validate(task, task.network, held_out)
    training = TrainingCard(
        epochs=progress.epoch,
        hours=round(sum(row["seconds"] for row in progress.rows) / 3600, 3),
        device=device.type,
        threads=torch.get_num_threads(),
    )
    checkpoint = checkpoint_of(task, config, store, training_set, len(held_out), errors, training)
    path = folder / f"{config.name}{SUFFIX}"
    digest = write_checkpoint(path, checkpoint)
    removed = ", ".join(
        f"{part} {100 * (1 - errors[f'{part}_left']):.1f} %"
        for part in ("density", "occupancies")
        if f"{part}_left" in errors
    )
    console.print(
        f"removed of the superposition's error (median of {len(held_out)} materials): {removed}; "
        f"NMAE {errors['nmae']:.3f} %"
    )
    console.print(f"{path}\nsha256 {digest}", markup=False)


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
            bar.console.print(
                f"epoch {progress.epoch}: left of the superposition's error: "
                f"{left}; NMAE {row['nmae']:.3f} %"
            )

        yield watch
