from __future__ import annotations

import json

import numpy as np
import pytest

from mlcharge_flows.scf.comparison import Comparison
from mlcharge_flows.scf.final_state import MOMENT_TOLERANCE, moment_difference
from mlcharge_flows.scf.run import ScfRun
from mlcharge_flows.scf.statistics import ArmSummary, summarize


def spin(moments=None, total: float | None = 0.0, **more) -> ScfRun:
    given = {"folder": "", "n_total": 9, "energy": -10.0, "spin_polarized": True}
    return ScfRun(**(given | {"ion_moments": moments, "total_moment": total} | more))


def compared(*pairs: tuple[ScfRun, ScfRun], arm: str = "learned") -> list[Comparison]:
    """Pair runs of the reference and of an arm, two ions each."""
    found = []
    for number, (base, run) in enumerate(pairs):
        read = {"started_from": "chgcar", "echoed_comment": "x", "expected_comment": "x"}
        arms = {
            "default": base.model_copy(update={"started_from": "atoms"}),
            arm: run.model_copy(update=read),
        }
        of = {"formula": "FeO", "n_atoms": 2, "protocol": "p", "arms": arms}
        found.append(Comparison(material_id=f"mp-{number}", **of))
    return found


@pytest.fixture
def moments() -> list[float]:
    return np.random.default_rng(5).normal(scale=3, size=6).tolist()


def test_a_reversed_magnetization_is_the_same_state(moments):
    total = sum(moments)
    run, reversed_run = spin(moments, total), spin([-m for m in moments], -total)
    assert moment_difference(run, run) == moment_difference(run, reversed_run) == 0.0
    assert moment_difference(spin(None, total), spin(None, -total)) == 0.0


def test_one_reversed_ion_is_another_state(moments):
    largest = int(np.argmax(np.abs(moments)))
    other = [-m if n == largest else m for n, m in enumerate(moments)]
    rest = np.delete(np.abs(moments), largest).max()
    expected = 2 * min(abs(moments[largest]), rest)
    assert moment_difference(spin(moments), spin(other)) == pytest.approx(expected)


def test_the_difference_is_that_of_a_loop_over_signs(moments):
    others = np.random.default_rng(6).normal(scale=3, size=6).tolist()
    slow = min(
        max(abs(a - sign * b) for a, b in zip(moments, others, strict=True)) for sign in (1, -1)
    )
    found = moment_difference(spin(moments), spin(others))
    assert found == moment_difference(spin(others), spin(moments)) == pytest.approx(slow)


def test_total_moments_stand_in_where_a_run_has_none_of_ions(moments):
    assert moment_difference(spin(moments, 4.0), spin(None, 1.5)) == 2.5
    assert moment_difference(spin(moments[:2], 4.0), spin(moments, 1.5)) == 2.5
    assert moment_difference(spin(moments, 4.0), spin(None, None)) is None


def test_without_spin_there_is_nothing_to_compare():
    for flag in (False, None):
        without = spin([1.0], 1.0, spin_polarized=flag)
        assert moment_difference(spin([1.0], 1.0), without) is None
        assert moment_difference(without, without) is None


def test_an_arm_that_is_the_reference_ends_in_its_states(moments):
    runs = [spin(moments[:2], 1.0, energy=e) for e in (-3.0, -4.0)] + [spin(spin_polarized=False)]
    arm = summarize(compared(*zip(runs, runs, strict=True))).arms["learned"]
    fractions = arm.fraction_energy_agrees, arm.fraction_energy_lower, arm.fraction_energy_higher
    assert fractions == (1.0, 0.0, 0.0)
    assert (arm.n_spin_polarized, arm.n_moments_agree, arm.other_states) == (2, 2, [])


def test_exchanging_arm_and_reference_exchanges_lower_and_higher():
    shifts = (-8.0, -2.0, -1e-4, 0.0, 3e-3, 2.0)  # eV of two ions
    pairs = [(spin(energy=-10.0), spin(energy=-10.0 + shift)) for shift in shifts]
    one = summarize(compared(*pairs)).arms["learned"]
    other = summarize(compared(*[(b, a) for a, b in pairs])).arms["learned"]
    assert (one.fraction_energy_lower, one.fraction_energy_higher) == pytest.approx((2 / 6, 2 / 6))
    assert one.fraction_energy_lower == other.fraction_energy_higher
    total = one.fraction_energy_agrees + one.fraction_energy_lower + one.fraction_energy_higher
    assert total == pytest.approx(1)


def test_materials_in_another_state_are_named_by_energy_or_by_moments():
    same, flipped = [2.2, 2.2], [2.2, -2.2]
    learned = summarize(
        compared(
            (spin(same, 4.5), spin(flipped, 0.0, energy=-10.1)),
            (spin(same, 4.5), spin(flipped, 0.0)),
            (spin(same, 4.5), spin([2.2 - 0.9 * MOMENT_TOLERANCE, 2.2], 4.4, energy=-10.001)),
            (spin(same, 4.5), spin(same, 4.5, energy=-9.0)),
        )
    ).arms["learned"]
    assert [state.material_id for state in learned.other_states] == ["mp-3", "mp-0", "mp-1"]
    state = learned.other_states[1]
    assert state.dE_meV_per_atom == pytest.approx(-50)
    assert (state.max_moment_difference, state.total_moment) == (4.4, 0.0)
    assert state.total_moment_reference == 4.5
    assert (learned.n_spin_polarized, learned.n_moments_agree) == (4, 2)


def test_earlier_results_have_no_moments_and_are_read():
    fields = ("total_moment", "ion_moments", "ion_elements", "hubbard", "band_gap")
    (comparison,) = compared((spin([1.0]), spin([1.0])))
    document = json.loads(comparison.model_dump_json())
    for run in document["arms"].values():
        for name in fields:
            del run[name]
    earlier = Comparison.model_validate(document)
    assert earlier.arms["default"].ion_moments is None
    arm = summarize([earlier]).arms["learned"]
    assert (arm.n_spin_polarized, arm.fraction_energy_agrees) == (None, 1.0)
    new = ("n_spin_polarized", "n_moments_agree", "other_states", "fraction_energy_lower")
    old = {name: value for name, value in arm.model_dump().items() if name not in new}
    assert ArmSummary.model_validate(old).other_states == []
