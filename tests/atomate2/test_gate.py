"""Runs whose learned density may be no better than free atoms begin from these."""

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the models extra")

from atomate2.vasp.jobs.core import StaticMaker
from atomate2.vasp.powerups import (
    update_user_incar_settings,
    update_vasp_input_generators,
)
from cheap_runs import CHEAP, POLLING

from mlcharge_flows.atomate2.powerups import start_from_predicted_density
from mlcharge_flows.atomate2.schemas import RunProvenance
from mlcharge_flows.models.card import ExpectedErrorCard
from mlcharge_flows.models.checkpoint import (
    Checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from mlcharge_flows.models.expected_error import ErrorRegression
from mlcharge_flows.models.orbital.error_estimate import ErrorEstimate
from mlcharge_flows.models.orbital.familiarity import TrainingSites
from mlcharge_flows.models.registry import SHIPPED
from mlcharge_flows.sources import Fallback, Learned, Superposition

pytestmark = pytest.mark.gpaw


@pytest.fixture
def doubtful(tmp_path):
    """The shipped model, which expects to leave 80 % of the error of every crystal."""
    known = read_checkpoint(SHIPPED / "orbital.safetensors")
    figures = ExpectedErrorCard(
        materials=9, correlation=0, coverage_50=0.5, coverage_90=0.9, above_high=0.1, spread=0.5
    )
    n_channels = known.card.config["n_channels"]
    sites = TrainingSites(np.zeros(n_channels), np.zeros((n_channels, 8)), np.zeros((1, 8)))
    zero = np.zeros(5)
    regression = ErrorRegression(zero, zero + 1, zero, np.zeros((5, 5)), float(np.log(0.8)), 0.5, 9)
    path = tmp_path / "doubtful.safetensors"
    card = known.card.model_copy(update={"name": "doubtful", "expected_error": figures})
    estimate = ErrorEstimate(sites, regression).tensors()
    write_checkpoint(path, Checkpoint(card, known.weights, estimate))
    return str(path)


def test_a_refused_run_begins_from_atoms(silicon, run, doubtful, monkeypatch):
    def provenance(density):
        work = update_user_incar_settings(
            start_from_predicted_density(StaticMaker(), density), CHEAP
        )
        work = update_vasp_input_generators(work, {"run_vasp_kwargs->custodian_kwargs": POLLING})
        document = run(work.make(silicon))["static"]
        return RunProvenance.model_validate(document["additional_json"]["mlcharge"])

    reason = "the model doubtful is expected to leave 80 % of the superposition's error"
    refused = provenance(Learned(doubtful))
    assert refused.started_from == "atoms"
    assert refused.initial_density.failure.startswith(reason)
    chained = provenance(Fallback((Learned(doubtful), Superposition())))
    assert chained.started_from == "chgcar"
    assert chained.initial_density.density_source == "superposition"
    assert chained.initial_density.warnings[0].startswith(reason)
    monkeypatch.setenv("MLCHARGE_MAX_EXPECTED_ERROR", "inf")
    taken = provenance(Learned(doubtful))
    assert taken.started_from == "chgcar"
    assert taken.initial_density.expected_error[0] == pytest.approx(0.8)
