"""Size and options of the image network, and presets."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator


class SuperResConfig(BaseModel):
    """What decides the weights of :class:`.network.SuperResNetwork`, and what it sees.

    Examples
    --------
    >>> SuperResConfig(upscale=2).seen_spacing
    0.4
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    target: Literal["density", "difference"] = Field(
        "difference",
        description="What the last convolution gives: the density itself, never negative and "
        "scaled to the electrons (as in the paper), or its difference from the superposition.",
    )
    upscale: Literal[1, 2] = Field(1, description="Points out per point in, along each axis.")
    spacing: float = Field(
        0.2, gt=0, le=1, description="Largest distance of grid points that come out, angstrom."
    )
    channels: int = Field(32, ge=1, description="Features per point.")
    blocks: int = Field(6, ge=0, description="Residual blocks.")
    kernel: int = Field(3, ge=1, description="Points along an axis of the inner convolutions; odd.")
    kernel_ends: int = Field(5, ge=1, description="The same of the first and the last one.")
    voxel: bool = Field(
        True,
        description="Whether the network is told the metric of its voxels; without, it takes every "
        "cell for one with right angles and points at the spacing.",
    )
    symmetrise: bool = Field(
        False, description="Whether predictions are averaged over the crystal's symmetry."
    )

    @field_validator("kernel", "kernel_ends")
    @classmethod
    def _centerd(cls, size: int) -> int:
        if size % 2 == 0:
            raise ValueError("a kernel needs a point in its middle: an odd number")
        return size

    @property
    def seen_spacing(self) -> float:
        """Largest distance of the grid points that go in, angstrom."""
        return self.spacing * self.upscale

    @property
    def reach(self) -> int:
        """Fewest points along an axis that the widest kernel can be wrapped around."""
        return max(self.kernel, self.kernel_ends) // 2


PRESETS = {
    "paper": SuperResConfig(
        target="density",
        upscale=2,
        spacing=0.15,
        blocks=32,
        kernel=5,
        voxel=False,
    ),
    "materials": SuperResConfig(blocks=32, kernel=5),
    "small": SuperResConfig(spacing=0.25, channels=16),
}
"""``paper``: the published network, at about its grid of molecules; ``materials``: the same depth
and width on one grid, for the difference; ``small`` can be trained on a processor."""
