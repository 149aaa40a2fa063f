"""Writing a CHGCAR byte for byte as VASP does, whole or not at all."""

from __future__ import annotations

import gzip
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from mlcharge_flows.io import atomic_path
from mlcharge_flows.vasp.chgcar_errors import ChgcarError
from mlcharge_flows.vasp.chgcar_header import format_header, parse_header
from mlcharge_flows.vasp.fortran import format_e
from mlcharge_flows.vasp.grid_writing import grid_text

if TYPE_CHECKING:
    import os
    from collections.abc import Iterator, Sequence

    from mlcharge_flows.density.density import Density


def write_chgcar(path: str | os.PathLike[str], density: Density) -> None:
    """Write a CHGCAR as VASP writes it, byte for byte.

    The file appears under its name only when it is whole: it is written beside it and renamed.

    Parameters
    ----------
    path
        The file; gzipped if the name ends in ``.gz``.
    density
        What to write. The integral is written as it is: nothing is rescaled. VASP keeps 40
        characters of the comment.

    Raises
    ------
    ValueError
        If the density or an occupancy is not finite.
    OSError
        If the folder cannot be written to or is full; no partial file remains.
    """
    path = Path(path)
    arrays = [density.total, *(density.augmentation or ())]
    if (magnetization := density.magnetization) is not None:
        arrays += [magnetization.grid, magnetization.moments, *(magnetization.augmentation or ())]
    if not all(np.all(np.isfinite(array)) for array in arrays):
        raise ChgcarError(f"{path}: not written, the density holds NaN or infinite values")
    with atomic_path(path) as partial, partial.open("wb") as file:
        _write_pieces(file, density, compressed=path.name.endswith(".gz"))


def _write_pieces(file: BinaryIO, density: Density, compressed: bool) -> None:
    if not compressed:
        file.writelines(_pieces(density))
        return
    # No name and no time inside: equal densities make equal files.
    with gzip.GzipFile(filename="", mode="wb", compresslevel=6, fileobj=file, mtime=0) as packed:
        for piece in _pieces(density):
            packed.write(piece)


def _pieces(density: Density) -> Iterator[bytes]:
    yield "".join(f"{line}\n" for line in _header_lines(density)).encode()
    padded = getattr(density, "padded", True)
    volume = density.crystal.volume
    yield from _block(density.total, volume, density.augmentation, padded)
    if (magnetization := density.magnetization) is not None:
        moments = [format_e(float(m), 20, 12) for m in magnetization.moments]
        yield _rows(moments)
        yield from _block(magnetization.grid, volume, magnetization.augmentation, padded)


def _header_lines(density: Density) -> Sequence[str]:
    kept = getattr(density, "header", ())
    if kept and kept[0].rstrip() == density.comment:
        crystal = parse_header(kept)
        same = crystal.symbols == density.crystal.symbols and all(
            np.array_equal(a, b)
            for a, b in (
                (crystal.lattice, density.crystal.lattice),
                (crystal.positions, density.crystal.positions),
            )
        )
        if same:
            return kept
    return format_header(density.crystal, density.comment)


def _block(
    grid: np.ndarray, volume: float, records: Sequence[np.ndarray] | None, padded: bool
) -> Iterator[bytes]:
    yield ("".join(f"{n:5d}" for n in grid.shape) + "\n").encode()
    for lines in grid_text(grid.ravel(order="F") * volume):
        yield lines if padded else lines.replace(b"  \n", b"\n")
    for ion, record in enumerate(records or (), start=1):
        yield b"augmentation occupancies" + f"{ion:4d}{len(record):4d}\n".encode()
        yield _rows([format_e(float(value), 15, 7) for value in record])


def _rows(texts: Sequence[str]) -> bytes:
    rows = ["".join(texts[i : i + 5]) for i in range(0, len(texts), 5)]
    return "".join(f"{row}\n" for row in rows).encode()
