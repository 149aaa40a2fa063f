"""The k-points that GPAW computes: those of KPOINTS, in VASP's order."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("gpaw", reason="needs the gpaw extra")

from ase import Atoms
from ase.build import bulk
from gpaw.dft import Symmetry

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.gpaw_vasp.bz_sampling import Sampling
from mlcharge_flows.gpaw_vasp.symmetry import gpaw_symmetry
from mlcharge_flows.vasp.irreducible_kpoints import irreducible_kpoints
from mlcharge_flows.vasp.kpoints import KPointSet

CELLS = {
    "fcc": 2.0 * (1 - np.eye(3)),
    "bcc": 1.5 * (1 - 2 * np.eye(3)),
    "hexagonal": np.array([[3.0, 0, 0], [-1.5, 1.5 * 3**0.5, 0], [0, 0, 5.0]]),
    "triclinic": np.array([[3.0, 0.1, 0.2], [0.4, 4.0, 0.1], [-0.3, 0.5, 5.0]]),
}


@pytest.mark.parametrize(("scheme", "isym"), [("Gamma", 2), ("Monkhorst-Pack", 2), ("Gamma", 0)])
@pytest.mark.parametrize("divisions", [(4, 4, 4), (3, 3, 3), (4, 4, 3)])
@pytest.mark.parametrize("cell", CELLS)
def test_irreducible_points_are_vasps(cell, divisions, scheme, isym):
    crystal = Crystal(CELLS[cell], ("X",), np.zeros((1, 3)))
    kpoints = KPointSet(scheme, divisions)
    symmetries = gpaw_symmetry(crystal, isym, 1e-5, kpoints).build(
        Atoms("Cu", cell=crystal.lattice, pbc=True)
    )
    ibz = Sampling(kpoints).build(None).reduce(symmetries)
    expected = irreducible_kpoints(crystal, divisions, kpoints.first, isym=isym)
    np.testing.assert_allclose(ibz.kpt_kc, expected.points, atol=1e-12)
    np.testing.assert_allclose(ibz.weight_k * np.prod(divisions), expected.weights, atol=1e-9)


def test_every_point_is_the_image_of_its_irreducible_point():
    kpoints = KPointSet("Gamma", (4, 4, 4))
    crystal = Crystal(CELLS["fcc"], ("Cu",), np.zeros((1, 3)))
    symmetries = gpaw_symmetry(crystal, 2, 1e-5, kpoints).build(bulk("Cu", a=4.0))
    ibz = Sampling(kpoints).build(None).reduce(symmetries)
    for point, k, s, reverses in zip(
        ibz.bz.kpt_Kc, ibz.bz2ibz_K, ibz.s_K, ibz.time_reversal_K, strict=True
    ):
        image = symmetries.rotation_scc[s] @ ibz.kpt_kc[k] * (-1 if reverses else 1)
        np.testing.assert_allclose(image - point, np.rint(image - point), atol=1e-9)


def test_an_explicit_list_keeps_its_weights_through_gpaw():
    kpoints = KPointSet(
        "explicit", points=np.array([[0.0, 0, 0], [0.5, 0, 0]]), weights=np.array([1.0, 3.0])
    )
    symmetries = Symmetry().build(bulk("Cu"))
    ibz = Sampling(kpoints).build(None).reduce(symmetries)
    np.testing.assert_allclose(ibz.weight_k, [0.25, 0.75])
    np.testing.assert_allclose(ibz.kpt_kc, kpoints.points)
