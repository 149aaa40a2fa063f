"""Size and options of SCDP, and the presets of the paper."""

from __future__ import annotations

from typing import Any, Self

from pydantic import AliasChoices, Field, ValidationInfo, model_validator

from mlcharge_flows.models.orbital.config import N_VIRTUAL_KINDS, SiteConfig
from mlcharge_flows.models.scdp.basis import BASIS_SET, even_tempered

_WITHOUT_SHELLS = "without shells"
"""Validation context of options whose shells are not derived yet."""


class ScdpConfig(SiteConfig):
    """Options that determine the shapes of the weights of :class:`.network.ScdpNetwork`.

    K of the paper's models is `n_interactions`, L is `lmax`. Shells that are not given are derived
    from the basis set, which needs the library basis_set_exchange; a card holds them, so that
    loading a model does not.

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
        description="Whether edges cross the boundaries of the cell, for crystals. A molecule in "
        "a box has no edges to its periodic images.",
    )
    lmax: int = Field(3, ge=1, le=6, description="Highest degree of the features: the paper's L.")
    g_max: float = Field(
        30.0,
        gt=0,
        validation_alias=AliasChoices("g_max", "largest_wave"),  # checkpoints before 0.2
        description="G vectors beyond this length (1/angstrom) are neither fitted nor predicted.",
    )
    n_interactions: int = Field(4, ge=1, description="Interactions: the paper's K.")
    n_channels: int = Field(128, ge=1, description="Channels of the features of every degree.")
    n_hidden: int = Field(128, ge=1, description="Width of the MLPs.")
    ratio: float = Field(2.0, gt=1.05, le=4, description="Ratio of consecutive exponents.")
    basis_set: str = Field(BASIS_SET, description="Orbital basis set, of basis_set_exchange.")
    largest_degree: int = Field(6, ge=1, le=6, description="Highest degree of the orbitals.")
    virtual_element: str = Field("O", description="Element whose orbitals are on virtual sites.")
    shells: dict[str, list[tuple[float, int]]] = Field(
        description="Per element and degree the smallest exponent, 1/angstrom^2, and the number "
        "of Gaussians."
    )

    @model_validator(mode="before")
    @classmethod
    def _derive(cls, given: Any) -> Any:
        """Derive the shells where they are not given."""
        if not isinstance(given, dict) or "shells" in given or "elements" not in given:
            return given
        # The options that they depend on are validated before.
        probe = cls.model_validate({**given, "shells": {}}, context=_WITHOUT_SHELLS)
        elements = {*probe.elements, *([probe.virtual_element] if probe.virtual != "none" else [])}
        derived = {
            symbol: even_tempered(
                symbol, probe.ratio, probe.g_max, probe.largest_degree, probe.basis_set
            )
            for symbol in sorted(elements)
        }
        return {**given, "shells": derived}

    @model_validator(mode="after")
    def _consistent(self, info: ValidationInfo) -> Self:
        if not self.periodic and self.virtual in ("interstitials", "both"):
            raise ValueError("virtual: a molecule has bonds, interstitials are of crystals")
        if info.context != _WITHOUT_SHELLS and (
            missing := sorted({*self.species} - set(self.shells))
        ):
            raise ValueError(f"shells: {', '.join(missing)} has none")
        return self

    @property
    def species(self) -> list[str]:
        """Element that provides the orbitals of each species; virtual sites come last."""
        return [*self.elements, *[self.virtual_element] * N_VIRTUAL_KINDS[self.virtual]]


PRESETS: dict[str, dict[str, Any]] = {
    "K4L3": {"n_interactions": 4, "lmax": 3},
    "K8L6": {"n_interactions": 8, "lmax": 6},
    "small": {"n_interactions": 2, "lmax": 3, "n_channels": 32, "n_hidden": 64},
}
"""Interactions (K) and degree of the features (L) of the paper's models; with ``virtual: bonds``
they are its +VO rows. ``small`` can be trained on a CPU."""
