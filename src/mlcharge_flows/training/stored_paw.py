"""PAW data sets, and integers, in the HDF5 file of a data set."""

from __future__ import annotations

from typing import TYPE_CHECKING

from mlcharge_flows.density.paw_dataset import PawDataset

if TYPE_CHECKING:
    import h5py
    import numpy as np

_VERSION_1_ATOMS = {"record": "atomic_occupancies"}


def write_array(group: h5py.Group, name: str, values: np.ndarray) -> None:
    """Write an array compressed.

    Parameters
    ----------
    group
        Where to write.
    name
        Name of the array.
    values
        Its values.
    """
    # One chunk: the byte planes of all integers, most of them zero, are compressed together.
    group.create_dataset(
        name, data=values, chunks=values.shape, shuffle=True, compression="gzip", compression_opts=9
    )


def write_paw(group: h5py.Group, paw_dataset: PawDataset) -> None:
    """Write what a data set holds of a PAW data set.

    Parameters
    ----------
    group
        Empty group of the element.
    paw_dataset
        With or without free atom.
    """
    group.attrs["titel"] = paw_dataset.titel
    group.attrs["channels"] = paw_dataset.channels
    if paw_dataset.form_factor is not None and paw_dataset.atomic_occupancies is not None:
        group.attrs["zval"] = paw_dataset.zval
        group.attrs["q_step"] = paw_dataset.q_step
        write_array(group, "form_factor", paw_dataset.form_factor)
        write_array(group, "atomic_occupancies", paw_dataset.atomic_occupancies)


def read_paw(symbol: str, group: h5py.Group) -> PawDataset:
    """Read a PAW data set, of this version or version 1.

    Parameters
    ----------
    symbol
        The element.
    group
        Its group.

    Returns
    -------
    PawDataset
        With free atom, if the file holds it.
    """
    channels = tuple(int(degree) for degree in group.attrs["channels"])
    titel = str(group.attrs["titel"])
    if "zval" not in group.attrs:
        return PawDataset(symbol, titel, None, channels)
    arrays = {_VERSION_1_ATOMS.get(key, key): array[()] for key, array in group.items()}
    return PawDataset(
        symbol,
        titel,
        float(group.attrs["zval"]),
        channels,
        q_step=float(group.attrs["q_step"]),
        form_factor=arrays["form_factor"],
        atomic_occupancies=arrays["atomic_occupancies"],
    )
