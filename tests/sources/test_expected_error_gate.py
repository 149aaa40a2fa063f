"""Predictions that may be no better than free atoms are refused, as other refused crystals are."""

from dataclasses import replace

import numpy as np
import pytest

from mlcharge_flows.models.card import ExpectedErrorCard
from mlcharge_flows.models.expected_error import ExpectedError
from mlcharge_flows.settings import Settings, SetupError
from mlcharge_flows.sources import Fallback, InitialDensity, Learned, Superposition

FIGURES = {
    "materials": 99,
    "correlation": 0.6,
    "coverage_50": 0.5,
    "coverage_90": 0.9,
    "above_high": 0.1,
    "spread": 0.5,
}


@pytest.fixture
def expecting(trained, tiny, monkeypatch):
    """A model that expects an error."""

    def expecting(median, spread=0.5, **figures):
        expected = ExpectedError(median, spread)
        monkeypatch.setattr(tiny.TinyModel, "expected_error", lambda self, *given: expected)
        return trained(expected_error=ExpectedErrorCard(**FIGURES, **figures))

    return expecting


def test_a_prediction_tells_the_expected_error(inputs, expecting, tmp_path):
    expecting(0.1)
    document = InitialDensity(Learned("tiny")).write(inputs, tmp_path)
    assert document.expected_error == pytest.approx((0.1, 0.1 * np.exp(0.5 * 1.2816)), rel=1e-4)
    assert "expected_error" in document.model_dump_json()


def test_a_crystal_beyond_the_limit_is_refused(inputs, expecting, refusal):
    expecting(0.8)
    assert refusal(inputs, Learned("tiny")) == (
        "the model tiny is expected to leave 80 % of the superposition's error (with a probability "
        "of 90 % at most 152 %); the limit is 100 % (MLCHARGE_MAX_EXPECTED_ERROR)"
    )


def test_the_limit_is_that_of_the_card(inputs, expecting, refusal, tmp_path):
    expecting(0.8, limit=1.6)
    InitialDensity(Learned("tiny")).write(inputs, tmp_path)
    (tmp_path / "CHGCAR").unlink()
    expecting(0.1, limit=0.15)
    assert "the limit is 15 %" in refusal(inputs, Learned("tiny"))


@pytest.mark.parametrize("off", ["inf", "1.6"])
def test_the_gate_can_be_moved_and_switched_off(inputs, expecting, tmp_path, monkeypatch, off):
    expecting(0.8)
    monkeypatch.setenv("MLCHARGE_MAX_EXPECTED_ERROR", off)
    document = InitialDensity(Learned("tiny")).write(inputs, tmp_path)
    assert document.expected_error[0] == 0.8


def test_a_limit_can_be_lowered(inputs, expecting, refusal, monkeypatch):
    expecting(0.1)
    monkeypatch.setenv("MLCHARGE_MAX_EXPECTED_ERROR", "0.1")
    assert "the limit is 10 %" in refusal(inputs, Learned("tiny"))
    monkeypatch.setenv("MLCHARGE_MAX_EXPECTED_ERROR", "-1")
    with pytest.raises(SetupError, match="MLCHARGE_MAX_EXPECTED_ERROR = -1"):
        Settings()


def test_a_fallback_takes_the_next_source(inputs, expecting, tmp_path):
    expecting(0.8)
    chain = InitialDensity(Fallback((Learned("tiny"), Superposition())))
    document = chain.write(inputs, tmp_path)
    assert document.density_source == "superposition"
    assert document.expected_error is None
    assert document.warnings[0].startswith("the model tiny is expected to leave 80 %")


def test_models_without_an_estimate_are_not_gated(inputs, trained, tmp_path):
    trained()
    document = InitialDensity(Learned("tiny")).write(inputs, tmp_path)
    assert document.expected_error is None


def test_occupancies_for_another_density_are_not_gated(inputs, expecting):
    expecting(0.8)
    given = Superposition().evaluate(inputs)
    found = Learned("tiny").evaluate(inputs, replace(given, is_superposition=True))
    assert found.density.augmentation is not None
