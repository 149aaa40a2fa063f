"""A data set of converged densities in one HDF5 file, independent of POTCARs and run folders.

.. code-block:: text

    /                       attributes: format, version, protocol
    /paw/<element>          attributes: titel, channels; zval, q_step
        form_factor, atomic_occupancies     the free atom, if known; q = n * q_step
    /materials/<id>         attributes: source, split, lattice, symbols, positions, shape,
                                        n_electrons, energy, energies, baseline_nmae,
                                        coefficients_step, augmentation_step; encut and settings
                                        (JSON), if known
        coefficients        integers (2, kx, ky, kz): real and imaginary part, in units of the step
        augmentation        integers, ion after ion
        magnetization, spin_augmentation    the same of up minus down in spin-polarized runs, with
                                        attributes magnetization_step, spin_augmentation_step and
                                        magmom, the MAGMOM of the run

A data set has one protocol, and one PAW data set of each element. Version 1, which is read, has
other names: ``record`` for the atomic occupancies, ``waves``, ``occupancies`` and ``start_error``.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import h5py
import numpy as np

from mlcharge_flows.density.dataset_difference import dataset_difference
from mlcharge_flows.errors import MlchargeError, one_line
from mlcharge_flows.file_kinds import not_a_file
from mlcharge_flows.io import atomic_path
from mlcharge_flows.training.origin import PSEUDO_LABELED, RunSettings, canonical_split
from mlcharge_flows.training.stored_paw import read_paw, write_paw
from mlcharge_flows.training.stored_sample import read_sample, rename_version_1, write_sample

if TYPE_CHECKING:
    from collections.abc import Container, Iterable, Iterator

    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.training.sample import DensitySample

FORMAT = "mlcharge data set"
VERSION = 2
_OPEN_DATASETS = 16  # of a merge, whose PAW data sets are in memory


class DatasetError(MlchargeError, ValueError):
    """A file is no data set, or its samples do not belong together; one line."""


class DensityDataset:
    """Samples of a file, read one at a time; the file is not kept open.

    Parameters
    ----------
    path
        The file.

    Attributes
    ----------
    path
        The file.
    protocol
        Hash of the settings of all runs.
    ids
        Identifiers of the materials, in the order of the file.
    paw
        PAW data set of each element.

    Raises
    ------
    DatasetError
        The file is missing, or is not a whole data set.
    """

    def __init__(self, path: str | Path) -> None:
        self.path = Path(path)
        if reason := not_a_file(self.path):
            raise DatasetError(f"{path}: {reason}")
        with whole(self.path), h5py.File(self.path) as file:
            kind, version = file.attrs.get("format"), file.attrs.get("version")
            if kind != FORMAT or version not in (1, VERSION):
                raise DatasetError(f"{path}: not an {FORMAT} of version 1 or {VERSION}")
            self.protocol = str(file.attrs["protocol"])
            self.ids: tuple[str, ...] = tuple(file["materials"])
            self.paw = {symbol: read_paw(symbol, group) for symbol, group in file["paw"].items()}

    def __repr__(self) -> str:
        return f"<DensityDataset {str(self.path)!r}: {len(self)} materials of {' '.join(self.paw)}>"

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[DensitySample]:
        for name in self.ids:
            yield self[name]

    def __getitem__(self, name: str) -> DensitySample:
        with whole(self.path, name), h5py.File(self.path) as file:
            if name in file["materials"]:
                return read_sample(file["materials"][name], name, self.protocol, self.paw)
        raise KeyError(name)

    def splits(self) -> dict[str, str]:
        """Split of each material as its source marks it.

        Returns
        -------
        dict
            Split by identifier; empty if it has none.

        Raises
        ------
        DatasetError
            The sample of a material is damaged.
        """
        splits = {}
        with whole(self.path), h5py.File(self.path) as file:
            for name in self.ids:
                with whole(self.path, name):
                    splits[name] = canonical_split(str(file["materials"][name].attrs["split"]))
        return splits


def write_dataset(
    path: str | Path,
    samples: Iterable[DensitySample],
    *,
    allow_mixed: bool = False,
    left_out: list[str] | None = None,
) -> DensityDataset:
    """Write a data set atomically.

    Parameters
    ----------
    path
        The file to make or to replace.
    samples
        At least one; of one protocol, one PAW data set per element, each with its own identifier.
    allow_mixed
        Whether runs may differ in functional, DFT+U, charge, LMAXMIX, and in ISPIN where the
        magnetization is not known.
    left_out
        Given, samples that do not belong to those before them are left out, and a line for each
        is appended.

    Returns
    -------
    DensityDataset
        The written data set.

    Raises
    ------
    DatasetError
        The samples do not belong together; nothing is written.
    OSError
        The file cannot be written.
    """
    with _new_file(path) as file:
        common = _Common(file, allow_mixed=allow_mixed)
        for sample in samples:
            try:
                common.add(sample)
            except DatasetError as error:
                if left_out is None:
                    raise
                left_out.append(str(error))
            else:
                write_sample(file["materials"], sample)
    return DensityDataset(path)


def merge_datasets(
    sources: Iterable[str | Path],
    path: str | Path,
    without: Container[str] = (),
    *,
    allow_mixed: bool = False,
    left_out: list[str] | None = None,
    by_name: bool = True,
) -> DensityDataset:
    """Merge data sets; one of them is in memory at a time.

    Parameters
    ----------
    sources
        Files. A material that several of them hold is taken once, a run rather than a
        pseudo-labeled density.
    path
        File to write; may be one of the sources.
    without
        Identifiers to leave out.
    allow_mixed
        Whether runs may differ in functional, DFT+U, charge, LMAXMIX, and in ISPIN where the
        magnetization is not known.
    left_out
        Given, samples that do not belong to those before them are left out, with a line each.
    by_name
        Whether samples are taken in the order of their identifiers, not in that of the sources.

    Returns
    -------
    DensityDataset
        The merged data set.

    Raises
    ------
    DatasetError
        The sources differ in protocol or PAW data sets, or in the crystal of an identifier.
    OSError
        The file cannot be written.
    """
    opened = lru_cache(maxsize=_OPEN_DATASETS)(DensityDataset)
    chosen: dict[str, str] = {}
    for source in dict.fromkeys(map(str, sources)):
        for name in opened(source).ids:
            if name in without:
                continue
            if name in chosen:
                chosen[name] = str(_choose(opened(chosen[name]), opened(source), name).path)
            else:
                chosen[name] = source
    with _new_file(path) as file:
        common = _Common(file, allow_mixed=allow_mixed)
        for name in sorted(chosen) if by_name else chosen:
            dataset = opened(chosen[name])
            try:
                common.add(dataset[name])
            except DatasetError as error:
                if left_out is None:
                    raise
                left_out.append(str(error))
                continue
            with whole(dataset.path, name), h5py.File(dataset.path) as source_file:
                # Copied compressed: compression takes longer than everything else.
                source_file.copy(source_file["materials"][name], file["materials"])
            rename_version_1(file["materials"][name])
    return DensityDataset(path)


@contextmanager
def whole(path: Path, name: str = "") -> Iterator[None]:
    """Say which file, and which material of it, is damaged, whatever h5py raises then.

    Parameters
    ----------
    path
        The file that is read.
    name
        The material, if it is one.

    Raises
    ------
    DatasetError
        For any error of the file within the context.

    Yields
    ------
    None
        Once.
    """
    try:
        yield
    except DatasetError:
        raise
    except (OSError, RuntimeError, LookupError, ValueError, TypeError, AttributeError) as error:
        what = f"the sample of {name} is damaged" if name else "not a whole data set"
        raise DatasetError(f"{path}: {what} ({one_line(error)})") from None


@contextmanager
def _new_file(path: str | Path) -> Iterator[h5py.File]:
    """Empty data set to be filled, put in place if it holds something."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as partial, h5py.File(partial, "w", libver=("v110", "v110")) as file:
        file.attrs["format"] = FORMAT
        file.attrs["version"] = VERSION
        file.create_group("paw")
        file.create_group("materials")
        yield file
        if len(file["materials"]) == 0:
            raise DatasetError(f"{path}: there is nothing to write")


def _choose(first: DensityDataset, second: DensityDataset, name: str) -> DensityDataset:
    """Choose between two samples of one material, whichever comes first."""
    a, b = first[name], second[name]
    if a.crystal.symbols != b.crystal.symbols or not (
        np.allclose(a.crystal.lattice, b.crystal.lattice, atol=1e-6)
        and np.allclose(a.crystal.positions, b.crystal.positions, atol=1e-6)
    ):
        raise DatasetError(f"{first.path} and {second.path} hold different crystals named {name}")
    return min(
        (*_rank(a), 0, first),
        (*_rank(b), 1, second),
    )[-1]


def _rank(sample: DensitySample) -> tuple[bool, bool, str]:
    """Runs are preferred to pseudo-labels, and samples with a magnetization to those without."""
    is_pseudo_labeled = sample.origin.split == PSEUDO_LABELED
    return is_pseudo_labeled, sample.packed_magnetization is None, sample.fingerprint


class _Common:
    """What the samples of a file share; a sample that differs is refused."""

    def __init__(self, file: h5py.File, *, allow_mixed: bool) -> None:
        self.file, self.allow_mixed = file, allow_mixed
        self.paw: dict[str, PawDataset] = {}
        self.settings = RunSettings()
        self.first = ""

    def add(self, sample: DensitySample) -> None:
        """Check a sample before it is written, and write its PAW data sets."""
        protocol = self.file.attrs.setdefault("protocol", sample.origin.protocol)
        if protocol != sample.origin.protocol:
            raise DatasetError(
                f"{sample.id} is of protocol {sample.origin.protocol}, the others of {protocol}: "
                "samples of different settings do not merge"
            )
        if sample.id in self.file["materials"]:
            raise DatasetError(f"{sample.id} occurs twice")
        settings = sample.settings
        if sample.packed_magnetization is not None:
            # The magnetization tells what ISPIN changes.
            settings = settings.model_copy(update={"ispin": None})
        conflict = self.settings.conflict(settings) if self.first else None
        if conflict and not self.allow_mixed:
            raise DatasetError(
                f"{sample.id} was made with {conflict}, as {self.first} was: samples of different "
                "settings do not merge; take them all the same with --allow-mixed"
            )
        for symbol, dataset in sample.paw.items():
            known = self.paw.get(symbol, dataset)
            if not known.matches(dataset):
                difference = dataset_difference(known, dataset, "its own")
                raise DatasetError(
                    f"{sample.id} was made with another PAW data set of {symbol} than the others: "
                    f"{difference or 'one of the free atoms is not known'}; samples of different "
                    "PAW data sets do not merge"
                )
        self.first = self.first or sample.id
        self.settings = self.settings.joined(settings)
        for symbol in sample.paw.keys() - self.paw.keys():
            self.paw[symbol] = sample.paw[symbol]
            write_paw(self.file["paw"].create_group(symbol), sample.paw[symbol])
