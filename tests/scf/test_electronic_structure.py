import numpy as np
import pytest

from mlcharge_flows.scf.electronic_structure import (
    ElectronicStructure,
    ElectronicStructureError,
    read_electronic_structure,
)


def states(levels, n_electrons=2.0, **given):
    levels = np.asarray(levels, float)
    weights = np.full(len(levels), 1 / len(levels))
    return ElectronicStructure(
        np.zeros((len(levels), 3)), weights, levels, n_electrons, 0.0, **given
    )


def test_the_direct_gap_is_never_below_the_fundamental_one():
    indirect = states([[-1.0, 2.0], [-3.0, 0.5]])
    assert indirect.gap == 1.5
    assert indirect.direct_gap == 3.0
    assert indirect.highest_occupied == -1.0


def test_overlapping_bands_are_a_metal():
    metal = states([[-1.0, 2.0], [-3.0, -1.5]])
    assert (metal.gap, metal.direct_gap, metal.highest_occupied) == (0.0, 0.0, 0.0)


def test_an_odd_number_of_electrons_is_a_metal():
    assert states([[-1.0, 2.0], [-3.0, 0.5]], n_electrons=3.0).gap is None
    assert states([[-1.0, 2.0, 4.0]], n_electrons=3.0).gap == 0.0


def test_without_empty_bands_nothing_is_known_of_the_gap():
    full = states([[-1.0], [-3.0]])
    assert (full.gap, full.direct_gap) == (None, None)


def test_no_run(tmp_path):
    with pytest.raises(ElectronicStructureError, match=r"vasprun\.xml: there is no such file"):
        read_electronic_structure(tmp_path)


def test_a_cut_file(tmp_path):
    (tmp_path / "vasprun.xml").write_text("<modeling><generator>")
    with pytest.raises(ElectronicStructureError, match=r"vasprun\.xml: cannot be read"):
        read_electronic_structure(tmp_path)


@pytest.mark.parametrize("name", ["si2_aiida", "si_nscf11", "si_g0w0_static"])
def test_runs_of_vasp(vasp_samples, name):
    silicon = read_electronic_structure(vasp_samples / name)
    assert silicon.eigenvalues.shape[0] == len(silicon.kpoints) == len(silicon.weights)
    assert 0.4 < silicon.gap < 0.8
    assert 2.3 < silicon.direct_gap < 2.7
    assert silicon.forces.shape == (2, 3)
    assert silicon.weights.sum() == pytest.approx(1)


def test_spin_is_refused(vasp_samples):
    with pytest.raises(
        ElectronicStructureError, match=r"vasprun\.xml\.gz: spin-polarized runs are not"
    ):
        read_electronic_structure(vasp_samples / "si_static_icharg0")
