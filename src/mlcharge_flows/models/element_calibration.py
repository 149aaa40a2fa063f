"""What a calibration knows of one element and PAW data set."""

from __future__ import annotations

from typing import Self

from pydantic import BaseModel, ConfigDict, Field, model_validator

from mlcharge_flows.density.augmentation import blocks, spherical
from mlcharge_flows.density.paw_dataset import PawDataset

N_RESPONSE = 12
"""Coefficients of a response: Gaussians that a density is projected on."""


class ElementCalibration(BaseModel):
    """What is added to every ion of one element, and how well that does.

    Errors are fractions of those of the superposition of atoms: root mean square of the density,
    mean absolute of the occupancies.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    titel: str = Field(description="TITEL of the PAW data set of the runs.")
    fingerprint: str = Field(description="SHA-256 of its valence, channels and free atom.")
    zval: float = Field(gt=0, description="Its valence electrons.")
    channels: tuple[int, ...] = Field(description="l of each of its projector channels.")
    transfer: tuple[tuple[float, ...], ...] | None = Field(
        None,
        description="Expansion of the partial waves of the model's data set (columns) in those of "
        "the runs (rows); None if it is the same data set, or the expansion is not known.",
    )
    n_runs: int = Field(ge=0, description="Runs with the element.")
    density_significance: float = Field(
        1.0, ge=0, le=1, description="What the fitted form factor was multiplied with."
    )
    occupancies_significance: float = Field(
        1.0, ge=0, le=1, description="What the fitted occupancies were multiplied with."
    )
    form_factor: tuple[float, ...] = Field(
        description="Coefficients of the neutral sines, electrons."
    )
    occupancies: tuple[float, ...] = Field(description="Constant of each L = 0 block, electrons.")
    response: tuple[tuple[float, ...], ...] | None = Field(
        None,
        description="For a model of the density alone: of each block of the occupancies, the "
        "response to the overlaps of the change of the density with Gaussians on the ion.",
    )
    largest_change: float | None = Field(
        None, gt=0, description="Largest change of an occupancy in the runs, electrons."
    )
    response_left: float | None = Field(
        None,
        description="Leave-one-out error of the occupancies that follow from converged densities.",
    )
    density_left: float | None = Field(
        None, description="Leave-one-out error of the density; None without other runs."
    )
    occupancies_left: float | None = Field(
        None, description="Leave-one-out error of the occupancies; None without other runs."
    )

    @model_validator(mode="after")
    def _has_all_blocks(self) -> Self:
        if len(self.occupancies) != len(spherical(self.channels)):
            raise ValueError("the number of occupancies is not that of the L = 0 blocks")
        if self.transfer is not None:
            lengths = {len(row) for row in self.transfer}
            if len(self.transfer) != len(self.channels) or len(lengths) > 1 or 0 in lengths:
                raise ValueError("the transfer has not one row of equal length for each channel")
        if self.response is not None:
            if {len(row) for row in self.response} - {N_RESPONSE}:
                raise ValueError(f"a response has {N_RESPONSE} coefficients for each block")
            if len(self.response) != len(blocks(self.channels)) or self.largest_change is None:
                raise ValueError("the response is not one of the blocks, with its largest change")
        return self

    def paw_dataset(self, symbol: str) -> PawDataset:
        """PAW data set of the runs, of which nothing but a hash tells of the free atom.

        Parameters
        ----------
        symbol
            The element.

        Returns
        -------
        PawDataset
            Without its free atom.
        """
        known = symbol, self.titel, self.zval, self.channels
        return PawDataset(*known, free_atom_sha256=self.fingerprint)
