"""Fixtures of more than one folder of tests."""

import pytest


@pytest.fixture
def tiny(monkeypatch, tmp_path):
    """The small architecture of ``tiny_model``, known to the registry; no other model is."""
    pytest.importorskip("torch", reason="needs the models extra")
    pytest.importorskip("safetensors", reason="needs the models extra")
    import tiny_model
    from mlcharge_flows.models import registry

    tiny_model.register(monkeypatch)
    tiny_model.LOADS.clear()
    registry._load.cache_clear()
    monkeypatch.setattr(registry, "SHIPPED", tmp_path / "shipped")
    monkeypatch.setenv("MLCHARGE_MODELS", str(tmp_path / "models"))
    yield tiny_model
    registry._load.cache_clear()
