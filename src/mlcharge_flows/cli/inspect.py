"""``mlcharge inspect``: content of a CHGCAR, and whether VASP would read it."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path  # noqa: TC003 - typer needs it at run time
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from mlcharge_flows.cli.options import AsJson  # noqa: TC001 - typer needs it at run time
from mlcharge_flows.cli.terminal import check_file, exit_with_error
from mlcharge_flows.errors import one_line

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from mlcharge_flows.density.density import Density
    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.vasp.poscar import PoscarFile

Value = TypeVar("Value")

_MAX_IONS_SHOWN = 12


def inspect(
    chgcar: Annotated[Path, typer.Argument(help="The CHGCAR, plain or compressed.")],
    poscar: Annotated[
        Path | None, typer.Option(help="POSCAR of the run that would read it.")
    ] = None,
    incar: Annotated[Path | None, typer.Option(help="Its INCAR; needs --poscar.")] = None,
    potcar: Annotated[Path | None, typer.Option(help="Its POTCAR; needs --poscar.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show grid, electrons and occupancies of a CHGCAR, and VASP's messages about it.

    The exit status is 1 if VASP would not begin from the file, or if its ions are not those of the
    run. Without the inputs of a run, only the file itself is checked.

    [bold]Examples[/bold]

        mlcharge inspect CHGCAR

        mlcharge inspect CHGCAR --poscar POSCAR --incar INCAR --potcar POTCAR
    """
    from mlcharge_flows.vasp.density_messages import chgcar_acceptance
    from mlcharge_flows.vasp.incar import read_incar

    check_file(chgcar)
    if poscar is None and (incar or potcar):
        exit_with_error(
            "--incar and --potcar need --poscar too: grid and channels depend on the cell"
        )
    tags = None if incar is None else _read(incar, partial(read_incar, tell=True))
    acceptance = chgcar_acceptance(chgcar, **_run_inputs(poscar, tags, potcar, incar))
    if not acceptance.has_grid:
        is_empty, (reason,) = chgcar.stat().st_size == 0, acceptance.warnings
        exit_with_error(
            f"{chgcar}: the file is empty"
            if is_empty
            else f"{chgcar}: is no CHGCAR: {reason.removeprefix(f'{chgcar}: ')}"
        )
    facts = _facts(acceptance.density) if acceptance.density is not None else []
    facts += [("note", warning) for warning in acceptance.warnings]
    facts += [("VASP would say", message) for message in acceptance.messages]
    unread = None if tags is None else _unread_reason(tags)
    if unread is not None:
        density = f"atoms or orbitals ({unread}): VASP does not open the file"
    elif acceptance.other_ions:
        density = f"this file, which is not of the run: {acceptance.other_ions}"
    elif acceptance.read_by_vasp:
        density = "this file"
    elif acceptance.messages:
        density = "atoms (ICHARG=1)"
    else:
        density = "not known what: the file is of another kind of run"
    facts.append(("and start from", density))
    if as_json:
        typer.echo(json.dumps(_joined(facts), indent=1))
    else:
        for name, value in facts:
            typer.echo(f"{name:<16}{one_line(value, 1000)}")
    if unread or acceptance.other_ions or not acceptance.read_by_vasp:
        raise typer.Exit(1)


def _unread_reason(tags: dict[str, Any]) -> str | None:
    """Why a run with these tags does not read any CHGCAR; None if it does."""
    icharg = tags.get("ICHARG")
    if icharg is None:
        return "ICHARG is not set, 1 is needed"
    return None if icharg in (1, 11) else f"ICHARG = {icharg}"


def _run_inputs(
    poscar: Path | None, tags: dict[str, Any] | None, potcar: Path | None, incar: Path | None
) -> dict[str, Any]:
    """Arguments of the acceptance that the given files determine."""
    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.density.paw_dataset import n_electrons
    from mlcharge_flows.vasp.incar import cutoff, fft_grids
    from mlcharge_flows.vasp.poscar import read_poscar
    from mlcharge_flows.vasp.potcar import read_potcar

    known: dict[str, Any] = {}
    if poscar is None:
        return known
    read = _read(poscar, read_poscar)
    crystal = Crystal.from_structure(read.structure)
    known["crystal"] = crystal
    datasets = _datasets_of_ions(_read(potcar, read_potcar), read, potcar) if potcar else []
    if incar is not None and tags is not None:
        known["spin_polarized"] = tags.get("ISPIN", 1) == 2
        encut = cutoff(tags, (dataset.enmax for dataset in datasets))
        with_encut = {**tags, "ENCUT": encut}
        known["shape"] = _read(incar, lambda _: fft_grids(crystal.lattice, with_encut).fine)
    if potcar:
        known["channels"] = [dataset.channels for dataset in datasets]
        known["n_electrons"] = float((tags or {}).get("NELECT", n_electrons(datasets)))
    return known


def _datasets_of_ions(
    datasets: Sequence[PawDataset], poscar: PoscarFile, path: Path
) -> list[PawDataset]:
    """PAW data set of each ion: VASP assigns those of the POTCAR to the blocks of ions by place."""
    # So one element may have two, such as pseudo-hydrogens.
    symbols = tuple(dataset.symbol for dataset in datasets)
    if missing := sorted(set(poscar.symbols) - set(symbols)):
        exit_with_error(f"{path}: has no data set for {', '.join(missing)}")
    if symbols != poscar.symbols:
        exit_with_error(
            f"{path}: its data sets are of {' '.join(symbols)}, the blocks of ions of "
            f"{' '.join(poscar.symbols)}: VASP would assign them by place"
        )
    blocks = zip(datasets, poscar.species, strict=True)
    return [dataset for dataset, (_, n) in blocks for _ in range(n)]


def _read(path: Path, reader: Callable[[Path], Value]) -> Value:
    check_file(path)
    try:
        return reader(path)
    except (ValueError, OSError) as error:
        text = str(error)
        exit_with_error(text if str(path) in text else f"{path}: cannot be read ({text})")


def _facts(density: Density) -> list[tuple[str, str]]:
    species = " ".join(f"{symbol}{count}" for symbol, count in density.crystal.species)
    total = density.total
    facts = [
        ("comment", density.comment),
        ("ions", f"{species}, {density.crystal.volume:.3f} angstrom^3"),
        ("grid", f"{' x '.join(map(str, density.shape))} points"),
        ("electrons", f"{density.n_electrons:.5f}"),
        ("density", f"{total.min():.4f} to {total.max():.4f} electrons/angstrom^3"),
        ("spin", _spin(density)),
    ]
    augmentation = density.augmentation or ()
    for ion, occupancies in list(enumerate(augmentation, start=1))[:_MAX_IONS_SHOWN]:
        first = f"largest {abs(occupancies).max():.4f} electrons" if len(occupancies) else "empty"
        symbol = density.crystal.symbols[ion - 1]
        facts.append(("occupancies", f"ion {ion} {symbol}: {len(occupancies)} values, {first}"))
    if len(augmentation) > _MAX_IONS_SHOWN:
        facts.append(("", f"and {len(augmentation) - _MAX_IONS_SHOWN} more ions"))
    if not augmentation:
        facts.append(("occupancies", "none"))
    return facts


def _joined(facts: list[tuple[str, str]]) -> dict[str, str | list[str]]:
    """Facts by name; several of one name, and those that follow without any, are a list."""
    found: dict[str, list[str]] = {}
    last = ""
    for name, value in facts:
        last = name or last
        found.setdefault(last, []).append(value)
    return {name: values[0] if len(values) == 1 else values for name, values in found.items()}


def _spin(density: Density) -> str:
    if density.magnetization is None:
        return "none"
    moment = float(density.magnetization.grid.mean() * density.crystal.volume)
    known = density.magnetization.moments
    listed = " ".join(f"{value:g}" for value in known.round(3)[:_MAX_IONS_SHOWN])
    more = f" and {len(known) - _MAX_IONS_SHOWN} more" if len(known) > _MAX_IONS_SHOWN else ""
    return f"total moment {moment:.4f} Bohr magnetons; of the ions {listed}{more}"
