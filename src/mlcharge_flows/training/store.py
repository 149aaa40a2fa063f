"""A data set in one HDF5 file that stands alone.

.. code-block:: text

    /                       attributes: format, version, protocol
    /paw/<element>          attributes: titel, channels; zval, q_step
        form_factor, record             the free atom, where it is known; q = n * q_step
    /materials/<id>         attributes: source, split, lattice, symbols, positions, shape,
                                        n_electrons, energy, energies, start_error,
                                        waves_step, occupancies_step; encut, where it is known
        waves               integers (2, kx, ky, kz): real and imaginary part, in units of the step
        occupancies         integers, all ions one after the other

Every store holds one protocol, and one PAW data set for each element. A single record is a store,
too. A file is written beside its place and moved there when it is whole.
"""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5py
import numpy as np

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.paw_dataset import PawDataset
from mlcharge_flows.io import atomic_path
from mlcharge_flows.training.hold_out import RECALLED
from mlcharge_flows.training.quantized import Quantized
from mlcharge_flows.training.record import Origin, Record

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

FORMAT = "mlcharge data set"
VERSION = 1


class StoreError(ValueError):
    """A file that is no store, or records that do not belong together; one line."""


class Store:
    """Records of a file, read one at a time; the file is not kept open.

    Parameters
    ----------
    path
        The file.

    Raises
    ------
    StoreError
        It is not a store.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if not self.path.is_file():
            raise StoreError(f"{path}: there is no such file")
        try:
            with h5py.File(self.path) as file:
                kind, version = file.attrs.get("format"), file.attrs.get("version")
                if kind != FORMAT or version != VERSION:
                    raise StoreError(f"{path}: not an {FORMAT} of version {VERSION}")
                self.protocol = str(file.attrs["protocol"])
                self.ids: tuple[str, ...] = tuple(file["materials"])
                self.paw = {symbol: _read_paw(symbol, group) for symbol, group in _paws(file)}
        except (OSError, KeyError) as error:
            raise StoreError(f"{path}: not a whole store ({error})") from None

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Record]:
        with h5py.File(self.path) as file:
            for name in self.ids:
                yield self._record(file, name)

    def __getitem__(self, name: str) -> Record:
        with h5py.File(self.path) as file:
            if name not in self.ids:
                raise KeyError(name)
            return self._record(file, name)

    def splits(self) -> dict[str, str]:
        """Split of each material, by identifier; empty if it has none."""
        with h5py.File(self.path) as file:
            return {name: str(file["materials"][name].attrs["split"]) for name in self.ids}

    def _record(self, file: h5py.File, name: str) -> Record:
        group = file["materials"][name]
        at = group.attrs
        nx, ny, nz = (int(n) for n in at["shape"])
        symbols = tuple(str(symbol) for symbol in at["symbols"].split())
        return Record(
            origin=Origin(name, self.protocol, str(at["source"]), str(at["split"])),
            crystal=Crystal(at["lattice"], symbols, at["positions"]),
            shape=(nx, ny, nz),
            n_electrons=float(at["n_electrons"]),
            energy=float(at["energy"]),
            energies=tuple(float(value) for value in at["energies"]),
            encut=float(at["encut"]) if "encut" in at else None,
            start_error=float(at["start_error"]),
            paw={symbol: self.paw[symbol] for symbol in sorted(set(symbols))},
            packed_total=Quantized(group["waves"][()], float(at["waves_step"])),
            packed_occupancies=Quantized(group["occupancies"][()], float(at["occupancies_step"])),
        )


def open_store(path: str | Path) -> Store:
    """Open a store for reading; see :class:`Store`."""
    return Store(path)


def write_store(path: str | Path, records: Iterable[Record]) -> Store:
    """Write records to a file, which appears when it is whole and replaces what was there.

    Parameters
    ----------
    path
        The file.
    records
        At least one; of one protocol, one PAW data set per element, each with its own identifier.

    Raises
    ------
    StoreError
        The records do not belong together; nothing is written.
    """
    with _made(path) as file:
        paw: dict[str, PawDataset] = {}
        for record in records:
            _check(file, record, paw)
            _write_record(file["materials"], record)
    return Store(path)


def merge(sources: Iterable[str | Path], path: str | Path, without: Container[str] = ()) -> Store:
    """Join stores to one, sorted by identifier; the order of the sources does not matter.

    Parameters
    ----------
    sources
        Files; materials that several of them hold are taken once.
    path
        File to write; may be one of the sources.
    without
        Identifiers to leave out.

    Raises
    ------
    StoreError
        They are of different protocols or PAW data sets, or hold different crystals of one name.
    """
    chosen: dict[str, Store] = {}
    for store in map(Store, dict.fromkeys(map(str, sources))):
        for name in store.ids:
            if name in without:
                continue
            if name in chosen:
                chosen[name] = _one_of(chosen[name], store, name)
            else:
                chosen[name] = store
    with _made(path) as file:
        paw: dict[str, PawDataset] = {}
        for name in sorted(chosen):
            store = chosen[name]
            with h5py.File(store.path) as source:
                _check(file, store._record(source, name), paw)
                # As it is: to compress anew takes longer than all else.
                source.copy(source["materials"][name], file["materials"])
    return Store(path)


@contextmanager
def _made(path: str | Path) -> Iterator[h5py.File]:
    """Empty store to be filled, which takes its place when it is whole and holds something."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with (
        atomic_path(path) as partial,
        h5py.File(partial, "w", libver=("v110", "v110")) as file,
    ):
        file.attrs["format"] = FORMAT
        file.attrs["version"] = VERSION
        file.create_group("paw")
        file.create_group("materials")
        yield file
        if len(file["materials"]) == 0:
            raise StoreError(f"{path}: there is nothing to write")


def _one_of(first: Store, second: Store, name: str) -> Store:
    """Choose among two runs of one material, whichever comes first; a run before a prediction."""
    a, b = first[name], second[name]
    if a.crystal.symbols != b.crystal.symbols or not (
        np.allclose(a.crystal.lattice, b.crystal.lattice, atol=1e-6)
        and np.allclose(a.crystal.positions, b.crystal.positions, atol=1e-6)
    ):
        raise StoreError(f"{first.path} and {second.path} hold different crystals named {name}")
    return min(
        (a.origin.split == RECALLED, a.fingerprint, 0, first),
        (b.origin.split == RECALLED, b.fingerprint, 1, second),
    )[3]


def _check(file: h5py.File, record: Record, paw: dict[str, PawDataset]) -> None:
    """Refuse a record that does not belong to the others; add its PAW data sets."""
    protocol = file.attrs.setdefault("protocol", record.origin.protocol)
    if protocol != record.origin.protocol:
        raise StoreError(
            f"{record.id} is of protocol {record.origin.protocol}, the others of {protocol}: "
            "records of different settings do not merge"
        )
    if record.id in file["materials"]:
        raise StoreError(f"{record.id} occurs twice")
    for symbol, data_set in record.paw.items():
        if symbol not in paw:
            paw[symbol] = data_set
            _write_paw(file["paw"].create_group(symbol), data_set)
        elif not paw[symbol].matches(data_set):
            raise StoreError(
                f"{record.id} was made with {data_set.titel}, the others with "
                f"{paw[symbol].titel}: records of different PAW data sets do not merge"
            )


def _write_record(materials: h5py.Group, record: Record) -> None:
    group = materials.create_group(record.id)
    attributes: dict[str, Any] = {
        "source": record.origin.source,
        "split": record.origin.split,
        "lattice": record.crystal.lattice,
        "symbols": " ".join(record.crystal.symbols),
        "positions": record.crystal.positions,
        "shape": record.shape,
        "n_electrons": record.n_electrons,
        "energy": record.energy,
        "energies": np.array(record.energies, dtype=float),
        "start_error": record.start_error,
        "waves_step": record.packed_total.step,
        "occupancies_step": record.packed_occupancies.step,
    }
    if record.encut is not None:
        attributes["encut"] = record.encut
    for name, value in attributes.items():
        group.attrs[name] = value
    _write_array(group, "waves", record.packed_total.integers)
    _write_array(group, "occupancies", record.packed_occupancies.integers)


def _write_array(group: h5py.Group, name: str, values: np.ndarray) -> None:
    # One chunk: the byte planes of all integers lie together, most of them zeros.
    group.create_dataset(
        name, data=values, chunks=values.shape, shuffle=True, compression="gzip", compression_opts=9
    )


def _write_paw(group: h5py.Group, dataset: PawDataset) -> None:
    group.attrs["titel"] = dataset.titel
    group.attrs["channels"] = dataset.channels
    if dataset.form_factor is not None and dataset.atomic_occupancies is not None:
        group.attrs["zval"] = dataset.zval
        group.attrs["q_step"] = dataset.q_step
        _write_array(group, "form_factor", dataset.form_factor)
        _write_array(group, "record", dataset.atomic_occupancies)


def _read_paw(symbol: str, group: h5py.Group) -> PawDataset:
    channels = tuple(int(degree) for degree in group.attrs["channels"])
    titel = str(group.attrs["titel"])
    if "zval" not in group.attrs:
        return PawDataset(symbol, titel, None, channels)
    return PawDataset(
        symbol,
        titel,
        float(group.attrs["zval"]),
        channels,
        q_step=float(group.attrs["q_step"]),
        form_factor=group["form_factor"][()],
        atomic_occupancies=group["record"][()],
    )


def _paws(file: h5py.File) -> Iterator[tuple[str, h5py.Group]]:
    yield from file["paw"].items()
