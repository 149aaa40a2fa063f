"""The models that a user's settings know."""

from __future__ import annotations

from mlcharge_flows.models.registry import Registry
from mlcharge_flows.settings import Settings


def known_models() -> Registry:
    """Models shipped with the package and those in the user's own folder."""
    return Registry(Settings().models)
