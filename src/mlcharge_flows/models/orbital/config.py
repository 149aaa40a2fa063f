"""Size and options of the models that expand the density in orbitals on sites."""

from __future__ import annotations

from typing import Literal

from pydantic import AliasChoices, BaseModel, ConfigDict, Field

VirtualSites = Literal["none", "bonds", "interstitials", "both"]
N_VIRTUAL_KINDS: dict[VirtualSites, int] = {"none": 0, "bonds": 1, "interstitials": 1, "both": 2}
"""Species of virtual sites; they follow the elements."""


class SiteConfig(BaseModel):
    """Options that all networks of this kind share."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    elements: list[str] = Field(min_length=1, description="In the order of the embedding.")
    channels: dict[str, list[int]] = Field(
        description="l of each projector channel, per element: the layout of the occupancies."
    )
    lmax: int = Field(4, ge=1, le=6, description="Highest degree of the features.")
    g_max: float = Field(
        24.0,
        gt=0,
        validation_alias=AliasChoices("g_max", "largest_wave"),  # checkpoints before 0.2
        description="G vectors beyond this length (1/angstrom) are neither fitted nor predicted.",
    )
    virtual: VirtualSites = Field("none", description="Sites of orbitals besides the ions.")
    scaling: bool = Field(False, description="Whether the network scales its exponents.")
    cutoff: float = Field(6.0, gt=0, description="Cutoff radius of the edges, angstrom.")
    n_interactions: int = Field(2, ge=1, description="Interactions (message passing).")
    n_channels: int = Field(64, ge=1, description="Channels of the features of every degree.")
    n_embedding: int = Field(32, ge=1, description="Features of an element.")
    n_radial: int = Field(10, ge=1, description="Radial Bessel functions of a distance.")
    n_scaled: int = Field(
        8, ge=0, description="Gaussians of the distance in units of both atoms' radii."
    )
    tabulated: bool = Field(
        True, description="Whether tabulated properties of the elements enter the embedding."
    )
    n_hidden: int = Field(64, ge=1, description="Width of the MLPs.")
    n_coupled: int = Field(
        0,
        ge=0,
        description="Channels of the products of directions and features of the neighbors.",
    )
    n_factors: int = Field(3, ge=1, le=4, description="Factors of the products at a site.")
    profiles: bool = Field(True, description="Whether free-atom densities are features of an edge.")
    rank: int = Field(8, ge=1, description="Terms of the element-dependent part of the read-out.")
    form_factors: bool = Field(
        False, description="Whether every element has a mean correction of its form factor."
    )


class OrbitalConfig(SiteConfig):
    """Options that determine the shapes of the weights of :class:`.network.OrbitalNetwork`.

    Examples
    --------
    >>> OrbitalConfig(elements=["Mg", "O"], channels={"Mg": [0, 0, 1], "O": [0, 0, 1, 1]}).lmax
    4
    """

    lmax: int = Field(4, ge=1, le=6, description="Highest degree of features and orbitals.")
    n_exponents: int = Field(14, ge=2, le=20, description="Gaussians per degree.")
    smallest_exponent: float = Field(0.28, gt=0, description="1/angstrom^2.")
    ratio: float = Field(1.6, gt=1, description="Ratio of consecutive exponents (even-tempered).")
    spin: bool = Field(False, description="Whether magnetizations are predicted, too.")
