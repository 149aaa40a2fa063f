"""Errors by class of materials."""

import pytest

pytest.importorskip("h5py", reason="needs the train extra")

from mlcharge_flows.training.evaluation import MaterialErrors, classes, summary


def row(*symbols, removed=0.5):
    return MaterialErrors("-".join(symbols), symbols, 5.0, 2.0, removed, removed, 0.1)


ROWS = [row("Mg", "O"), row("Al", "Cu", removed=0.9), row("Si", "Si"), row("K", "Ti", "O", "F")]


def test_a_material_is_in_every_class_that_it_belongs_to():
    found = classes(ROWS, {"Mg": 100, "O": 500, "Al": 70, "Cu": 20, "Si": 99, "K": 90, "Ti": 80})
    names = {name: [member.id for member in members] for name, members in found.items()}
    assert names == {
        "all": ["Mg-O", "Al-Cu", "Si-Si", "K-Ti-O-F"],
        "with non-metals": ["Mg-O", "Si-Si", "K-Ti-O-F"],
        "metals only": ["Al-Cu"],
        "1 element": ["Si-Si"],
        "2 elements": ["Mg-O", "Al-Cu"],
        "4 or more elements": ["K-Ti-O-F"],
        "an element with at most 75 samples": ["Al-Cu", "K-Ti-O-F"],
    }


def test_the_summary_has_medians_and_the_mean_nmae():
    of = summary(ROWS)
    assert (of["materials"], of["density_removed"], of["nmae_mean"]) == (4, 0.5, 2.0)
