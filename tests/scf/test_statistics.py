from __future__ import annotations

import json

import numpy as np
import pytest

from mlcharge_flows.scf.averages import mean_interval
from mlcharge_flows.scf.comparison import Comparison
from mlcharge_flows.scf.run import ScfRun
from mlcharge_flows.scf.statistics import summarize


def started(arm: str, n: int | None, **more) -> ScfRun:
    if arm == "default":
        start = {"started_from": "atoms"}
    else:
        start = {"started_from": "chgcar", "echoed_comment": arm, "expected_comment": arm}
    return ScfRun(**({"folder": "", "n_total": n, "converged": True} | start | more))


def material(name: str, n_atoms: int = 2, **arms: int | ScfRun) -> Comparison:
    runs = {arm: started(arm, run) if isinstance(run, int) else run for arm, run in arms.items()}
    return Comparison(material_id=name, formula="Si", n_atoms=n_atoms, protocol="pbe", arms=runs)


def materials(default, learned, **more) -> list[Comparison]:
    columns = {"default": default, "learned": learned, **more}
    return [
        material(f"mp-{n}", **dict(zip(columns, row, strict=True)))
        for n, row in enumerate(zip(*columns.values(), strict=True))
    ]


@pytest.fixture
def drawn() -> list[Comparison]:
    rng = np.random.default_rng(3)
    default = rng.integers(10, 25, size=40)
    learned = np.maximum(6, default - rng.integers(-1, 7, size=40))
    converged = np.maximum(6, default // 2)
    return materials(default.tolist(), learned.tolist(), converged=converged.tolist())


def test_published_saving_is_the_reduction_of_the_median():
    learned = summarize(materials([14, 15, 40], [12, 11, 10])).arms["learned"]
    assert learned.ratio_of_medians == pytest.approx(4 / 15)
    assert (learned.median_n_total_reference, learned.median_n_total) == (15, 11)
    # The mean of the reductions is another quantity.
    assert learned.mean_reduction == pytest.approx(np.mean([2 / 14, 4 / 15, 30 / 40]))


def test_equal_arms_save_nothing_and_are_certain_of_it():
    arm = summarize(materials([10, 12, 17], [10, 12, 17])).arms["learned"]
    assert (arm.ratio_of_medians, arm.mean_reduction) == (0, 0)
    assert arm.mean_reduction_ci95 == (0, 0)
    assert (arm.fraction_faster, arm.fraction_equal, arm.fraction_slower) == (0, 1, 0)
    assert arm.fraction_of_ceiling is None  # nobody knows the ceiling


def test_half_the_steps_everywhere_is_half_in_every_measure():
    arm = summarize(materials([10, 12, 18], [5, 6, 9])).arms["learned"]
    assert arm.ratio_of_medians == arm.mean_reduction == 0.5
    assert arm.mean_reduction_ci95 == (0.5, 0.5)


def test_order_of_materials_is_of_no_account(drawn):
    assert summarize(drawn) == summarize(reversed(drawn)) == summarize(drawn[7:] + drawn[:7])


def test_scaling_all_counts_changes_no_fraction(drawn):
    doubled = [
        comparison.model_copy(
            update={
                "arms": {
                    arm: run.model_copy(update={"n_total": 2 * run.n_total})
                    for arm, run in comparison.arms.items()
                }
            }
        )
        for comparison in drawn
    ]
    once, twice = summarize(drawn).arms["learned"], summarize(doubled).arms["learned"]
    assert twice.median_n_total == 2 * once.median_n_total
    for field in ("ratio_of_medians", "mean_reduction", "fraction_faster", "fraction_of_ceiling"):
        assert getattr(twice, field) == pytest.approx(getattr(once, field))


def test_interval_holds_the_mean_and_narrows_with_more_materials(drawn):
    few, many = summarize(drawn[:10]).arms["learned"], summarize(drawn).arms["learned"]
    for arm in (few, many):
        low, high = arm.mean_reduction_ci95
        assert low < arm.mean_reduction < high
    assert np.ptp(many.mean_reduction_ci95) < np.ptp(few.mean_reduction_ci95)


def test_interval_covers_the_true_mean_about_as_often_as_it_says():
    rng = np.random.default_rng(11)
    intervals = [mean_interval(rng.normal(0.3, 0.1, size=30)) for _ in range(100)]
    hits = sum(low < 0.3 < high for low, high in intervals)
    assert 85 <= hits <= 100


@pytest.mark.parametrize("values", [[], [0.3]])
def test_no_interval_from_fewer_than_two_materials(values):
    assert mean_interval(np.array(values)) is None


def test_shares_add_up(drawn):
    for arm in summarize(drawn).arms.values():
        assert arm.fraction_faster + arm.fraction_equal + arm.fraction_slower == pytest.approx(1)


def test_fraction_of_ceiling(drawn):
    arms = summarize(drawn).arms
    assert arms["converged"].fraction_of_ceiling == 1
    assert arms["default"].fraction_of_ceiling == 0
    assert arms["learned"].fraction_of_ceiling == pytest.approx(
        arms["learned"].mean_reduction / arms["converged"].mean_reduction
    )


def test_fraction_of_ceiling_is_over_the_same_materials():
    campaign = materials([10, 20], [8, 8], converged=[6, 10])
    campaign[1].arms["converged"] = started("converged", None, failure="did not finish: killed")
    arm = summarize(campaign).arms["learned"]
    assert arm.mean_reduction == pytest.approx((0.2 + 0.6) / 2)
    assert arm.fraction_of_ceiling == pytest.approx(0.2 / 0.4)


NOT_COUNTED = [
    ({"started_from": "atoms", "echoed_comment": None}, "fell back to atoms"),
    ({"echoed_comment": "other"}, "read another CHGCAR"),
    ({"started_from": "unknown"}, "initial density not verified"),
    ({"corrections": 1}, "corrected by custodian"),
    ({"failure": "not converged: 60 steps, NELM = 60"}, "not converged"),
    ({"n_total": None}, "no electronic step"),
]


@pytest.mark.parametrize(("fault", "cause"), NOT_COUNTED)
def test_a_run_that_is_not_verified_is_a_failure_and_never_a_saving(fault, cause):
    campaign = materials([10, 20], [8, 16])
    campaign.append(material("bad", default=30, learned=started("learned", 6, **fault)))
    summary = summarize(campaign)
    learned = summary.arms["learned"]
    assert learned.failures == {cause: 1}
    assert (learned.n_attempted, learned.n_materials, learned.n_failed) == (3, 2, 1)
    assert learned.n_fell_back == (cause == "fell back to atoms")
    # Neither arm's median knows the material: they stay paired.
    assert learned.median_n_total_reference == 15
    assert learned.mean_reduction == pytest.approx(0.2)
    assert summary.arms["default"].n_materials == 3


def test_the_delay_of_an_arm_is_that_of_the_runs_that_count():
    read = started("learned", 5).model_copy(update={"n_delay": 0})
    lost = ScfRun(folder="", failure="no initial orbitals", n_delay=5)
    pairs = [material("a", default=10, learned=read), material("b", default=10, learned=lost)]
    assert summarize(pairs).arms["learned"].delays == [0]
    assert summarize(pairs[1:]).arms["learned"].delays == [5]


def test_a_failed_reference_leaves_the_arm_unpaired():
    campaign = materials([10, 20], [8, 16])
    campaign[0].arms["default"] = started("default", None, failure="did not finish: killed")
    learned = summarize(campaign).arms["learned"]
    assert (learned.n_materials, learned.n_failed, learned.n_unpaired) == (1, 0, 1)


def test_every_run_is_accounted_for(drawn):
    for index, (fault, _) in enumerate(NOT_COUNTED):
        drawn[index].arms["learned"] = started("learned", 7, **fault)
        drawn[index + 4].arms["default"] = started("default", 7, failure="killed")
    for arm in summarize(drawn).arms.values():
        assert arm.n_attempted == arm.n_materials + arm.n_failed + arm.n_unpaired
        assert sum(arm.failures.values()) == arm.n_failed


def test_wall_time_includes_the_preparation():
    campaign = [
        material(
            name,
            default=started("default", 10, wall_time=wall),
            learned=started("learned", 5, wall_time=wall / 2, preparation_time=10.0),
        )
        for name, wall in (("small", 20.0), ("large", 100.0))
    ]
    arm = summarize(campaign).arms["learned"]
    assert arm.total_wall_saving == pytest.approx(1 - (10 + 10 + 50 + 10) / 120)
    assert arm.median_wall_saving == pytest.approx((0.0 + 0.4) / 2)
    assert arm.total_preparation_time == 20


def test_processor_times_are_paired_with_those_of_the_preparation():
    campaign = [
        material(
            name,
            default=started("default", 10, wall_time=1.0, cpu_time=20.0),
            learned=started(
                "learned", 5, wall_time=9.0, cpu_time=10.0, preparation_time=1.0, **prep
            ),
        )
        for name, prep in (("measured", {"preparation_cpu_time": 4.0}), ("not measured", {}))
    ]
    arm = summarize(campaign).arms["learned"]
    assert arm.median_cpu_saving == pytest.approx((1 - 14 / 20 + 1 - 11 / 20) / 2)
    assert summarize(campaign).arms["default"].median_cpu_saving == 0.0


def test_loading_a_model_is_a_cost_of_the_process_and_no_run():
    def campaign(loading_time):
        runs = {
            "default": started("default", 10, wall_time=20.0),
            "learned": started("learned", 5, wall_time=10.0, loading_time=loading_time),
        }
        return [material("first", **runs)]

    fresh, warm = (summarize(campaign(time)).arms["learned"] for time in (30.0, None))
    assert fresh.total_wall_saving == warm.total_wall_saving == 0.5
    assert (fresh.total_loading_time, warm.total_loading_time) == (30.0, None)


def test_energies_are_compared_per_atom():
    campaign = [
        material(
            name,
            n_atoms=4,
            default=started("default", 10, energy=-40.0),
            learned=started("learned", 8, energy=-40.0 + shift),
        )
        for name, shift in (("same", -0.0032), ("other", 0.0048))
    ]
    arm = summarize(campaign).arms["learned"]
    assert arm.max_abs_dE_meV_per_atom == pytest.approx(1.2)
    assert arm.fraction_energy_agrees == 0.5


def test_any_arm_can_be_the_reference(drawn):
    turned = summarize(drawn, reference="converged")
    assert turned.arms["default"].mean_reduction < 0
    assert next(iter(turned.arms)) == "converged"


def test_a_material_cannot_appear_twice(drawn):
    with pytest.raises(ValueError, match="material mp-3 appears twice"):
        summarize([*drawn, drawn[3]])


@pytest.mark.parametrize(
    "campaign",
    [
        [],
        materials([10], [8]),
        [material("only learned", learned=8)],
        [material("failed", default=started("default", None, failure="killed"))],
    ],
)
def test_any_campaign_has_a_summary_that_is_plain_json(campaign):
    summary = summarize(campaign)
    text = json.dumps(summary.model_dump(mode="json"), allow_nan=False)
    assert type(summary).model_validate_json(text) == summary


def test_field_names_of_the_json(drawn):
    arm = summarize(drawn).model_dump(mode="json")["arms"]["learned"]
    assert set(arm) >= {
        *("n_materials", "n_failed", "median_n_total", "ratio_of_medians", "mean_reduction"),
        *(
            "mean_reduction_ci95",
            "fraction_faster",
            "fraction_slower",
            "fraction_equal",
            "median_n_scf",
        ),
        *("median_wall_saving", "total_wall_saving", "max_abs_dE_meV_per_atom"),
        *("fraction_energy_agrees", "median_first_residual", "fraction_of_ceiling", "n_fell_back"),
        "failures",
    }


def test_a_control_arm_that_failed_is_not_called_missing():
    lost = ScfRun(folder="", failure="no electronic step: I am not licensed for this host")
    summary = summarize([material("Si", default=9, superposition=lost)])
    assert summary.wall_time_issue == (
        "no material counts in both 'default' and the control arm 'superposition', which measures "
        "the noise of the machine: no electronic step"
    )
    assert "there is no 'superposition' arm" in str(
        summarize([material("Si", default=9)]).wall_time_issue
    )
