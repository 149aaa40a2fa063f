"""Calibration of a model: what a few runs tell of another cutoff, or other PAW data sets.

For each element, it holds a spherical change of the form factor without charge and constants of the
L = 0 augmentation occupancies, which are added to a prediction, and the expansion of the partial
waves of the model's data set in those of the runs; of spin-polarized runs, what a magnetization is
predicted from. One JSON file; nothing of a POTCAR is in it.
"""

from __future__ import annotations

from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Self

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from mlcharge_flows.density.augmentation import spherical
from mlcharge_flows.density.dataset_difference import dataset_difference
from mlcharge_flows.density.density import Density, sum_of_form_factors
from mlcharge_flows.density.magnetization import SpinSines
from mlcharge_flows.density.neutral_form_factor import NeutralSines
from mlcharge_flows.errors import one_line
from mlcharge_flows.io import atomic_write, file_sha256
from mlcharge_flows.models.constant_limits import beyond_limits
from mlcharge_flows.models.domain import OutOfDomainError
from mlcharge_flows.models.element_calibration import ElementCalibration  # noqa: TC001 - a field
from mlcharge_flows.models.magnetization import ElementMagnetization  # noqa: TC001 - a field
from mlcharge_flows.models.model import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.models.orbital.augmentation_response import AugmentationResponse

ENCUT_TOLERANCE = 1.0
"""Difference of ENCUT from that of the runs that is accepted, eV."""
MIN_RUNS_ALONE = 3
"""Runs of an element unknown to the model that its constants need."""
MAX_LEFT_ALONE = 0.9
"""Largest leave-one-out error of such an element, as a fraction of the superposition's."""

Part = Literal["with model", "alone"]


class CalibrationError(ModelError):
    """A file is no calibration, or there is nothing to calibrate with; one line."""


class OtherDatasetError(OutOfDomainError):
    """A run has another PAW data set than those of a calibration; one line."""


class RunErrors(BaseModel):
    """Error of one run, as a fraction of that of the superposition of atoms."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    name: str = Field(description="Folder, or identifier in a data set.")
    formula: str = Field(description="Reduced formula.")
    density_before: float = Field(description="Root mean square error without calibration.")
    occupancies_before: float = Field(description="Mean absolute error without calibration.")
    density_left: float = Field(description="With constants of the runs of other formulas.")
    occupancies_left: float = Field(description="With constants of the runs of other formulas.")
    response_left: float | None = Field(
        None, description="Of the occupancies that follow from the converged density, likewise."
    )


class Calibration(BaseModel):
    """Constants per element that make a model valid for the settings of some runs."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    format: Literal[1] = Field(1, description="Version of the file's own format.")
    model: str = Field(description="Name of the model.")
    checkpoint: str = Field(description="SHA-256 of its checkpoint.")
    encut: float | None = Field(gt=0, description="Plane-wave cutoff, eV; None if not known.")
    prec: str | None = Field(None, description="PREC, if the grids of the runs tell it.")
    functional: str | None = Field(None, description="Exchange-correlation functional.")
    radius: float = Field(2.0, gt=0, le=10, description="Of the form factors' sphere, angstrom.")
    q_max: float = Field(34.0, gt=0, le=1000, description="Largest wave number, 1/angstrom.")
    ridge: float | None = Field(
        None, gt=0, description="Damping of the responses, chosen by their leave-one-out error."
    )
    elements: dict[str, ElementCalibration] = Field(description="On the model's prediction.")
    alone: dict[str, ElementCalibration] = Field(
        default_factory=dict,
        description="On the superposition of atoms, for crystals with elements that the model does "
        "not know; empty if it knows all.",
    )
    magnetization: dict[str, ElementMagnetization] = Field(
        default_factory=dict, description="Of elements in spin-polarized runs."
    )
    runs: tuple[RunErrors, ...] = Field((), description="Error of each run.")
    version: str = Field(description="Version of mlcharge_flows that wrote it.")

    @model_validator(mode="after")
    def _has_all_coefficients(self) -> Self:
        size = self.basis.size
        for symbol, mine in (*self.elements.items(), *self.alone.items()):
            if len(mine.form_factor) not in (0, size):
                raise ValueError(f"{symbol}: a form factor has {size} coefficients, or none")
        for symbol, spin in self.magnetization.items():
            if spin.form_factor is not None and len(spin.form_factor) != size:
                raise ValueError(f"{symbol}: a spin form factor has {size} coefficients")
        return self

    @cached_property
    def basis(self) -> NeutralSines:
        """Functions of the form factors."""
        return NeutralSines(self.radius, self.q_max)

    @cached_property
    def spin_basis(self) -> SpinSines:
        """Functions of the spin form factors."""
        return SpinSines(self.radius, self.q_max)

    @cached_property
    def response(self) -> AugmentationResponse:
        """Response of the occupancies of all elements that have one."""
        from mlcharge_flows.models.orbital.augmentation_response import AugmentationResponse

        return AugmentationResponse.of(
            {
                symbol: (its.channels, np.array(its.response), its.largest_change or 0.0)
                for symbol, its in self.elements.items()
                if its.response is not None
            }
        )

    def without_response(self, symbols: Iterable[str]) -> list[str]:
        """Elements whose occupancies do not follow from a density.

        Parameters
        ----------
        symbols
            Elements of a crystal.

        Returns
        -------
        list of str
            Those without a response, sorted.
        """
        have = {symbol for symbol, its in self.elements.items() if its.response is not None}
        return sorted(set(symbols) - have)

    def complete(self, density: Density, atomic: Density) -> Density:
        """Give a density the occupancies that follow from it.

        Parameters
        ----------
        density
            Of the data sets of the runs, from any source; all elements have a response.
        atomic
            Superposition of their free atoms.

        Returns
        -------
        Density
            The same total, with occupancies of every ion.

        Raises
        ------
        ModelError
            The occupancies change much more than those of the runs.
        """
        return self.response.complete(density, atomic, f"the calibration of {self.model}")

    def part_for(self, symbols: Iterable[str]) -> Part:
        """Constants that a crystal needs.

        Parameters
        ----------
        symbols
            Elements of the crystal.

        Returns
        -------
        str
            ``"with model"``, or ``"alone"`` if the model does not know an element.
        """
        return "with model" if set(symbols) <= self.elements.keys() else "alone"

    def check(self, datasets: Mapping[str, PawDataset], encut: float | None) -> None:
        """Raise if a run is not of the calibrated settings.

        Parameters
        ----------
        datasets
            PAW data set of each element of the run.
        encut
            ENCUT of the run, eV; None if not known.

        Raises
        ------
        OutOfDomainError
            An element is not calibrated, the cutoff is another one, or the constants of an element
            that the model does not know are not good enough.
        OtherDatasetError
            A PAW data set is not calibrated.
        """
        what = f"the calibration of the model {self.model}"
        if encut is not None and abs(encut - (self.encut or encut)) > ENCUT_TOLERANCE:
            raise OutOfDomainError(
                f"{what} is for ENCUT = {self.encut:g} eV, the run has {encut:g} eV"
            )
        part = self.part_for(datasets)
        known = self.elements if part == "with model" else self.alone
        nowhere = datasets.keys() - self.elements.keys() - self.alone.keys()
        if missing := sorted(nowhere or datasets.keys() - known.keys()):
            raise OutOfDomainError(
                f"{what} does not know {', '.join(missing)}; it knows "
                f"{', '.join(sorted(self.elements.keys() | self.alone.keys()))}"
            )
        for symbol, dataset in datasets.items():
            mine = known[symbol]
            # Data sets of finished runs may be known without their free atoms.
            if (mine.titel, mine.channels) != (dataset.titel, dataset.channels) or (
                dataset.has_free_atom and not dataset.has_fingerprint(mine.fingerprint)
            ):
                difference = dataset_difference(mine.paw_dataset(symbol), dataset)
                raise OtherDatasetError(
                    f"{what} is for another PAW data set of {symbol}: {difference}"
                )
            if part == "alone" and symbol not in self.elements:
                self._check_alone(symbol, mine)

    def _check_alone(self, symbol: str, mine: ElementCalibration) -> None:
        if mine.n_runs < MIN_RUNS_ALONE or mine.density_left is None:
            raise OutOfDomainError(
                f"the model {self.model} does not know {symbol}, and its calibration has "
                f"{mine.n_runs} runs with it: {MIN_RUNS_ALONE} of different formulas are needed"
            )
        if max(mine.density_left, mine.occupancies_left or 0.0) > MAX_LEFT_ALONE:
            raise OutOfDomainError(
                f"the model {self.model} does not know {symbol}, and constants leave "
                f"{mine.density_left:.0%} of the density's and {mine.occupancies_left or 0.0:.0%} "
                "of the occupancies' error of the superposition in runs that they were not fitted "
                "to"
            )

    def correct(self, density: Density, part: Part = "with model") -> Density:
        """Add the constants of all elements to a density.

        The number of electrons does not change.

        Parameters
        ----------
        density
            Prediction of the model, or superposition of atoms, with occupancies of the data sets
            of the runs.
        part
            Whether it is a prediction, or a superposition (``"alone"``).

        Returns
        -------
        Density
            On the same grid.
        """
        known = self.elements if part == "with model" else self.alone
        present = [symbol for symbol in dict.fromkeys(density.crystal.symbols) if symbol in known]
        factors = {
            symbol: self.basis.form_factor(known[symbol].form_factor)
            for symbol in present
            if any(known[symbol].form_factor)
        }
        total = density.total
        if factors:
            total = total + sum_of_form_factors(density.crystal, factors, density.shape)
        augmentation = density.augmentation
        if augmentation is not None:
            augmentation = tuple(
                _with_constants(values, known[symbol]) if symbol in known else values
                for symbol, values in zip(density.crystal.symbols, augmentation, strict=True)
            )
        return replace(density, total=total, augmentation=augmentation)

    def transfers(self) -> dict[str, np.ndarray]:
        """Expansions of the model's partial waves in those of the runs, by element.

        Returns
        -------
        dict of str to numpy.ndarray
            Of the elements whose data set is another one than the model's, where it is known.
        """
        return {
            symbol: np.array(mine.transfer).reshape(len(mine.channels), -1)
            for symbol, mine in self.elements.items()
            if mine.transfer is not None
        }


def _with_constants(values: np.ndarray, mine: ElementCalibration) -> np.ndarray:
    changed = np.array(values)
    changed[spherical(mine.channels)] += mine.occupancies
    return changed


def write_calibration(path: str | Path, calibration: Calibration) -> str:
    """Write a calibration atomically.

    Parameters
    ----------
    path
        The file; its folder is made.
    calibration
        Content of the file.

    Returns
    -------
    str
        SHA-256 of the file, hexadecimal.

    Raises
    ------
    CalibrationError
        A constant is so large that no run can have given it.
    """
    path = Path(path)
    if beyond := beyond_limits(calibration):
        raise CalibrationError(f"{path}: is not written: {beyond}; see the runs of this element")
    path.parent.mkdir(parents=True, exist_ok=True)
    atomic_write(path, calibration.model_dump_json(indent=1) + "\n")
    return file_sha256(path)


def read_calibration(path: str | Path) -> Calibration:
    """Read a calibration.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    Calibration
        As it was written, number by number.

    Raises
    ------
    CalibrationError
        The file is missing, or no calibration, or a constant is so large that no run can have given
        it.
    """
    path = Path(path)
    try:
        found = Calibration.model_validate_json(path.read_bytes())
    except OSError as error:
        raise CalibrationError(f"{path}: cannot be read ({error.strerror or error})") from None
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        reason = one_line(f"{place}: {first['msg']}" if place else first["msg"])
        raise CalibrationError(
            f"{path}: not a calibration that 'mlcharge calibrate' wrote ({reason})"
        ) from None
    if beyond := beyond_limits(found):
        raise CalibrationError(f"{path}: was damaged or edited: {beyond}; calibrate again")
    return found
