r"""Densities of finished runs of almost the same crystal, carried over to a run.

What the density of the reference has beyond a baseline, such as the superposition of its atoms, is
smooth. It moves with strain, rotation, repetition and rigid translation of the cell; the baseline
is made anew where the ions are now:

.. math:: \rho(\mathbf r) = \rho_\text{b}(\mathbf r)
    + \left[ \rho^\text{ref} - \rho_\text{b}^\text{ref} \right] \frac{V^\text{ref}}{V} .

Occupancies follow their ions in the same way, and turn with the cell. With the superposition of
atoms as the baseline this is what VASP does between ionic steps and for a CHGCAR of other
positions; a model of the density as the baseline knows how the deformation changes.

References
----------
VASP wiki, ICHARG and IWAVPR, https://www.vasp.at/wiki/index.php/ICHARG.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Self

import numpy as np
from atomate2.utils.path import strip_hostname
from pymatgen.core import Structure
from typing_extensions import override

from mlcharge_flows.density.augmentation import rotate
from mlcharge_flows.density.density import Density, Magnetization
from mlcharge_flows.density.grid import to_other_cell
from mlcharge_flows.scf.run_files import RunFiles, read_titels
from mlcharge_flows.sources.crystal_match import CrystalMatch, MatchError
from mlcharge_flows.sources.from_file import (
    FILE_CHARGE_TOLERANCE,
    augmentation_defect,
    converged_chgcar,
    read_density,
    regrid_to_run,
)
from mlcharge_flows.sources.source import Evaluated, Source, SourceError, Superposition

if TYPE_CHECKING:
    from mlcharge_flows.sources.run_inputs import RunInputs

_MIN_MOMENT = 0.1
"""Moments of MAGMOM, in Bohr magnetons, that have a sign."""


@dataclass(frozen=True)
class Carried(Source):
    """The density of a finished run, moved by the change of the superposition of atoms.

    Its crystal may be strained, turned, displaced, repeated or in another order; it must have the
    PAW data sets of the run.

    Parameters
    ----------
    run
        Folder of the finished run, with its CHGCAR; empty for the previous run of the flow. Jobs
        run in folders of their own: give an absolute path.
    """

    run: str = ""
    word: ClassVar[str] = "carried"

    @classmethod
    def from_argument(cls, argument: str) -> Self:
        """Make the source that ``carried@RUN`` names.

        Parameters
        ----------
        argument
            Folder of the finished run; empty for the previous run.

        Returns
        -------
        Carried
            With the absolute path.
        """
        return cls(str(Path(argument).absolute()) if argument else "")

    @property
    def argument(self) -> str:
        """Folder of the finished run; empty for the previous run."""
        return self.run

    @property
    def augmentation_word(self) -> str:
        """The word, without the folder."""
        return self.word

    @property
    def can_be_misread(self) -> bool:
        """Whether a part of the path can be the word of a source, or the name of a model."""
        return bool(self.run)

    @property
    def identity(self) -> tuple[str, str]:
        """Kind, and the path without links and dots."""
        return self.word, str(Path(self.run).resolve()) if self.run else ""

    @property
    def needs_reference_run(self) -> bool:
        """Whether the previous run is taken."""
        return not self.run

    @property
    def baseline(self) -> Source:
        """What is made anew for the crystal of the run."""
        return Superposition()

    @override
    def check(self, augmentation: bool = False) -> None:
        folder = Path(strip_hostname(self.run))
        if self.run and not folder.is_dir():
            raise SourceError(f"{self.word}@{folder}: there is no such folder")
        if self.run and RunFiles.find(folder, last=True).chgcar is None:
            raise SourceError(f"{self.word}@{folder}: has no CHGCAR; name a run with LCHARG = T")

    def evaluate(self, inputs: RunInputs, given: Evaluated | None = None) -> Evaluated:
        """Carry the density of the finished run over.

        Parameters
        ----------
        inputs
            Inputs of the run.
        given
            Not used.

        Returns
        -------
        Evaluated
            Density with augmentation occupancies; the warnings tell how far ions and cell moved.

        Raises
        ------
        SourceError
            There is no such run, it did not converge, is of another crystal, charge or other PAW
            data sets, or the baseline refuses one of both crystals.
        """
        folder = Path(strip_hostname(self.run)) if self.run else inputs.reference_run
        if folder is None:
            raise SourceError("no earlier run to carry the density over from")
        reference = read_reference(folder, inputs)
        try:
            return replace(carry(reference, inputs, self.baseline), reference_run=str(folder))
        except (SourceError, MatchError) as error:
            raise SourceError(f"{folder}: {error}") from None


def read_reference(folder: Path, inputs: RunInputs) -> Density:
    """Read the converged density of a run whose crystal may differ from that of another run.

    Parameters
    ----------
    folder
        Folder of the finished run.
    inputs
        Inputs of the other run.

    Returns
    -------
    Density
        With augmentation occupancies.

    Raises
    ------
    SourceError
        The run did not converge, has other PAW data sets, or its CHGCAR cannot be read or lacks
        augmentation occupancies.
    """
    chgcar = converged_chgcar(folder)
    potcar = RunFiles.find(folder, last=True).potcar
    titels = set(read_titels(potcar)) if potcar and inputs.has_potcar else set()
    for symbol in sorted(inputs.elements) if titels else ():
        if (titel := inputs.datasets[symbol].titel) not in titels:
            raise SourceError(f"{folder}: has other PAW data sets, not {titel}")
    density, issue = read_density(chgcar)
    if issue is not None or density.augmentation is None:
        raise SourceError(issue or f"{chgcar}: has no augmentation occupancies")
    return density


def carry(reference: Density, inputs: RunInputs, baseline: Source) -> Evaluated:
    """Carry a density over to the crystal of a run.

    Parameters
    ----------
    reference
        Density of almost the same crystal, with augmentation occupancies.
    inputs
        Inputs of the run.
    baseline
        Source that is evaluated for both crystals, and whose difference is added. Where the crystal
        is only turned, translated or repeated, there is none.

    Returns
    -------
    Evaluated
        Density on the fine grid of the run, which integrates to its number of electrons.

    Raises
    ------
    MatchError
        The crystals do not correspond.
    SourceError
        The number of electrons differs, or the baseline refuses one of both crystals.
    """
    match = CrystalMatch.of(reference.crystal, inputs.crystal)
    known = reference.augmentation
    if defect := augmentation_defect(known and [known[ion] for ion in match.ions], inputs):
        raise SourceError(defect)
    held = reference.n_electrons * match.n_cells
    if abs(held - inputs.n_electrons) > FILE_CHARGE_TOLERANCE * match.n_cells:
        raise SourceError(
            f"holds {held:.4f} electrons for the ions of the run, which has "
            f"{inputs.n_electrons:.4f}; another charge or other PAW data sets?"
        )
    warnings = [str(match)]
    density = reference
    if not match.is_unmoved:
        density = _combined(reference, _baseline(baseline, _at_reference(reference, inputs)), -1)
    density = _moved(density, match, inputs)
    if not match.is_unmoved:
        neutral = replace(inputs, incar=_without_charge(inputs))
        density = _combined(density, _baseline(baseline, neutral), +1)
    if density.magnetization is not None and _moments_differ(density.magnetization, inputs):
        warnings.append("its magnetization is left out: the signs of MAGMOM differ")
        density = replace(density, magnetization=None)
    density, adapted = regrid_to_run(density, inputs)
    return Evaluated(density, (*warnings, *adapted))


def _baseline(source: Source, inputs: RunInputs) -> Density:
    found = source.evaluate(inputs)
    if found.density.augmentation is None:
        raise SourceError(found.augmentation_issue or f"{source} has no occupancies")
    return found.density


def _without_charge(inputs: RunInputs) -> dict[str, object]:
    """INCAR of the neutral cell: in the difference of both baselines the charge cancels."""
    return {tag: value for tag, value in inputs.incar.items() if tag != "NELECT"}


def _at_reference(reference: Density, inputs: RunInputs) -> RunInputs:
    """Inputs of the run for the crystal and the grid of a reference."""
    crystal = reference.crystal
    tags = _without_charge(inputs)
    for tag, n in zip(("X", "Y", "Z"), reference.shape, strict=True):
        tags.pop(f"NG{tag}", None)
        tags[f"NG{tag}F"] = n
    structure = Structure(crystal.lattice, crystal.symbols, crystal.positions)
    return replace(inputs, structure=structure, incar=tags, kpoints=None)


def _combined(density: Density, other: Density, sign: int) -> Density:
    """Add a density and its occupancies, or take them away; the magnetization stays."""
    assert density.augmentation is not None
    assert other.augmentation is not None
    pairs = zip(density.augmentation, other.augmentation, strict=True)
    return replace(
        density,
        total=density.total + sign * other.total,
        augmentation=tuple(one + sign * two for one, two in pairs),
    )


def _moved(density: Density, match: CrystalMatch, inputs: RunInputs) -> Density:
    """Take a density along with the cell, and its occupancies with their ions."""
    crystal, spin = inputs.crystal, density.magnetization
    scale = density.crystal.volume * match.n_cells / crystal.volume
    turned = not np.array_equal(match.rotation, np.eye(3))

    def grid(values: np.ndarray) -> np.ndarray:
        return to_other_cell(values, inputs.grid, match.cells, match.translation) * scale

    def occupancies(values: tuple[np.ndarray, ...] | None) -> tuple[np.ndarray, ...] | None:
        if values is None or not turned:
            return values and tuple(values[ion] for ion in match.ions)
        pairs = zip(match.ions, inputs.channels, strict=True)
        return tuple(rotate(values[ion], channels, match.rotation) for ion, channels in pairs)

    if spin is not None:
        moments = np.asarray(spin.moments)
        known = len(moments) == len(density.crystal)
        spin = Magnetization(
            grid(spin.grid),
            occupancies(spin.augmentation),
            moments[match.ions] if known else np.zeros(len(crystal)),
        )
    return Density(crystal, grid(density.total), occupancies(density.augmentation), spin)


def _moments_differ(spin: Magnetization, inputs: RunInputs) -> bool:
    """Whether MAGMOM has another sign than the initial moments of the reference on an ion."""
    wanted, known = np.ravel(inputs.incar.get("MAGMOM", [])), np.ravel(spin.moments)
    if len(wanted) != len(known) or inputs.incar.get("ISPIN", 1) != 2:
        return False
    signs = [np.where(np.abs(m) < _MIN_MOMENT, 0, np.sign(m)) for m in (wanted, known)]
    both = (signs[0] != 0) & (signs[1] != 0)
    return bool(np.any(signs[0][both] != signs[1][both]))
