import numpy as np
import pytest

from mlcharge_flows.scf.electronic_structure import (
    BandPath,
    ElectronicStructureError,
    read_band_path,
)


def test_segments_of_two_points_are_not_lost():
    points = np.array([[0, 0, 0], [0, 0, 1], [0, 0, 1], [0, 3, 1]], float)
    path = BandPath.of(points, np.arange(8.0).reshape(4, 2), ["G", "Z", "Z", "M"])
    assert path.ticks == {0.0: "G", 1.0: "Z", 4.0: "M"}
    assert [levels.tolist() for _, levels in path.segments] == [[[0, 1], [2, 3]], [[4, 5], [6, 7]]]


def test_every_point_is_drawn_once():
    names = ["G", None, None, "X", "K", None, "G"]
    path = BandPath.of(np.random.default_rng(1).random((7, 3)), np.arange(7.0)[:, None], names)
    drawn = np.concatenate([levels for _, levels in path.segments])
    assert drawn.ravel().tolist() == list(range(7))
    for distances, _ in path.segments:
        assert (np.diff(distances) > 0).all()


def test_no_run(tmp_path):
    with pytest.raises(ElectronicStructureError, match=r"vasprun\.xml: there is no such file"):
        read_band_path(tmp_path)
