"""Which ions of a crystal correspond to those of almost the same crystal.

The other crystal may be strained and rotated, a supercell, displaced, and in another order.
Lattices are compared by pymatgen.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import islice
from typing import TYPE_CHECKING, Self

import numpy as np
from pymatgen.core import Lattice
from scipy.linalg import polar

from mlcharge_flows.density.crystal import Crystal, NeighborList
from mlcharge_flows.errors import MlchargeError

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_DISPLACEMENT = 0.5
"""Largest distance of an ion from where the reference has it, in angstrom; less than half of any
bond length, so that each ion has one place."""
MAX_STRAIN = 0.12
"""Largest strain of a lattice vector: equations of state go to 0.05 or 0.1."""
UNMOVED = 1e-4
"""Displacement of ions, in angstrom, and change of lattice vectors that six printed decimals of
positions leave open."""

_CLOSE = 0.1
"""Root mean square displacement, in angstrom, below which no other match is looked for."""
_TOLERANCES = ((0.01, 1.0), (MAX_STRAIN, 8.0))
"""Relative difference of lengths and difference of angles, in degrees, of lattice vectors that a
rotation leads to: the second only where the first finds none."""
_MAX_LOOSE_CELLS = 64
"""Size of supercells up to which the larger tolerance is tried: the search grows fast with it."""
_MAX_LATTICES = 200
"""Choices of equivalent lattice vectors that are tried: a cubic lattice has 48."""


class MatchError(MlchargeError, ValueError):
    """Two crystals do not correspond; one line that says why."""


@dataclass(frozen=True, eq=False)
class CrystalMatch:
    """The ions of a reference that correspond to those of a crystal.

    Parameters
    ----------
    cells
        Lattice vectors of the unstrained crystal in those of the reference as rows, integers, shape
        (3, 3).
    deformation
        F, Cartesian: the unstrained vector r of the reference, as a row, becomes r F; shape (3, 3).
    translation
        Rigid translation of the ions, in fractional coordinates of the crystal, shape (3,).
    ions
        Index of the ion of the reference for each ion of the crystal, shape (ions,).
    displacements
        Distance of each ion from where strain, rotation and translation alone would have taken it,
        in angstrom, shape (ions,).
    """

    cells: np.ndarray
    deformation: np.ndarray
    translation: np.ndarray
    ions: np.ndarray
    displacements: np.ndarray

    @classmethod
    def of(cls, reference: Crystal, crystal: Crystal) -> Self:
        """Find for each ion of a crystal the one of a reference.

        The rigid translation is the median displacement of the ions, by the coordinates of the
        reference: one displaced ion does not move the others. Of several matches, the first
        one with small displacements is taken, beginning with the smallest change of the lattice
        vectors, else the one with the smallest.

        Parameters
        ----------
        reference
            Ions of which something is known.
        crystal
            Ions of almost the same crystal, or of a supercell of it.

        Returns
        -------
        CrystalMatch
            The correspondence.

        Raises
        ------
        MatchError
            Composition or lattice differ, or an ion is farther than :data:`MAX_DISPLACEMENT` away.

        Examples
        --------
        >>> salt = Crystal(np.eye(3) * 4.0, ("Na", "Cl"), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]))
        >>> other = Crystal(np.eye(3) * 4.1, ("Cl", "Na"), np.array([[0.5, 0.5, 0.52], [0, 0, 0]]))
        >>> match = CrystalMatch.of(salt, other)
        >>> match.ions.tolist(), round(match.strain, 6)
        ([1, 0], 0.025)
        """
        n_cells, rest = divmod(len(crystal), len(reference))
        counts = {symbol: n * n_cells for symbol, n in Counter(reference.symbols).items()}
        if rest or counts != Counter(crystal.symbols):
            raise MatchError(
                f"is of another composition, {_formula(reference)} and not {_formula(crystal)}"
            )
        best: Self | None = None
        has_lattice = False
        for cells in _cells(reference.lattice, crystal.lattice, n_cells):
            has_lattice = True
            strained = Crystal(
                np.linalg.inv(cells) @ crystal.lattice, reference.symbols, reference.positions
            )
            for translation in _translations(reference, crystal, cells):
                found = cls._assigned(reference, crystal, strained, cells, translation)
                if found and (best is None or found.rms < best.rms - UNMOVED):
                    best = found
                if best and best.rms < _CLOSE:
                    return best
        if best is None:
            raise MatchError(
                f"has an ion more than {MAX_DISPLACEMENT} angstrom from any of the run"
                if has_lattice
                else f"has another lattice: no cell of it is within a strain of {MAX_STRAIN}"
            )
        return best

    @classmethod
    def _assigned(
        cls,
        reference: Crystal,
        crystal: Crystal,
        strained: Crystal,
        cells: np.ndarray,
        translation: np.ndarray,
    ) -> Self | None:
        """Nearest ion of the reference for each ion; None if one has none, or two have the same."""
        places = (crystal.positions - translation) @ cells
        pairs = NeighborList.of_points(
            (places % 1.0) @ strained.lattice, strained, 2 * MAX_DISPLACEMENT
        )
        known, wanted = np.array(reference.symbols), np.array(crystal.symbols)
        same = known[pairs.others] == wanted[pairs.centers]
        order = np.argsort(pairs.distances[same], kind="stable")
        centers, first = np.unique(pairs.centers[same][order], return_index=True)
        if len(centers) != len(crystal):
            return None
        ions = pairs.others[same][order][first]
        apart = places - reference.positions[ions]
        images = np.rint(apart)
        if not _is_one_to_one(ions, images, cells):
            return None
        rigid = np.median(apart - images, axis=0)
        moves = (apart - images - rigid) @ strained.lattice
        displacements = np.linalg.norm(moves, axis=1)
        if displacements.max() > MAX_DISPLACEMENT:
            return None
        shift = translation + rigid @ np.linalg.inv(cells)
        deformation = np.linalg.solve(cells @ reference.lattice, crystal.lattice)
        return cls(cells, deformation, shift, ions, displacements)

    @property
    def rms(self) -> float:
        """Root mean square displacement in angstrom."""
        return float(np.sqrt(np.mean(self.displacements**2)))

    @property
    def n_cells(self) -> int:
        """Number of cells of the reference in the crystal."""
        return abs(round(float(np.linalg.det(self.cells))))

    @cached_property
    def rotation(self) -> np.ndarray:
        """Orthogonal Cartesian matrix nearest to the deformation, for column vectors, (3, 3)."""
        rotation: np.ndarray = polar(self.deformation.T)[0]
        # A proper rotation within the precision of printed lattice vectors is none.
        return np.eye(3) if np.allclose(rotation, np.eye(3), atol=1e-6) else rotation

    @property
    def strain(self) -> float:
        """Largest principal strain, without sign."""
        return _strain(self.deformation)

    @property
    def is_unmoved(self) -> bool:
        """Whether rotation, rigid translation and repetition alone lead to the crystal."""
        return self.strain < UNMOVED and bool(self.displacements.max() < UNMOVED)

    def __str__(self) -> str:
        cells = f", {self.n_cells} cells" if self.n_cells > 1 else ""
        return (
            f"ions moved by up to {self.displacements.max():.3f} angstrom, "
            f"strain {100 * self.strain:.2f} %{cells}"
        )


def _strain(deformation: np.ndarray) -> float:
    stretches = np.linalg.svd(deformation, compute_uv=False)
    return float(np.abs(stretches - 1.0).max())


def _cells(lattice: np.ndarray, other: np.ndarray, n_cells: int) -> Iterator[np.ndarray]:
    """Integer combinations of lattice vectors that are nearly those of another lattice."""
    # The nearest first, then those that a rotation leads to, by the size of the deformation.
    nearest = np.rint(other @ np.linalg.inv(lattice)).astype(int)
    seen = set()
    if _is_cell(nearest, lattice, other, n_cells):
        seen.add(nearest.tobytes())
        yield nearest
    for ltol, atol in _TOLERANCES[: 1 if n_cells > _MAX_LOOSE_CELLS else 2]:
        mappings = Lattice(lattice).find_all_mappings(
            Lattice(other), ltol=ltol, atol=atol, skip_rotation_matrix=True
        )
        every = (cells.astype(int) for _, _, cells in mappings)
        found = [cells for cells in every if _is_cell(cells, lattice, other, n_cells)]
        if found:
            break

    def change(cells: np.ndarray) -> tuple[float, float]:
        deformation = np.linalg.solve(cells @ lattice, other)
        return round(_strain(deformation), 4), float(np.linalg.norm(deformation - np.eye(3)))

    unseen = (cells for cells in sorted(found, key=change) if cells.tobytes() not in seen)
    yield from islice(unseen, _MAX_LATTICES)


def _is_cell(cells: np.ndarray, lattice: np.ndarray, other: np.ndarray, n_cells: int) -> bool:
    if abs(round(float(np.linalg.det(cells)))) != n_cells:
        return False
    return _strain(np.linalg.solve(cells @ lattice, other)) <= MAX_STRAIN


def _translations(reference: Crystal, crystal: Crystal, cells: np.ndarray) -> Iterator[np.ndarray]:
    """Rigid translations, fractional: none, and those from an ion of the rarest kind to another."""
    # Lattice translations of the reference lead to itself.
    yield np.zeros(3)
    rarest = min(Counter(reference.symbols).items(), key=lambda item: item[1])[0]
    ion = crystal.symbols.index(rarest)
    for symbol, position in zip(reference.symbols, reference.positions, strict=True):
        if symbol == rarest:
            yield crystal.positions[ion] - position @ np.linalg.inv(cells)


def _is_one_to_one(ions: np.ndarray, images: np.ndarray, cells: np.ndarray) -> bool:
    """Whether no two ions of a supercell have the same ion of the same cell of the reference."""
    places = images @ np.linalg.inv(cells)
    places = np.rint((places - np.floor(places + 1e-6)) * 1e6).astype(int)
    return len(np.unique(np.column_stack([ions, places]), axis=0)) == len(ions)


def _formula(crystal: Crystal) -> str:
    return "".join(f"{symbol}{n}" for symbol, n in sorted(Counter(crystal.symbols).items()))
