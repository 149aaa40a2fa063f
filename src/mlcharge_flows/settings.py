"""The executable of the runs, its POTCAR library, and the folders of this package.

Runs use what the user has configured for atomate2 and pymatgen, and the embedded ``gpaw-vasp`` only
where it is asked for. Environment variables with the prefix ``MLCHARGE_`` set the fields.

The command of a run is the first of these that is set:

1. ``run_vasp_kwargs["vasp_cmd"]`` of its Maker,
2. ``MLCHARGE_VASP_CMD``, or ``--executable``, which sets it for a command and its workers,
3. ``ATOMATE2_VASP_CMD``, or ``VASP_CMD`` in ``~/.atomate2.yaml``, which atomate2 itself reads,
4. ``VASP_CMD``,
5. ``vasp_std``, atomate2's default.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import Field, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

from mlcharge_flows.errors import MlchargeError, one_line
from mlcharge_flows.io import UNREADABLE, open_bytes
from mlcharge_flows.partial_files import new_partial
from mlcharge_flows.vasp_command import (
    command_line,
    command_words,
    configured_command,
    executable_index,
    gamma_words,
    is_command_of_environment,
    is_in_container,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping

EMBEDDED = "gpaw-vasp"
"""The executable that is part of this package."""

_DEFAULT = "vasp_std"
_LIBRARY = "PMG_VASP_PSP_DIR"
_LIBRARY_LAYOUT = 3  # of gpaw-vasp's exports: 2 added projectors and partial waves, 3 a SHA-256


class SetupError(MlchargeError, RuntimeError):
    """The executable or its PAW data sets cannot be used; the message is one line."""


class Settings(BaseSettings):
    """Executable, cache and models of this machine.

    Parameters
    ----------
    **given
        Those of the following that do not come from the environment.
    vasp_cmd
        Command line of the executable; if not given, that of VASP, see the module's text.
    cache
        Folder of what can be made again, such as the embedded POTCAR library.
    models
        Folder of the models that the user has added.
    models_url
        Web address, or folder, of the catalog of ``mlcharge models get``.
    model_potcars
        Folder with POTCARs of the PAW data sets that models were trained with.
    max_wavecar_size
        Largest WAVECAR of initial orbitals that is written, in GB.
    max_expected_error
        Limit of the expected error, as part of the superposition's; by default the model's own.

    Examples
    --------
    >>> settings = Settings(vasp_cmd="mpirun -n 4 vasp_std > vasp.out")
    >>> settings.program, settings.embedded
    ('vasp_std', False)
    >>> settings.run_vasp_kwargs
    {'vasp_cmd': 'mpirun -n 4 vasp_std', 'vasp_gamma_cmd': 'mpirun -n 4 vasp_gam'}
    """

    # Early releases of pydantic-settings reserve names that begin with model_.
    model_config = SettingsConfigDict(env_prefix="MLCHARGE_", protected_namespaces=())

    vasp_cmd: str = Field(default_factory=lambda: configured_command() or _DEFAULT)
    cache: Path = Field(
        default_factory=lambda: (
            Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "mlcharge_flows"
        )
    )
    models: Path = Field(default_factory=lambda known: known["cache"] / "models")
    models_url: str = ""
    model_potcars: Path | None = None
    max_wavecar_size: float = Field(4.0, ge=0.0)
    max_expected_error: float | None = Field(None, gt=0.0)

    def __init__(self, **given: Any) -> None:
        """Read the environment.

        Parameters
        ----------
        **given
            Fields that do not come from the environment.

        Raises
        ------
        SetupError
            A value cannot be used.
        """
        try:
            super().__init__(**given)
        except ValidationError as error:
            first = error.errors()[0]
            name = f"MLCHARGE_{str(first['loc'][0]).upper()}"
            raise SetupError(
                f"{name} = {one_line(first['input'], 40)}: {first['msg']}; correct or unset it"
            ) from None

    @classmethod
    def for_command(cls, executable: str | None = None, *, of_workers: bool = False) -> Settings:
        """Choose the executable of a command that runs or submits calculations.

        Parameters
        ----------
        executable
            Command line that the user gave for this one command.
        of_workers
            Whether other machines run what this one submits; only the error depends on it.

        Returns
        -------
        Settings
            With the given command, else the configured one, else ``vasp_std`` if it is on the
            PATH, as atomate2 would run it. Never the embedded executable unless it is named.

        Raises
        ------
        SetupError
            None of these is there, as where the module of VASP is not loaded, or an ``export`` was
            forgotten.
        """
        if executable is not None:
            return cls(vasp_cmd=executable)
        settings = cls()
        if "vasp_cmd" in settings.model_fields_set or configured_command():
            return settings
        if shutil.which(_DEFAULT):
            return settings
        asked_for = (
            f"set MLCHARGE_VASP_CMD={EMBEDDED} here and on the workers"
            if of_workers
            else f"give --executable {EMBEDDED}, or set MLCHARGE_VASP_CMD={EMBEDDED}"
        )
        raise SetupError(
            f"no executable is configured, and no {_DEFAULT} is on the PATH: for VASP set "
            f"VASP_CMD, such as 'mpirun -n 16 {_DEFAULT}', and PMG_VASP_PSP_DIR; to compute "
            f"without VASP {asked_for}"
        )

    @property
    def program(self) -> str:
        """Name of the executable, without folder, launcher, options and redirections."""
        try:
            words = command_words(self.vasp_cmd)
            word = words[executable_index(words)]
        except (ValueError, IndexError):  # check() tells what is wrong
            return ""
        return Path(os.path.expandvars(word)).name

    @property
    def embedded(self) -> bool:
        """Whether the executable is the one of this package."""
        return self.program == EMBEDDED

    @property
    def run_vasp_kwargs(self) -> dict[str, str]:
        """Commands for atomate2's ``run_vasp``; empty where atomate2's own settings decide.

        The command for runs at the Gamma point alone follows from the other one: same launcher,
        ``vasp_gam`` for ``vasp_std``; the same executable where it has no such name.
        """
        if "vasp_cmd" not in self.model_fields_set and not is_command_of_environment():
            # vasp_gam, atomate2's default, cannot run what gpaw-vasp runs.
            return {"vasp_gamma_cmd": self.vasp_cmd} if self.embedded else {}
        words = command_words(self.vasp_cmd)
        if self.embedded:
            words[executable_index(words)] = _embedded_program()
        return {"vasp_cmd": command_line(words), "vasp_gamma_cmd": command_line(gamma_words(words))}

    @property
    def potcar_library(self) -> Path | None:
        """Folder in which pymatgen finds the POTCARs of the executable; None if there is none.

        For the embedded executable the user's library if it holds exports of ``gpaw-vasp``, else
        the one in the cache, which :meth:`activated` fills.
        """
        own = _pymatgen_library()
        if not self.embedded:
            return own
        return own if own is not None and _is_export(own) else self._embedded_library

    @property
    def dataset_folders(self) -> list[Path]:
        """Folders in which the PAW data sets of models are looked for, those that exist."""
        folders = (self.model_potcars, self._embedded_library, self.potcar_library)
        return [path for path in dict.fromkeys(folders) if path is not None and path.is_dir()]

    @property
    def exported_library(self) -> Path:
        """POTCAR library of GPAW's data sets in the cache, exported unless it is there.

        Raises
        ------
        SetupError
            GPAW cannot be used, or the library cannot be written.
        """
        _fill(library := self._embedded_library)
        return library

    @property
    def exported_potcars(self) -> bool:
        """Whether the POTCAR library holds exports of ``gpaw-vasp``, not VASP's data sets."""
        library = self.potcar_library
        return self.embedded or (library is not None and _is_export(library))

    @property
    def _embedded_library(self) -> Path:
        # Named by what its content depends on: an update never meets an outdated library.
        try:
            data = version("gpaw-data")
        except ModuleNotFoundError:
            data = "none"
        name = f"potcars-{version('mlcharge-flows')}-layout-{_LIBRARY_LAYOUT}-gpaw-data-{data}"
        return self.cache / name

    def describe(self) -> str:
        """Name the executable and the POTCAR library in one line.

        Returns
        -------
        str
            Such as ``Executable: gpaw-vasp (embedded); POTCARs: /cache/potcars``.
        """
        command = f"{EMBEDDED} (embedded)" if self.vasp_cmd == EMBEDDED else self.vasp_cmd
        return one_line(f"Executable: {command}; POTCARs: {self.potcar_library or 'none'}")

    def check(self) -> None:
        """Look for the executable and the POTCAR library before anything runs.

        Raises
        ------
        SetupError
            A program of the command does not exist, GPAW is missing, or there are no POTCARs.
        """
        given = "vasp_cmd" in self.model_fields_set
        name = "--executable or MLCHARGE_VASP_CMD" if given else "VASP_CMD"
        try:
            words = command_words(self.vasp_cmd)
        except ValueError as error:
            raise SetupError(f"{name}: {self.vasp_cmd!r} cannot be read ({error})") from None
        if not words:
            raise SetupError(f"{name} is empty: set it, or give --executable gpaw-vasp")
        program = words[executable_index(words)]
        outside = [words[0], *([] if is_in_container(words) else [program])]
        for word in dict.fromkeys(outside):
            if self.embedded and word == program:
                word = _embedded_program()
            if shutil.which(os.path.expandvars(word)) is None:
                raise SetupError(
                    f"{name}: {word!r} is not an executable on this machine; correct it, "
                    "or give --executable gpaw-vasp"
                )
        if self.embedded and importlib.util.find_spec("gpaw") is None:
            raise SetupError(
                "gpaw-vasp needs GPAW: pip install 'mlcharge-flows[gpaw]', "
                "or set VASP_CMD and PMG_VASP_PSP_DIR to use VASP"
            )
        if self.potcar_library is None:
            raise SetupError(
                f"{self.program} needs POTCARs: set PMG_VASP_PSP_DIR to your POTCAR library, "
                "or give --executable gpaw-vasp"
            )
        if not self.embedded and not self.potcar_library.is_dir():
            raise SetupError(f"PMG_VASP_PSP_DIR: there is no folder {self.potcar_library}")

    @contextmanager
    def named(self) -> Iterator[None]:
        """Let the settings of this process name this executable, which nothing runs.

        Yields
        ------
        None
            While ``MLCHARGE_VASP_CMD`` names it.
        """
        with _replaced(os.environ, "MLCHARGE_VASP_CMD", self.vasp_cmd):
            yield

    @contextmanager
    def activated(self) -> Iterator[None]:
        """Let this process and its children use the executable of these settings.

        For the embedded executable, pymatgen's settings and ``PMG_VASP_PSP_DIR`` name its POTCAR
        library, which is filled at its first use, and ``OMP_NUM_THREADS`` is 1 unless it is set:
        runs share a machine. A command that was chosen here is passed to child processes as
        ``MLCHARGE_VASP_CMD``. Afterwards all is as before.

        Yields
        ------
        None
            Once everything is in place.

        Raises
        ------
        SetupError
            The embedded executable cannot be used, or its library cannot be filled.
        """
        from pymatgen.core import SETTINGS

        with ExitStack() as restored:

            def put(mapping: MutableMapping[str, str], key: str, value: str) -> None:
                restored.enter_context(_replaced(mapping, key, value))

            if "vasp_cmd" in self.model_fields_set:
                put(os.environ, "MLCHARGE_VASP_CMD", self.vasp_cmd)
            library = self.potcar_library
            if self.embedded:
                self.check()
                if library == (exported := self._embedded_library):
                    _fill(exported)
                put(os.environ, _LIBRARY, str(library))
                put(os.environ, "OMP_NUM_THREADS", os.environ.get("OMP_NUM_THREADS", "1"))
            if library is not None:
                put(SETTINGS, _LIBRARY, str(library))  # pymatgen reads the environment only once
            yield


def _embedded_program() -> str:
    beside = Path(sys.executable).parent / EMBEDDED
    return str(beside) if beside.exists() else shutil.which(EMBEDDED) or EMBEDDED


def _pymatgen_library() -> Path | None:
    from pymatgen.core import SETTINGS

    folder = os.environ.get(_LIBRARY) or SETTINGS.get(_LIBRARY)
    return Path(folder).expanduser() if folder else None


def _is_export(library: Path) -> bool:
    """Whether the POTCARs of a library are exports of gpaw-vasp, whose TITEL says so."""
    if (path := next(library.glob("*/POTCAR.*"), None)) is None:
        return False
    try:
        with open_bytes(path) as file:
            return b"GPAW" in file.readline(200)
    except UNREADABLE:
        return False


@contextmanager
def _replaced(mapping: MutableMapping[str, str], key: str, value: str) -> Iterator[None]:
    """Set an entry, and restore what was there."""
    before = {key: mapping[key]} if key in mapping else {}
    mapping[key] = value
    try:
        yield
    finally:
        mapping.pop(key, None)
        mapping.update(before)


def _fill(library: Path) -> None:
    """Export the PAW data sets; another process that does the same at once does no harm."""
    if library.is_dir():
        return
    filled = new_partial(library)
    try:
        library.parent.mkdir(parents=True, exist_ok=True)
        command = [_embedded_program(), "potcar", str(filled)]
        subprocess.run(command, check=True, capture_output=True, text=True)
        filled.rename(library)
    except subprocess.CalledProcessError as error:
        reason = (error.stderr.strip().splitlines() or ["no message"])[-1]
        raise SetupError(f"gpaw-vasp could not export its PAW data sets: {reason}") from None
    except OSError as error:
        if not library.is_dir():
            raise SetupError(
                f"{library}: the POTCAR library cannot be written ({error.strerror}); "
                "set MLCHARGE_CACHE to a folder that can"
            ) from None
    finally:
        shutil.rmtree(filled, ignore_errors=True)
