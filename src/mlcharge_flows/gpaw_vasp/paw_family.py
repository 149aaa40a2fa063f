"""PAW data sets of other families than GPAW's own: files in the format PAW-XML.

GPAW computes with any data set in PAW-XML: its own setups, what its generator writes, and those of
ATOMPAW, as the JTH table has them. Two defects of ATOMPAW's files are mended while they are read:
Fortran's numbers with exponents of three digits lack their E, and radial functions that end early
are shorter than the grid.

References
----------
PAW-XML: https://esl.cecam.org/data/paw-xml.
JTH table: F. Jollet, M. Torrent and N. Holzwarth, Comput. Phys. Commun. 185, 1246 (2014).
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING
from xml.sax import SAXException

import numpy as np
from pymatgen.core.periodic_table import Element

from mlcharge_flows.errors import one_line
from mlcharge_flows.gpaw_vasp.errors import UnsupportedInputError
from mlcharge_flows.io import open_bytes

if TYPE_CHECKING:
    from gpaw.setup import Setup
    from gpaw.setup_data import SetupData

#: Angular momenta up to which GPAW expands the compensation charges.
COMPENSATION_LMAX = 2

#: Where abinit's table is installed: its package of Debian, and abinit's own variable.
JTH_FOLDER = "Pseudodojo_paw_pbe_standard"
JTH_ROOTS = ("/usr/share/abinit/psp",)
JTH_VARIABLE = "ABI_PSPDIR"

_ENDINGS = (".PBE", ".PBE.gz", ".xml", ".xml.gz")
_EXPONENT = re.compile(rb"(?<=[0-9])([+-][0-9]{3})(?![0-9])")
_CUTOFF = re.compile(rb'<pw_ecut[^>]* medium *= *"([^"]*)"')
_FUNCTIONS = ("phi_jg", "phit_jg", "pt_jg")
_DENSITIES = ("nc_g", "nct_g", "vbar_g", "tauc_g", "tauct_g")
_UNREADABLE = (AssertionError, AttributeError, KeyError, TypeError, ValueError)
"""What GPAW's parser raises for files that lack something."""


@dataclass(frozen=True)
class PawXml:
    """One data set of a family, identified by the content of its file.

    Parameters
    ----------
    symbol
        Element.
    label
        Name of the family, without blanks.
    content
        The file, not compressed.
    """

    symbol: str
    label: str
    content: bytes

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the file, in hexadecimal."""
        return sha256(self.content).hexdigest()

    @property
    def titel(self) -> str:
        """TITEL of the export; it differs wherever the content does."""
        return f"PAW_PBE {self.symbol} {self.label}-{self.digest[:8]} GPAW"

    @property
    def origin(self) -> str:
        """Text of COPYR."""
        return (
            f"PAW-XML data set {self.symbol} of {self.label}, SHA-256 {self.digest}, computed by "
            "GPAW; not a VASP POTCAR"
        )

    @property
    def enmax(self) -> float | None:
        """Plane-wave cutoff that the file recommends, in eV; None where it has none."""
        from ase.units import Ha

        found = _CUTOFF.search(self.content)
        return float(found[1]) * Ha if found else None

    def setup_data(self) -> SetupData:
        """Parse the file.

        Returns
        -------
        SetupData
            What GPAW makes its setups of, with numbers and lengths mended.

        Raises
        ------
        UnsupportedInputError
            If it is no PBE data set of this element in PAW-XML that GPAW can read.
        """
        from gpaw.setup_data import PAWXMLParser, SetupData

        data = SetupData(self.symbol, "PBE", readxml=False)
        try:
            PAWXMLParser(data).parse(source=_EXPONENT.sub(rb"E\1", self.content))
            n, size = len(data.l_j), data.rgd.N  # type: ignore[union-attr]
            data.e_kin_jj = data.e_kin_jj.reshape(n, n)  # type: ignore[union-attr]
            for name in _FUNCTIONS:
                rows = getattr(data, name)
                setattr(data, name, [_padded(values, size) for values in rows])
            for name in _DENSITIES:
                if (values := getattr(data, name)) is not None:
                    setattr(data, name, _padded(values, size))
        except (SAXException, *_UNREADABLE) as error:
            raise UnsupportedInputError(
                f"{self.symbol} of {self.label}: not a PBE data set of {self.symbol} in PAW-XML "
                f"that GPAW reads ({one_line(error) or type(error).__name__})"
            ) from error
        data.filename = self.label
        return data

    def setup(self) -> Setup:
        """Make GPAW's setup.

        Returns
        -------
        Setup
            With partial waves, projectors and compensation charges.

        Raises
        ------
        UnsupportedInputError
            If GPAW cannot read the file.
        """
        from gpaw.setup import create_setup
        from gpaw.xc import XC

        data = self.setup_data()
        setup: Setup = create_setup(self.symbol, XC("PBE"), COMPENSATION_LMAX, setupdata=data)
        return setup


def find_family(name: str) -> dict[str, PawXml] | None:
    """Read the data sets of a family.

    Parameters
    ----------
    name
        ``gpaw``: GPAW's own. ``jth``: the table of Jollet, Torrent and Holzwarth, as Debian's
        package ``abinit-data`` installs it. Else a folder with files such as ``Si.PBE`` or
        ``Si.xml``, which may be compressed with gzip.

    Returns
    -------
    dict or None
        Data set of each element, by atomic number; None for GPAW's own.

    Raises
    ------
    UnsupportedInputError
        If there is no such folder, or it has no data sets.
    """
    if name == "gpaw":
        return None
    folder = _jth_folder() if name == "jth" else Path(name)
    if not folder.is_dir():
        raise UnsupportedInputError(
            f"--family {one_line(name, 60)}: neither 'gpaw' nor 'jth' nor a folder of PAW-XML files"
        )
    label = "JTH" if name == "jth" else re.sub(r"[^\w.-]", "", folder.resolve().name)[:20] or "own"
    files: dict[str, Path] = {}
    for ending in reversed(_ENDINGS):
        for path in folder.glob(f"*{ending}"):
            if Element.is_valid_symbol(symbol := path.name.removesuffix(ending)):
                files[symbol] = path
    if not files:
        raise UnsupportedInputError(
            f"--family {one_line(name, 60)}: the folder has no PAW-XML files such as Si.PBE or "
            "Si.xml"
        )
    family = {}
    for symbol, path in sorted(files.items(), key=lambda item: Element(item[0]).Z):
        with open_bytes(path) as file:
            family[symbol] = PawXml(symbol, label, file.read())
    return family


def _jth_folder() -> Path:
    """Folder in which the JTH table is installed."""
    roots = [*filter(None, [os.environ.get(JTH_VARIABLE)]), *JTH_ROOTS]
    for root in roots:
        if (folder := Path(root) / JTH_FOLDER).is_dir():
            return folder
    raise UnsupportedInputError(
        f"--family jth: no folder {JTH_FOLDER} in {' or '.join(roots)}; install abinit's data "
        f"(Debian: abinit-data), set {JTH_VARIABLE}, or name the folder of the files"
    )


def _padded(values: np.ndarray, size: int) -> np.ndarray:
    """Radial function on the whole grid, zero beyond its end."""
    if len(values) > size:
        raise ValueError(f"a radial function has {len(values)} values on a grid of {size}")
    return np.pad(values, (0, size - len(values)))
