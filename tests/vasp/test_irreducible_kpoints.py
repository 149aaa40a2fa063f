"""Irreducible k-points: laws, and the IBZKPT files that VASP wrote."""

import gzip

import numpy as np
import pytest
from pymatgen.io.vasp import Kpoints, Poscar

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.vasp.irreducible_kpoints import irreducible_kpoints
from mlcharge_flows.vasp.kpoints import from_file


def lines(path):
    """Lines of a file, compressed or not."""
    packed = path.with_name(path.name + ".gz")
    data = gzip.decompress(packed.read_bytes()) if packed.exists() else path.read_bytes()
    return data.decode().splitlines()


def found_in(folder, suffix="", **options):
    """The crystal's irreducible points, and those of its IBZKPT."""
    structure = Poscar.from_str("\n".join(lines(folder / f"POSCAR{suffix}"))).structure
    kpoints = lines(folder / f"KPOINTS{suffix}")
    divisions = [int(n) for n in kpoints[3].split()[:3]]
    gamma = kpoints[2].strip()[0].lower() == "g"
    first = [0.0 if gamma or n % 2 else 0.5 / n for n in divisions]
    ours = irreducible_kpoints(Crystal.from_structure(structure), divisions, first, **options)
    ibzkpt = lines(folder / f"IBZKPT{suffix}")
    rows = np.array([line.split() for line in ibzkpt[3 : 3 + int(ibzkpt[1])]], dtype=float)
    return ours, rows


@pytest.mark.filterwarnings("ignore::pymatgen.io.vasp.inputs.BadPoscarWarning")
@pytest.mark.filterwarnings("ignore:Elements in POSCAR")
@pytest.mark.parametrize(
    ("sample", "suffix"),
    [
        ("no_spin_relax", ""),
        ("graphene_relax", ""),
        ("kpoints_born_effective_charge", ""),
        ("kpoints_phonondb", ""),
        ("fe2", ""),
        ("mg2_relax", ""),
        ("si_relax_relax12", ".relax1"),
        ("si_relax_relax12", ".relax2"),
    ],
)
def test_order_representatives_and_weights_are_vasps(vasp_samples, sample, suffix):
    ours, vasps = found_in(vasp_samples / sample, suffix)
    assert ours.is_certain
    np.testing.assert_allclose(ours.points, vasps[:, :3], atol=1e-12)
    np.testing.assert_array_equal(ours.weights, vasps[:, 3])


def test_points_whose_order_is_not_known_are_said_to_be_uncertain(vasp_samples):
    """Without the crystal's rotations VASP 6 has an order of its own: same points up to sign."""
    ours, vasps = found_in(vasp_samples / "si_spin_vasp6", isym=0)
    assert not ours.is_certain
    assert len(ours.points) == len(vasps)
    both = np.concatenate([vasps[:, :3], -vasps[:, :3]])
    for point in ours.points:
        apart = both - point
        assert np.abs(apart - apart.round()).max(1).min() < 1e-9


@pytest.mark.parametrize("isym", [-1, 0, 2])
@pytest.mark.parametrize("divisions", [(3, 3, 3), (4, 4, 2), (2, 3, 5)])
def test_weights_count_the_mesh(salt, divisions, isym):
    found = irreducible_kpoints(Crystal.from_structure(salt), divisions, isym=isym)
    assert found.weights.sum() == np.prod(divisions)
    assert found.points.min() > -0.5
    assert found.points.max() <= 0.5


def test_sum_over_stars_is_that_over_the_mesh():
    """A function with the symmetry of the crystal has the mean of the whole mesh."""
    crystal = Crystal(2.0 * (1 - np.eye(3)), ("Cu",), np.zeros((1, 3)))

    def energy(points):  # a nearest-neighbor band of the fcc lattice
        x, y, z = 2 * np.pi * points.T
        return sum(np.cos(angle) for angle in (x, y, z, x - y, y - z, z - x))

    found = irreducible_kpoints(crystal, (5, 5, 5), (0.1, 0.1, 0.1))
    every = irreducible_kpoints(crystal, (5, 5, 5), (0.1, 0.1, 0.1), isym=-1)
    np.testing.assert_allclose(
        found.weights @ energy(found.points) / 125, energy(every.points).mean(), atol=1e-9
    )
    assert len(found.points) < len(every.points) == 125


@pytest.mark.parametrize("divisions", [2, 3])
def test_a_list_is_read_as_the_same_points(divisions):
    """A molecule along x in a cubic cell: the stars of the lattice fall apart."""
    molecule = Crystal(3.0 * np.eye(3), ("H", "H"), np.array([[0.1, 0, 0], [-0.1, 0, 0]]))
    found = irreducible_kpoints(molecule, 3 * (divisions,))
    read = from_file(Kpoints.from_str(str(found.listed())), molecule.lattice)
    assert not found.is_certain
    assert found.is_symmetric
    np.testing.assert_array_equal(read.points, found.points)
    np.testing.assert_array_equal(read.weights, found.weights)


def test_a_mesh_that_breaks_the_symmetry_is_uncertain(salt):
    found = irreducible_kpoints(Crystal.from_structure(salt), (4, 4, 3))
    assert (found.is_certain, found.is_symmetric) == (False, False)
