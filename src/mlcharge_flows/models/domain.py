"""Applicability domain of a model: elements, PAW data sets, charge, geometry and grid."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np
from pydantic import AliasChoices, BaseModel, ConfigDict, Field

from mlcharge_flows.density.crystal import NeighborList
from mlcharge_flows.density.dataset_difference import dataset_difference
from mlcharge_flows.density.paw_dataset import NEUTRALITY_TOLERANCE
from mlcharge_flows.density.paw_dataset import n_electrons as valence_electrons
from mlcharge_flows.models.model import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mlcharge_flows.density.crystal import Crystal
    from mlcharge_flows.density.paw_dataset import PawDataset

NEIGHBOR_CUTOFF = 6.0
"""Radius within which neighbors are counted, angstrom."""

# Margins beyond the training set: for strained and displaced crystals, not for atoms in vacuum.
OVERLAP_MARGIN = 0.15
ISOLATION_MARGIN = 0.30
DENSITY_MARGIN = 0.50
MAX_SPACING_RATIO = 2.0

_ENCUT_TOLERANCE = 1.0
"""Difference of ENCUT from that of the training without a warning, eV."""


class OutOfDomainError(ModelError):
    """A crystal, grid or PAW data set lies outside the applicability domain of a model."""


class GeometryBounds(BaseModel):
    """Interatomic distances, volumes, coordination and grid spacings of a training set.

    Examples
    --------
    >>> import numpy as np
    >>> from mlcharge_flows.density.crystal import Crystal
    >>> salt = Crystal(np.eye(3) * 3.0, ("Na", "Cl"), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]))
    >>> bounds = GeometryBounds.of([salt])
    >>> bounds.pairs
    {'Cl-Cl': 3.0, 'Cl-Na': 2.598, 'Na-Na': 3.0}
    >>> bounds.violation(salt) is None
    True
    >>> bounds.violation(Crystal(np.eye(3) * 9.0, salt.symbols, salt.positions))
    'ion 1 (Na) is isolated: its nearest neighbor is farther than 6 angstrom'
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    radius: float = Field(
        NEIGHBOR_CUTOFF, description="Radius within which neighbors are counted, angstrom."
    )
    pairs: dict[str, float] = Field(
        default_factory=dict,
        description="Shortest distance of each pair of elements, such as Mg-O, angstrom.",
    )
    nearest: dict[str, tuple[float, float]] = Field(
        default_factory=dict,
        description="Least and greatest distance of an ion of each element to its nearest "
        "neighbor, angstrom.",
    )
    volume: tuple[float, float] = Field(description="Least and greatest per atom, angstrom^3.")
    neighbors: tuple[int, int] = Field(
        validation_alias=AliasChoices("neighbors", "neighbours"),  # cards before 0.2
        description="Fewest and most ions within the radius.",
    )
    spacing: float | None = Field(
        None, description="Largest distance of adjacent grid points, angstrom; None if not known."
    )

    @classmethod
    def of(
        cls,
        crystals: Iterable[Crystal],
        shapes: Iterable[Sequence[int]] | None = None,
        radius: float = NEIGHBOR_CUTOFF,
    ) -> Self:
        """Bounds of a training set.

        Parameters
        ----------
        crystals
            At least one.
        shapes
            Fine grid of each crystal.
        radius
            Radius within which neighbors are counted, angstrom. Ions without any do not widen the
            bounds of distances.

        Returns
        -------
        GeometryBounds
            That hold all crystals.

        Raises
        ------
        ValueError
            There is no crystal, or not one shape for each.
        """
        pairs: dict[str, float] = {}
        nearest: dict[str, list[float]] = defaultdict(list)
        volumes, counts, spacings = [], [], []
        grids = None if shapes is None else list(shapes)
        for number, crystal in enumerate(crystals):
            seen = _Environment(crystal, radius)
            for pair, (distance, _, _) in seen.pairs.items():
                pairs[pair] = min(distance, pairs.get(pair, np.inf))
            for symbol, distance in zip(crystal.symbols, seen.nearest.tolist(), strict=True):
                if np.isfinite(distance):
                    nearest[symbol].append(distance)
            volumes.append(crystal.volume / len(crystal))
            counts += seen.neighbors.tolist()
            if grids is not None:
                spacings.append(_spacing(crystal, grids[number]))
        if not volumes or (grids is not None and len(grids) != len(volumes)):
            raise ValueError("bounds need crystals, and a grid for each or for none")
        return cls(
            radius=radius,
            pairs={pair: round(pairs[pair], 3) for pair in sorted(pairs)},
            nearest={
                symbol: (round(min(nearest[symbol]), 3), round(max(nearest[symbol]), 3))
                for symbol in sorted(nearest)
            },
            volume=(round(min(volumes), 3), round(max(volumes), 3)),
            neighbors=(min(counts), max(counts)),
            spacing=round(max(spacings), 4) if spacings else None,
        )

    def violation(self, crystal: Crystal, shape: Sequence[int] | None = None) -> str | None:
        """First bound that a crystal, or its grid, violates; elements are not compared.

        Parameters
        ----------
        crystal
            The ions.
        shape
            Fine grid (NGXF, NGYF, NGZF); None if it is not to be compared.

        Returns
        -------
        str or None
            What lies outside, without a final stop; None if nothing does.
        """
        seen = _Environment(crystal, self.radius)
        return (
            self._overlap(crystal, seen)
            or self._isolation(crystal, seen)
            or self._density(crystal, seen)
            or (None if shape is None else self._coarse_grid(crystal, shape))
        )

    def _overlap(self, crystal: Crystal, seen: _Environment) -> str | None:
        for pair, (distance, first, second) in seen.pairs.items():
            shortest = self._shortest(pair)
            if shortest is not None and distance < (1 - OVERLAP_MARGIN) * shortest:
                one, other = (f"{i + 1} ({crystal.symbols[i]})" for i in sorted((first, second)))
                return (
                    f"ions {one} and {other} are {distance:.2f} angstrom apart; the closest "
                    f"trained on are at {shortest:.2f}"
                )
        return None

    def _shortest(self, pair: str) -> float | None:
        """Shortest distance of a pair of elements that counts as trained on, angstrom, if known."""
        # A pair may never have been bonded in the training set while its elements were to others:
        # the bound is then the mean of the shortest distances of both elements.
        one, other = (self.nearest.get(symbol) for symbol in pair.split("-"))
        bonded = (one[0] + other[0]) / 2 if one and other else None
        known = [distance for distance in (self.pairs.get(pair), bonded) if distance is not None]
        return min(known, default=None)

    def _isolation(self, crystal: Crystal, seen: _Environment) -> str | None:
        for ion, distance in enumerate(seen.nearest.tolist()):
            symbol = crystal.symbols[ion]
            farthest = self.nearest[symbol][1] if symbol in self.nearest else np.inf
            if not np.isfinite(distance):
                place = f"farther than {self.radius:g} angstrom"
            elif distance > (1 + ISOLATION_MARGIN) * farthest:
                place = f"at {distance:.2f} angstrom; up to {farthest:.2f} were trained on"
            else:
                continue
            return f"ion {ion + 1} ({symbol}) is isolated: its nearest neighbor is {place}"
        return None

    def _density(self, crystal: Crystal, seen: _Environment) -> str | None:
        volume, (least, most) = crystal.volume / len(crystal), self.volume
        if not least * (1 - DENSITY_MARGIN) <= volume <= most * (1 + DENSITY_MARGIN):
            return (
                f"the cell has {volume:.1f} angstrom^3 per atom; {least:.1f} to {most:.1f} were "
                "trained on"
            )
        fewest, highest = self.neighbors
        for ion, count in enumerate(seen.neighbors.tolist(), start=1):
            if not fewest * (1 - DENSITY_MARGIN) <= count <= highest * (1 + DENSITY_MARGIN):
                return (
                    f"ion {ion} ({crystal.symbols[ion - 1]}) has {count} neighbors within "
                    f"{self.radius:g} angstrom; {fewest} to {highest} were trained on"
                )
        return None

    def _coarse_grid(self, crystal: Crystal, shape: Sequence[int]) -> str | None:
        spacing = _spacing(crystal, shape)
        if self.spacing is None or spacing <= MAX_SPACING_RATIO * self.spacing:
            return None
        return (
            f"the grid {' x '.join(map(str, shape))} is too coarse: its points are {spacing:.3f} "
            f"angstrom apart, up to {self.spacing:.3f} were trained on; raise ENCUT or PREC"
        )


@dataclass(frozen=True, eq=False)
class Domain:
    """Applicability domain of a model: what it may be asked to predict.

    Parameters
    ----------
    model
        Name of the model, for messages.
    paw
        PAW data set of each element, with the free atom where the model holds it.
    paw_family
        Origin of the PAW data sets, for messages.
    geometry
        Bounds of the training set.
    encut
        Lowest and highest plane-wave cutoff of the training, eV; None if not known.
    """

    model: str
    paw: Mapping[str, PawDataset]
    paw_family: str
    geometry: GeometryBounds
    encut: tuple[float, float] | None = None

    def check(
        self,
        crystal: Crystal,
        shape: Sequence[int] | None = None,
        n_electrons: float | None = None,
        paw: Mapping[str, PawDataset] | None = None,
    ) -> None:
        """Raise if a prediction would be outside of the domain.

        Parameters
        ----------
        crystal
            The ions.
        shape
            Fine grid (NGXF, NGYF, NGZF); None if it is not to be compared.
        n_electrons
            NELECT of the run; None for a neutral cell.
        paw
            PAW data set of each element of the run; None if they are not known. Free atoms are
            compared where both are known.

        Raises
        ------
        OutOfDomainError
            An element is not known; a PAW data set differs; the cell is charged; distances, volume
            or coordination are far from those of the training; or the grid is much coarser.
        """
        if unknown := sorted(set(crystal.symbols) - set(self.paw)):
            raise OutOfDomainError(
                f"the model {self.model} does not know {', '.join(unknown)}; it knows "
                f"{', '.join(sorted(self.paw))}"
            )
        for symbol, dataset in (paw or {}).items():
            if refusal := self.dataset_refusal(symbol, dataset):
                raise OutOfDomainError(refusal)
        self._check_charge(crystal, n_electrons)
        if violation := self.geometry.violation(crystal, shape):
            raise OutOfDomainError(
                f"outside what the model {self.model} was trained on: {violation}"
            )

    def encut_warning(self, encut: float | None) -> str | None:
        """Warning that a run has another plane-wave cutoff than the training.

        A prediction is valid at another cutoff, but removes less of the superposition's error.

        Parameters
        ----------
        encut
            ENCUT of the run, eV; None if not known.

        Returns
        -------
        str or None
            None if the cutoffs agree, or one is not known.
        """
        if encut is None or self.encut is None:
            return None
        low, high = self.encut
        if low - _ENCUT_TOLERANCE <= encut <= high + _ENCUT_TOLERANCE:
            return None
        return (
            f"the model {self.model} was trained at ENCUT = {cutoffs(self.encut)}, the run has "
            f"{encut:g} eV: expect it to save less"
        )

    def dataset_refusal(self, symbol: str, dataset: PawDataset) -> str | None:
        """Say in what a PAW data set differs from that of the training.

        Parameters
        ----------
        symbol
            Element that the model knows.
        dataset
            PAW data set of the run.

        Returns
        -------
        str or None
            One line; None if both are the same, free atoms compared where both are known.
        """
        difference = dataset_difference(self.paw[symbol], dataset)
        if difference is None:
            return None
        family = f"{symbol} ({self.paw_family})"
        return f"the model {self.model} was trained with other PAW data for {family}: {difference}"

    def _check_charge(self, crystal: Crystal, given: float | None) -> None:
        if given is None:
            return
        neutral = valence_electrons(self.paw[symbol] for symbol in crystal.symbols)
        if abs(given - neutral) > NEUTRALITY_TOLERANCE:
            raise OutOfDomainError(
                f"the cell is charged (NELECT = {given:g}, the atoms have {neutral:g} "
                f"electrons): the model {self.model} knows neutral cells only"
            )


class _Environment:
    """Nearest-neighbor distances and coordination of the ions of a crystal.

    Parameters
    ----------
    crystal
        The ions.
    radius
        Radius within which neighbors are counted, angstrom.
    """

    nearest: np.ndarray  # distance of each ion to its nearest neighbor; inf without neighbors
    neighbors: np.ndarray  # number of neighbors of each ion
    pairs: dict[str, tuple[float, int, int]]  # shortest distance of each pair of elements, ions

    def __init__(self, crystal: Crystal, radius: float) -> None:
        found = NeighborList.of_ions(crystal, radius)
        self.neighbors = found.counts
        self.nearest = np.full(len(crystal), np.inf)
        np.minimum.at(self.nearest, found.centers, found.distances)
        self.pairs = {}
        for index in np.argsort(found.distances)[::-1].tolist():  # the shortest comes last
            i, j = int(found.centers[index]), int(found.others[index])
            pair = "-".join(sorted((crystal.symbols[i], crystal.symbols[j])))
            self.pairs[pair] = float(found.distances[index]), i, j


def cutoffs(encut: tuple[float, float]) -> str:
    """Render a range of plane-wave cutoffs.

    Parameters
    ----------
    encut
        Lowest and highest, eV.

    Returns
    -------
    str
        With the unit.

    Examples
    --------
    >>> cutoffs((350.0, 400.0)), cutoffs((520.0, 520.0))
    ('350 to 400 eV', '520 eV')
    """
    return " to ".join(f"{cutoff:g}" for cutoff in sorted(set(encut))) + " eV"


def _spacing(crystal: Crystal, shape: Sequence[int]) -> float:
    """Largest distance of adjacent grid points along a lattice vector, angstrom."""
    return float(np.max(np.linalg.norm(crystal.lattice, axis=1) / np.asarray(shape)))
