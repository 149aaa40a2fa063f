"""The inputs of a VASP run as VASP will see them: INCAR, crystal, fine grid and PAW data sets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from atomate2 import SETTINGS
from atomate2.utils.path import strip_hostname
from pymatgen.core import Lattice
from pymatgen.io.vasp.sets import VaspInputSet

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.paw_dataset import PawDataset, n_electrons
from mlcharge_flows.settings import Settings, SetupError
from mlcharge_flows.sources.potcar_library import datasets_of_library, datasets_of_text
from mlcharge_flows.vasp.incar import cutoff, fft_grids
from mlcharge_flows.vasp.irreducible_kpoints import IrreducibleKPoints, irreducible_kpoints
from mlcharge_flows.vasp.kpoints import from_file, from_spacing
from mlcharge_flows.vasp.potcar import (
    PotcarError,
    TwoDatasetsError,
    datasets_by_element,
    read_potcar,
)

if TYPE_CHECKING:
    from pymatgen.core import Structure
    from pymatgen.io.vasp import Kpoints, VaspInput

PotcarReader = Callable[[], Iterable[PawDataset]]
"""Reads the POTCAR of a run, when it is asked for the first time."""


def _no_potcar() -> Iterable[PawDataset]:
    raise FileNotFoundError("no POTCAR was given")


@dataclass(frozen=True, eq=False)
class RunInputs:
    """Structure and INCAR of a run, and what follows from them and from its POTCAR.

    An initial density is made for these inputs, never for the structure that the caller holds:
    input sets sort, reduce and standardize structures, and atomate2's settings can change the
    INCAR. The POTCAR is read only when something needs it.

    Parameters
    ----------
    structure
        Structure with its sites in the order of the POSCAR.
    incar
        Final INCAR tags.
    read_potcar
        Reads the PAW data sets of the run.
    reference_run
        Folder of a finished run of the same inputs; None if there is none.
    supplied_datasets
        PAW data set of each element, used where the POTCAR of the run cannot be read.
    kpoints
        KPOINTS of the run; None without one, as with KSPACING.
    gamma_only
        Whether the run is of the Gamma-only executable, which keeps half of the plane waves.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from mlcharge_flows.atomate2.sets.comparison import ComparisonSetGenerator
    >>> salt = Structure.from_spacegroup(
    ...     "Fm-3m", Lattice.cubic(4.21), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    ... )
    >>> cell = salt.get_primitive_structure()
    >>> inputs = RunInputs.from_generator(cell, ComparisonSetGenerator())
    >>> inputs.crystal.symbols, inputs.grid
    (('Mg', 'O'), (28, 28, 28))
    """

    structure: Structure
    incar: Mapping[str, Any]
    read_potcar: PotcarReader = _no_potcar
    reference_run: Path | None = None
    supplied_datasets: Mapping[str, PawDataset] | None = None
    kpoints: Kpoints | None = None
    gamma_only: bool = False

    @classmethod
    def from_generator(
        cls,
        structure: Structure,
        generator: VaspInputSet,
        reference_run: str | Path | None = None,
    ) -> Self:
        """Make the inputs as an input set generator will make them for the run.

        Parameters
        ----------
        structure
            Structure as it is given to the Maker of the run.
        generator
            Input set generator of that Maker; it is not changed.
        reference_run
            Folder of a finished run, possibly with a host name before it.

        Returns
        -------
        RunInputs
            Without a POTCAR library, everything but the PAW data sets is known.
        """
        generator = deepcopy(generator)
        made = _input_set(structure, generator)

        def read() -> Iterable[PawDataset]:
            if type(generator).potcar is VaspInputSet.potcar:
                return datasets_of_library(
                    made["POTCAR.spec"].split(), generator.user_potcar_functional
                )
            with Settings().activated():  # the generator composes its POTCAR in a way of its own
                return datasets_of_text(str(generator.get_input_set(structure)["POTCAR"]))

        return cls._of_input_set(made, read, reference_run)

    @classmethod
    def from_input_set(cls, made: VaspInput, reference_run: str | Path | None = None) -> Self:
        """Take the inputs that a run has made for itself.

        Parameters
        ----------
        made
            Inputs with a POTCAR.
        reference_run
            Folder of a finished run, possibly with a host name before it.

        Returns
        -------
        RunInputs
            Of the run.
        """

        def read() -> Iterable[PawDataset]:
            return [dataset for text in made["POTCAR"] for dataset in datasets_of_text(str(text))]

        return cls._of_input_set(made, read, reference_run)

    @classmethod
    def from_files(
        cls,
        structure: Structure,
        incar: Mapping[str, Any],
        potcar: Path | None = None,
        kpoints: Kpoints | None = None,
    ) -> Self:
        """Describe a run that is made elsewhere.

        Parameters
        ----------
        structure
            Structure with its sites in the order of the POSCAR.
        incar
            Tags of its INCAR that concern grid and charge.
        potcar
            Its POTCAR, if it is available.
        kpoints
            Its KPOINTS, which initial orbitals need.

        Returns
        -------
        RunInputs
            Of the run.
        """
        reader = _no_potcar if potcar is None else lambda: read_potcar(potcar)
        return cls(structure, dict(incar), reader, kpoints=kpoints)

    @classmethod
    def _of_input_set(
        cls, made: VaspInput, read: PotcarReader, reference_run: str | Path | None
    ) -> Self:
        incar = {**made["INCAR"], **SETTINGS.VASP_INCAR_UPDATES}
        folder = None
        if reference_run is not None:
            folder = Path(strip_hostname(reference_run)).absolute()
        structure = made["POSCAR"].structure
        if np.linalg.det(structure.lattice.matrix) < 0:  # pymatgen writes the vectors reversed
            structure = structure.copy()
            structure.lattice = Lattice(-structure.lattice.matrix)
        return cls(structure, incar, read, folder, kpoints=made.get("KPOINTS"))

    def with_datasets(self, datasets: Mapping[str, PawDataset]) -> Self:
        """Copy the inputs, with PAW data sets for a run whose POTCAR cannot be read here.

        Parameters
        ----------
        datasets
            PAW data set of each element.

        Returns
        -------
        RunInputs
            The same inputs where the POTCAR can be read, or data sets were supplied before.

        Raises
        ------
        PotcarError
            There is a POTCAR, and it is broken.
        """
        if self.has_potcar or self.supplied_datasets is not None:
            return self
        return replace(self, supplied_datasets=dict(datasets))

    @cached_property
    def crystal(self) -> Crystal:
        """Lattice and ions, in the order of the POSCAR."""
        return Crystal.from_structure(self.structure)

    @cached_property
    def elements(self) -> frozenset[str]:
        """Symbols of the elements of the run."""
        return frozenset(self.crystal.symbols)

    @cached_property
    def has_potcar(self) -> bool:
        """Whether the POTCAR of the run can be read here.

        Returns
        -------
        bool
            False without a POTCAR library, or where it lacks a data set.

        Raises
        ------
        PotcarError
            There is a POTCAR, and it is broken.
        """
        try:
            return bool(self._potcar)
        except TwoDatasetsError:
            return True
        except PotcarError:
            raise
        except (SetupError, OSError, KeyError, ValueError):
            return False

    @cached_property
    def _potcar(self) -> Mapping[str, PawDataset]:
        """PAW data set of each element of the run, of a POTCAR that may hold others."""
        found = datasets_by_element(self.read_potcar())
        if found and (missing := sorted(self.elements - set(found))):
            raise PotcarError(f"POTCAR has no data set for {', '.join(missing)}")
        return {symbol: dataset for symbol, dataset in found.items() if symbol in self.elements}

    @cached_property
    def datasets(self) -> Mapping[str, PawDataset]:
        """PAW data sets of the run: of the POTCAR, else those supplied.

        Returns
        -------
        mapping of str to PawDataset
            By element.

        Raises
        ------
        SetupError, OSError, KeyError, ValueError
            The POTCAR cannot be read, and no data sets were supplied; or it has two of an element.
        """
        return self._potcar if self.supplied_datasets is None else self.supplied_datasets

    @cached_property
    def channels(self) -> list[tuple[int, ...]]:
        """Projector channels of the ions.

        Returns
        -------
        list of tuple of int
            l of each channel, for each ion.
        """
        return [self.datasets[symbol].channels for symbol in self.crystal.symbols]

    @cached_property
    def n_electrons(self) -> float:
        """NELECT, electrons: of the INCAR, else the sum of ZVAL over the ions."""
        if "NELECT" in self.incar:
            return float(self.incar["NELECT"])
        return n_electrons(self.datasets[symbol] for symbol in self.crystal.symbols)

    @cached_property
    def encut(self) -> float | None:
        """ENCUT: of the INCAR, else the largest ENMAX of the POTCAR.

        Returns
        -------
        float or None
            In eV; None if neither is known.

        References
        ----------
        https://www.vasp.at/wiki/index.php/ENCUT
        """
        if (given := cutoff(self.incar)) is not None:
            return given
        known: Iterable[PawDataset]
        try:
            known = self.datasets.values() if self.has_potcar else ()
        except TwoDatasetsError:
            known = self.read_potcar()
        return cutoff({}, (dataset.enmax for dataset in known))

    @cached_property
    def grid(self) -> tuple[int, int, int]:
        """Fine grid.

        Returns
        -------
        tuple of int
            NGXF, NGYF, NGZF.

        Raises
        ------
        ValueError
            The INCAR does not determine the grid.
        """
        tags = self.incar if "ENCUT" in self.incar else {**self.incar, "ENCUT": self.encut}
        return fft_grids(self.crystal.lattice, tags).fine

    @cached_property
    def irreducible_kpoints(self) -> IrreducibleKPoints:
        """K-points at which VASP computes, of KPOINTS or KSPACING.

        Returns
        -------
        IrreducibleKPoints
            Ions with different moments in MAGMOM are of different kinds.

        Raises
        ------
        KPointsError
            The k-points cannot be used.

        References
        ----------
        https://www.vasp.at/wiki/index.php/KPOINTS, .../KSPACING and .../ISYM
        """
        crystal, tags = self.crystal, self.incar
        if self.kpoints is not None:
            points = from_file(self.kpoints, crystal.lattice)
        else:
            spacing, gamma = float(tags.get("KSPACING", 0.5)), bool(tags.get("KGAMMA", True))
            points = from_spacing(crystal.lattice, spacing, gamma)
        if points.points is not None or points.divisions is None:
            listed = np.asarray(points.points)
            return IrreducibleKPoints(listed, np.ones(len(listed)), is_certain=True)
        moments = np.ravel(tags.get("MAGMOM", 0.0)) if tags.get("ISPIN", 1) == 2 else np.zeros(1)
        if np.ptp(moments) > 0.0:
            pairs = zip(crystal.symbols, moments, strict=True)
            crystal = replace(crystal, symbols=tuple(f"{s} {moment:g}" for s, moment in pairs))
        return irreducible_kpoints(
            crystal,
            points.divisions,
            points.first,
            isym=int(tags.get("ISYM", 2)),
            symprec=float(tags.get("SYMPREC", 1e-5)),
        )

    def with_listed_kpoints(self) -> Self:
        """List the irreducible k-points where VASP's own order of them is not known.

        Returns
        -------
        RunInputs
            With an explicit list as KPOINTS; the same inputs where the order is known, where the
            tetrahedra of ISMEAR = -5 or -4 need the mesh, or where the mesh breaks the symmetry.

        Raises
        ------
        KPointsError
            The k-points cannot be used.
        """
        found = self.irreducible_kpoints
        needs_mesh = int(self.incar.get("ISMEAR", 1)) <= -4 or not found.is_symmetric
        if found.is_certain or needs_mesh:
            return self
        return replace(self, kpoints=found.listed())

    @property
    def grid_tags(self) -> dict[str, int]:
        """Fine grid as INCAR tags."""
        return dict(zip(("NGXF", "NGYF", "NGZF"), self.grid, strict=True))


def _input_set(structure: Structure, generator: VaspInputSet) -> VaspInput:
    """Inputs without POTCARs, which only the NELECT of a charged cell needs."""
    try:
        with Settings().activated():
            return generator.get_input_set(structure, potcar_spec=True)
    except SetupError:
        return generator.get_input_set(structure, potcar_spec=True)
