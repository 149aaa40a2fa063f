"""The one way in which ``gpaw-vasp`` says no."""

from __future__ import annotations

from mlcharge_flows.errors import MlchargeError


class UnsupportedInputError(MlchargeError):
    """An input that cannot be computed; the message is one line that says what to do."""
