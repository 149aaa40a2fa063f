"""The command line that runs VASP: where it is configured, and which word is the executable."""

from __future__ import annotations

import os
import re
import shlex
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

_LAUNCHERS = {
    *("mpirun", "mpiexec", "mpiexec.hydra", "orterun", "srun", "aprun", "jsrun", "ibrun"),
    *("env", "nice", "numactl"),
}
_CONTAINERS = {"singularity", "apptainer", "shifter", "docker", "podman", "podman-hpc"}
_SHELLS = {"bash", "sh", "dash", "ksh", "zsh"}
_IMAGES = (".sif", ".simg", ".img")
_QUOTED = re.compile(r"'[^']*'|\"(?:\\.|[^\"\\])*\"|\\.")
_REDIRECTION = re.compile(r"(?:(?<=\s)\d+|(?<=\s)&|^\d+|^&)?[<>]+&?\s*\S*")
_SHELL = re.compile(r"[|;&`\n]|\$\(")


def configured_command() -> str | None:
    """Command that the user set for VASP, in atomate2's settings or in the environment.

    Returns
    -------
    str or None
        None if nothing is set.
    """
    from atomate2 import SETTINGS

    if "VASP_CMD" in SETTINGS.model_fields_set:
        return SETTINGS.VASP_CMD
    # atomate2 reads its environment once; a variable that was set later counts as well.
    return os.environ.get("ATOMATE2_VASP_CMD") or os.environ.get("VASP_CMD")


def is_command_of_environment() -> bool:
    """Tell whether the configured command comes from VASP_CMD, which atomate2 does not read.

    Returns
    -------
    bool
        False if atomate2 has a command of its own.
    """
    from atomate2 import SETTINGS

    configured = "VASP_CMD" in SETTINGS.model_fields_set or os.environ.get("ATOMATE2_VASP_CMD")
    return not configured and bool(os.environ.get("VASP_CMD"))


def command_line(words: Iterable[str]) -> str:
    """Join words to a command line; variables in them stay to be expanded where the run is.

    Parameters
    ----------
    words
        Of the command.

    Returns
    -------
    str
        As a shell reads it.

    Examples
    --------
    >>> command_line(["srun", "-n", "$TASKS", "my vasp"])
    "srun -n $TASKS 'my vasp'"
    """
    return " ".join(
        word if re.fullmatch(r"[\w$@%+=:,./{}~-]+", word) else shlex.quote(word) for word in words
    )


def command_words(command: str) -> list[str]:
    """Split a command line and leave out its redirections, which custodian makes itself.

    Parameters
    ----------
    command
        As a shell would read it.

    Returns
    -------
    list of str
        Words without their quotes.

    Raises
    ------
    ValueError
        A quote is not closed, or the line holds more than one command.

    Examples
    --------
    >>> command_words("mpirun -n 4 vasp_std > vasp.out 2>&1")
    ['mpirun', '-n', '4', 'vasp_std']
    >>> command_words("bash -c 'vasp_std > out'")
    ['bash', '-c', 'vasp_std > out']
    >>> command_words("srun vasp_std | tee log")
    Traceback (most recent call last):
    ValueError: '|' is for a shell: write a script, or bash -c '...'
    """
    # What is quoted is neither redirection nor a second command.
    masked = _QUOTED.sub(lambda match: "Q" * len(match[0]), command.strip())
    kept, end = "", 0
    for match in _REDIRECTION.finditer(masked):
        kept += command.strip()[end : match.start()] + " "
        end = match.end()
    kept += command.strip()[end:]
    if found := _SHELL.search(_QUOTED.sub("", kept)):
        raise ValueError(f"{found[0]!r} is for a shell: write a script, or bash -c '...'")
    return shlex.split(kept)


def executable_index(words: list[str]) -> int:
    """Find the executable among the words of a command.

    Parameters
    ----------
    words
        Of :func:`command_words`, at least one.

    Returns
    -------
    int
        Index of the last word that is called after VASP; else of the last word behind a launcher
        or in a container; else 0. Options, assignments, images and scripts between quotes are none.

    Examples
    --------
    >>> executable_index(["mpirun", "-n", "4", "vasp_std"])
    3
    >>> executable_index(["singularity", "exec", "vasp.sif", "/bin/std"])
    3
    >>> executable_index(["bash", "-c", "vasp_std > out"])
    0
    """
    names = [_name(word) for word in words]
    programs = [
        n
        for n, name in enumerate(names)
        if not (name[:1] == "-" or "=" in name or name.endswith(_IMAGES) or _is_script(words, n))
        and not (names[0] in _SHELLS and name.endswith(".sh"))
    ]
    called_vasp = [n for n in programs if "vasp" in names[n].lower()]
    if called_vasp:
        return called_vasp[-1]
    return programs[-1] if programs and names[0] in _LAUNCHERS | _CONTAINERS else 0


def is_in_container(words: list[str]) -> bool:
    """Whether the executable is inside of a container, where it cannot be looked for.

    Parameters
    ----------
    words
        Of :func:`command_words`.

    Returns
    -------
    bool
        True behind ``singularity``, ``docker`` and their like.
    """
    return any(_name(word) in _CONTAINERS for word in words)


def gamma_words(words: list[str]) -> list[str]:
    """Name the command of runs at the Gamma point alone.

    Parameters
    ----------
    words
        Of :func:`command_words`.

    Returns
    -------
    list of str
        The same with ``vasp_gam`` for ``vasp_std``, also in a script between quotes; the same
        executable where it has no such name.

    Examples
    --------
    >>> gamma_words(["bash", "-c", "srun /opt/vasp_std > out"])
    ['bash', '-c', 'srun /opt/vasp_gam > out']
    """
    place = executable_index(words)
    changed = [
        re.sub(r"\bvasp_std\b", "vasp_gam", word) if _is_script(words, n) else word
        for n, word in enumerate(words)
    ]
    name = Path(words[place]).name
    changed[place] = words[place].removesuffix(name) + name.replace("std", "gam")
    return changed


def _is_script(words: list[str], index: int) -> bool:
    """Whether a word is what a shell is to do, as in ``bash -lc '...'``."""
    shells = any(_name(word) in _SHELLS for word in words[:index])
    return shells and bool(re.fullmatch(r"-\w*c", words[index - 1]))


def _name(word: str) -> str:
    return Path(os.path.expandvars(word)).name
