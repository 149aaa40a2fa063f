"""What a data set says of a material beside its density: ions, grid, cutoff and split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import h5py

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.training.dataset import whole
from mlcharge_flows.training.origin import canonical_split

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from mlcharge_flows.training.dataset import DensityDataset


@dataclass(frozen=True, eq=False)
class MaterialHeader:
    """A material without its density.

    Parameters
    ----------
    id
        Identifier.
    split
        As its source marks it.
    crystal
        The ions.
    shape
        VASP's fine grid (NGXF, NGYF, NGZF).
    encut
        Plane-wave cutoff, eV; None if not known.
    """

    id: str
    split: str
    crystal: Crystal
    shape: tuple[int, int, int]
    encut: float | None


def read_headers(dataset: DensityDataset, names: Iterable[str]) -> Iterator[MaterialHeader]:
    """Read the headers of materials; no density is read.

    Parameters
    ----------
    dataset
        The data set.
    names
        Identifiers of materials in it.

    Yields
    ------
    MaterialHeader
        One per identifier, in their order.

    Raises
    ------
    DatasetError
        A sample is damaged.
    """
    with whole(dataset.path), h5py.File(dataset.path) as file:
        for name in names:
            with whole(dataset.path, name):
                at = file["materials"][name].attrs
                nx, ny, nz = (int(n) for n in at["shape"])
                symbols = tuple(str(symbol) for symbol in at["symbols"].split())
                header = MaterialHeader(
                    name,
                    canonical_split(str(at["split"])),
                    Crystal(at["lattice"], symbols, at["positions"]),
                    (nx, ny, nz),
                    float(at["encut"]) if "encut" in at else None,
                )
            yield header
