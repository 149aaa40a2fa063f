"""Which executable runs, with which PAW data, and where the embedded ones live.

Nothing has to be configured: without any setting, the embedded ``gpaw-vasp`` runs, with a POTCAR
library that is filled on first use. A user's own ``VASP_CMD`` (or atomate2's setting of it) and
``PMG_VASP_PSP_DIR`` win. Every field can be given as an environment variable with the prefix
``MLCHARGE_``.
"""

from __future__ import annotations

import importlib.util
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from importlib.metadata import version
from pathlib import Path

from pydantic import Field
from pydantic_settings import BaseSettings, SettingsConfigDict

_EMBEDDED = "gpaw-vasp"
_LAUNCHERS = {"mpirun", "mpiexec", "mpiexec.hydra", "srun", "aprun", "jsrun", "ibrun"}


class SetupError(RuntimeError):
    """The executable or its PAW data cannot be used; the message is one line that says why."""


class Settings(BaseSettings):
    """What a machine needs to know to run; see the module's text for who wins.

    Examples
    --------
    >>> Settings(vasp_cmd="mpirun -n 4 vasp_std").program
    'vasp_std'
    >>> Settings(vasp_cmd="mpirun -n 4 vasp_std").embedded
    False
    """

    model_config = SettingsConfigDict(env_prefix="MLCHARGE_")

    vasp_cmd: str = Field(
        default_factory=lambda: _configured_command() or _embedded_command(),
        description="Command line of the executable.",
    )
    cache: Path = Field(
        default_factory=lambda: (
            Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "mlcharge_flows"
        ),
        description="Folder for what can be made again, such as the embedded POTCAR library.",
    )
    models: Path = Field(
        default_factory=lambda known: known["cache"] / "models",
        description="Folder of the models that a user has added.",
    )

    @property
    def program(self) -> str:
        """Name of the executable, without its folder and launcher."""
        return Path(shlex.split(self.vasp_cmd)[-1]).name if self.vasp_cmd.strip() else ""

    @property
    def embedded(self) -> bool:
        """Whether the executable is this project's own."""
        return self.program == _EMBEDDED

    @property
    def potcar_library(self) -> Path:
        """Folder in which pymatgen looks for POTCARs.

        The embedded library, unless the user chose an executable and a library of their own.
        A library that was set up for another executable is of no use to the embedded default.
        """
        return self._own_library or self._embedded_library

    @property
    def _own_library(self) -> Path | None:
        chosen = "vasp_cmd" in self.model_fields_set or _configured_command() is not None
        return _pymatgen_library() if chosen else None

    @property
    def _embedded_library(self) -> Path:
        # Named by what its content depends on: an update never meets an outdated library.
        try:
            data = version("gpaw-data")
        except ModuleNotFoundError:
            data = "none"
        return self.cache / f"potcars-{version('mlcharge-flows')}-gpaw-data-{data}"

    def check(self) -> None:
        """Look for the executable and the PAW data before anything runs.

        Raises
        ------
        SetupError
            A program of the command does not exist, GPAW is missing, or there are no POTCARs.
        """
        try:
            words = shlex.split(self.vasp_cmd)
        except ValueError as error:
            raise SetupError(f"VASP_CMD: {self.vasp_cmd!r} cannot be read ({error})") from None
        if not words:
            raise SetupError("VASP_CMD is empty: unset it to use the embedded gpaw-vasp")
        programs = {words[0], words[-1]} if Path(words[0]).name in _LAUNCHERS else {words[0]}
        for program in sorted(programs):
            if shutil.which(os.path.expandvars(program)) is None:
                raise SetupError(
                    f"VASP_CMD: {program!r} is not an executable on this machine; correct it, "
                    "or unset it to use the embedded gpaw-vasp"
                )
        if self.embedded and importlib.util.find_spec("gpaw") is None:
            raise SetupError(
                "gpaw-vasp needs GPAW: pip install 'mlcharge-flows[gpaw]', "
                "or set VASP_CMD and PMG_VASP_PSP_DIR to use VASP"
            )
        own = self._own_library
        if own is None and not self.embedded:
            raise SetupError(
                f"{self.program} needs POTCARs: set PMG_VASP_PSP_DIR to your POTCAR library"
            )
        if own is not None and own != self._embedded_library and not own.is_dir():
            raise SetupError(f"PMG_VASP_PSP_DIR: there is no folder {own}")

    def activate(self) -> None:
        """Make this process and its children find the executable's PAW data; safe to repeat.

        Fills the embedded POTCAR library if it is used for the first time, and limits threads to
        one where the user did not say otherwise: runs share a machine.

        Raises
        ------
        SetupError
            As :meth:`check`, or the library cannot be filled.
        """
        self.check()
        library = self.potcar_library
        if library == self._embedded_library:
            _fill(library)
        os.environ.setdefault("OMP_NUM_THREADS", "1")
        os.environ["PMG_VASP_PSP_DIR"] = str(library)
        # pymatgen reads its settings once and keeps them.
        from pymatgen.core import SETTINGS

        SETTINGS["PMG_VASP_PSP_DIR"] = str(library)


def _configured_command() -> str | None:
    """Command that the user set for VASP, here or in atomate2's environment or file."""
    if command := os.environ.get("VASP_CMD") or os.environ.get("ATOMATE2_VASP_CMD"):
        return command
    from atomate2 import SETTINGS

    return SETTINGS.VASP_CMD if "VASP_CMD" in SETTINGS.model_fields_set else None


def _embedded_command() -> str:
    beside = Path(sys.executable).parent / _EMBEDDED
    return shlex.quote(str(beside) if beside.exists() else shutil.which(_EMBEDDED) or _EMBEDDED)


def _pymatgen_library() -> Path | None:
    from pymatgen.core import SETTINGS

    folder = os.environ.get("PMG_VASP_PSP_DIR") or SETTINGS.get("PMG_VASP_PSP_DIR")
    return Path(folder).expanduser() if folder else None


def _fill(library: Path) -> None:
    """Export the PAW data sets; another process that does the same at once does no harm."""
    if library.is_dir():
        return
    try:
        library.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=library.parent) as scratch:
            filled = Path(scratch) / library.name
            subprocess.run(
                [*shlex.split(_embedded_command()), "potcar", str(filled)],
                check=True,
                capture_output=True,
                text=True,
            )
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
