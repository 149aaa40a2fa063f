"""Hashes of settings: the same settings are the same protocol, wherever their classes are."""

from atomate2.vasp.jobs.core import StaticMaker

from mlcharge_flows.atomate2.flows.compare import CompareDensitiesMaker
from mlcharge_flows.atomate2.flows.dataset import DensitySampleMaker
from mlcharge_flows.atomate2.sets.comparison import (
    BandPathSetGenerator,
    ComparisonSetGenerator,
    lmaxmix,
    protocol_hash,
    settings_only,
)
from mlcharge_flows.atomate2.sets.materials_project import TaskStaticMaker


def test_data_sets_and_comparisons_of_the_first_release_keep_their_protocol():
    # The hash in docs/dataset.md, and in every folder of a comparison under the default settings.
    for maker in (CompareDensitiesMaker(), DensitySampleMaker(), DensitySampleMaker(fast_scf=True)):
        assert maker.protocol == "7e57be5010f5"


def test_our_classes_are_hashed_by_their_first_names():
    first = [
        (ComparisonSetGenerator(), ("mlcharge_flows.jobs.protocol", "ComparisonSetGenerator")),
        (BandPathSetGenerator(), ("mlcharge_flows.jobs.line_protocol", "LineSetGenerator")),
        (TaskStaticMaker(), ("mlcharge_flows.jobs.task_inputs", "TaskStaticMaker")),
    ]
    for made, names in first:
        bare = settings_only(made.as_dict())
        assert (bare["@module"], bare["@class"]) == names
    static = settings_only(StaticMaker().as_dict())
    assert static["@module"] == "atomate2.vasp.jobs.core", "those of others stay"
    assert "@version" not in str(static)


def test_any_setting_changes_the_protocol():
    plain = protocol_hash(ComparisonSetGenerator())
    assert protocol_hash(ComparisonSetGenerator(), "vasp_std") != plain
    assert protocol_hash(BandPathSetGenerator()) != plain
    assert protocol_hash(ComparisonSetGenerator(user_incar_settings={"NELMDL": -2})) != plain


def test_lmaxmix_keeps_the_occupancies_of_f_electrons():
    assert lmaxmix([8, 56]) == 4
    assert lmaxmix([8, 57]) == 6
    assert lmaxmix([]) == 4
