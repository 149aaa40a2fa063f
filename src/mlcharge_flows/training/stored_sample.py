"""Samples in the HDF5 file of a data set, of this version and of version 1."""

from __future__ import annotations

from operator import gt
from typing import TYPE_CHECKING, Any

import numpy as np

from mlcharge_flows.density.augmentation import n_occupancies
from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.training.origin import Origin, RunSettings, canonical_split
from mlcharge_flows.training.packed_magnetization import PackedMagnetization
from mlcharge_flows.training.quantization import Quantized
from mlcharge_flows.training.sample import DensitySample
from mlcharge_flows.training.stored_paw import write_array

if TYPE_CHECKING:
    from collections.abc import Mapping

    import h5py

    from mlcharge_flows.density.paw_dataset import PawDataset

_VERSION_1_ATTRIBUTES = {
    "start_error": "baseline_nmae",
    "waves_step": "coefficients_step",
    "occupancies_step": "augmentation_step",
}
_VERSION_1_ARRAYS = {"waves": "coefficients", "occupancies": "augmentation"}
_MOST = 10.0
"""Largest G-vector coefficient times the volume over NELECT: beyond it a file is damaged."""


def read_sample(
    group: h5py.Group, name: str, protocol: str, paw: Mapping[str, PawDataset]
) -> DensitySample:
    """Read a sample.

    Parameters
    ----------
    group
        Group of the material.
    name
        Identifier of the material.
    protocol
        Of the data set.
    paw
        PAW data set of each element of the data set.

    Returns
    -------
    DensitySample
        The sample.

    Raises
    ------
    ValueError
        Arrays have other shapes than ions, channels and grid, or hold what no run does.
    """
    at = {_VERSION_1_ATTRIBUTES.get(key, key): value for key, value in group.attrs.items()}
    arrays = {_VERSION_1_ARRAYS.get(key, key): array[()] for key, array in group.items()}
    nx, ny, nz = (int(n) for n in at["shape"])
    symbols = tuple(str(symbol) for symbol in at["symbols"].split())
    crystal = Crystal(at["lattice"], symbols, at["positions"])
    n_electrons = float(at["n_electrons"])
    most = _MOST * abs(n_electrons) / crystal.volume
    n_values = sum(n_occupancies(paw[symbol].channels) for symbol in symbols)

    def grid(key: str) -> Quantized:
        found = _quantized(arrays, at, key)
        box = found.integers.shape
        if len(box) != 4 or box[0] != 2 or any(map(gt, box[1:], (nx, ny, nz // 2 + 1))):
            raise ValueError(f"{key} has the shape {box}, the grid is {nx} x {ny} x {nz}")
        if np.abs(found.integers).max(initial=0) * found.step > most:
            raise ValueError(f"{key} holds more electrons than the crystal")
        return found

    def occupancies(key: str) -> Quantized:
        found = _quantized(arrays, at, key)
        if found.integers.shape != (n_values,):
            raise ValueError(f"{key} has the shape {found.integers.shape} instead of {(n_values,)}")
        return found

    magnetization = None
    if "magmom" in at or "magnetization" in arrays:
        magmom = np.array(at["magmom"], dtype=float)
        if magmom.shape != (len(symbols),) or not np.isfinite(magmom).all():
            raise ValueError("magmom is not one number for each ion")
        magnetization = PackedMagnetization(
            grid("magnetization"), occupancies("spin_augmentation"), magmom
        )
    return DensitySample(
        origin=Origin(name, protocol, str(at["source"]), canonical_split(str(at["split"]))),
        crystal=crystal,
        shape=(nx, ny, nz),
        n_electrons=n_electrons,
        energy=float(at["energy"]),
        energies=tuple(float(value) for value in at["energies"]),
        encut=float(at["encut"]) if "encut" in at else None,
        baseline_nmae=float(at["baseline_nmae"]),
        paw={symbol: paw[symbol] for symbol in sorted(set(symbols))},
        packed_total=grid("coefficients"),
        packed_augmentation=occupancies("augmentation"),
        settings=RunSettings.model_validate_json(at.get("settings", "{}")),
        packed_magnetization=magnetization,
    )


def _quantized(arrays: Mapping[str, Any], at: Mapping[str, Any], key: str) -> Quantized:
    """Integers and their step."""
    integers, step = arrays[key], float(at[f"{key}_step"])
    if integers.dtype.kind not in "iu" or not 0.0 < step < np.inf:
        raise ValueError(f"{key} is not integers in units of a step (step {step:g})")
    return Quantized(integers, step)


def write_sample(materials: h5py.Group, sample: DensitySample) -> None:
    """Write a sample.

    Readers of earlier versions pass over what they do not know, the magnetization: they read the
    total density, which is what they kept of a spin-polarized run.

    Parameters
    ----------
    materials
        Group of all materials.
    sample
        The sample; its group is made.
    """
    group = materials.create_group(sample.id)
    attributes: dict[str, Any] = {
        "source": sample.origin.source,
        "split": sample.origin.split,
        "lattice": sample.crystal.lattice,
        "symbols": " ".join(sample.crystal.symbols),
        "positions": sample.crystal.positions,
        "shape": sample.shape,
        "n_electrons": sample.n_electrons,
        "energy": sample.energy,
        "energies": np.array(sample.energies, dtype=float),
        "baseline_nmae": sample.baseline_nmae,
        "coefficients_step": sample.packed_total.step,
        "augmentation_step": sample.packed_augmentation.step,
    }
    if sample.encut is not None:
        attributes["encut"] = sample.encut
    if sample.settings != RunSettings():
        attributes["settings"] = sample.settings.model_dump_json(exclude_defaults=True)
    write_array(group, "coefficients", sample.packed_total.integers)
    write_array(group, "augmentation", sample.packed_augmentation.integers)
    if (spin := sample.packed_magnetization) is not None:
        attributes["magmom"] = spin.magmom
        attributes["magnetization_step"] = spin.grid.step
        attributes["spin_augmentation_step"] = spin.augmentation.step
        write_array(group, "magnetization", spin.grid.integers)
        write_array(group, "spin_augmentation", spin.augmentation.integers)
    for name, value in attributes.items():
        group.attrs[name] = value


def rename_version_1(group: h5py.Group) -> None:
    """Give a copied sample of version 1 the names of today.

    Parameters
    ----------
    group
        Group of the material.
    """
    for old, new in _VERSION_1_ATTRIBUTES.items():
        if old in group.attrs:
            group.attrs[new] = group.attrs[old]
            del group.attrs[old]
    for old, new in _VERSION_1_ARRAYS.items():
        if old in group:
            group.move(old, new)
    group.attrs["split"] = canonical_split(str(group.attrs["split"]))
