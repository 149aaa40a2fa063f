"""Magnetizations in data sets: what is written is read, and reversed moments change signs alone."""

from dataclasses import replace

import h5py
import numpy as np
import pytest
from synthetic_samples import PAW, converged, packed

from mlcharge_flows.density.density import Magnetization
from mlcharge_flows.training.dataset import (
    DatasetError,
    DensityDataset,
    merge_datasets,
    write_dataset,
)
from mlcharge_flows.training.evaluation import summarize
from mlcharge_flows.training.origin import Origin, RunSettings
from mlcharge_flows.training.packed_magnetization import NO_MOMENT, TOLERANCE, PackedMagnetization
from mlcharge_flows.training.sample import DensitySample


def magnetization(density, size=1.0, seed=1):
    random = np.random.default_rng(seed)
    x, y, _ = np.meshgrid(*(np.arange(n) / n for n in density.shape), indexing="ij")
    grid = 0.05 * np.cos(2 * np.pi * x) + 0.02 * np.sin(2 * np.pi * (y - 2 * x)) + 0.01
    grid += 1e-4 * random.standard_normal(density.shape)
    own = tuple(size * random.standard_normal(len(values)) for values in density.augmentation)
    return Magnetization(size * grid, own, np.array([5.0, -0.6]))


def spin_sample(name="mp-9", size=1.0, settings=None, **kwargs):
    density = converged(**kwargs)
    density = replace(density, magnetization=magnetization(density, size))
    sample = DensitySample.pack(density, PAW, Origin(name, "p", "", "train"))
    return replace(sample, settings=settings or RunSettings(ispin=2))


def difference(one, other):
    pairs = zip(one.augmentation, other.augmentation, strict=True)
    return (
        np.abs(one.grid - other.grid).sum() / np.abs(other.grid).sum(),
        sum(np.abs(a - b).sum() for a, b in pairs)
        / sum(np.abs(values).sum() for values in other.augmentation),
    )


def test_what_is_written_is_read(tmp_path):
    sample = spin_sample()
    found = write_dataset(tmp_path / "spin.h5", [sample, packed("mp-1")])
    read = found["mp-9"].density()
    wanted = magnetization(converged())
    grid, occupancies = difference(read.magnetization, wanted)
    assert 0 < grid <= TOLERANCE
    assert 0 < occupancies <= TOLERANCE
    assert read.magnetization.moments.tolist() == [5.0, -0.6]
    assert found["mp-9"].fingerprint == sample.fingerprint
    assert found["mp-1"].density().magnetization is None


def test_reversed_moments_reverse_the_packed_magnetization_and_nothing_else():
    one, other = spin_sample(), spin_sample(size=-1.0)
    for name in ("packed_total", "packed_augmentation"):
        assert np.array_equal(getattr(one, name).integers, getattr(other, name).integers)
    mine, its = one.packed_magnetization, other.packed_magnetization
    for name in ("grid", "augmentation"):
        assert getattr(mine, name).step == getattr(its, name).step
        assert np.array_equal(getattr(mine, name).integers, -getattr(its, name).integers)
    a, b = one.density().magnetization, other.density().magnetization
    assert np.array_equal(a.grid, -b.grid)
    assert one.fingerprint != other.fingerprint


def test_a_run_that_ended_without_moments_is_zero():
    density = converged()
    volume = density.crystal.volume
    small = magnetization(density)
    size = NO_MOMENT * 2 / (np.abs(small.grid).mean() * volume)
    for factor, is_zero in ((0.9, True), (1.1, False)):
        one = PackedMagnetization.pack(magnetization(density, factor * size), volume)
        assert one.is_zero == is_zero
        assert one.magmom.tolist() == [5.0, -0.6]
    assert not PackedMagnetization.pack(small, volume).is_antiferromagnetic(density.shape)
    none = replace(small, augmentation=None)
    assert PackedMagnetization.pack(none, volume) is None


def test_counts(tmp_path):
    density = converged()
    compensated = magnetization(density)
    compensated = replace(compensated, grid=compensated.grid - compensated.grid.mean())
    antiferromagnet = DensitySample.pack(
        replace(density, magnetization=compensated), PAW, Origin("afm", "p")
    )
    samples = [spin_sample(), spin_sample("none", size=1e-6), antiferromagnet, packed("mp-1")]
    facts = summarize(write_dataset(tmp_path / "spin.h5", samples))
    assert facts["magnetization"] == "antiferromagnetic 1, spin-polarized 3, with moments 2"
    facts = summarize(write_dataset(tmp_path / "old.h5", [packed("mp-1")]))
    assert facts["magnetization"] == "none"


def test_spin_and_no_spin_are_one_data_set(tmp_path):
    plain = replace(packed("mp-1"), settings=RunSettings(ispin=1))
    write_dataset(tmp_path / "plain.h5", [plain])
    write_dataset(tmp_path / "spin.h5", [spin_sample()])
    total_only = replace(spin_sample("old"), packed_magnetization=None)
    write_dataset(tmp_path / "old.h5", [total_only])
    merged = merge_datasets([tmp_path / "plain.h5", tmp_path / "spin.h5"], tmp_path / "all.h5")
    assert merged["mp-9"].fingerprint == spin_sample().fingerprint
    assert merged["mp-1"].packed_magnetization is None
    with pytest.raises(DatasetError, match="ISPIN = 2 instead of 1"):
        merge_datasets([tmp_path / "all.h5", tmp_path / "old.h5"], tmp_path / "no.h5")


@pytest.mark.parametrize("order", [1, -1])
def test_the_sample_with_a_magnetization_is_kept(tmp_path, order):
    write_dataset(tmp_path / "old.h5", [replace(spin_sample(), packed_magnetization=None)])
    write_dataset(tmp_path / "new.h5", [spin_sample()])
    files = [tmp_path / "old.h5", tmp_path / "new.h5"][::order]
    merged = merge_datasets(files, tmp_path / "all.h5")
    assert merged["mp-9"].packed_magnetization is not None


def test_an_earlier_reader_finds_what_it_knows(tmp_path):
    """It reads every array of the group whole, and takes those that it knows."""
    write_dataset(tmp_path / "spin.h5", [spin_sample()])
    write_dataset(tmp_path / "plain.h5", [replace(spin_sample(), packed_magnetization=None)])
    with h5py.File(tmp_path / "spin.h5") as spin, h5py.File(tmp_path / "plain.h5") as plain:
        assert spin.attrs["version"] == plain.attrs["version"]
        one, other = (file["materials"]["mp-9"] for file in (spin, plain))
        arrays = {key: array[()] for key, array in one.items()}
        for key in other:
            assert np.array_equal(arrays[key], other[key][()])
        for key in other.attrs.keys() - {"energy", "energies"}:  # NaN
            assert np.array_equal(one.attrs[key], other.attrs[key])
    assert DensityDataset(tmp_path / "plain.h5")["mp-9"].density().magnetization is None


@pytest.mark.parametrize(
    ("key", "change"),
    [
        ("magmom", lambda values: values[:-1]),
        ("magmom", lambda values: np.append(values, 1.0)),
        ("magmom", lambda values: values * np.nan),
        ("magmom", None),
        ("magnetization_step", lambda step: np.nan),
        ("magnetization_step", lambda step: 1e30),
        ("coefficients_step", lambda step: -step),
        ("magnetization", lambda values: values.ravel()),
        ("magnetization", lambda values: np.zeros((2, 500, 500, 2), dtype=int)),
        ("magnetization", lambda values: values * np.nan),
        ("spin_augmentation", lambda values: values[:-1]),
        ("augmentation", lambda values: np.append(values, 1)),
        ("coefficients", lambda values: values[0]),
    ],
)
def test_damaged_samples_are_refused_when_they_are_read(tmp_path, key, change):
    path = tmp_path / "damaged.h5"
    write_dataset(path, [spin_sample()])
    with h5py.File(path, "a") as file:
        group = file["materials"]["mp-9"]
        place = group.attrs if key in group.attrs else group
        found = place[key] if place is group.attrs else place[key][()]
        del place[key]
        if change is not None:
            place[key] = change(found)
    with pytest.raises(DatasetError, match=r"damaged.h5: the sample of mp-9 is damaged"):
        DensityDataset(path)["mp-9"]
