"""Fixtures of more than one folder of tests."""

import os
from pathlib import Path

import pytest

# The tests ask for the embedded executable, unless they configure another one.
os.environ.setdefault("MLCHARGE_VASP_CMD", "gpaw-vasp")

VASP_SAMPLES = Path(
    os.environ.get("MLCHARGE_VASP_SAMPLES") or Path(__file__).parents[2] / "shared" / "vasp_samples"
)
"""Real VASP files, fetched by test_files/fetch_vasp_samples.py."""


@pytest.fixture(scope="session")
def vasp_samples():
    """Folder of the real VASP files; tests that need it skip without, but fail in CI."""
    if not VASP_SAMPLES.is_dir():
        reason = (
            f"no real VASP files in {VASP_SAMPLES}: fetch them with "
            "test_files/fetch_vasp_samples.py, or set MLCHARGE_VASP_SAMPLES"
        )
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(reason)
        pytest.skip(reason)
    return VASP_SAMPLES


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """The tiny architecture is known to the registry; no other model is."""
    pytest.importorskip("torch", reason="needs the models extra")
    pytest.importorskip("safetensors", reason="needs the models extra")
    from mlcharge_flows.models import registry
    from mlcharge_flows.testing import tiny_model

    tiny_model.register(monkeypatch)
    tiny_model.LOADS.clear()
    registry._load.cache_clear()
    monkeypatch.setattr(registry, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setenv("MLCHARGE_MODELS", str(tmp_path / "models"))
    yield tiny_model
    registry._load.cache_clear()
