"""What VASP will see: the final INCAR, the sorted structure, its fine grid and PAW data sets."""

from __future__ import annotations

import tempfile
from copy import deepcopy
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from atomate2 import SETTINGS
from pymatgen.io.vasp import PotcarSingle
from pymatgen.io.vasp.sets import VaspInputSet

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.paw_dataset import n_electrons
from mlcharge_flows.settings import Settings, SetupError
from mlcharge_flows.vasp.fine_grid import fft_grids
from mlcharge_flows.vasp.potcar import PotcarError, read_potcar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pymatgen.core import Structure
    from pymatgen.io.vasp import VaspInput

    from mlcharge_flows.density.paw_dataset import PawDataset


class VaspInputs:
    """The inputs of a run, made by its own input set generator just as the run will make them.

    A start has to be written for these, never for the structure that the caller holds: generators
    sort, reduce and standardize, and atomate2's settings may change the INCAR.

    Parameters
    ----------
    structure
        Structure as given to the flow.
    generator
        Input set generator of the Maker that will run; it is not changed.

    Examples
    --------
    >>> from pymatgen.core import Lattice, Structure
    >>> from mlcharge_flows.atomate2.sets.comparison import ComparisonSetGenerator
    >>> salt = Structure.from_spacegroup(
    ...     "Fm-3m", Lattice.cubic(4.21), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    ... )
    >>> inputs = VaspInputs(salt.get_primitive_structure(), ComparisonSetGenerator())
    >>> inputs.crystal.symbols, inputs.grid
    (('Mg', 'O'), (28, 28, 28))
    """

    def __init__(self, structure: Structure, generator: VaspInputSet) -> None:
        generator = deepcopy(generator)
        # Nothing but the atomic data needs a POTCAR: a start can be placed without a licence.
        made = generator.get_input_set(structure, potcar_spec=True)
        self._take(made)
        if type(generator).potcar is VaspInputSet.potcar:
            symbols, functional = made["POTCAR.spec"].split(), generator.user_potcar_functional
            self._potcars = lambda: _of_library(symbols, functional)
        else:  # one that composes its POTCAR in a way of its own
            self._potcars = lambda: _of_generator(structure, generator)

    @classmethod
    def of(cls, made: VaspInput) -> VaspInputs:
        """Inputs that a run has just made for itself, on the ground of an earlier run or not."""
        inputs = cls.__new__(cls)
        inputs._take(made)
        inputs._potcars = lambda: [p for one in made["POTCAR"] for p in _of_text(str(one))]
        return inputs

    @classmethod
    def described(
        cls, structure: Structure, incar: Mapping[str, Any], potcar: Path | None = None
    ) -> VaspInputs:
        """Inputs of a run that someone else makes: a structure as in its POSCAR, and its INCAR.

        Parameters
        ----------
        structure
            Sites in the order of the POSCAR.
        incar
            What the run's INCAR says of grid and charge.
        potcar
            Its POTCAR, if it is at hand.
        """
        inputs = cls.__new__(cls)
        inputs.structure, inputs.incar = structure, dict(incar)

        def potcars() -> Iterable[PawDataset]:
            if potcar is None:
                raise FileNotFoundError("no POTCAR was given")
            return read_potcar(potcar)

        inputs._potcars = potcars
        return inputs

    _potcars: Callable[[], Iterable[PawDataset]]

    def _take(self, made: VaspInput) -> None:
        self.structure: Structure = made["POSCAR"].structure
        self.incar: dict[str, Any] = {**made["INCAR"], **SETTINGS.VASP_INCAR_UPDATES}

    @cached_property
    def crystal(self) -> Crystal:
        """Lattice and ions in POSCAR order."""
        return Crystal.from_structure(self.structure)

    @cached_property
    def grid(self) -> tuple[int, int, int]:
        """VASP's fine grid (NGXF, NGYF, NGZF)."""
        return fft_grids(self.crystal.lattice, self.incar).fine

    @property
    def pinned_grid(self) -> dict[str, int]:
        """The fine grid as INCAR tags, so that no two runs can differ in it."""
        return dict(zip(("NGXF", "NGYF", "NGZF"), self.grid, strict=True))

    @cached_property
    def potcars(self) -> dict[str, PawDataset]:
        """PAW data set of each element."""
        return {potcar.symbol: potcar for potcar in self._potcars()}

    @cached_property
    def paw(self) -> Mapping[str, PawDataset]:
        """Electrons and channels of each element: of its POTCAR, unless set from elsewhere."""
        return self.potcars

    def has_potcars(self) -> bool:
        """Whether POTCARs can be had here; they cannot where a start is made without a licence.

        Raises
        ------
        PotcarError
            There is one, and it is broken.
        """
        try:
            return bool(self.potcars)
        except PotcarError:
            raise
        except (SetupError, OSError, KeyError, ValueError):
            return False

    @cached_property
    def channels(self) -> list[tuple[int, ...]]:
        """Projector channels of each ion."""
        return [self.paw[symbol].channels for symbol in self.crystal.symbols]

    @cached_property
    def n_electrons(self) -> float:
        """NELECT: as the INCAR says, else the sum of the valence electrons."""
        neutral = n_electrons(self.paw[symbol] for symbol in self.crystal.symbols)
        return float(self.incar.get("NELECT", neutral))


class _Located(PotcarSingle):
    """A data set that pymatgen looks for as it does for the run, but does not judge.

    Its judgment compares with all data sets of VASP, whose table takes a second to load.
    """

    @classmethod
    def from_file(cls, filename: Any) -> Any:
        """Where it was found."""
        return Path(filename)


def _of_library(symbols: Iterable[str], functional: str | None) -> list[PawDataset]:
    with Settings().activated():
        paths: list[Any] = [
            _Located.from_symbol_and_functional(name, functional) for name in symbols
        ]
    return [_of_file(path, path.stat().st_mtime_ns, path.stat().st_size) for path in paths]


def _of_generator(structure: Structure, generator: VaspInputSet) -> tuple[PawDataset, ...]:
    with Settings().activated():
        return _of_text(str(generator.get_input_set(structure)["POTCAR"]))


@lru_cache(maxsize=256)
def _of_file(path: Path, mtime: int, size: int) -> PawDataset:
    (potcar,) = read_potcar(path)
    return potcar


@lru_cache(maxsize=64)
def _of_text(text: str) -> tuple[PawDataset, ...]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "POTCAR"
        path.write_text(text)
        return read_potcar(path)
