"""Electronic structure of a finished run (vasprun.xml): band energies, gaps, forces, DOS."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from pymatgen.electronic_structure.core import Spin
from pymatgen.io.vasp.inputs import Kpoints
from pymatgen.io.vasp.outputs import Vasprun

from mlcharge_flows.errors import MlchargeError, one_line
from mlcharge_flows.io import plain_or_compressed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

    FloatArray = NDArray[np.float64]


class ElectronicStructureError(MlchargeError, ValueError):
    """A run without usable eigenvalues; the message is one line that names it."""


@dataclass(frozen=True, eq=False)
class ElectronicStructure:
    """Band energies of one run without spin, with its forces and density of states.

    Parameters
    ----------
    kpoints, weights
        Fractional coordinates, shape (k, 3); weights that sum to 1, shape (k,).
    eigenvalues
        Shape (k, bands), ascending, eV.
    n_electrons
        NELECT.
    fermi_level
        eV.
    forces
        Shape (ions, 3), eV/angstrom; None if the run has none.
    dos_energies, dos
        eV, and states per eV of both spins, shapes (NEDOS,); None if the run has none.

    Examples
    --------
    >>> levels = np.array([[-1.0, 0.5], [-2.0, 1.5]])
    >>> found = ElectronicStructure(np.zeros((2, 3)), np.full(2, 0.5), levels, 2.0, 0.0)
    >>> found.gap, found.direct_gap
    (1.5, 1.5)
    """

    kpoints: FloatArray
    weights: FloatArray
    eigenvalues: FloatArray
    n_electrons: float
    fermi_level: float
    forces: FloatArray | None = None
    dos_energies: FloatArray | None = None
    dos: FloatArray | None = None

    @property
    def n_occupied(self) -> int:
        """Number of bands with electrons; the last one may be half filled."""
        return int(np.ceil(self.n_electrons / 2 - 1e-6))

    @property
    def highest_occupied(self) -> float:
        """Top of the occupied bands, eV; the Fermi level of a metal."""
        filled = self.eigenvalues[:, self.n_occupied - 1]
        return float(filled.max()) if self.gap else self.fermi_level

    @property
    def gap(self) -> float | None:
        """Fundamental gap over these k-points in eV, 0 for a metal; None without empty bands.

        It follows from the order of the levels, not from occupations, which are smeared.
        """
        return self._gap(lambda empty, filled: float(empty.min() - filled.max()))

    @property
    def direct_gap(self) -> float | None:
        """Smallest vertical distance of empty and filled bands in eV; 0 for a metal."""
        if self.gap == 0.0:
            return 0.0
        return self._gap(lambda empty, filled: float((empty - filled).min()))

    def _gap(self, distance: Callable[[FloatArray, FloatArray], float]) -> float | None:
        filled = self.n_occupied
        if filled >= self.eigenvalues.shape[1]:
            return None
        if abs(self.n_electrons - 2 * filled) > 1e-3:  # odd number of electrons: half a band
            return 0.0
        return max(distance(self.eigenvalues[:, filled], self.eigenvalues[:, filled - 1]), 0.0)


def read_electronic_structure(folder: str | Path) -> ElectronicStructure:
    """Read the electronic structure of a finished run, plain or compressed.

    Parameters
    ----------
    folder
        Run folder.

    Returns
    -------
    ElectronicStructure
        Of the last ionic step.

    Raises
    ------
    ElectronicStructureError
        There is no vasprun.xml, it is cut, or it is of a spin-polarized run.
    """
    run = _parse_vasprun(folder)
    eigenvalues = run.eigenvalues or {}
    if set(eigenvalues) != {Spin.up}:
        reason = "spin-polarized runs are not compared" if eigenvalues else "no eigenvalues"
        raise ElectronicStructureError(f"{run.filename}: {reason}")
    levels = np.sort(np.asarray(eigenvalues[Spin.up])[:, :, 0], axis=1)
    weights = np.asarray(run.actual_kpoints_weights, float)
    forces = run.ionic_steps[-1].get("forces") if run.ionic_steps else None
    dos = getattr(run, "tdos", None)
    return ElectronicStructure(
        kpoints=np.asarray(run.actual_kpoints, float),
        weights=weights / weights.sum(),
        eigenvalues=levels,
        n_electrons=float(run.parameters["NELECT"]),
        fermi_level=float(run.efermi or 0.0),
        forces=None if forces is None else np.asarray(forces, float),
        dos_energies=None if dos is None else np.asarray(dos.energies),
        dos=None if dos is None else np.asarray(sum(dos.densities.values())),
    )


@dataclass(frozen=True, eq=False)
class BandPath:
    """Bands along straight segments between named points, one after the other.

    Parameters
    ----------
    segments
        Distance along the path, shape (k,), 1/angstrom with the factor 2 pi; and eigenvalues of
        spin up, shape (k, bands), eV.
    ticks
        Name of each end of a segment, by its distance; ``K | U`` where the path jumps.
    """

    segments: list[tuple[FloatArray, FloatArray]]
    ticks: dict[float, str]

    @classmethod
    def of(cls, points: FloatArray, levels: FloatArray, names: Sequence[str | None]) -> BandPath:
        """Order bands by the distance along a path.

        Parameters
        ----------
        points
            Cartesian k-points, shape (k, 3), 1/angstrom with the factor 2 pi.
        levels
            Shape (k, bands), eV.
        names
            Name of each point; empty except at both ends of a segment. Where two segments meet,
            their common point is listed twice.

        Returns
        -------
        BandPath
            One segment per pair of names.

        Examples
        --------
        >>> points = np.array([[0, 0], [1, 0], [2, 0], [2, 0], [2, 1], [5, 5], [5, 6]])
        >>> names = ["G", None, "X", "X", "W", "K", "U"]
        >>> path = BandPath.of(np.pad(points, ((0, 0), (0, 1))), np.zeros((7, 1)), names)
        >>> path.ticks, [len(distances) for distances, _ in path.segments]
        ({0.0: 'G', 2.0: 'X', 3.0: 'W | K', 4.0: 'U'}, [3, 2, 2])
        """
        ends = [index for index, name in enumerate(names) if name]
        segments: list[tuple[FloatArray, FloatArray]] = []
        ticks: dict[float, str] = {}
        begin = 0.0
        for first, last in zip(ends[::2], ends[1::2], strict=False):
            steps = np.linalg.norm(np.diff(points[first : last + 1], axis=0), axis=1)
            distances = begin + np.concatenate([[0.0], np.cumsum(steps)])
            segments.append((distances, levels[first : last + 1]))
            name, before = str(names[first]), ticks.get(begin)
            ticks[begin] = f"{before} | {name}" if before not in (None, name) else name
            begin = float(distances[-1])
            ticks[begin] = str(names[last])
        return cls(segments, ticks)


def read_band_path(folder: str | Path) -> BandPath:
    """Read a run whose KPOINTS lists points along lines, with a name at both ends of each line.

    Parameters
    ----------
    folder
        Run folder, with KPOINTS and vasprun.xml, plain or compressed.

    Returns
    -------
    BandPath
        Bands of spin up.

    Raises
    ------
    ElectronicStructureError
        The files are missing or cut, or KPOINTS has no names.
    """
    run = _parse_vasprun(folder)
    path = plain_or_compressed(Path(folder) / "KPOINTS")
    try:
        names = Kpoints.from_file(path).labels or []
    except Exception as error:  # pymatgen raises whatever a strange file leads to
        raise ElectronicStructureError(f"{path}: cannot be read ({one_line(error, 200)})") from None
    points, eigenvalues = run.actual_kpoints or [], run.eigenvalues or {}
    if Spin.up not in eigenvalues or not any(names) or len(names) != len(points):
        raise ElectronicStructureError(f"{path}: does not name the ends of lines")
    reciprocal = run.final_structure.lattice.reciprocal_lattice.matrix
    levels = np.sort(np.asarray(eigenvalues[Spin.up])[:, :, 0], axis=1)
    return BandPath.of(np.asarray(points, float) @ reciprocal, levels, names)


def _parse_vasprun(folder: str | Path) -> Vasprun:
    """Parse the vasprun.xml of a run, plain or compressed; without projections and POTCAR."""
    path = plain_or_compressed(Path(folder) / "vasprun.xml")
    if not path.is_file():
        raise ElectronicStructureError(f"{path}: there is no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # such as that the POTCAR is not VASP's
            return Vasprun(path, parse_potcar_file=False)
    except Exception as error:  # pymatgen raises whatever a cut file leads to
        raise ElectronicStructureError(f"{path}: cannot be read ({one_line(error, 200)})") from None
