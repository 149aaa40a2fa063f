"""Eigenstates of a finished run, from its vasprun.xml: band energies, gaps, forces, DOS."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from monty.os.path import zpath
from pymatgen.electronic_structure.core import Spin
from pymatgen.io.vasp.outputs import Vasprun

if TYPE_CHECKING:
    from collections.abc import Callable


class StatesError(ValueError):
    """A run without usable eigenstates; the message is one line that names it."""


@dataclass(frozen=True, eq=False)
class States:
    """Eigenstates of one run without spin, with what else its vasprun.xml tells.

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
    >>> states = States(np.zeros((2, 3)), np.full(2, 0.5), levels, 2.0, 0.0)
    >>> states.gap, states.direct_gap
    (1.5, 1.5)
    """

    kpoints: np.ndarray
    weights: np.ndarray
    eigenvalues: np.ndarray
    n_electrons: float
    fermi_level: float
    forces: np.ndarray | None = None
    dos_energies: np.ndarray | None = None
    dos: np.ndarray | None = None

    @property
    def n_occupied(self) -> int:
        """Bands that the electrons fill, the last one perhaps by half."""
        return int(np.ceil(self.n_electrons / 2 - 1e-6))

    @property
    def highest_occupied(self) -> float:
        """Top of the occupied bands, eV; the Fermi level of a metal."""
        filled = self.eigenvalues[:, self.n_occupied - 1]
        return float(filled.max()) if self.gap else self.fermi_level

    @property
    def gap(self) -> float | None:
        """Fundamental gap over these k-points in eV, 0 for a metal; None without empty bands.

        From the order of the levels alone: occupations of a smeared run know no gap.
        """
        return self._gap(lambda empty, filled: empty.min() - filled.max())

    @property
    def direct_gap(self) -> float | None:
        """Smallest vertical distance of empty and filled bands in eV; 0 for a metal."""
        if self.gap == 0.0:
            return 0.0
        return self._gap(lambda empty, filled: (empty - filled).min())

    def _gap(self, distance: Callable[[np.ndarray, np.ndarray], float]) -> float | None:
        filled = self.n_occupied
        if filled >= self.eigenvalues.shape[1]:
            return None
        if abs(self.n_electrons - 2 * filled) > 1e-3:  # half a band: an odd number of electrons
            return 0.0
        found = distance(self.eigenvalues[:, filled], self.eigenvalues[:, filled - 1])
        return max(float(found), 0.0)


def read_states(folder: str | Path) -> States:
    """Read the eigenstates of a finished run, plain or compressed.

    Parameters
    ----------
    folder
        Run folder.

    Raises
    ------
    StatesError
        There is no vasprun.xml, it is cut, or it is of a spin-polarized run.
    """
    run = parse_run(folder)
    eigenvalues = run.eigenvalues or {}
    if set(eigenvalues) != {Spin.up}:
        told = "spin-polarized runs are not compared" if eigenvalues else "no eigenvalues"
        raise StatesError(f"{run.filename}: {told}")
    levels = np.sort(np.asarray(eigenvalues[Spin.up])[:, :, 0], axis=1)
    weights = np.asarray(run.actual_kpoints_weights, float)
    forces = run.ionic_steps[-1].get("forces") if run.ionic_steps else None
    dos = getattr(run, "tdos", None)
    return States(
        kpoints=np.asarray(run.actual_kpoints, float),
        weights=weights / weights.sum(),
        eigenvalues=levels,
        n_electrons=float(run.parameters["NELECT"]),
        fermi_level=float(run.efermi or 0.0),
        forces=None if forces is None else np.asarray(forces, float),
        dos_energies=None if dos is None else np.asarray(dos.energies),
        dos=None if dos is None else np.asarray(sum(dos.densities.values())),
    )


def parse_run(folder: str | Path) -> Vasprun:
    """Parse the vasprun.xml of a run, plain or compressed; without projections and POTCAR.

    Raises
    ------
    StatesError
        There is none, or it is cut.
    """
    folder = Path(folder)
    path = Path(zpath(str(folder / "vasprun.xml")))
    if not path.is_file():
        raise StatesError(f"{path}: there is no such file")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that the POTCAR is not VASP's, for one
            return Vasprun(path, parse_potcar_file=False)
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise StatesError(f"{path}: cannot be read ({reason[:200]})") from None
