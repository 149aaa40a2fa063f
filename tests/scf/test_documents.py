"""Documents written by version 0.1, whose keys had other names, are read."""

import json
from pathlib import Path

import pytest

from mlcharge_flows.atomate2.jobs.comparison import Outcome
from mlcharge_flows.scf.comparison import Comparison
from mlcharge_flows.scf.nonscf import NonSCFComparison, NonSCFSummary, summarize_nonscf
from mlcharge_flows.scf.statistics import Summary, summarize

OLD = Path(__file__).parents[2] / "test_files" / "documents_0.1"
MODELS = {
    "comparison": Comparison,
    "outcome": Outcome,
    "nonscf": NonSCFComparison,
    "summary": Summary,
    "bands": NonSCFSummary,
}
RENAMED = {
    *("material", "start_time", "start_comment", "occupancies", "total_start_time", "starts"),
    *("lines", "line_errors", "share_line_bands_within", "line_wall_ratio"),
    *("share_faster", "share_of_ceiling", "share_energy_agrees", "share_bands_within"),
}


def keys(document):
    """All keys of a JSON document but names of arms."""
    if not isinstance(document, dict):
        return set()
    return set(document).union(*map(keys, document.values()))


@pytest.mark.parametrize("name", MODELS)
def test_nothing_of_an_old_document_is_lost(name):
    old = json.loads((OLD / f"{name}.json").read_text())
    assert keys(old) & RENAMED
    document = MODELS[name].model_validate(old)
    new = json.loads(document.model_dump_json())
    assert not keys(new) & RENAMED
    assert MODELS[name].model_validate(new) == document
    assert sorted(values(old)) == sorted(value for value in values(new) if value is not None)


def values(document):
    """All values of a JSON document that are set."""
    if isinstance(document, dict):
        return [value for item in document.values() for value in values(item)]
    if isinstance(document, list):
        return [value for item in document for value in values(item)]
    return [] if document is None else [str(document)]


def test_an_old_comparison_is_the_same_comparison():
    comparison = Comparison.model_validate_json((OLD / "comparison.json").read_text())
    learned = comparison.arms["learned"]
    assert comparison.material_id == "mp-149"
    assert (learned.preparation_time, learned.augmentation_source) == (1.5, "learned")
    assert learned.echoed_comment == "mlcharge-learned-3f2a"
    assert learned.verified
    summary = Summary.model_validate_json((OLD / "summary.json").read_text())
    new = summarize([comparison])
    for arm in new.arms.values():  # which of two energies is lower it did not tell
        arm.fraction_energy_lower = arm.fraction_energy_higher = None
    assert summary == new


def test_an_old_comparison_at_fixed_density_has_its_band_paths():
    comparison = NonSCFComparison.model_validate_json((OLD / "nonscf.json").read_text())
    assert set(comparison.band_paths) == {"default", "learned"}
    assert comparison.band_path_errors["learned"].fraction_bands_within == 0.8
    summary = NonSCFSummary.model_validate_json((OLD / "bands.json").read_text())
    assert summary == summarize_nonscf([comparison])
    assert summary.arms["learned"].band_path_wall_ratio == pytest.approx(17.5 / 40)
