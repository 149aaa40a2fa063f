"""The files of one run in its folder: plain or compressed, with custodian's suffixes."""

from __future__ import annotations

import re
from collections import deque
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from itertools import combinations, islice
from pathlib import Path
from typing import TYPE_CHECKING

from mlcharge_flows.errors import MlchargeError, one_line
from mlcharge_flows.file_kinds import FOREIGN_ARCHIVES, not_a_file
from mlcharge_flows.io import (
    COMPRESSIONS,
    UNREADABLE,
    UnreadableFileError,
    open_bytes,
    open_text,
)
from mlcharge_flows.vasp.chgcar import parse_header

if TYPE_CHECKING:
    from mlcharge_flows.density.crystal import Crystal

_COUNTED = ("OSZICAR", "OUTCAR", "vasp.out")
_PACKED = ("CHGCAR", "POTCAR")
_SUFFIXED = re.compile(r"(?:OSZICAR|OUTCAR|vasp\.out)(\.(?!gz$|bz2$|xz$)\w+?)?(?:\.gz|\.bz2|\.xz)?")
_RELAXATION = re.compile(r"\.relax(\d+)")
_CHUNK = 1 << 20
_VASPRUN_IONS = re.compile(r"<atoms>\s*(\d+)\s*</atoms>")
_TITEL = re.compile(r"\s*TITEL\s*=\s*(.*?)\s*$")
_LAST_LINES = 60
# VASP ends its boxes with "I REFUSE TO CONTINUE", which is no reason: the line before it is.
_NAMES_ERROR = re.compile(
    r"\berror|severe|forrtl|out of memory|oom.?kill|killed|abort|segmentation|sigsegv"
    r"|no space|not found|no such file|cannot|could not|unable to|bad news|exceeded|cancelled",
    re.IGNORECASE,
)


_OF_VASP = re.compile(r"running on|vasp\.\d|POSCAR|WAVECAR|CHGCAR|main loop|distr|:\s+\d")


class RunFilesError(MlchargeError, ValueError):
    """Files of more than one run lie in a folder; the message names them."""


@dataclass(frozen=True)
class RunFiles:
    """Where the files of one run are; None for those that are not there.

    Parameters
    ----------
    folder
        Run folder.
    suffix
        What custodian appended to the names, such as ``.relax1``; empty for most runs.
    oszicar, outcar, stdout, stderr, custodian, incar, kpoints, poscar, potcar, chgcar, contcar
        OSZICAR, OUTCAR, vasp.out, std_err.txt, custodian.json, INCAR, KPOINTS, POSCAR, POTCAR,
        CHGCAR, CONTCAR.
    ibzkpt, vasprun, eigenval
        IBZKPT, vasprun.xml, EIGENVAL.
    """

    folder: Path
    suffix: str = ""
    oszicar: Path | None = None
    outcar: Path | None = None
    stdout: Path | None = None
    stderr: Path | None = None
    custodian: Path | None = None
    incar: Path | None = None
    kpoints: Path | None = None
    poscar: Path | None = None
    potcar: Path | None = None
    chgcar: Path | None = None
    contcar: Path | None = None
    ibzkpt: Path | None = None
    vasprun: Path | None = None
    eigenval: Path | None = None

    @classmethod
    def find(cls, folder: str | Path, *, last: bool = False) -> RunFiles:
        """Find the files of the run in a folder.

        Parameters
        ----------
        folder
            Run folder.
        last
            Whether the last run of custodian's double relaxation (``.relax1``, ``.relax2``, no
            suffix) is found, whose density is the result; else the first, which begins with the
            initial density.

        Returns
        -------
        RunFiles
            Their paths.

        Raises
        ------
        RunFilesError
            A file is there twice with different content, such as a stale plain one beside the
            compressed one of a later run; or one that is counted, or packed, is a named pipe or an
            archive that is not unpacked.
        OSError
            The folder or two versions of a file cannot be read.

        Examples
        --------
        >>> from tempfile import TemporaryDirectory
        >>> with TemporaryDirectory() as folder:
        ...     for name in ("OSZICAR.relax1.gz", "OSZICAR.relax2.gz", "std_err.txt"):
        ...         Path(folder, name).touch()
        ...     files = RunFiles.find(folder)
        >>> files.suffix, files.oszicar.name, files.stderr.name, files.outcar
        ('.relax1', 'OSZICAR.relax1.gz', 'std_err.txt', None)
        """
        folder = Path(folder)
        names = {path.name for path in folder.iterdir() if path.is_file()}
        if reason := _unreadable_name(folder, (*_COUNTED, *(_PACKED if last else ()))):
            raise RunFilesError(reason)
        suffix = _suffix(folder, names, last)

        def existing(name: str) -> list[Path]:
            return [folder / (name + end) for end in COMPRESSIONS if name + end in names]

        def one(name: str) -> Path | None:
            return _same(existing(name))

        # Nothing is counted in this one, so two of them are no reason to refuse the run.
        eigenvals = existing(f"EIGENVAL{suffix}")
        return cls(
            folder,
            suffix,
            oszicar=one(f"OSZICAR{suffix}"),
            outcar=one(f"OUTCAR{suffix}"),
            stdout=one(f"vasp.out{suffix}"),
            custodian=one("custodian.json"),
            stderr=one("std_err.txt"),
            incar=one(f"INCAR{suffix}"),
            kpoints=one(f"KPOINTS{suffix}"),
            poscar=one(f"POSCAR{suffix}"),
            potcar=one(f"POTCAR{suffix}") or one("POTCAR"),
            chgcar=one(f"CHGCAR{suffix}"),
            contcar=one(f"CONTCAR{suffix}"),
            ibzkpt=one(f"IBZKPT{suffix}"),
            vasprun=one(f"vasprun.xml{suffix}"),
            eigenval=eigenvals[0] if len(eigenvals) == 1 else None,
        )

    def last_words(self, errors_only: bool = False) -> str:
        """Last thing that the executable, or its launcher, wrote about a failure.

        Parameters
        ----------
        errors_only
            Whether a line that names no error is left out.

        Returns
        -------
        str
            Last line of standard error or, without one there, of standard output that names an
            error, else the last line of standard error, or of standard output without any line of
            VASP's; at most 200 characters, empty if there is none.
        """
        stderr, stdout = _last_lines(self.stderr), _last_lines(self.stdout)
        last = [] if errors_only else stderr
        named = [line for line in (*stdout, *stderr) if _NAMES_ERROR.search(line)]
        if not (last or named or errors_only or any(map(_OF_VASP.search, stdout))):
            last = stdout
        return one_line([*last, *named][-1], 200) if last or named else ""


def _last_lines(path: Path | None) -> list[str]:
    """Last lines that hold words, without the boxes that VASP draws around its messages."""
    last: deque[str] = deque(maxlen=_LAST_LINES)
    # Of a damaged archive, what can be read.
    with suppress(*UNREADABLE):
        if path is not None:
            with open_text(path) as file:
                lines = (line.strip("|-*= \t\r\n") for line in file)
                last.extend(line for line in lines if line)
    return list(last)


def _unreadable_name(folder: Path, names: tuple[str, ...]) -> str | None:
    """Find a file of a run that is there, and that nothing can be read from; say why in a line."""
    for path in sorted(folder.iterdir()):
        if path.name.startswith(names) and not path.is_dir():
            if reason := not_a_file(path):
                return f"unreadable: {path}: {reason}"
            form = FOREIGN_ARCHIVES.get(path.suffix)
            if form and _RELAXATION.sub("", path.stem) in names:
                return f"unreadable: {path}: is a {form} archive; unpack it"
    return None


def count_ions(path: Path) -> int | None:
    """Number of ions in the header of a POSCAR or CHGCAR.

    Parameters
    ----------
    path
        The file, plain or compressed.

    Returns
    -------
    int or None
        Sum of the counts in line 7 (line 6 without a line of elements); None if there are none.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    with open_text(path) as file:
        lines = [line.split() for _, line in zip(range(7), file, strict=False)]
    for words in lines[5:]:
        counts = [int(word) for word in words if word.isdecimal()]
        if words and words[0].isdecimal():
            return sum(counts)
    return None


def read_ions(path: Path) -> Crystal:
    """Read lattice and ions of a CHGCAR; nothing behind its header is read.

    Parameters
    ----------
    path
        The file, plain or compressed.

    Returns
    -------
    Crystal
        Ions, with the six decimals of the header.

    Raises
    ------
    ValueError
        The header is malformed; the message names the file.
    OSError
        The file cannot be read.
    """
    try:
        with open_text(path, "ascii") as file:
            lines = [line.rstrip() for line in islice(file, 7)]
            n_ions = sum(map(int, lines[6].split())) if len(lines) == 7 else 0
            lines += [line.rstrip() for line in islice(file, n_ions + 1)]
        return parse_header(lines)
    except OSError:
        raise
    except UNREADABLE as error:
        raise ValueError(f"{path}: {error}") from None


def count_ions_of_vasprun(path: Path) -> int | None:
    """Number of ions that vasprun.xml names before its first ionic step.

    Parameters
    ----------
    path
        The file, plain or compressed.

    Returns
    -------
    int or None
        None if the file ends before.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    with open_text(path) as file:
        for line in file:
            if match := _VASPRUN_IONS.search(line):
                return int(match[1])
            if "<calculation>" in line:
                break
    return None


def read_titels(path: Path) -> tuple[str, ...]:
    """TITEL of each data set of a POTCAR.

    Parameters
    ----------
    path
        The file, plain or compressed.

    Returns
    -------
    tuple of str
        In the order of the file.

    Raises
    ------
    OSError
        The file cannot be read.
    """
    with open_text(path, "latin-1") as file:
        return tuple(match[1] for line in file if (match := _TITEL.match(line)))


def _suffix(folder: Path, names: set[str], last: bool) -> str:
    """Suffix of the names of one run; files of several unrelated runs are refused."""
    suffixes = {match[1] or "" for name in names if (match := _SUFFIXED.fullmatch(name))}
    relaxations = sorted((s for s in suffixes if _RELAXATION.fullmatch(s)), key=_number)
    if not relaxations:
        if len(suffixes) > 1 and "" not in suffixes:
            listed = ", ".join(f"OUTCAR{suffix}" for suffix in sorted(suffixes))
            raise RunFilesError(f"ambiguous files: {folder} has several runs ({listed})")
        return "" if "" in suffixes else next(iter(suffixes), "")
    if last:
        return "" if "" in suffixes else relaxations[-1]
    if "" in suffixes:  # custodian copies the files of a relaxation before the next one begins
        for name in _COUNTED:
            plain, first = (
                [folder / (name + s + end) for end in COMPRESSIONS if name + s + end in names]
                for s in ("", relaxations[0])
            )
            if plain and first:
                _same([*plain, *first])
    return relaxations[0]


def _number(suffix: str) -> int:
    return int(suffix.removeprefix(".relax"))


def _same(paths: list[Path]) -> Path | None:
    """First of several versions of a file: all that are not damaged must have the same content."""
    if len(paths) > 1:
        paths = [path for path in paths if _is_whole(path)] or paths[:1]
    for one, other in combinations(paths, 2):
        if not _equal(one, other):
            raise RunFilesError(
                f"ambiguous files: {one.name} and {other.name} in {one.parent} differ; "
                "remove the one of the other run"
            )
    return paths[0] if paths else None


def _is_whole(path: Path) -> bool:
    try:
        with open_bytes(path) as file:
            while file.read(_CHUNK):
                pass
    except UnreadableFileError:
        return False
    return True


def _equal(one: Path, other: Path) -> bool:
    with ExitStack() as stack:
        files = [stack.enter_context(open_bytes(path)) for path in (one, other)]
        while True:
            first, second = (file.read(_CHUNK) for file in files)
            if first != second:
                return False
            if not first:
                return True
