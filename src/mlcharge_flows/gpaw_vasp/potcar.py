"""POTCAR-like exports of GPAW's PAW data sets, and a library of them in pymatgen's layout.

An export carries what a workflow and this project read from a POTCAR: the header, ZVAL, the
projector channels, the radial pseudo valence density that VASP superposes for ICHARG=2, and the
occupancies in the atom. It holds no projectors or potentials: ``gpaw-vasp`` takes those from the
data set itself, which the title names.

References
----------
VASP wiki, POTCAR; J. J. Mortensen, L. B. Hansen and K. W. Jacobsen, Phys. Rev. B 71, 035109 (2005).
"""

from __future__ import annotations

import gzip
from importlib import resources
from importlib.metadata import version
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
from scipy.integrate import simpson
from scipy.interpolate import CubicSpline

from mlcharge_flows.io import atomic_path

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from gpaw.setup import Setup

#: Radial mesh of the form factors: 1000 points up to PSGMAX, as in VASP's data sets.
PSGMAX = 98.0  # 1/angstrom
N_POINTS = 1000

#: GPAW's data sets carry no recommended cut-off. This one serves as ENMAX, the default of ENCUT.
ENMAX = 400.0  # eV

#: Angular momenta up to which GPAW expands the compensation charges.
COMPENSATION_LMAX = 2

#: Radial mesh of the transform to reciprocal space.
R_MAX = 40.0  # bohr
R_STEP = 0.008  # bohr

#: Folders under which pymatgen looks for the PBE families that input sets ask for.
FAMILIES = (
    "POT_GGA_PAW_PBE",
    "POT_GGA_PAW_PBE_52",
    "POT_GGA_PAW_PBE_54",
    "POT_PAW_PBE_64",
)

_SPDF = "spdf"


def titel(symbol: str) -> str:
    """Name the exported data set of an element.

    Parameters
    ----------
    symbol
        Element.

    Returns
    -------
    str
        TITEL, which says PBE, and GPAW.
    """
    return f"PAW_PBE {symbol} GPAW-{version('gpaw-data')}"


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


def occupancies_in_atom(setup: Setup) -> np.ndarray:
    """Fill the channels as in the free atom.

    Only bound partial waves are occupied, each by ``f / (2 l + 1)`` electrons per m.

    Parameters
    ----------
    setup
        PAW data set.

    Returns
    -------
    numpy.ndarray
        Electrons per m of each pair of channels, shape (channels, channels), diagonal.
    """
    return np.diag([f / (2 * l + 1) for f, l in zip(setup.data.f_j, setup.l_j, strict=True)])


def compensation_electrons(setup: Setup) -> float:
    """Count the electrons in the spherical compensation charge of the free atom.

    It is the norm of the all-electron less that of the pseudo partial waves, weighted by their
    occupations: ``sqrt(4 pi) sum_i D_ii Delta_ii,00``.

    Parameters
    ----------
    setup
        PAW data set.

    Returns
    -------
    float
        Electrons.

    References
    ----------
    J. J. Mortensen, L. B. Hansen and K. W. Jacobsen, Phys. Rev. B 71, 035109 (2005), eq. 23.
    """
    per_m = np.repeat(np.diag(occupancies_in_atom(setup)), 2 * np.asarray(setup.l_j) + 1)
    return float(np.sqrt(4 * np.pi) * np.einsum("i,iiL->L", per_m, setup.Delta_iiL)[0])


def form_factor(setup: Setup, q: np.ndarray) -> np.ndarray:
    """Transform the pseudo valence density of the free atom to reciprocal space.

    It is the smooth density of the occupied pseudo partial waves plus the compensation charge of
    the same occupations, as in a CHGCAR.

    Parameters
    ----------
    setup
        PAW data set.
    q
        Wave numbers, shape (n,), in 1/angstrom.

    Returns
    -------
    numpy.ndarray
        Electrons, shape (n,); ZVAL at q = 0.
    """
    data = setup.data
    on_set = sum(f * wave**2 for f, wave in zip(data.f_j, data.phit_jg, strict=True) if f > 0)
    # The data set's mesh is too coarse for large q: go through a spline to a fine uniform one.
    r = np.arange(0.0, R_MAX, R_STEP)
    smooth = CubicSpline(data.rgd.r_g, on_set)(r)
    shape = setup.ghat_l[0]
    compensation = np.array([shape(radius) if radius < shape.get_cutoff() else 0.0 for radius in r])
    bessel = np.sinc(np.outer(q * Bohr, r) / np.pi) * r**2
    electrons = simpson(bessel * smooth, dx=R_STEP)
    spherical = simpson(bessel * compensation, dx=R_STEP)
    return np.asarray(electrons + compensation_electrons(setup) * spherical / spherical[0])


def block(values: np.ndarray, per_line: int = 5) -> Iterator[str]:
    """Format numbers as the data sections of a POTCAR have them.

    Parameters
    ----------
    values
        Numbers, any shape.
    per_line
        Numbers in a line.

    Yields
    ------
    str
        Lines without their ends.
    """
    flat = np.ravel(values)
    for start in range(0, len(flat), per_line):
        yield "".join(f"{value:16.8E}" for value in flat[start : start + per_line])


def potcar_text(symbol: str) -> str:
    """Format the POTCAR-like export of one element.

    Parameters
    ----------
    symbol
        Element.

    Returns
    -------
    str
        Text of the file.

    Raises
    ------
    FileNotFoundError
        If ``gpaw-data`` has no PBE data set for it.
    """
    setup = load_setup(symbol)
    q = np.arange(N_POINTS) * PSGMAX / N_POINTS
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
    norms = np.zeros((len(setup.l_j), len(setup.l_j)))
    first = np.concatenate([[0], np.cumsum(2 * np.asarray(setup.l_j) + 1)])[:-1]
    for a, la in enumerate(setup.l_j):
        for b, lb in enumerate(setup.l_j):
            if la == lb:
                norms[a, b] = np.sqrt(4 * np.pi) * setup.Delta_iiL[first[a], first[b], 0]

    lines = [
        f"  {titel(symbol)}",
        f"   {setup.Nv:.14f}",
        " parameters from PSCTR are:",
        f"   VRHFIN ={symbol}: {configuration}",
        "   LEXCH  = PE",
        f"   EATOM  = {setup.data.e_total * -Ha:12.4f} eV, {setup.data.e_total * -2:12.4f} Ry",
        "",
        f"   TITEL  = {titel(symbol)}",
        "   LULTRA =        F    use ultrasoft PP ?",
        "   IUNSCR =        0    unscreen: 0-lin 1-nonlin 2-no",
        f"   RPACOR = {radius / Bohr:8.3f}    partial core radius",
        f"   POMASS = {mass:8.3f}; ZVAL   = {setup.Nv:8.3f}    mass and valenz",
        f"   RCORE  = {radius / Bohr:8.3f}    outmost cutoff radius",
        f"   RWIGS  = {radius / Bohr:8.3f}; RWIGS  = {radius:8.3f}    wigner-seitz radius (au A)",
        f"   ENMAX  = {ENMAX:8.3f}; ENMIN  = {0.75 * ENMAX:8.3f} eV",
        "   LCOR   =        T    correct aug charges",
        "   LPAW   =        T    paw PP",
        f"   COPYR  = GPAW data set {symbol}.PBE of gpaw-data {version('gpaw-data')},"
        f" fingerprint {setup.fingerprint}; not a VASP POTCAR",
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
        " gradient corrections used for XC",
        "   8",
        " atomic pseudo charge-density",
        *block(form_factor(setup, q)),
        f"   {PSGMAX / 3:.10f} T",
    ]
    for l, rcut in zip(setup.l_j, setup.data.rcut_j, strict=True):
        lines += [" Non local Part", f"   {l}   1   {rcut * Bohr:.8f}"]
    lines += [
        " PAW radial sets",
        f"   {N_POINTS}   {radius:.8f}",
        " augmentation charges (non sperical)",
        *block(norms),
        " uccopancies in atom",
        *block(occupancies_in_atom(setup)),
        " End of Dataset",
    ]
    return "\n".join(lines) + "\n"


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


def potcar_symbols() -> dict[str, set[str]]:
    """Collect the POTCAR symbols that pymatgen's input sets ask for.

    Returns
    -------
    dict
        Symbols of each element that has a data set, such as Ca and Ca_sv of Ca.
    """
    symbols: dict[str, set[str]] = {element: {element} for element in available_elements()}
    for file in resources.files("pymatgen.io.vasp").iterdir():
        if not file.name.endswith(".yaml"):
            continue
        potcars = (yaml.safe_load(file.read_text()) or {}).get("POTCAR")
        for element, symbol in (potcars or {}).items():
            if element in symbols and isinstance(symbol, str):
                symbols[element].add(symbol)
    return symbols


def fill_library(folder: Path, progress: Callable[[str, int, int], None] | None = None) -> int:
    """Write ``POTCAR.<symbol>.gz`` files for every element and symbol that input sets ask for.

    GPAW has one default data set per element, so that ``Ca`` and ``Ca_sv`` have the same content.
    Existing files are replaced one by one, each atomically.

    Parameters
    ----------
    folder
        Library folder, to be given to pymatgen as ``PMG_VASP_PSP_DIR``.
    progress
        Called with (element, done, total).

    Returns
    -------
    int
        Number of elements.

    Raises
    ------
    OSError
        If the folder cannot be written.
    """
    symbols = potcar_symbols()
    for family in FAMILIES:
        (folder / family).mkdir(parents=True, exist_ok=True)
    for done, (element, names) in enumerate(symbols.items(), start=1):
        # Without a time stamp, the same data set always gives the same file.
        content = gzip.compress(potcar_text(element).encode(), mtime=0)
        for name in sorted(names):
            for family in FAMILIES:
                target = folder / family / f"POTCAR.{name}.gz"
                with atomic_path(target) as partial:
                    partial.write_bytes(content)
        if progress is not None:
            progress(element, done, len(symbols))
    return len(symbols)
