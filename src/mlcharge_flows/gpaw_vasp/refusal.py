"""The one way in which ``gpaw-vasp`` says no."""

from __future__ import annotations


class Refusal(Exception):  # noqa: N818, it is not an error of the program
    """An input that cannot be computed; the message is one line that says what to do."""
