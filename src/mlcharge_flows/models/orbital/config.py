"""Size and options of the models whose densities are orbitals on sites."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

VirtualSites = Literal["none", "bonds", "interstitials", "both"]


class SiteConfig(BaseModel):
    """What the networks of all such models have in common."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    elements: list[str] = Field(min_length=1, description="In the order of the embedding.")
    channels: dict[str, list[int]] = Field(
        description="l of each projector channel, per element; the occupancies follow from them."
    )
    lmax: int = Field(4, ge=1, le=6, description="Highest degree of the features.")
    largest_wave: float = Field(
        24.0, gt=0, description="Plane waves beyond (1/angstrom) are neither fitted nor predicted."
    )
    virtual: VirtualSites = Field("none", description="Where orbitals sit besides the ions.")
    scaling: bool = Field(False, description="Whether the network scales its exponents.")
    cutoff: float = Field(6.0, gt=0, description="Radius of the neighborhood, angstrom.")
    n_interactions: int = Field(2, ge=1, description="Rounds of message passing.")
    n_channels: int = Field(64, ge=1, description="Features per degree and component.")
    n_embedding: int = Field(32, ge=1, description="Numbers that describe an element.")
    n_radial: int = Field(10, ge=1, description="Radial waves that describe a distance.")
    n_scaled: int = Field(
        8, ge=0, description="Gaussians of the distance in units of both atoms' radii."
    )
    tabulated: bool = Field(
        True, description="Whether tabulated properties of elements enter their description."
    )
    n_hidden: int = Field(64, ge=1, description="Width of the perceptrons.")
    n_coupled: int = Field(
        0,
        ge=0,
        description="Channels of messages that couple where a neighbor is with its features.",
    )
    n_factors: int = Field(3, ge=1, le=4, description="Factors of the products on the sphere.")
    profiles: bool = Field(
        True, description="Whether the densities of the free atoms describe a pair, too."
    )
    rank: int = Field(8, ge=1, description="Terms of the element-dependent part of the read-out.")
    form_factors: bool = Field(
        False, description="Whether every element has a mean correction of its form factor."
    )

    @property
    def n_species(self) -> int:
        """Elements, and one species for each kind of virtual site."""
        return len(self.elements) + {"none": 0, "both": 2}.get(self.virtual, 1)


class OrbitalConfig(SiteConfig):
    """What decides the shapes of the weights of :class:`.network.OrbitalNetwork`.

    Examples
    --------
    >>> OrbitalConfig(elements=["Mg", "O"], channels={"Mg": [0, 0, 1], "O": [0, 0, 1, 1]}).lmax
    4
    """

    lmax: int = Field(4, ge=1, le=6, description="Highest degree of features and orbitals.")
    n_exponents: int = Field(14, ge=2, le=20, description="Gaussians per degree.")
    smallest_exponent: float = Field(0.28, gt=0, description="1/angstrom^2.")
    ratio: float = Field(1.6, gt=1, description="Of consecutive exponents (even-tempered).")
