"""The runs of one material, one per arm."""

from __future__ import annotations

from pydantic import BaseModel, Field

from mlcharge_flows.scf.run import ScfRun  # noqa: TC001 - pydantic needs it at run time


class Comparison(BaseModel):
    """All arms of one material, under one protocol."""

    material: str = Field(description="Identifier, unique within a campaign.")
    formula: str = Field(description="Reduced formula.")
    n_atoms: int = Field(description="Number of ions.")
    protocol: str = Field(description="Hash of the settings that all arms share.")
    arms: dict[str, ScfRun] = Field(
        description="By name: default, superposition, converged, learned, ..."
    )
    models: dict[str, str] = Field(
        default_factory=dict,
        description="SHA-256 of the checkpoints behind the arms that models predicted.",
    )
