"""Size and options of SCDP, and those of the paper by name."""

from __future__ import annotations

from typing import Any, Self

from pydantic import Field, model_validator

from mlcharge_flows.models.orbital.config import SiteConfig
from mlcharge_flows.models.scdp.even_tempered import BASIS_SET, even_tempered


class ScdpConfig(SiteConfig):
    """What decides the shapes of the weights of :class:`.network.ScdpNetwork`.

    K of the paper's models is `n_interactions`, L is `lmax`. Without `shells`, they are derived
    from the basis set, which needs a library; a card has them, so that a model needs none.

    Examples
    --------
    >>> config = ScdpConfig(
    ...     elements=["H"], channels={"H": [0, 0]}, shells={"H": [(0.6, 8), (0.4, 5)]}
    ... )
    >>> config.n_interactions, config.lmax
    (4, 3)
    """

    periodic: bool = Field(
        False,
        description="Whether sites see each other across the walls of the cell: crystals. A "
        "molecule in a box sees itself alone.",
    )
    lmax: int = Field(3, ge=1, le=6, description="Highest degree of the features: the paper's L.")
    largest_wave: float = Field(
        30.0, gt=0, description="Plane waves beyond (1/angstrom) are neither fitted nor predicted."
    )
    n_interactions: int = Field(4, ge=1, description="Rounds of message passing: the paper's K.")
    n_channels: int = Field(128, ge=1, description="Features per degree and component.")
    n_hidden: int = Field(128, ge=1, description="Width of the perceptrons.")
    ratio: float = Field(2.0, gt=1.05, le=4, description="Of consecutive exponents.")
    basis_set: str = Field(BASIS_SET, description="Orbital basis set, of basis_set_exchange.")
    largest_degree: int = Field(6, ge=1, le=6, description="Orbitals beyond are left out.")
    virtual_element: str = Field("O", description="Whose orbitals sit on virtual sites.")
    shells: dict[str, list[tuple[float, int]]] = Field(
        description="Per element and degree the smallest exponent, 1/angstrom^2, and the number "
        "of Gaussians."
    )

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, given: Any) -> Any:
        """Derive the shells, if they are not given."""
        if not isinstance(given, dict) or "shells" in given or "elements" not in given:
            return given
        # The options that they depend on must be sound before.
        probe = cls.model_validate({**given, "shells": {}}, context="without shells")
        elements = {*probe.elements, *([probe.virtual_element] if probe.virtual != "none" else [])}
        derived = {
            symbol: even_tempered(
                symbol, probe.ratio, probe.largest_wave, probe.largest_degree, probe.basis_set
            )
            for symbol in sorted(elements)
        }
        return {**given, "shells": derived}

    @model_validator(mode="after")
    def _consistent(self, info: Any) -> Self:
        if not self.periodic and self.virtual in ("interstitials", "both"):
            raise ValueError("virtual: a molecule has bonds, interstitials are of crystals")
        if info.context != "without shells" and (
            missing := sorted({*self.species} - set(self.shells))
        ):
            raise ValueError(f"shells: {', '.join(missing)} has none")
        return self

    @property
    def species(self) -> list[str]:
        """Element whose orbitals each species has, virtual sites last."""
        n_virtual = self.n_species - len(self.elements)
        return [*self.elements, *[self.virtual_element] * n_virtual]


PRESETS: dict[str, dict[str, Any]] = {
    "K4L3": {"n_interactions": 4, "lmax": 3},
    "K8L6": {"n_interactions": 8, "lmax": 6},
    "small": {"n_interactions": 2, "lmax": 3, "n_channels": 32, "n_hidden": 64},
}
"""Rounds of message passing (K) and degree of the features (L) of the paper's models; with
``virtual: bonds`` they are its +VO rows. ``small`` can be trained on a processor."""
