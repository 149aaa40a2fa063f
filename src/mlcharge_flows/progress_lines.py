"""Lines that tell the progress of a long command in a log file, where no bar can be drawn."""

from __future__ import annotations

from datetime import timedelta
from time import monotonic

_INTERVAL = 60.0  # seconds between two lines


class ProgressLines:
    """Lines of progress: at most one a minute, and a hundred in all.

    Parameters
    ----------
    description
        What the items are.
    total
        Number of items.
    """

    def __init__(self, description: str, total: int) -> None:
        self.description, self.total = description, total
        self._began = self._last = monotonic()
        self._told = 0

    def line(self, done: int) -> str | None:
        """Tell the progress, if it is time.

        Parameters
        ----------
        done
            Number of items that are finished.

        Returns
        -------
        str or None
            Items done, time passed and time left; None if the last line is not long ago.
        """
        now = monotonic()
        is_due = now - self._last >= _INTERVAL and done - self._told >= self.total / 100
        if not is_due or done < 1:
            return None
        self._last, self._told = now, done
        passed = now - self._began
        times = passed, passed / done * max(self.total - done, 0)
        shown, left = (timedelta(seconds=int(seconds)) for seconds in times)
        return f"{self.description}: {done} of {self.total}, {shown}, {left} left"
