"""POTCAR-like exports of PAW data sets, and a library of them in pymatgen's layout.

An export has the sections of VASP's data sets in their order and units: header, local part, partial
core, the pseudo valence density that VASP superposes for ICHARG = 2, projectors in reciprocal and
real space, and the PAW radial sets with occupancies in the atom, core densities and partial waves.
Potentials of the radial sets are left out; a section with compensation charges, which are no Bessel
functions in general, is added. ``gpaw-vasp`` itself takes all of it from GPAW's data set, which the
title names, or from the PAW-XML file of another family, which the export contains; export_identity
has what proves that the text is its own.

References
----------
VASP wiki, POTCAR; J. J. Mortensen, L. B. Hansen and K. W. Jacobsen, Phys. Rev. B 71, 035109 (2005).
"""

from __future__ import annotations

import gzip
from contextlib import suppress
from importlib import resources
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import yaml
from ase.data import atomic_masses, atomic_numbers
from ase.units import Bohr, Ha
from gpaw import setup_paths
from gpaw.setup import create_setup
from gpaw.xc import XC
from pymatgen.core.periodic_table import Element

from mlcharge_flows.gpaw_vasp.export_identity import contained, origin, sealed, titel
from mlcharge_flows.gpaw_vasp.paw_family import COMPENSATION_LMAX
from mlcharge_flows.gpaw_vasp.radial_functions import (
    compensation_on_mesh,
    core_form_factor,
    core_on_mesh,
    form_factor,
    local_potential,
    logarithmic_mesh,
    occupancies_in_atom,
    on_mesh,
    projector_strengths,
    transform,
    waves_on_mesh,
)
from mlcharge_flows.io import atomic_path
from mlcharge_flows.vasp.fortran import format_e
from mlcharge_flows.vasp.potcar_data import COMPENSATION

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from gpaw.setup import Setup

    from mlcharge_flows.gpaw_vasp.paw_family import PawXml

#: Radial mesh of the form factors: 1000 points up to PSGMAX, as in VASP's data sets.
PSGMAX = 98.0  # 1/angstrom
N_POINTS = 1000

#: Meshes of the projectors: 100 points, up to PSMAXN in reciprocal space.
PSMAXN = PSGMAX / 3  # 1/angstrom
N_PROJECTOR_POINTS = 100

#: ENMAX, the default of ENCUT, where a data set recommends no cutoff, as GPAW's do not.
ENMAX = 400.0  # eV

#: Folders under which pymatgen looks for the PBE families that input sets ask for.
FAMILIES = (
    "POT_GGA_PAW_PBE",
    "POT_GGA_PAW_PBE_52",
    "POT_GGA_PAW_PBE_54",
    "POT_PAW_PBE_64",
)

_SPDF = "spdf"


def load_setup(symbol: str) -> Setup:
    """Read GPAW's default PBE data set of an element.

    Parameters
    ----------
    symbol
        Element.

    Returns
    -------
    Setup
        GPAW's data set.

    Raises
    ------
    FileNotFoundError
        If ``gpaw-data`` has no PBE data set for it.
    """
    setup: Setup = create_setup(symbol, XC("PBE"), lmax=COMPENSATION_LMAX)
    return setup


def block(values: np.ndarray, width: int = 16, digits: int = 8) -> Iterator[str]:
    """Format numbers as the data sections of a POTCAR have them, five in a line.

    Parameters
    ----------
    values
        Numbers, any shape.
    width
        Columns of a number: 16 in reciprocal space, 20 in the radial sets.
    digits
        Of a number: 8 in reciprocal space, 12 in the radial sets.

    Yields
    ------
    str
        Lines without their ends.
    """
    flat = np.ravel(values)
    for start in range(0, len(flat), 5):
        yield "".join(format_e(value, width, digits) for value in flat[start : start + 5])


def free_atom_block(values: np.ndarray) -> Iterator[str]:
    """Format density and occupancies of the free atom with nine digits, one more than E16.8.

    Checkpoints hold what was read from such files, and compare it to 1e-9 electrons.

    Parameters
    ----------
    values
        Numbers, shape (n,).

    Yields
    ------
    str
        Lines without their ends.
    """
    for start in range(0, len(values), 5):
        yield "".join(f"{value:16.8E}" for value in values[start : start + 5])


def potcar_text(symbol: str, paw_xml: PawXml | None = None) -> str:
    """Format the POTCAR-like export of one element.

    Parameters
    ----------
    symbol
        Element.
    paw_xml
        Its data set of another family; GPAW's own without.

    Returns
    -------
    str
        Text of the file.

    Raises
    ------
    FileNotFoundError
        If ``gpaw-data`` has no PBE data set for it.
    UnsupportedInputError
        If GPAW cannot read the file of the other family.
    """
    if paw_xml is None:
        setup, title, source, enmax = load_setup(symbol), titel(symbol), origin(symbol), ENMAX
    else:
        setup, title, source = paw_xml.setup(), paw_xml.titel, paw_xml.origin
        enmax = paw_xml.enmax or ENMAX
    q = np.arange(N_POINTS) * PSGMAX / N_POINTS
    core = core_form_factor(setup, q)
    bound = [
        (n, l, energy * Ha, f)
        for n, l, energy, f in zip(
            setup.n_j, setup.l_j, setup.data.eps_j, setup.data.f_j, strict=True
        )
        if n > 0
    ]
    configuration = " ".join(f"{n}{_SPDF[l]}{f:g}" for n, l, _, f in bound if f > 0)
    radius = max(setup.data.rcut_j) * Bohr
    mass = atomic_masses[atomic_numbers[symbol]]

    lines = [
        f"  {title}",
        f"   {setup.Nv:.14f}",
        " parameters from PSCTR are:",
        f"   VRHFIN ={symbol}: {configuration}",
        "   LEXCH  = PE",
        f"   EATOM  = {setup.data.e_total * -Ha:12.4f} eV, {setup.data.e_total * -2:12.4f} Ry",
        "",
        f"   TITEL  = {title}",
        "   LULTRA =        F    use ultrasoft PP ?",
        "   IUNSCR =        0    unscreen: 0-lin 1-nonlin 2-no",
        f"   RPACOR = {radius / Bohr:8.3f}    partial core radius",
        f"   POMASS = {mass:8.3f}; ZVAL   = {setup.Nv:8.3f}    mass and valenz",
        f"   RCORE  = {radius / Bohr:8.3f}    outmost cutoff radius",
        f"   RWIGS  = {radius / Bohr:8.3f}; RWIGS  = {radius:8.3f}    wigner-seitz radius (au A)",
        f"   ENMAX  = {enmax:8.3f}; ENMIN  = {0.75 * enmax:8.3f} eV",
        "   LCOR   =        T    correct aug charges",
        "   LPAW   =        T    paw PP",
        f"   COPYR  = {source}",
        "",
        "   Atomic configuration",
        f"   {len(bound):2d} entries",
        "     n  l   j            E        occ.",
        *(f"     {n}  {l}  {l + 0.5:4.2f} {energy:13.4f} {f:8.4f}" for n, l, energy, f in bound),
        "   Description",
        "     l       E           TYP  RCUT    TYP  RCUT",
        *(
            f"     {l}  {energy * Ha:12.7f}     23  {rcut:5.3f}"
            for l, energy, rcut in zip(setup.l_j, setup.data.eps_j, setup.data.rcut_j, strict=True)
        ),
        "   Error from kinetic energy argument (eV)",
        "END of PSCTR-controll parameters",
        " local part",
        f"   {PSGMAX:.10f}",
        *block(local_potential(setup, q, core)),
        " gradient corrections used for XC",
        "   8",
        " core charge-density (partial)",
        *block(core),
        " atomic pseudo charge-density",
        *free_atom_block(form_factor(setup, q)),
        f"   {PSMAXN:.10f} T",
        *_projectors(setup),
        *(contained(paw_xml) if paw_xml is not None else ()),
        *_radial_sets(setup, radius),
        " End of Dataset",
    ]
    return sealed("\n".join(lines) + "\n", symbol)


def _projectors(setup: Setup) -> Iterator[str]:
    """Sections of the projectors: neighboring channels of one l share one."""
    strengths, data = projector_strengths(setup), setup.data
    q = np.arange(N_PROJECTOR_POINTS) * PSMAXN / N_PROJECTOR_POINTS
    for degree, group in groupby(range(len(setup.l_j)), key=lambda j: setup.l_j[j]):
        channels = list(group)
        # Filtered projectors reach beyond their cutoff radius.
        rmax = max(data.rgd.r_g[np.flatnonzero(data.pt_jg[j])[-1] + 1] for j in channels) * Bohr
        r = np.arange(N_PROJECTOR_POINTS) * rmax / N_PROJECTOR_POINTS
        yield " Non local Part"
        yield f"   {degree}   {len(channels)}   {rmax:.8f}"
        yield from block(strengths[np.ix_(channels, channels)])
        for j in channels:
            yield " Reciprocal Space Part"
            yield from block(transform(setup, data.pt_jg[j], degree, q) * Bohr**1.5)
            yield " Real Space Part"
            yield from block(on_mesh(setup, data.pt_jg[j], r) / Bohr**1.5)


def _radial_sets(setup: Setup, radius: float) -> Iterator[str]:
    """Sections on the radial mesh, and the norms of the augmentation charges."""
    r = logarithmic_mesh(setup)
    first = np.concatenate([[0], np.cumsum(2 * np.asarray(setup.l_j) + 1)])[:-1]
    same_l = np.equal.outer(setup.l_j, setup.l_j)
    norms = np.sqrt(4 * np.pi) * setup.Delta_iiL[np.ix_(first, first)][..., 0] * same_l
    compensation = compensation_on_mesh(setup, r)
    sections = {
        "grid": r,
        "core charge-density": core_on_mesh(setup, setup.data.nc_g, r),
        "core charge-density (pseudized)": core_on_mesh(setup, setup.data.nct_g, r),
    }
    yield " PAW radial sets"
    yield f"   {len(r)}   {radius:.8f}"
    yield " (5E20.12)"
    yield " augmentation charges (non sperical)"
    yield from block(norms, 20, 12)
    yield " uccopancies in atom"
    yield from free_atom_block(occupancies_in_atom(setup).ravel())
    # Before the grid: some readers take whatever follows it for rows on the mesh.
    yield f" {COMPENSATION}"
    yield f"   {len(compensation)}"
    yield from block(compensation, 20, 12)
    for title, values in sections.items():
        yield f" {title}"
        yield from block(values, 20, 12)
    for pseudo, all_electron in zip(*waves_on_mesh(setup, r), strict=True):
        yield " pseudo wavefunction"
        yield from block(pseudo, 20, 12)
        yield " ae wavefunction"
        yield from block(all_electron, 20, 12)


def available_elements() -> list[str]:
    """List the elements that have a default PBE data set.

    Returns
    -------
    list of str
        Symbols, by atomic number.
    """
    names = {
        path.name.split(".")[0] for folder in setup_paths for path in Path(folder).glob("*.PBE.gz")
    }
    return sorted(
        (name for name in names if Element.is_valid_symbol(name)), key=lambda name: Element(name).Z
    )


def potcar_symbols(elements: Iterable[str] | None = None) -> dict[str, set[str]]:
    """Collect the POTCAR symbols that pymatgen's input sets ask for.

    Parameters
    ----------
    elements
        Elements that have a data set; those of GPAW by default.

    Returns
    -------
    dict
        Symbols of each element, such as Ca and Ca_sv of Ca.
    """
    if elements is None:
        elements = available_elements()
    symbols: dict[str, set[str]] = {element: {element} for element in elements}
    for file in resources.files("pymatgen.io.vasp").iterdir():
        if not file.name.endswith(".yaml"):
            continue
        potcars = (yaml.safe_load(file.read_text()) or {}).get("POTCAR")
        for element, symbol in (potcars or {}).items():
            if element in symbols and isinstance(symbol, str):
                symbols[element].add(symbol)
    return symbols


def _write_or_link(path: Path, content: bytes, same: Path | None) -> None:
    """Write a file, or make it another name of one with the same content where links are known."""
    if same is not None:
        with suppress(OSError):
            path.hardlink_to(same)
            return
    path.write_bytes(content)


def fill_library(
    folder: Path,
    progress: Callable[[str, int, int], None] | None = None,
    family: Mapping[str, PawXml] | None = None,
) -> int:
    """Write ``POTCAR.<symbol>.gz`` files for every element and symbol that input sets ask for.

    A family has one data set per element, so that ``Ca`` and ``Ca_sv`` have the same content.
    Existing files are replaced one by one, each atomically; those of elements that the family lacks
    stay.

    Parameters
    ----------
    folder
        Library folder, to be given to pymatgen as ``PMG_VASP_PSP_DIR``.
    progress
        Called with (element, done, total).
    family
        Data sets of another family; GPAW's own without.

    Returns
    -------
    int
        Number of elements.

    Raises
    ------
    OSError
        If the folder cannot be written.
    UnsupportedInputError
        If GPAW cannot read a file of the family.
    """
    symbols = potcar_symbols(family)
    for name in FAMILIES:
        (folder / name).mkdir(parents=True, exist_ok=True)
    for done, (element, names) in enumerate(symbols.items(), start=1):
        # Without a time stamp, the same data set always gives the same file.
        text = potcar_text(element, family[element] if family is not None else None)
        content = gzip.compress(text.encode(), mtime=0)
        first: Path | None = None
        for symbol in sorted(names):
            for name in FAMILIES:
                target = folder / name / f"POTCAR.{symbol}.gz"
                with atomic_path(target) as partial:
                    _write_or_link(partial, content, first)
                first = first or target
        if progress is not None:
            progress(element, done, len(symbols))
    return len(symbols)
