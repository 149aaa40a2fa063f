"""What a start needs from a POTCAR: electrons, projector channels and the free atom.

Works for VASP's own PAW data sets and for the exports of ``gpaw-vasp potcar``. Sections are found
by their titles; everything else in the file is ignored. POTCARs are licensed: nothing read here is
ever stored.
"""

from __future__ import annotations

import gzip
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from mlcharge_flows.density.occupancies import atomic_record
from mlcharge_flows.density.superposition import AtomicStart
from mlcharge_flows.vasp.fortran_floats import parse_floats

if TYPE_CHECKING:
    import os
    from collections.abc import Sequence

_MESH_POINTS = 1000  # of every radial function in reciprocal space, q_i = i * PSGMAX / 1000
_KEY = r"^\s*(?:.*;\s*)?{key}\s*=\s*([^;\n]*)"


class PotcarError(ValueError):
    """A POTCAR that lacks what is asked of it; one line that names the file and the defect."""


@dataclass(frozen=True, eq=False)
class Potcar:
    """One PAW data set of a POTCAR.

    Parameters
    ----------
    titel
        TITEL, which names the data set uniquely.
    symbol
        Element.
    lexch
        Exchange and correlation functional: PE, CA, 91, ..
    zval
        Valence electrons.
    enmax
        Recommended cutoff in eV.
    mass
        Atomic mass in unified mass units (POMASS).
    channels
        l of each projector channel, in the order of the ``Non local Part`` blocks.
    occupancies
        Electrons per m of the free atom, shape (channels, channels): ``uccopancies in atom``.
    q
        Mesh of wave numbers of the form factor, 1/angstrom.
    form_factor
        Atomic pseudo charge density in reciprocal space on that mesh, electrons.
    """

    titel: str
    symbol: str
    lexch: str
    zval: float
    enmax: float
    mass: float
    channels: tuple[int, ...]
    occupancies: np.ndarray
    q: np.ndarray
    form_factor: np.ndarray

    def atomic_start(self) -> AtomicStart:
        """Give the free atom that ICHARG=2 superposes: density and on-site occupancies.

        Returns
        -------
        AtomicStart
            Its form factor is normalized to ZVAL at q = 0.
        """
        record = atomic_record(self.channels, self.occupancies)
        return AtomicStart(self.symbol, self.zval, self.q, self.form_factor, self.channels, record)


def read_potcar(path: str | os.PathLike[str]) -> tuple[Potcar, ...]:
    """Read all data sets of a POTCAR, plain or gzipped.

    Parameters
    ----------
    path
        The file; one or more concatenated data sets.

    Returns
    -------
    tuple of Potcar
        In file order.

    Raises
    ------
    PotcarError
        If the file is not a whole POTCAR of PAW data sets.
    OSError
        If it cannot be opened.
    """
    path = Path(path)
    content = path.read_bytes()
    if content.startswith(b"\x1f\x8b"):
        try:
            content = gzip.decompress(content)
        except (EOFError, gzip.BadGzipFile):
            raise PotcarError(f"{path}: the gzip archive is damaged or truncated") from None
    parts = content.decode("latin-1").split("End of Dataset")
    if len(parts) == 1 or parts[-1].strip():
        raise PotcarError(f"{path}: no whole data set, 'End of Dataset' is missing")
    potcars = []
    for number, text in enumerate(parts[:-1], start=1):
        try:
            potcars.append(_parse(text))
        except ValueError as error:
            raise PotcarError(f"{path}: data set {number}: {error}") from None
    return tuple(potcars)


def _parse(text: str) -> Potcar:
    titel = _header(text, "TITEL")
    zval = _number(text, "ZVAL")
    lines = [line.strip() for line in text.splitlines()]
    channels = _channels(lines)
    n = len(channels)
    form_factor = _section(lines, "atomic pseudo charge-density", _MESH_POINTS)
    q_max = float(_section(lines, "local part", 1)[0])
    if q_max <= 0.0 or form_factor[0] == 0.0:
        raise ValueError("the atomic density is empty or has no mesh")
    return Potcar(
        titel=titel,
        symbol=_symbol(text, titel),
        lexch=_header(text, "LEXCH"),
        zval=zval,
        enmax=_number(text, "ENMAX"),
        mass=_number(text, "POMASS"),
        channels=channels,
        occupancies=_section(lines, "uccopancies in atom", n * n).reshape(n, n),
        q=np.arange(_MESH_POINTS) * (q_max / _MESH_POINTS),
        form_factor=form_factor * (zval / form_factor[0]),
    )


def _header(text: str, key: str) -> str:
    match = re.search(_KEY.format(key=key), text, flags=re.MULTILINE)
    if match is None or not match.group(1).strip():
        raise ValueError(f"{key} is missing from the header")
    return match.group(1).strip()


def _number(text: str, key: str) -> float:
    word = _header(text, key).split()[0]
    try:
        return float(word)
    except ValueError:
        raise ValueError(f"{key} = {word!r} is not a number") from None


def _symbol(text: str, titel: str) -> str:
    # VRHFIN names the element in nearly all data sets, TITEL (with a suffix such as _pv) in all.
    words = titel.split()
    candidates = [_header(text, "VRHFIN")] if "VRHFIN" in text else []
    candidates += words[1:2]
    for candidate in candidates:
        match = re.match(r"([A-Z][a-z]?)(?![A-Za-z])", candidate.replace("_", " "))
        if match:
            return match.group(1)
    raise ValueError(f"no element symbol in TITEL = {titel}")


def _channels(lines: Sequence[str]) -> tuple[int, ...]:
    """Collect l of each channel: every ``Non local Part`` block holds some channels of one l."""
    channels: list[int] = []
    for index, line in enumerate(lines):
        if line == "Non local Part":
            words = lines[index + 1].split() if index + 1 < len(lines) else []
            if len(words) < 2 or not (words[0].isdigit() and words[1].isdigit()):
                raise ValueError(
                    "a 'Non local Part' does not begin with l and a number of channels"
                )
            channels += [int(words[0])] * int(words[1])
    if not channels:
        raise ValueError("no 'Non local Part': not a PAW data set")
    return tuple(channels)


def _section(lines: Sequence[str], title: str, count: int) -> np.ndarray:
    """Read the first `count` numbers below a title."""
    try:
        start = lines.index(title) + 1
    except ValueError:
        raise ValueError(f"no section {title!r}: not a PAW data set") from None
    words: list[str] = []
    for line in lines[start:]:
        if len(words) >= count:
            break
        words += line.split()
    try:
        values = parse_floats(" ".join(words[:count]).encode())
    except ValueError as error:
        raise ValueError(f"section {title!r}: {error}") from None
    if len(values) != count:
        raise ValueError(f"section {title!r}: {len(values)} of {count} numbers")
    return values
