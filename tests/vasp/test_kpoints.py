from __future__ import annotations

import numpy as np
import pytest
from pymatgen.io.vasp.inputs import Kpoints

from mlcharge_flows.vasp.kpoints import (
    KPointsError,
    KPointSet,
    from_file,
    from_spacing,
    read_kpoints,
)

CUBIC = np.eye(3) * 4.0


def points(kpoints: KPointSet) -> np.ndarray:
    mesh = kpoints.first + np.indices(kpoints.divisions).reshape(3, -1).T / kpoints.divisions
    wrapped = np.mod(mesh + 1e-9, 1.0) - 1e-9
    return np.unique(np.round(wrapped, 9), axis=0)


@pytest.mark.parametrize("size", [(2, 3, 4), (1, 1, 1), (5, 4, 2)])
def test_gamma_meshes_hold_gamma_and_every_multiple_of_a_step(size):
    mesh = points(from_file(Kpoints.gamma_automatic(size), CUBIC))
    expected = np.stack(
        np.meshgrid(*(np.arange(n) / n for n in size), indexing="ij"), axis=-1
    ).reshape(-1, 3)
    np.testing.assert_allclose(mesh, np.unique(np.round(expected, 9), axis=0), atol=1e-8)


def test_even_monkhorst_pack_meshes_miss_gamma_by_half_a_step():
    mesh = points(from_file(Kpoints.monkhorst_automatic((2, 2, 2)), CUBIC))
    np.testing.assert_allclose(np.unique(mesh), [0.25, 0.75])


def test_a_shift_is_in_units_of_the_step():
    shifted = points(from_file(Kpoints.gamma_automatic((2, 2, 2), shift=(0.5, 0.5, 0.5)), CUBIC))
    np.testing.assert_allclose(np.unique(shifted), [0.25, 0.75])


def test_kspacing_rule():
    # |b| = 2 pi / 4 = 1.5708: four steps of at most 0.5
    assert from_spacing(CUBIC, 0.5).divisions == (4, 4, 4)
    assert from_spacing(CUBIC, 2.0).divisions == (1, 1, 1)


def test_line_mode_keeps_order_and_ends(tmp_path):
    path = tmp_path / "KPOINTS"
    path.write_text(
        "path\n5\nLine_mode\nReciprocal\n0 0 0 \\Gamma\n0.5 0 0 X\n\n0.5 0 0 X\n0.5 0.5 0 M\n"
    )
    kpoints = from_file(Kpoints.from_file(path), CUBIC)
    assert kpoints.points.shape == (10, 3)
    np.testing.assert_allclose(
        kpoints.points[[0, 4, 5, 9]], [[0, 0, 0], [0.5, 0, 0], [0.5, 0, 0], [0.5, 0.5, 0]]
    )
    np.testing.assert_allclose(kpoints.points[1], [0.125, 0, 0])
    assert not kpoints.is_mesh


def test_cartesian_lines_are_refused(tmp_path):
    path = tmp_path / "KPOINTS"
    path.write_text("path\n5\nLine_mode\nCartesian\n0 0 0 G\n0.5 0 0 X\n")
    with pytest.raises(KPointsError, match="reciprocal"):
        from_file(Kpoints.from_file(path), CUBIC)


def test_comments_at_line_ends_are_no_part_of_a_mesh(tmp_path):
    path = tmp_path / "KPOINTS"
    path.write_text("mesh ! of mine\n0 ! automatic\nGamma # centered\n2 3 4 ! divisions\n0 0 0\n")
    assert from_file(read_kpoints(path), CUBIC).divisions == (2, 3, 4)


def test_labels_of_lines_stay(tmp_path):
    path = tmp_path / "KPOINTS"
    path.write_text("path\n5 ! points\nLine_mode\nReciprocal\n0 0 0 ! G\n0.5 0 0 ! X\n")
    assert from_file(read_kpoints(path), CUBIC).labels == ["G", "X"]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("mesh\n0\nGamma\n", "after line 3"),
        ("", "after line 0"),
        ("x\n0\nReciprocal\n0.25 0 0\n0 0.25 0\n0 0 0.25\n0 0 0\n", "generalized"),
        ("list\n3\nReciprocal\n0 0 0 1\n", "too early"),
    ],
)
def test_defective_files_are_refused_in_one_line(text, reason, tmp_path):
    path = tmp_path / "KPOINTS"
    path.write_text(text)
    with pytest.raises(KPointsError, match=reason):
        read_kpoints(path)


def test_a_spacing_of_zero_is_refused():
    with pytest.raises(KPointsError, match="KSPACING"):
        from_spacing(CUBIC, 0.0)


@pytest.mark.parametrize(
    "line", ["x y z", "2.5 2 2", "2 2", "two"], ids=["words", "fraction", "two", "word"]
)
def test_a_mesh_of_no_integers_is_refused_in_our_words(tmp_path, line):
    path = tmp_path / "KPOINTS"
    path.write_text(f"mesh\n0\nGamma\n{line}\n0 0 0\n")
    with pytest.raises(KPointsError) as error:
        from_file(read_kpoints(path), CUBIC)
    assert str(error.value).startswith("KPOINTS: ")
    assert "literal" not in str(error.value)


def test_numbers_of_kpoints_may_be_fortrans(tmp_path):
    path = tmp_path / "KPOINTS"
    path.write_text("mesh\n0\nGamma\n2 2 2\n0D0 5.d-1 0.0\n")
    assert tuple(read_kpoints(path).kpts_shift) == (0.0, 0.5, 0.0)
