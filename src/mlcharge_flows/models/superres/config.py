"""Size and options of the image network, and presets."""

from __future__ import annotations

from typing import Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field, field_validator


class SuperResConfig(BaseModel):
    """Size of a :class:`~mlcharge_flows.models.superres.network.SuperResNetwork`, and its input.

    Examples
    --------
    >>> SuperResConfig(upscale=2).input_spacing
    0.4
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    target: Literal["density", "difference"] = Field(
        "difference",
        description="Output of the last convolution: the density, never negative and scaled to the "
        "number of electrons (as in the paper), or its difference from the superposition.",
    )
    upscale: Literal[1, 2] = Field(
        1, description="Output points per input point along each lattice vector."
    )
    spacing: float = Field(
        0.2, gt=0, le=1, description="Largest distance of output points, angstrom."
    )
    channels: int = Field(32, ge=1, description="Features per point.")
    blocks: int = Field(6, ge=0, description="Residual blocks.")
    kernel: int = Field(
        3, ge=1, description="Points along an axis of the inner convolutions, an odd number."
    )
    kernel_ends: int = Field(
        5, ge=1, description="Points along an axis of the first and the last convolution."
    )
    voxel: bool = Field(
        True,
        description="Whether the metric of the voxels is an input; without, the network takes "
        "every cell for one with right angles and points at the spacing.",
    )
    symmetrize: bool = Field(
        False,
        validation_alias=AliasChoices("symmetrize", "symmetrise"),  # checkpoints before 0.2
        description="Whether predictions are averaged over the crystal's symmetry.",
    )

    @field_validator("kernel", "kernel_ends")
    @classmethod
    def _centered(cls, size: int) -> int:
        if size % 2 == 0:
            raise ValueError("a kernel needs a point in its middle: an odd number")
        return size

    @property
    def input_spacing(self) -> float:
        """Largest distance of input points, angstrom."""
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
and width on one grid, for the difference; ``small`` can be trained on a CPU."""
