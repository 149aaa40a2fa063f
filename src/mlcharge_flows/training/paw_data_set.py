"""What a data set has to know of a PAW data set."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from mlcharge_flows.density.superposition import AtomicStart
    from mlcharge_flows.vasp.potcar import Potcar


@dataclass(frozen=True, eq=False)
class PawDataSet:
    """Name and channels of a PAW data set, and its free atom where that is known.

    Parameters
    ----------
    titel
        TITEL of the POTCAR.
    channels
        l of each projector channel.
    atom
        The free atom; None for runs without a POTCAR.
    """

    titel: str
    channels: tuple[int, ...]
    atom: AtomicStart | None = None

    @classmethod
    def of(cls, potcar: Potcar) -> PawDataSet:
        """Take what an entry of a POTCAR says."""
        return cls(potcar.titel, potcar.channels, potcar.atomic_start())

    def matches(self, other: PawDataSet) -> bool:
        """Whether records of the two can be learned from together."""
        if (self.titel, self.channels) != (other.titel, other.channels):
            return False
        if self.atom is None or other.atom is None:
            return self.atom is other.atom
        return self.atom.zval == other.atom.zval and all(
            a.shape == b.shape and np.allclose(a, b, rtol=1e-9, atol=1e-12)
            for a, b in (
                (self.atom.q, other.atom.q),
                (self.atom.form_factor, other.atom.form_factor),
                (self.atom.record, other.atom.record),
            )
        )
