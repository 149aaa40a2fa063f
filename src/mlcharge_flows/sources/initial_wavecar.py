"""The WAVECAR that a run begins from: written with a mark, and told from the result of a run.

The mark stands behind the three numbers of the first record, where no program reads anything, and
all eigenvalues are zero, which those of no result are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from pydantic import BaseModel, Field

from mlcharge_flows.settings import Settings
from mlcharge_flows.sources.source import SourceError
from mlcharge_flows.vasp.wavecar import HEADER_NUMBERS, KPOINT_NUMBERS
from mlcharge_flows.vasp.wavecar_writer import WavecarWriter

if TYPE_CHECKING:
    from collections.abc import Iterable
    from pathlib import Path

    from mlcharge_flows.vasp.wavecar import KPointOrbitals, WavecarHeader

FILE_NAME = "WAVECAR"
MARK = b"mlcharge initial orbitals"
"""In the first record of every WAVECAR that is written here."""

_MARK_AT = 3 * 8  # behind record length, spins and precision
_GIGABYTE = 1e9


class InitialOrbitalsDocument(BaseModel):
    """Initial orbitals that were written for a run, or why there are none."""

    source: str = Field(description="Source of the orbitals: atomic, or wavecar.")
    n_bands: int | None = Field(None, description="Bands in the file; VASP adds random ones.")
    n_kpoints: int | None = Field(None, description="Irreducible k-points.")
    explicit_kpoints: bool = Field(
        False, description="Whether KPOINTS lists these points in place of the input set's mesh."
    )
    diagonalized: bool = Field(
        False,
        description="Whether they are states of the initial density's Hamiltonian, not of free "
        "atoms.",
    )
    hamiltonian_failure: str | None = Field(
        None, description="Why atomic orbitals are not such states; None if they are."
    )
    size: float | None = Field(None, description="Size of the WAVECAR, GB.")
    preparation_time: float = Field(0.0, description="Wall time to make and write them, s.")
    preparation_cpu_time: float = Field(
        0.0, description="Processor time of all threads to make and write them, s."
    )
    failure: str | None = Field(None, description="Why there are none; None if there are.")


def write_initial_wavecar(
    folder: Path,
    header: WavecarHeader,
    points: np.ndarray,
    orbitals: Iterable[KPointOrbitals],
    source: str,
) -> InitialOrbitalsDocument:
    """Write orbitals as the WAVECAR of a run, unless it would be too large.

    Parameters
    ----------
    folder
        Folder of the run.
    header
        What the first two records say.
    points
        K-points, shape (k, 3).
    orbitals
        Of every k-point, with eigenvalues that are zero. First those of the first spin; if these
        are all, the second spin begins with the same.
    source
        Name of their source.

    Returns
    -------
    InitialOrbitalsDocument
        What was written.

    Raises
    ------
    SourceError
        It would exceed the setting MAX_WAVECAR_SIZE.
    """
    writer = WavecarWriter(folder / FILE_NAME, header, points, MARK)
    size, largest = writer.size / _GIGABYTE, Settings().max_wavecar_size
    if size > largest:
        raise SourceError(
            f"initial orbitals: the WAVECAR would take {size:.3g} GB, the setting "
            f"MAX_WAVECAR_SIZE allows {largest:g}"
        )
    with writer as file:
        for of_kpoint in orbitals:
            file.write(of_kpoint)
        file.repeat_first_spin()
    return InitialOrbitalsDocument(
        source=source,
        n_bands=header.n_bands,
        n_kpoints=header.n_kpoints,
        size=size,
    )


def is_initial_wavecar(path: Path) -> bool:
    """Whether a file is a WAVECAR of initial orbitals that no result has replaced.

    Parameters
    ----------
    path
        Any path of a plain file.

    Returns
    -------
    bool
        False, too, if there is no such file. A program that overwrites the file in place may leave
        the mark: the eigenvalues of its result are not all zero. True for a damaged or truncated
        file with the mark, which is no result either.
    """
    if not path.is_file():
        return False
    with path.open("rb") as file:
        first = file.read(_MARK_AT + len(MARK))
        if first[_MARK_AT:] != MARK:
            return False
        length = np.frombuffer(first[:8])[0]
        if not 8 * HEADER_NUMBERS <= length <= path.stat().st_size / 3:
            return True
        file.seek(int(length) + 8)
        count = KPOINT_NUMBERS + 3 * np.frombuffer(file.read(8))[0]
        if not KPOINT_NUMBERS < count <= length / 8:
            return True
        file.seek(2 * int(length))
        numbers = np.frombuffer(file.read(8 * int(count)))
    return not numbers[KPOINT_NUMBERS::3].any()
