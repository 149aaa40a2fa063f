"""Which crystals lie within what a model was trained on."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple, Self

import numpy as np
from pydantic import AliasChoices, BaseModel, ConfigDict, Field
from pymatgen.optimization.neighbors import find_points_in_spheres

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mlcharge_flows.density.crystal import Crystal

RADIUS = 6.0
"""Up to where neighbors are looked at, angstrom."""

# How far beyond the range a crystal may lie. Strained, displaced and not yet relaxed crystals are
# ordinary work; atoms in vacuum or on top of each other are not.
CLOSER = 0.15
FARTHER = 0.30
LOOSER = 0.50
COARSER = 2.0


class _Surroundings(NamedTuple):
    """Distances that tell what an ion sees."""

    nearest: np.ndarray  # of each ion, to any other; inf without neighbors
    neighbors: np.ndarray  # within the radius, of each ion
    pairs: dict[str, tuple[float, int, int]]  # shortest distance of each pair of elements, ions


class TrainingRange(BaseModel):
    """Distances, volumes and grids of a training set; made by :meth:`of`.

    Examples
    --------
    >>> import numpy as np
    >>> from mlcharge_flows.density.crystal import Crystal
    >>> salt = Crystal(np.eye(3) * 3.0, ("Na", "Cl"), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]))
    >>> known = TrainingRange.of([salt])
    >>> known.pairs
    {'Cl-Cl': 3.0, 'Cl-Na': 2.598, 'Na-Na': 3.0}
    >>> known.defect(salt) is None
    True
    >>> known.defect(Crystal(np.eye(3) * 9.0, salt.symbols, salt.positions))
    'ion 1 (Na) is isolated: its nearest neighbor is farther than 6 angstrom'
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    radius: float = Field(RADIUS, description="Up to where neighbors count, angstrom.")
    pairs: dict[str, float] = Field(
        default_factory=dict,
        description="Shortest distance of each pair of elements, such as Mg-O, angstrom.",
    )
    nearest: dict[str, tuple[float, float]] = Field(
        default_factory=dict,
        description="Least and greatest distance of an ion of each element to its nearest "
        "neighbor, angstrom.",
    )
    volume: tuple[float, float] = Field(description="Per atom, angstrom^3.")
    neighbors: tuple[int, int] = Field(
        validation_alias=AliasChoices("neighbors", "neighbours"),  # cards before 0.2
        description="Fewest and most ions within the radius.",
    )
    spacing: float | None = Field(
        None, description="Coarsest distance of grid points, angstrom; None if not known."
    )

    @classmethod
    def of(
        cls,
        crystals: Iterable[Crystal],
        shapes: Iterable[Sequence[int]] | None = None,
        radius: float = RADIUS,
    ) -> Self:
        """Take the range of a training set.

        Parameters
        ----------
        crystals
            At least one.
        shapes
            Fine grid of each crystal.
        radius
            Up to where neighbors count, angstrom. An ion without any does not widen the range.

        Raises
        ------
        ValueError
            There is no crystal, or not one shape for each.
        """
        pairs: dict[str, float] = {}
        nearest: dict[str, tuple[float, float]] = {}
        volumes, counts, spacings = [], [], []
        grids = None if shapes is None else list(shapes)
        for number, crystal in enumerate(crystals):
            seen = _surroundings(crystal, radius)
            for pair, (distance, _, _) in seen.pairs.items():
                pairs[pair] = min(distance, pairs.get(pair, np.inf))
            for symbol, distance in zip(crystal.symbols, seen.nearest.tolist(), strict=True):
                if np.isfinite(distance):
                    low, high = nearest.get(symbol, (distance, distance))
                    nearest[symbol] = min(low, distance), max(high, distance)
            volumes.append(crystal.volume / len(crystal))
            counts += seen.neighbors.tolist()
            if grids is not None:
                spacings.append(_spacing(crystal, grids[number]))
        if not volumes or (grids is not None and len(grids) != len(volumes)):
            raise ValueError("a range needs crystals, and a grid for each or for none")
        return cls(
            radius=radius,
            pairs={pair: round(pairs[pair], 3) for pair in sorted(pairs)},
            nearest={
                symbol: (round(nearest[symbol][0], 3), round(nearest[symbol][1], 3))
                for symbol in sorted(nearest)
            },
            volume=(round(min(volumes), 3), round(max(volumes), 3)),
            neighbors=(min(counts), max(counts)),
            spacing=round(max(spacings), 4) if spacings else None,
        )

    def defect(self, crystal: Crystal, shape: Sequence[int] | None = None) -> str | None:
        """Say in what a crystal, or its grid, lies outside; None if it lies within.

        Elements are not compared: a card knows them.
        """
        seen = _surroundings(crystal, self.radius)
        return (
            self._overlap(crystal, seen)
            or self._isolation(crystal, seen)
            or self._density(crystal, seen)
            or (None if shape is None else self._coarseness(crystal, shape))
        )

    def _overlap(self, crystal: Crystal, seen: _Surroundings) -> str | None:
        for pair, (distance, first, second) in seen.pairs.items():
            least = self._least(pair)
            if least is not None and distance < (1 - CLOSER) * least:
                one, other = (f"{i + 1} ({crystal.symbols[i]})" for i in sorted((first, second)))
                return (
                    f"ions {one} and {other} are {distance:.2f} angstrom apart; the closest "
                    f"trained on are at {least:.2f}"
                )
        return None

    def _least(self, pair: str) -> float | None:
        """Shortest distance that a pair may have been trained at.

        A pair may never have been bonded in the training set, while its elements were to others:
        the mean of what each allows is the bound then.
        """
        one, other = (self.nearest.get(symbol) for symbol in pair.split("-"))
        bonded = (one[0] + other[0]) / 2 if one and other else None
        known = [distance for distance in (self.pairs.get(pair), bonded) if distance is not None]
        return min(known, default=None)

    def _isolation(self, crystal: Crystal, seen: _Surroundings) -> str | None:
        for ion, (symbol, distance) in enumerate(
            zip(crystal.symbols, seen.nearest.tolist(), strict=True), start=1
        ):
            if not np.isfinite(distance):
                return (
                    f"ion {ion} ({symbol}) is isolated: its nearest neighbor is farther than "
                    f"{self.radius:g} angstrom"
                )
            if symbol in self.nearest and distance > (1 + FARTHER) * self.nearest[symbol][1]:
                return (
                    f"ion {ion} ({symbol}) is isolated: its nearest neighbor is at "
                    f"{distance:.2f} angstrom; up to {self.nearest[symbol][1]:.2f} were trained on"
                )
        return None

    def _density(self, crystal: Crystal, seen: _Surroundings) -> str | None:
        volume, (least, most) = crystal.volume / len(crystal), self.volume
        if not least * (1 - LOOSER) <= volume <= most * (1 + LOOSER):
            return (
                f"the cell has {volume:.1f} angstrom^3 per atom; {least:.1f} to {most:.1f} were "
                "trained on"
            )
        fewest, highest = self.neighbors
        for ion, count in enumerate(seen.neighbors.tolist(), start=1):
            if not fewest * (1 - LOOSER) <= count <= highest * (1 + LOOSER):
                return (
                    f"ion {ion} ({crystal.symbols[ion - 1]}) has {count} neighbors within "
                    f"{self.radius:g} angstrom; {fewest} to {highest} were trained on"
                )
        return None

    def _coarseness(self, crystal: Crystal, shape: Sequence[int]) -> str | None:
        spacing = _spacing(crystal, shape)
        if self.spacing is None or spacing <= COARSER * self.spacing:
            return None
        return (
            f"the grid {' x '.join(map(str, shape))} is too coarse: its points are {spacing:.3f} "
            f"angstrom apart, up to {self.spacing:.3f} were trained on; raise ENCUT or PREC"
        )


def _surroundings(crystal: Crystal, radius: float) -> _Surroundings:
    sites = np.ascontiguousarray(crystal.positions @ crystal.lattice)
    lattice = np.ascontiguousarray(crystal.lattice)
    first, second, images, distances = find_points_in_spheres(
        sites, sites, r=radius, pbc=np.ones(3, dtype=np.int64), lattice=lattice
    )
    other = (first != second) | np.any(images != 0, axis=1)  # not the ion itself
    first, second, distances = first[other], second[other], distances[other]
    nearest = np.full(len(crystal), np.inf)
    np.minimum.at(nearest, first, distances)
    pairs: dict[str, tuple[float, int, int]] = {}
    for index in np.argsort(distances)[::-1].tolist():  # the shortest comes last and stays
        i, j = int(first[index]), int(second[index])
        pair = "-".join(sorted((crystal.symbols[i], crystal.symbols[j])))
        pairs[pair] = float(distances[index]), i, j
    return _Surroundings(nearest, np.bincount(first, minlength=len(crystal)), pairs)


def _spacing(crystal: Crystal, shape: Sequence[int]) -> float:
    """Greatest distance of neighboring grid points along a lattice vector, angstrom."""
    return float(np.max(np.linalg.norm(crystal.lattice, axis=1) / np.asarray(shape)))
