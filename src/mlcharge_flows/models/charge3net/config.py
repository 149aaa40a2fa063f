"""Size of a ChargE3Net, and presets."""

from __future__ import annotations

from typing import Any, Literal

from e3nn.o3 import Irreps
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mlcharge_flows.models.model import ModelError


class ChargE3NetConfig(BaseModel):
    """Size of a network; the defaults are those of the published ones.

    Examples
    --------
    >>> ChargE3NetConfig().irreps
    100x0o+100x0e+33x1o+33x1e+20x2o+20x2e+14x3o+14x3e+11x4o+11x4e
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    num_interactions: int = Field(3, ge=1, description="Convolutions of atoms, and of probes.")
    num_neighbors: float = Field(
        20,
        gt=0,
        description="Sums of messages are divided by the root of it.",
    )
    mul: int = Field(
        500, ge=1, description="Components per parity, spread evenly over l = 0 to lmax."
    )
    lmax: int = Field(4, ge=0, le=8, description="Largest angular momentum.")
    target: Literal["density", "difference"] = Field(
        "density",
        description="What the network gives at a point: the density, as published, or its "
        "difference from the superposition of atoms, which takes far less training.",
    )
    cutoff: float = Field(4.0, gt=0, description="Radius of the neighborhood, angstrom.")
    basis: Literal["gaussian"] = Field("gaussian", description="Radial functions.")
    num_basis: int = Field(20, ge=2, description="Radial functions between 0 and the cutoff.")

    @model_validator(mode="after")
    def _channels_for_every_l(self) -> ChargE3NetConfig:
        for l in range(self.lmax + 1):
            if self.channels(l) == 0:
                raise ValueError(f"mul={self.mul} leaves no channel for l={l}")
        return self

    def channels(self, l: int) -> int:
        """Channels of one angular momentum and parity: mul / (lmax + 1) / (2 l + 1), rounded.

        Parameters
        ----------
        l
            Angular momentum.
        """
        return round(self.mul / (self.lmax + 1) / (2 * l + 1))

    @property
    def irreps(self) -> Irreps:
        """Channels of a hidden layer, both parities."""
        return Irreps([(self.channels(l), (l, p)) for l in range(self.lmax + 1) for p in (-1, 1)])

    @property
    def harmonics(self) -> Irreps:
        """Spherical harmonics of an edge."""
        return Irreps.spherical_harmonics(self.lmax)


DIFFERENCE = 0.05
"""Unit of the network's output where it is a difference, electrons/angstrom^3: about its size."""

PRESETS = {
    "published": ChargE3NetConfig(),
    "medium": ChargE3NetConfig(mul=160, lmax=3),
    "small": ChargE3NetConfig(mul=64, lmax=2, num_interactions=2),
}
"""``published`` is the size of the paper; the others can be trained on a processor."""


def size_of(**config: Any) -> ChargE3NetConfig:
    """Check the size of a network.

    Parameters
    ----------
    **config
        Fields of :class:`ChargE3NetConfig`.

    Raises
    ------
    ModelError
        There is no such network; one line.

    Examples
    --------
    >>> size_of(mul=5)
    Traceback (most recent call last):
        ...
    mlcharge_flows.models.model.ModelError: no such ChargE3Net: mul=5 leaves no channel for l=1
    """
    try:
        return ChargE3NetConfig(**config)
    except ValidationError as error:
        first = error.errors()[0]
        words = [*map(str, first["loc"]), first["msg"].removeprefix("Value error, ")]
        raise ModelError(f"no such ChargE3Net: {': '.join(words)}") from None
