"""The runs of one material, one per arm."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import AliasChoices, BaseModel, Field

from mlcharge_flows.errors import MlchargeError, one_line
from mlcharge_flows.scf.run import ScfRun  # noqa: TC001 - pydantic needs it at run time

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence


class MixedResultsError(MlchargeError, ValueError):
    """Results of unlike runs were to be averaged; the message tells in what they differ."""


_MOST_ATOMS = 10_000_000

REFERENCE = "default"
"""Arm that starts from the executable's own superposition of atomic densities (ICHARG = 2)."""

CONTROL = "superposition"
"""Arm that reads the same superposition from a CHGCAR: its steps and times are the reference's."""

CEILING = "converged"
"""Arm that starts from the converged density."""


def ceiling_of(arm: str) -> str:
    """Name the arm that starts from the converged density with the orbitals and delay of an arm.

    Parameters
    ----------
    arm
        Name of an arm.

    Returns
    -------
    str
        The name; whether the comparison has such an arm is not known.

    Examples
    --------
    >>> ceiling_of("learned"), ceiling_of("learned/atomic+orbitals+delay=1")
    ('converged', 'converged+orbitals+delay=1')
    """
    return CEILING + "".join(arm.partition("+")[1:])


class Comparison(BaseModel):
    """All arms of one material, under one protocol."""

    material_id: str = Field(
        description="Identifier, unique within a campaign.",
        validation_alias=AliasChoices("material_id", "material"),
    )
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
    structure: str | None = Field(
        None, description="Hash of the structure; None in results of version 0.1."
    )

    @property
    def contradiction(self) -> str | None:
        """In what the result contradicts itself, as no run does; None if in nothing."""
        if not 1 <= self.n_atoms <= _MOST_ATOMS:
            return f"n_atoms is {one_line(self.n_atoms, 40)}"
        for name, run in self.arms.items():
            if reason := run.contradiction:
                return f"{name}: {reason}"
        return None

    def __repr_args__(self) -> Iterator[tuple[str, object]]:
        """What `repr` and rich print: the steps of each arm, or why it does not count."""
        yield "material_id", self.material_id
        yield "formula", self.formula
        yield "n_atoms", self.n_atoms
        yield "protocol", self.protocol
        for arm, run in self.arms.items():
            yield arm, run.exclusion_reason or run.n_total

    def energy_difference(self, arm: str, reference: str) -> float | None:
        """Energy of an arm relative to the reference.

        Parameters
        ----------
        arm
            Its name.
        reference
            Name of the arm that it is compared with.

        Returns
        -------
        float or None
            E0(arm) - E0(reference), meV per atom; None if either has no energy.
        """
        run, base = self.arms.get(arm), self.arms.get(reference)
        if run is None or base is None or run.energy is None or base.energy is None:
            return None
        if self.n_atoms < 1:
            return None
        return 1000 * (run.energy - base.energy) / self.n_atoms


def execution_of(comparisons: Iterable[Comparison]) -> dict[str, set[str]]:
    """Collect what the runs that count were computed with.

    Parameters
    ----------
    comparisons
        Materials.

    Returns
    -------
    dict of str to set of str
        Values of each entry of :attr:`~mlcharge_flows.scf.run.ScfRun.execution`; more than one
        where runs of different executables, versions or PAW data sets are mixed.
    """
    found: dict[str, set[str]] = {}
    for comparison in comparisons:
        for run in comparison.arms.values():
            for key, value in run.execution.items() if run.exclusion_reason is None else ():
                found.setdefault(key, set()).add(value)
    return found


def mixed(comparisons: Sequence[Comparison]) -> list[str]:
    """Tell in which respects results must not be reported as one.

    Parameters
    ----------
    comparisons
        Materials.

    Returns
    -------
    list of str
        Settings, checkpoints, executables, versions and PAW data sets of which there are several.

    Examples
    --------
    >>> of = {"formula": "Si", "n_atoms": 2, "arms": {}}
    >>> mixed([Comparison(material_id=name, protocol=name, **of) for name in ("a", "b")])
    ['2 different settings']
    """
    values: dict[str, set[str]] = {"settings": {c.protocol for c in comparisons}}
    for comparison in comparisons:
        for arm in comparison.arms:
            checkpoint = comparison.models.get(arm, "none")
            values.setdefault(f"checkpoints of {arm!r}", set()).add(checkpoint)
    values |= {f"values of {key}": found for key, found in execution_of(comparisons).items()}
    return [f"{len(found)} different {key}" for key, found in values.items() if len(found) > 1]


def refuse_mixed(comparisons: Sequence[Comparison]) -> None:
    """Refuse results that must not be averaged.

    Parameters
    ----------
    comparisons
        Materials.

    Raises
    ------
    MixedResultsError
        They are of different settings, checkpoints, executables, versions or PAW data sets.
    """
    if differences := mixed(comparisons):
        raise MixedResultsError(
            f"the materials were run with {', '.join(differences)}, which cannot be compared; "
            "report each kind by itself"
        )


def ordered_arms(arms: Iterable[str], reference: str) -> list[str]:
    """Order the names of arms for a report: the reference first, the ceilings last.

    Parameters
    ----------
    arms
        Names.
    reference
        Arm that the others are compared with.

    Returns
    -------
    list of str
        The names, those in between by the alphabet.

    Examples
    --------
    >>> ordered_arms(["converged", "learned", "default", "superposition"], "default")
    ['default', 'learned', 'superposition', 'converged']
    """
    return sorted(arms, key=lambda name: (name != reference, name == ceiling_of(name), name))
