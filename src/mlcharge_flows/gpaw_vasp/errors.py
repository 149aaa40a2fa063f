"""Input that ``gpaw-vasp`` refuses."""

from __future__ import annotations

from mlcharge_flows.errors import MlchargeError


class UnsupportedInputError(MlchargeError):
    """An input that cannot be computed; the message is one line with file, reason and remedy."""
