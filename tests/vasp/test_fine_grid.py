"""The fine-grid rule against pymatgen's and against grids of real calculations."""

import gzip
import json
import warnings
from pathlib import Path

import numpy as np
import pytest

from mlcharge_flows.vasp.incar import GridSizeError, fft_grids, smooth_even

STRUCTURES = Path(__file__).parents[2] / "test_files" / "benchmark" / "test_structures.json.gz"


def random_lattices(n):
    rng = np.random.default_rng(0)
    return [np.diag(rng.uniform(2, 25, 3)) + rng.uniform(-1, 1, (3, 3)) for _ in range(n)]


@pytest.mark.parametrize("prec", ["Accurate", "Normal", "Single"])
@pytest.mark.parametrize("encut", [245.345, 350, 520])
def test_same_as_pymatgens_rule(prec, encut):
    sets = pytest.importorskip("pymatgen.io.vasp.sets")
    core = pytest.importorskip("pymatgen.core")
    for lattice in random_lattices(20):
        structure = core.Structure(lattice, ["Si"], [[0, 0, 0]])
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            rule = sets.MPStaticSet(structure).calculate_ng(custom_encut=encut, custom_prec=prec)
        grids = fft_grids(lattice, {"ENCUT": encut, "PREC": prec})
        assert (list(grids.coarse), list(grids.fine)) == (list(rule[0]), list(rule[1]))


def test_same_as_grids_of_the_materials_project():
    core = pytest.importorskip("pymatgen.core")
    data = json.loads(gzip.decompress(STRUCTURES.read_bytes()))
    entries = next(value for value in data.values() if isinstance(value, list))
    exact = [entry for entry in entries if entry.get("grid_check") == "exact"]
    assert exact
    for entry in exact:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            structure = core.Structure.from_str(entry["cif"], fmt="cif")
        grids = fft_grids(structure.lattice.matrix, {"ENCUT": 520, "PREC": "Accurate"})
        assert list(grids.fine) == list(entry["charge3net_grid"])


@pytest.mark.parametrize(("length", "points"), [(4.675772012, 60), (4.675772318, 64)])
def test_constants_are_vasps_to_the_last_digit(length, points):
    """4 x + 1/2 is 1e-6 off 31: with other values of Rydberg or Bohr one of the grids differs.

    pymatgen's rule, which takes today's constants of nature, differs here from VASP's.
    """
    grids = fft_grids(length * np.eye(3), {"ENCUT": 400, "PREC": "Accurate"})
    assert grids.fine == (points,) * 3


def test_explicit_tags_win():
    lattice = 5 * np.eye(3)
    incar = {"ENCUT": 400, "PREC": "Accurate", "NGX": 50, "NGZF": 90}
    plain, grids = fft_grids(lattice, {"ENCUT": 400, "PREC": "Accurate"}), fft_grids(lattice, incar)
    assert grids.coarse == (50, *plain.coarse[1:])
    assert grids.fine == (100, plain.fine[1], 90)
    everything = dict.fromkeys(("NGX", "NGY", "NGZ", "NGXF", "NGYF", "NGZF"), 24)
    assert fft_grids(lattice, everything | {"PREC": "High"}).fine == (24, 24, 24)


@pytest.mark.parametrize(
    ("prec", "same_as"), [("accurate", "A"), ("Norm", "Normal"), (" single ", "S"), ("N", "Normal")]
)
def test_precision_is_read_as_vasp_reads_it(prec, same_as):
    lattice = np.diag([3.0, 7.0, 11.0])
    assert fft_grids(lattice, {"ENCUT": 400, "PREC": prec}) == fft_grids(
        lattice, {"ENCUT": 400, "PREC": same_as}
    )


def test_single_n_is_normal_without_the_finer_grid():
    lattice = np.diag([3.0, 7.0, 11.0])
    single = fft_grids(lattice, {"ENCUT": 400, "PREC": "SingleN"})
    assert single.coarse == single.fine == fft_grids(lattice, {"ENCUT": 400}).coarse


@pytest.mark.parametrize(
    ("incar", "reason"),
    [
        ({"ENCUT": float("inf")}, "ENCUT = inf is larger than 1e"),
        ({"ENCUT": 1e30}, "ENCUT = 1e"),
        ({"ENCUT": 1e8}, "ENCUT = 1e"),
        ({"ENCUT": 9e5}, r"grids of .* points are too large, lower ENCUT"),
        ({"ENCUT": 300, "NGXF": 99999999999}, "NGXF is larger than"),
        ({"ENCUT": 300, "NGZ": 10**5000}, "NGZ is larger than"),
        (dict.fromkeys(("NGX", "NGY", "NGZ", "NGXF", "NGYF", "NGZF"), 2000), "are too large"),
    ],
)
def test_grids_that_no_machine_holds_are_refused_at_once(incar, reason):
    with pytest.raises(GridSizeError, match=reason):
        fft_grids(np.diag([5.0, 5.0, 5.0]), incar)


def test_points_grow_with_the_cutoff():
    lattice = 6 * np.eye(3)
    points = [fft_grids(lattice, {"ENCUT": e}).fine[0] for e in range(100, 900, 20)]
    assert points == sorted(points)


def test_smooth_even_is_the_smallest_such_number():
    for n in range(1, 300):
        found = smooth_even(n)
        assert found >= n
        assert found % 2 == 0
        rest = found
        for prime in (2, 3, 5, 7):
            while rest % prime == 0:
                rest //= prime
        assert rest == 1


@pytest.mark.parametrize(
    ("incar", "reason"),
    [
        ({}, "ENCUT is missing"),
        ({"ENCUT": "many"}, "not a number"),
        ({"ENCUT": -1}, "not positive"),
        ({"ENCUT": 400, "PREC": "High"}, "NGXF"),
        ({"ENCUT": 400, "PREC": "medium"}, "NGXF"),
        ({"ENCUT": 400, "PREC": "Exact"}, "unknown"),
        ({"ENCUT": 400, "NGXF": 0}, "NGXF = 0"),
    ],
)
def test_bad_input_is_named(incar, reason):
    with pytest.raises(ValueError, match=reason):
        fft_grids(np.eye(3) * 5, incar)
