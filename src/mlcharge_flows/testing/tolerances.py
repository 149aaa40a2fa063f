"""Named tolerances: how far two numbers may be apart, and why.

>>> PRINTED.assert_close(-0.14932e2, -14.932000000001)
>>> ROUNDING.close(1.0, 1.0 + 1e-6)
False
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike


@dataclass(frozen=True)
class Tolerance:
    """A relative and an absolute tolerance.

    Two numbers are equal if |actual - desired| <= `absolute` + `relative` |desired|.

    Parameters
    ----------
    relative
        Fraction of the desired number.
    absolute
        In the unit of the numbers.
    """

    relative: float
    absolute: float

    def close(self, actual: ArrayLike, desired: ArrayLike) -> bool:
        """Whether all numbers agree.

        Parameters
        ----------
        actual
            Numbers, of any shape.
        desired
            What they should be, of a shape that broadcasts against theirs.

        Returns
        -------
        bool
            True if every pair agrees.
        """
        return bool(np.allclose(actual, desired, rtol=self.relative, atol=self.absolute))

    def assert_close(self, actual: ArrayLike, desired: ArrayLike) -> None:
        """Raise unless all numbers agree.

        Parameters
        ----------
        actual
            Numbers, of any shape.
        desired
            What they should be, of a shape that broadcasts against theirs.

        Raises
        ------
        AssertionError
            If a pair does not; with numpy's account of the differences.
        """
        np.testing.assert_allclose(
            np.asarray(actual), np.asarray(desired), rtol=self.relative, atol=self.absolute
        )


ROUNDING = Tolerance(relative=1e-11, absolute=1e-11)
"""The same sum in another order, in double precision."""

SINGLE = Tolerance(relative=1e-4, absolute=1e-5)
"""The same network in single precision, on another processor."""

PRINTED = Tolerance(relative=1e-11, absolute=0.0)
"""A number that went through a CHGCAR, which prints eleven digits."""

ELECTRONS = Tolerance(relative=1e-10, absolute=1e-9)
"""A number of electrons, summed over a grid in double precision."""
