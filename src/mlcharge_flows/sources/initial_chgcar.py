"""The CHGCAR that a run begins from: checked, written, and described by a small document."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from pydantic import AliasChoices, BaseModel, Field

from mlcharge_flows.density.augmentation import miscounted_occupancies
from mlcharge_flows.errors import one_line
from mlcharge_flows.io import UNREADABLE, file_sha256, open_text
from mlcharge_flows.sources.magmom import keeps_density, superposed_moments_warning
from mlcharge_flows.sources.source import SourceError
from mlcharge_flows.vasp.chgcar_writer import (
    COMMENT_LENGTH,
    COMMENT_PREFIX,
    is_prediction,
    write_chgcar,
)
from mlcharge_flows.vasp.density_messages import INTEGRAL_TOLERANCE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from mlcharge_flows.density.density import Density
    from mlcharge_flows.sources.run_inputs import RunInputs
    from mlcharge_flows.sources.source import Evaluated

_HASH_DIGITS = 16
_LABEL_LENGTH = COMMENT_LENGTH - len(COMMENT_PREFIX) - _HASH_DIGITS - 2

MAX_ABS_OCCUPANCY = 100.0
"""Largest augmentation occupancy of an atom, in electrons. Converged ones reach 3 in the CHGCARs of
VASP at hand, the free atoms of GPAW's data sets 4; a network that diverges gives many orders more.
"""


class InitialDensityDocument(BaseModel):
    """An initial density that was written: its file, its sources, and how VASP's echo shows it.

    The density itself stays in its file: grids have no place in a job store. Documents of version
    0.1 are read by the names that their keys had.
    """

    density_source: str = Field(
        description="Source of the density: superposition, converged, file, learned, ..",
        validation_alias=AliasChoices("density_source", "kind"),
    )
    augmentation_source: str | None = Field(
        None,
        description="Source of the augmentation occupancies: atomic, converged, file, learned, ..",
        validation_alias=AliasChoices("augmentation_source", "occupancies"),
    )
    path: str | None = Field(None, description="The CHGCAR, absolute.")
    comment: str | None = Field(
        None,
        description="Its first line: one word with a hash of the content, which VASP prints when "
        "it has read the file.",
    )
    sha256: str | None = Field(None, description="SHA-256 of the file.")
    grid: tuple[int, int, int] | None = Field(None, description="NGXF, NGYF, NGZF.")
    n_electrons: float | None = Field(None, description="Integral of the density.")
    has_magnetization: bool | None = Field(
        None, description="Whether the file holds a magnetization; None: of version 0.1."
    )
    model: str | None = Field(None, description="Name of the model (of both, if two).")
    checkpoint: str | None = Field(None, description="SHA-256 of its checkpoint (of both, if two).")
    paw: dict[str, str] | None = Field(
        None, description="TITEL of the PAW data set of each element that the density is for."
    )
    reference_run: str | None = Field(
        None,
        description="Folder of the finished run of almost the same crystal whose density was "
        "carried over; None without one.",
    )
    expected_error: tuple[float, float] | None = Field(
        None,
        description="Part of the superposition's error that the density is expected to leave: "
        "median and 90 % quantile; None if the model does not tell.",
    )
    preparation_time: float = Field(
        0.0,
        description="Wall time to make and write the initial density, s.",
        validation_alias=AliasChoices("preparation_time", "seconds"),
    )
    preparation_cpu_time: float | None = Field(
        None, description="Processor time of all threads to make and write it, s."
    )
    loading_time: float | None = Field(
        None,
        description="Wall time to load libraries and the model, s; None without a model. It is due "
        "once per process and no part of preparation_time.",
    )
    warnings: list[str] = Field(
        default_factory=list,
        description="What was adapted, such as the grid, or not checked.",
        validation_alias=AliasChoices("warnings", "messages"),
    )
    failure: str | None = Field(
        None, description="Why there is no initial density; None if there is one."
    )

    @classmethod
    def of_failure(
        cls, error: object, density_source: str, augmentation_source: str | None = None
    ) -> Self:
        """Document an initial density that could not be made.

        Parameters
        ----------
        error
            Why.
        density_source
            Source of the density.
        augmentation_source
            Source of the augmentation occupancies.

        Returns
        -------
        InitialDensityDocument
            With the failure in one line.
        """
        return cls(
            density_source=density_source,
            augmentation_source=augmentation_source,
            failure=one_line(error),
        )

    def change_of(self, path: Path) -> str | None:
        """Why a file is not the one that was written.

        Parameters
        ----------
        path
            The file, as it was or compressed.

        Returns
        -------
        str or None
            One line; None if its SHA-256 is the documented one.

        Raises
        ------
        OSError
            The file cannot be read.
        """
        if self.sha256 in (None, file_sha256(path, unpacked=True)):
            return None
        return f"{path}: has changed since it was written, its SHA-256 is another one"


def write_initial_chgcar(
    folder: Path, evaluated: Evaluated, inputs: RunInputs, label: str
) -> InitialDensityDocument:
    """Check a density against the inputs of a run, and write it as the CHGCAR of the run.

    Parameters
    ----------
    folder
        Folder of the run.
    evaluated
        Density on the fine grid of the run, with augmentation occupancies.
    inputs
        Inputs of the run.
    label
        Kind of initial density, for the first line of the file.

    Returns
    -------
    InitialDensityDocument
        The file; of the sources it knows only `label`.

    Raises
    ------
    SourceError
        VASP would drop the density, or it would spoil the run.
    """
    density = evaluated.density
    _check(density, inputs)
    density = replace(density, comment=comment_token(label, density))
    warnings = list(evaluated.warnings)
    if (line := superposed_moments_warning(density, inputs)) is not None:
        warnings.append(line)
    expected = evaluated.expected_error
    path = folder.absolute() / "CHGCAR"
    write_chgcar(path, density)
    return InitialDensityDocument(
        density_source=label,
        path=str(path),
        comment=density.comment,
        sha256=file_sha256(path),
        grid=density.shape,
        n_electrons=density.n_electrons,
        has_magnetization=density.magnetization is not None,
        paw={symbol: inputs.datasets[symbol].titel for symbol in sorted(inputs.elements)},
        expected_error=None if expected is None else (expected.median, expected.high),
        warnings=warnings,
    )


def comment_token(label: str, density: Density) -> str:
    """First line of a CHGCAR: the kind of initial density and a hash of all that VASP reads.

    VASP keeps 40 characters of the line and prints its first word.

    Parameters
    ----------
    label
        Kind of initial density.
    density
        What the file will hold.

    Returns
    -------
    str
        One word of at most 40 characters.

    Examples
    --------
    >>> import numpy as np
    >>> from mlcharge_flows.density.crystal import Crystal
    >>> from mlcharge_flows.density.density import Density
    >>> crystal = Crystal(np.eye(3) * 3.0, ("H",), np.zeros((1, 3)))
    >>> token = comment_token("superposition", Density(crystal, np.full((2, 2, 2), 1 / 27)))
    >>> token.rsplit("-", 1)[0], len(token)
    ('mlcharge-superposition', 39)
    """
    word = "-".join(label.split())[:_LABEL_LENGTH]
    return f"{COMMENT_PREFIX}{word}-{density.fingerprint[:_HASH_DIGITS]}"


def is_initial_chgcar(path: Path) -> bool:
    """Whether a file is a CHGCAR that this package has written, by its first line.

    Parameters
    ----------
    path
        Any path, of a plain or compressed file.

    Returns
    -------
    bool
        False, too, if there is no such file, or it cannot be read or unpacked.
    """
    try:
        with open_text(path, "ascii") as file:
            first = file.readline(200)
    except UNREADABLE:
        return False
    return is_prediction(first)


def incomplete_density_reason(incar: Mapping[str, Any]) -> str | None:
    """Why a CHGCAR is not all that a run begins from.

    Parameters
    ----------
    incar
        INCAR tags of the run.

    Returns
    -------
    str or None
        One line; None if the density alone is enough.

    Examples
    --------
    >>> incomplete_density_reason({"LSORBIT": True})
    'noncollinear: the initial density has no direction of magnetization'
    """
    if str(incar.get("METAGGA", "None")).strip("- ").lower() not in ("", "none"):
        return (
            f"METAGGA = {incar['METAGGA']}: VASP also reads the kinetic-energy density (TAUCAR), "
            "without which the initial density is not complete"
        )
    if incar.get("LNONCOLLINEAR") or incar.get("LSORBIT"):
        return "noncollinear: the initial density has no direction of magnetization"
    return None


def frozen_moments_reason(incar: Mapping[str, Any], has_magnetization: bool | None) -> str | None:
    """Why a run with ICHARG = 11 must not keep a density.

    Where the CHGCAR holds no magnetization, VASP superposes the moments of MAGMOM. With
    ICHARG = 11 they would never relax.

    Parameters
    ----------
    incar
        INCAR tags of the run.
    has_magnetization
        Whether the density has one; None: not known.

    Returns
    -------
    str or None
        One line; None if the run is not spin-polarized, the density holds a magnetization, or all
        moments of MAGMOM are zero, for a crystal that is known to have none.

    References
    ----------
    https://www.vasp.at/wiki/index.php/ICHARG
    """
    if incar.get("ISPIN", 1) != 2 or has_magnetization or not np.any(incar.get("MAGMOM", 1.0)):
        return None
    return (
        "ICHARG = 11 with ISPIN = 2 would keep the moments of MAGMOM, since the initial density "
        "holds no magnetization: set ISPIN = 1, or MAGMOM to zeros if the crystal has no moments"
    )


def _check(density: Density, inputs: RunInputs) -> None:
    """Refuse to write what VASP would drop, or what would spoil its run.

    Raises
    ------
    SourceError
        With the reason.
    """
    occupancies, magnetization = density.augmentation, density.magnetization
    arrays = [density.total, *(occupancies or ())]
    if magnetization is not None:
        arrays += [magnetization.grid, *(magnetization.augmentation or ())]
    if not all(np.isfinite(values).all() for values in arrays):
        raise SourceError("the density holds values that are not finite")
    if density.shape != inputs.grid:
        raise SourceError(f"the density is on grid {density.shape}, VASP's is {inputs.grid}")
    if abs(density.n_electrons - inputs.n_electrons) > INTEGRAL_TOLERANCE:
        raise SourceError(
            f"the density holds {density.n_electrons:.4f} electrons, "
            f"the run has {inputs.n_electrons:.4f}"
        )
    if keeps_density(inputs) and (
        reason := frozen_moments_reason(inputs.incar, density.magnetization is not None)
    ):
        raise SourceError(reason)
    if occupancies is None:
        raise SourceError("the density has no occupancies, VASP would drop it")
    _check_occupancies(occupancies, inputs)


def _check_occupancies(augmentation: Sequence[np.ndarray], inputs: RunInputs) -> None:
    ions = [f"ion {n} ({symbol})" for n, symbol in enumerate(inputs.crystal.symbols, start=1)]
    if wrong := miscounted_occupancies(augmentation, inputs.channels):
        ion, n, expected = wrong
        raise SourceError(
            f"the occupancies of {ions[ion - 1]} are {n}, its PAW data set has {expected}"
        )
    for ion_name, values in zip(ions, augmentation, strict=True):
        if defect := _defect(values):
            raise SourceError(f"the occupancies of {ion_name} {defect}")


def _defect(values: np.ndarray) -> str | None:
    """What no atom in a solid has; None if the occupancies may be those of an atom."""
    if not values.any():
        return "are all zero"
    if np.abs(values).max() > MAX_ABS_OCCUPANCY:
        return f"reach {np.abs(values).max():.3g} electrons"
    return None
