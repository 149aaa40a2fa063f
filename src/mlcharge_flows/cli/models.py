"""``mlcharge models``: list, describe, add, get and remove models."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mlcharge_flows.cli.coverage import coverage
from mlcharge_flows.cli.options import AsJson  # noqa: TC001 - typer needs it at run time
from mlcharge_flows.cli.terminal import NOTHING_DONE, exit_with_error, require

if TYPE_CHECKING:
    from collections.abc import Iterator

    from mlcharge_flows.models.card import Card
    from mlcharge_flows.models.registry import Registry

app = typer.Typer(name="models", no_args_is_help=True)

_FORMER_OPTIONS = {"largest_wave": "g_max", "symmetrise": "symmetrize"}
"""Options of checkpoints before version 0.2, and their present names."""

_UNITS = {
    "cutoff": " angstrom",
    "g_max": " per angstrom",
    "smallest_exponent": " per square angstrom",
    "spacing": " angstrom",
}
"""Units of the options of architectures that have one."""


@app.callback()
def _models() -> None:
    """List, describe, add, get and remove the models that predict densities."""
    require("models need", "models", "torch", "e3nn", "safetensors")


@app.command("list")
def list_models(as_json: AsJson = False) -> None:
    """List the models that can be named, shipped ones and your own, with errors and licenses.

    [bold]Example[/bold]

        mlcharge models list
    """
    from mlcharge_flows.models.checkpoint import read_card
    from mlcharge_flows.models.model import ModelError

    known, cards, broken = _registry().paths(), {}, {}
    for name, path in known.items():
        try:
            cards[name] = read_card(path)
        except ModelError as error:
            broken[name] = str(error)
    if as_json:
        facts = {name: _short_facts(card, known[name]) for name, card in cards.items()}
        facts |= {name: {"broken": reason} for name, reason in broken.items()}
        typer.echo(json.dumps(facts, indent=1))
    else:
        for name, card in cards.items():
            told = _short_facts(card, known[name])
            typer.echo(
                f"{name:<20}{card.architecture}, {told['elements']} elements, "
                f"{told['materials']} materials, PAW data of {told['PAW data']}; error left "
                f"{told['error left']}; {told['license']}; {told['origin']}"
            )
        for name, reason in broken.items():
            typer.echo(f"{name:<20}broken: {reason}")
    if not known:
        exit_with_error(
            "there is no model yet; add one with 'mlcharge models add FILE'",
            status=NOTHING_DONE,
        )


def _short_facts(card: Card, path: Path) -> dict[str, str]:
    """What the list says of a model."""
    from mlcharge_flows.models.registry import SHIPPED

    left = [
        f"{part} {100 * (1 - card.errors[f'{part}_removed']):.0f} %"
        for part in ("density", "occupancies")
        if f"{part}_removed" in card.errors
    ]
    return {
        "architecture": card.architecture,
        "elements": str(len(card.paw)),
        "materials": str(card.data.train),
        "PAW data": card.paw_family,
        "error left": ", ".join(left) or "–",
        "license": card.license,
        "origin": "shipped" if path.parent == SHIPPED else str(path),
        "made": str(card.created),
    }


@app.command()
def get(
    name: Annotated[str, typer.Argument(help="Name in the catalog.")],
    url: Annotated[
        str | None,
        typer.Option(help="Address of the catalog, or its folder. \\[MLCHARGE_MODELS_URL]"),
    ] = None,
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a model of the same name.")
    ] = False,
) -> None:
    """Fetch a model, compare its SHA-256 with the catalog, and add it to your models.

    The catalog is a file models.json beside the checkpoints: for each name the file, its sha256
    and its license.

    [bold]Example[/bold]

        mlcharge models get orbital-large --url https://example.org/models
    """
    from mlcharge_flows.models.catalog import fetched
    from mlcharge_flows.settings import Settings

    address = Settings().models_url if url is None else url
    if not address:
        exit_with_error("there is no address to fetch from: give --url, or set MLCHARGE_MODELS_URL")
    with fetched(name, address) as file:
        try:
            added = _registry().add(file, replace)
        except OSError as error:
            exit_with_error(f"{error.filename or file}: {error.strerror or error}")
    typer.echo(f"added {added.stem}: {added}")


@app.command()
def remove(
    name: Annotated[str, typer.Argument(help="Name of the model, one of your own.")],
) -> None:
    """Remove a model that you have added; those of the package stay.

    [bold]Example[/bold]

        mlcharge models remove charge3net-mp
    """
    try:
        removed = _registry().remove(name)
    except OSError as error:
        exit_with_error(f"{error.filename or name}: {error.strerror or error}")
    typer.echo(f"removed {name}: {removed}")


@app.command()
def info(
    model: Annotated[str, typer.Argument(help="Name of a model, or path of its checkpoint.")],
    as_json: Annotated[bool, typer.Option("--json", help="The whole card, as JSON.")] = False,
) -> None:
    """Show the card of a model: training data, applicability domain, errors.

    [bold]Examples[/bold]

        mlcharge models info orbital

        mlcharge models info trained/checkpoint.safetensors --json
    """
    from mlcharge_flows.io import file_sha256
    from mlcharge_flows.models.checkpoint import read_card

    path = _registry().path(model)
    card = read_card(path)
    if as_json:
        typer.echo(card.model_dump_json(indent=1))
        return
    facts = [("file", f"{path}, {path.stat().st_size / 1e6:.2f} MB"), ("sha256", file_sha256(path))]
    for name, value in [*facts, *_facts(card)]:
        typer.echo(f"{name:<16}{value}")


@app.command()
def add(
    file: Annotated[Path, typer.Argument(help="The checkpoint, or a published ChargE3Net file.")],
    name: Annotated[
        str | None, typer.Option("--as", help="Name of a published model; a checkpoint has one.")
    ] = None,
    functional: Annotated[
        str, typer.Option(help="Which POTCARs of your library a published model is for.")
    ] = "PBE",
    replace: Annotated[
        bool, typer.Option("--replace", help="Replace a model of the same name.")
    ] = False,
) -> None:
    """Add a checkpoint to your models, under the name on its card.

    They are kept in the folder MLCHARGE_MODELS. A file of ChargE3Net as its authors published it
    is converted: valence electrons and channels come from your POTCARs, and elements without one
    are left out.

    [bold]Examples[/bold]

        mlcharge models add trained/checkpoint.safetensors

        mlcharge models add charge3net_mp.pt --as charge3net-mp
    """
    from mlcharge_flows.models.checkpoint import SUFFIX

    own = file.name.endswith(SUFFIX)
    if own and name is not None:
        exit_with_error(f"{file}: has its name on its card; leave out --as {name}")
    if not own and file.is_file() and name is None:
        exit_with_error(
            f"{file}: not a {SUFFIX} checkpoint; if it is a published ChargE3Net file, name the "
            "model with --as NAME"
        )
    try:
        if name is not None:
            added = _add_published(file, name, functional, replace)
        else:
            added = _registry().add(file, replace)
    except OSError as error:
        exit_with_error(f"{error.filename or file}: {error.strerror or error}")
    typer.echo(f"added {added.stem}: {added}")


app.command()(coverage)


def _add_published(file: Path, name: str, functional: str, replace: bool) -> Path:
    from tempfile import TemporaryDirectory

    from mlcharge_flows.models.checkpoint import SUFFIX, write_checkpoint
    from mlcharge_flows.settings import Settings
    from mlcharge_flows.sources.published import EXPORTED_POTCARS, convert_published

    settings = Settings()
    try:
        checkpoint, without = convert_published(file, name, functional, settings)
    except ValueError as error:
        exit_with_error(error)
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}{SUFFIX}"
        write_checkpoint(path, checkpoint)
        added = _registry().add(path, replace)
    if without:
        typer.echo(f"without a POTCAR, and left out: {', '.join(without)}")
    if settings.exported_potcars:
        typer.echo(f"note: {EXPORTED_POTCARS}")
    return added


def _registry() -> Registry:
    from mlcharge_flows.sources import known_models

    return known_models()


def _facts(card: Card) -> Iterator[tuple[str, str]]:
    yield "name", card.name
    if card.description:
        yield "what", card.description
    # Elements and their channels stand below, with the PAW data sets.
    shown = {
        _FORMER_OPTIONS.get(name, name): value
        for name, value in card.config.items()
        if not isinstance(value, list | dict)
    }
    options = ", ".join(f"{name} {value}{_UNITS.get(name, '')}" for name, value in shown.items())
    yield "architecture", f"{card.architecture}{f' ({options})' if options else ''}"
    spin = ", magnetization" if card.config.get("spin") else ""
    predicts = f"density{spin} and occupancies" if card.occupancies == "own" else "density alone"
    yield "predicts", predicts
    data = card.data
    labeled = data.pseudo_labeled
    pseudo = f" ({labeled} pseudo-labeled by an earlier checkpoint)" if labeled else ""
    trained = f"{data.train} materials{pseudo}"
    yield "trained on", f"{data.name}: {trained}, {data.validation} to validate"
    if data.sha256:
        yield "data sha256", data.sha256
    if data.protocol:
        yield "protocol", data.protocol
    if data.cutoffs:
        yield "ENCUT", data.cutoffs
    yield "PAW data", card.paw_family
    for symbol in card.elements:
        paw = card.paw[symbol]
        channels = "".join("spdfgh"[degree] for degree in paw.channels)
        atom = "" if paw.q_step else ", without its free atom"
        yield "", f"{symbol:<3}{paw.titel}: {paw.zval:g} electrons, channels {channels}{atom}"
    known = card.geometry
    yield "volume", f"{known.volume[0]:g} to {known.volume[1]:g} angstrom^3 per atom"
    least, most = known.neighbors
    yield "neighbors", f"{least} to {most} within {known.radius:g} angstrom"
    if known.spacing:
        yield "grid", f"points up to {known.spacing:g} angstrom apart"
    for name, error in card.errors.items():
        # NMAE is in percent on a card, what is removed a fraction.
        shown_error = f"{100 * error if name.endswith('_removed') else error:.3g} %"
        yield ("errors" if name == next(iter(card.errors)) else ""), f"{name} {shown_error}"
    if known_error := card.expected_error:
        yield (
            "expected error",
            f"{known_error.materials} unseen crystals: correlation {known_error.correlation:g}, "
            f"{100 * known_error.coverage_50:.0f} % in the 50 % and "
            f"{100 * known_error.coverage_90:.0f} % in the 90 % interval; refused if more than "
            f"{100 * known_error.limit:g} % may be left",
        )
    if took := card.training:
        yield (
            "training",
            f"{took.epochs} epochs, {took.hours:g} h on {took.device} "
            f"({took.threads} {'thread' if took.threads == 1 else 'threads'})",
        )
    yield "units", ", ".join(f"{name} in {unit}" for name, unit in card.units.items())
    yield "license", card.license
    if card.citation:
        yield "cite", card.citation
    yield "made", f"{card.created} by mlcharge_flows {card.version}"
