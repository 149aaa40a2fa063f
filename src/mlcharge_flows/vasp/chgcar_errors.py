"""What can be wrong with a CHGCAR, told apart as VASP tells it apart."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlcharge_flows.density.density import Density


class ChgcarError(ValueError):
    """A CHGCAR that cannot be read; one line that names the file and the defect."""


class IncompleteGridError(ChgcarError):
    """The file ends, or stops making sense, before the last grid value."""


class OccupancyError(ChgcarError):
    """The total density is whole but an occupancy record is missing or malformed.

    Parameters
    ----------
    message
        What is wrong.
    ion
        Number of the first ion concerned, counted from 1.
    density
        What was read before it: the density without occupancies.
    """

    def __init__(self, message: str, ion: int, density: Density) -> None:
        super().__init__(message)
        self.ion = ion
        self.density = density


class MagnetizationError(ChgcarError):
    """Total density and occupancies are whole but what follows is not a magnetization.

    Parameters
    ----------
    message
        What is wrong.
    density
        What was read before it: the spinless density.
    cut
        Whether the file ends where it goes wrong.
    """

    def __init__(self, message: str, density: Density, cut: bool = False) -> None:
        super().__init__(message)
        self.density = density
        self.cut = cut
