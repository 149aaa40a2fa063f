"""Samples in the HDF5 file of a data set, of this version and of version 1."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

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
    """
    at = {_VERSION_1_ATTRIBUTES.get(key, key): value for key, value in group.attrs.items()}
    arrays = {_VERSION_1_ARRAYS.get(key, key): array[()] for key, array in group.items()}
    nx, ny, nz = (int(n) for n in at["shape"])
    symbols = tuple(str(symbol) for symbol in at["symbols"].split())
    magnetization = None
    if "magmom" in at:
        magnetization = PackedMagnetization(
            Quantized(arrays["magnetization"], float(at["magnetization_step"])),
            Quantized(arrays["spin_augmentation"], float(at["spin_augmentation_step"])),
            np.array(at["magmom"], dtype=float),
        )
    return DensitySample(
        origin=Origin(name, protocol, str(at["source"]), canonical_split(str(at["split"]))),
        crystal=Crystal(at["lattice"], symbols, at["positions"]),
        shape=(nx, ny, nz),
        n_electrons=float(at["n_electrons"]),
        energy=float(at["energy"]),
        energies=tuple(float(value) for value in at["energies"]),
        encut=float(at["encut"]) if "encut" in at else None,
        baseline_nmae=float(at["baseline_nmae"]),
        paw={symbol: paw[symbol] for symbol in sorted(set(symbols))},
        packed_total=Quantized(arrays["coefficients"], float(at["coefficients_step"])),
        packed_augmentation=Quantized(arrays["augmentation"], float(at["augmentation_step"])),
        settings=RunSettings.model_validate_json(at.get("settings", "{}")),
        packed_magnetization=magnetization,
    )


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
