"""Size of a ChargE3Net network, and presets."""

from __future__ import annotations

from typing import Any, Literal

from e3nn.o3 import Irreps
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mlcharge_flows.models.model import ModelError
from mlcharge_flows.yaml_files import validation_problems

DIFFERENCE_SCALE = 0.05
"""Unit of the network's output if the target is a difference, electrons/angstrom^3: the typical
size of the difference between a converged density and the superposition of atoms."""


class ChargE3NetConfig(BaseModel):
    """Size of a network; the defaults are those of the published networks.

    Examples
    --------
    >>> ChargE3NetConfig().irreps
    100x0o+100x0e+33x1o+33x1e+20x2o+20x2e+14x3o+14x3e+11x4o+11x4e
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    num_interactions: int = Field(3, ge=1, description="Convolution layers, of atoms and probes.")
    num_neighbors: float = Field(
        20, gt=0, description="Aggregated messages are divided by its square root."
    )
    mul: int = Field(
        500, ge=1, description="Components per parity, spread evenly over l = 0 to lmax."
    )
    lmax: int = Field(4, ge=0, le=8, description="Largest angular momentum.")
    target: Literal["density", "difference"] = Field(
        "density",
        description="Output at a point: the density, as published, or its difference from the "
        "superposition of atoms, which takes far less training.",
    )
    cutoff: float = Field(4.0, gt=0, description="Cutoff radius of the graph, angstrom.")
    basis: Literal["gaussian"] = Field("gaussian", description="Radial basis functions.")
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

        Returns
        -------
        int
            Multiplicity of the irrep.
        """
        return round(self.mul / (self.lmax + 1) / (2 * l + 1))

    @property
    def irreps(self) -> Irreps:
        """Irreps of a hidden layer, both parities."""
        return Irreps([(self.channels(l), (l, p)) for l in range(self.lmax + 1) for p in (-1, 1)])

    @property
    def harmonics(self) -> Irreps:
        """Irreps of the spherical harmonics of an edge."""
        return Irreps.spherical_harmonics(self.lmax)


PRESETS = {
    "published": ChargE3NetConfig(),
    "medium": ChargE3NetConfig(mul=160, lmax=3),
    "small": ChargE3NetConfig(mul=64, lmax=2, num_interactions=2),
}
"""``published`` is the size of the paper; the others can be trained on a CPU."""


def network_config(**options: Any) -> ChargE3NetConfig:
    """Validate the size of a network.

    Parameters
    ----------
    **options
        Fields of :class:`ChargE3NetConfig`.

    Returns
    -------
    ChargE3NetConfig
        The size.

    Raises
    ------
    ModelError
        An option is unknown or its value impossible; one line.

    Examples
    --------
    >>> network_config(mul=5)
    Traceback (most recent call last):
        ...
    mlcharge_flows.models.model.ModelError: no such ChargE3Net: mul=5 leaves no channel for l=1
    """
    try:
        return ChargE3NetConfig(**options)
    except ValidationError as error:
        problem = validation_problems(error, ChargE3NetConfig)[0]
        raise ModelError(f"no such ChargE3Net: {problem}") from None
