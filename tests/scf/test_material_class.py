from __future__ import annotations

import numpy as np
import pytest

from mlcharge_flows.scf.comparison import Comparison
from mlcharge_flows.scf.material_class import (
    CLASSES,
    CONDUCTION,
    MAGNETISM,
    SIZES,
    by_class,
    material_classes,
)
from mlcharge_flows.scf.run import ScfRun


def material(name="mp-1", formula="FeO", n_atoms=2, **run) -> Comparison:
    default = ScfRun(**({"folder": "", "n_total": 9, "started_from": "atoms"} | run))
    of = {"formula": formula, "n_atoms": n_atoms, "protocol": "p"}
    return Comparison(material_id=name, arms={"default": default}, **of)


def magnetic(elements: str, *moments: float, total: float | None = None, **more) -> Comparison:
    run = {"spin_polarized": True, "ion_elements": elements.split(), "ion_moments": moments}
    return material(total_moment=total, **run, **more)


@pytest.fixture
def drawn() -> list[Comparison]:
    rng = np.random.default_rng(8)
    found = []
    for number in range(200):
        n = int(rng.integers(1, 14))
        elements = " ".join(rng.choice(["Fe", "O", "Gd", "Al"], size=n))
        moments = rng.normal(size=n) * rng.choice([0, 0.3, 4])
        gap = float(rng.choice([0, 0.05, 0.3]))
        more = {"name": f"mp-{number}", "n_atoms": n, "band_gap": gap}
        found.append(magnetic(elements, *moments, total=float(moments.sum()), **more))
    return found


@pytest.mark.parametrize("kind", [MAGNETISM, CONDUCTION, SIZES])
def test_each_kind_is_a_partition_where_it_is_known(drawn, kind):
    members = by_class(drawn)
    names = [c.material_id for name in kind for c in members.get(name, [])]
    assert sorted(names) == sorted(c.material_id for c in drawn)
    assert all(members[name] for name in kind)


def test_classes_are_in_the_order_of_the_table(drawn):
    assert list(by_class(reversed(drawn))) == [name for name in CLASSES if name in by_class(drawn)]


def test_order_does_not_depend_on_the_sign_of_all_moments(drawn):
    for comparison in drawn:
        run = comparison.arms["default"]
        before = material_classes(comparison)
        run.ion_moments = [-moment for moment in run.ion_moments]
        run.total_moment = -run.total_moment
        assert material_classes(comparison) == before


@pytest.mark.parametrize(
    ("comparison", "order"),
    [
        (magnetic("Fe Fe", 2.2, 2.2, total=4.3), "ferro- or ferrimagnetic 3d"),
        (magnetic("Fe Fe O", 4.2, -3.6, 0.1, total=0.8), "ferro- or ferrimagnetic 3d"),
        (magnetic("Ni", 0.62), "ferro- or ferrimagnetic 3d"),
        (magnetic("Cr Cr", 1.5, -1.5, total=0.0), "antiferromagnetic 3d"),
        (magnetic("Fe Fe O O", 3.6, -3.6, 0.0, 0.0, total=0.02), "antiferromagnetic 3d"),
        (magnetic("Al Al", 0.0, -0.0, total=0.0), "non-magnetic"),
        (magnetic("Fe Al", 0.09, 0.0, total=0.1), "non-magnetic"),
        (magnetic("Fe Al", 0.3, 0.0, total=0.3), "other moments"),  # none of its own
        (magnetic("Gd Ni", 7.0, -0.2, total=6.8), "other moments"),  # of f electrons
        (magnetic("O O", 0.9, 0.9, total=2.0), "other moments"),
    ],
)
def test_magnetic_order(comparison, order):
    assert [name for name in material_classes(comparison) if name in MAGNETISM] == [order]


def test_what_the_run_does_not_tell_is_no_class():
    unknown = [
        material(spin_polarized=True, total_moment=4.0),  # without LORBIT
        material(spin_polarized=False),
        material(),
        material(failure="stopped: why", band_gap=0.0, hubbard=True),
    ]
    for comparison in unknown:
        assert material_classes(comparison) == ["up to 4 ions"]
    del unknown[0].arms["default"]
    assert material_classes(unknown[0]) == ["up to 4 ions"]


def test_other_classes():
    assert material_classes(material(hubbard=True, formula="NiO", n_atoms=8)) == [
        "with +U",
        "5 to 8 ions",
    ]
    assert "with f elements" not in material_classes(material(formula="Fe2F3"))
    for formula in ("CeO2", "UO2", "Ba(Lu2S4)2"):
        assert "with f elements" in material_classes(material(formula=formula))
    for gap, name in ((0.0, "metals"), (0.1, "metals"), (0.11, "insulators")):
        assert name in material_classes(material(band_gap=gap))
    sizes = [material_classes(material(n_atoms=n))[-1] for n in (1, 4, 5, 8, 9, 400)]
    assert sizes == [name for name in SIZES for _ in range(2)]
