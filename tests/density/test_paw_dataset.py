"""The PAW data set: its form factor, its identity, and what it refuses."""

from dataclasses import replace
from hashlib import sha256

import numpy as np
import pytest
from scipy.interpolate import CubicSpline

from mlcharge_flows.density.dataset_difference import dataset_difference, free_atom_difference
from mlcharge_flows.density.paw_dataset import PawDataset, n_electrons

Q = np.arange(1000) * 0.06


def dataset(**changes):
    facts = {
        "symbol": "Na",
        "titel": "PAW_PBE Na test",
        "zval": 1.0,
        "channels": (0, 0, 1),
        "q_step": 0.06,
        "form_factor": 3.3 * np.exp(-Q),
        "atomic_occupancies": np.arange(15.0),
    }
    return PawDataset(**(facts | changes))


def test_form_factor_is_normalized_to_zval_and_ends_with_the_mesh():
    atom = dataset()
    assert atom.form_factor_at(np.array([0.0]))[0] == 1.0
    assert atom.form_factor_at(np.array([Q[-1] + 0.1]))[0] == 0.0


def test_form_factor_is_the_cubic_spline():
    atom = dataset()
    slow = CubicSpline(Q, np.exp(-Q), bc_type=((1, 0.0), "not-a-knot"))
    q = np.concatenate([np.random.default_rng(0).uniform(0, Q[-1], 500), [0.0, Q[1], Q[-1]]])
    np.testing.assert_allclose(atom.form_factor_at(q), slow(q), atol=1e-14)
    assert not atom.form_factor_at(Q[-1] + np.array([1e-9, 3.0])).any()


def test_density_is_the_transform_of_the_form_factor():
    width = 0.5
    r = np.array([0.0, 0.3, 1.0, 2.5])
    gaussian = np.exp(-(r**2) / (2 * width**2)) / (2 * np.pi * width**2) ** 1.5
    found = dataset(form_factor=np.exp(-((Q * width) ** 2) / 2)).density_at(r)
    np.testing.assert_allclose(found, gaussian, atol=1e-10)


@pytest.mark.parametrize(
    "broken",
    [
        {"q_step": None},
        {"q_step": -0.06},
        {"zval": None},
        {"form_factor": np.ones(3)},
        {"form_factor": np.zeros(1000)},
        {"form_factor": np.full(1000, np.nan)},
        {"atomic_occupancies": np.zeros(14)},
    ],
)
def test_bad_free_atoms_are_refused(broken):
    with pytest.raises(ValueError, match="Na"):
        dataset(**broken)


def test_an_unknown_free_atom_has_no_form_factor():
    bare = PawDataset("Na", "PAW_PBE Na test", 1.0, (0, 0, 1))
    assert not bare.has_free_atom
    with pytest.raises(ValueError, match="form factor of the free atom is not known"):
        bare.form_factor_at(np.zeros(1))


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        ({}, None),
        ({"form_factor": 3.3 * np.exp(-Q) * (1 + 1e-11)}, None),
        ({"q_step": 0.061}, "mesh"),
        ({"form_factor": np.exp(-Q[:999])}, "mesh"),
        ({"form_factor": np.exp(-1.01 * Q)}, "density"),
        ({"atomic_occupancies": np.arange(15.0) + 1e-6}, "occupancies"),
        ({"form_factor": None}, None),
    ],
)
def test_differences_of_free_atoms_are_named(change, difference):
    assert free_atom_difference(dataset(), dataset(**change)) == difference


@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({}, None),
        ({"titel": "PAW_PBE Na_pv"}, "TITEL is PAW_PBE Na test, the run's is PAW_PBE Na_pv"),
        ({"zval": 7.0}, "ZVAL is 1.0, the run's is 7.0"),
        (
            {"channels": (0, 1), "atomic_occupancies": None},
            "channels is (0, 0, 1), the run's is (0, 1)",
        ),
        ({"form_factor": np.exp(-1.01 * Q)}, "the density of its free atom differs"),
    ],
)
def test_a_line_says_what_differs_under_one_name(change, line):
    known, given = dataset(), dataset(**change)
    assert (dataset_difference(known, given) or "").startswith(line or "") is True
    assert (dataset_difference(known, given) is None) == (line is None)
    hashed = dataset_difference(known.without_free_atom(), given)
    assert (hashed is None) == (line is None)
    if "form_factor" in change:
        digits = [one.fingerprint[:12] for one in (known, given)]
        assert hashed == f"fingerprint is {digits[0]}, the run's is {digits[1]}"


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"enmax": 300.0}, True),
        ({"titel": "PAW_PBE Na_pv test"}, False),
        ({"zval": 7.0}, False),
        ({"form_factor": np.exp(-1.01 * Q)}, False),
        ({"form_factor": None, "atomic_occupancies": None}, False),
    ],
)
def test_data_sets_that_may_be_trained_on_together(change, same):
    assert dataset().matches(dataset(**change)) is same
    assert dataset(**change).matches(dataset()) is same


def test_equality_compares_what_identifies_a_data_set():
    assert dataset() == dataset(form_factor=None)
    assert hash(dataset()) == hash(dataset(form_factor=None))
    assert dataset() != dataset(sha256="ab")
    assert dataset() != dataset(zval=7.0)


def test_electrons_need_the_valence_of_every_ion():
    assert n_electrons([dataset(), replace(dataset(), zval=7.0)]) == 8.0
    with pytest.raises(ValueError, match="PAW_PBE Na test"):
        n_electrons([dataset(), dataset(zval=None, form_factor=None)])


def test_fingerprints_of_earlier_files_are_known():
    """They were SHA-256 of all digits, as this one of the file of an earlier state."""
    form_factor, occupancies = np.array([1.0, 0.5, 0.25, 0.0]), np.array([0.25])
    known = PawDataset("H", "PAW_PBE H", 1.0, (0,), 0.1, form_factor, occupancies)
    digest = sha256(repr((known.titel, known.zval, known.channels)).encode())
    for values in (known.q_step, known.form_factor, known.atomic_occupancies):
        digest.update(np.ascontiguousarray(values, dtype="<f8").tobytes())
    assert known.has_fingerprint(digest.hexdigest())
    assert known.has_fingerprint(known.fingerprint)
    earlier = PawDataset("H", "PAW_PBE H", 1.0, (0,), free_atom_sha256=digest.hexdigest())
    assert dataset_difference(earlier, known) is None
    moved = replace(known, form_factor=form_factor**1.001)
    assert not moved.has_fingerprint(digest.hexdigest())
    assert not known.has_fingerprint(None)


def test_a_fingerprint_tells_data_sets_apart_and_outlives_the_free_atom():
    q = 0.1 * np.arange(50)
    facts = {"q_step": 0.1, "form_factor": 2.0 * np.exp(-(q**2))}
    known = PawDataset("H", "PAW_PBE H", 2.0, (0,), atomic_occupancies=np.ones(1), **facts)
    again = replace(known, enmax=250.0, sha256="of another text")
    assert len(known.fingerprint) == 64
    assert again.fingerprint == known.fingerprint
    for changes in (
        {"titel": "PAW_PBE H_s"},
        {"atomic_occupancies": np.full(1, 1.1)},
        {"form_factor": 2.0 * np.exp(-1.1 * q**2)},
    ):
        assert replace(known, **changes).fingerprint != known.fingerprint
    rounded = np.nextafter(known.form_factor, np.inf)  # as of another order of operations
    assert replace(known, form_factor=rounded).fingerprint == known.fingerprint
    bare = known.without_free_atom()
    assert bare.fingerprint == known.fingerprint
    assert not bare.has_free_atom
    assert PawDataset("H", "PAW_PBE H", 2.0, (0,)).fingerprint is None
