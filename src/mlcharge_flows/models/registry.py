"""Models by name: the one shipped with the package, and those that a user has added."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from mlcharge_flows.errors import one_line
from mlcharge_flows.file_kinds import not_a_file
from mlcharge_flows.io import atomic_path, file_sha256
from mlcharge_flows.models.checkpoint import SUFFIX, read_card, read_checkpoint
from mlcharge_flows.models.model import DensityModel, ModelError

if TYPE_CHECKING:
    from mlcharge_flows.models.card import Card
    from mlcharge_flows.models.domain import Domain

SHIPPED = Path(__file__).with_name("checkpoints")
"""Folder of the checkpoints in the package."""
DEFAULT = "orbital"
"""Name of the model that is used where none is named."""


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model in memory, and the hash of its checkpoint.

    Parameters
    ----------
    model
        Ready to predict.
    sha256
        SHA-256 of the checkpoint, hexadecimal.
    """

    model: DensityModel
    sha256: str

    @property
    def card(self) -> Card:
        """Card of the model."""
        return self.model.card

    @property
    def domain(self) -> Domain:
        """Applicability domain of the model."""
        return self.card.domain


@dataclass(frozen=True)
class Registry:
    """Models by name; a user's own takes precedence over a shipped one of the same name.

    Parameters
    ----------
    folder
        Folder of the user's models.

    Examples
    --------
    >>> from pathlib import Path
    >>> Registry(Path("/no/such/folder")).path("nonesuch")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    mlcharge_flows.models.model.ModelError: there is no model 'nonesuch'; ...
    """

    folder: Path

    def paths(self) -> dict[str, Path]:
        """Checkpoint file of each model.

        Returns
        -------
        dict of str to Path
            By name of the model.
        """
        return {
            path.name.removesuffix(SUFFIX): path
            for folder in (SHIPPED, self.folder)
            for path in sorted(folder.glob(f"*{SUFFIX}"))
        }

    def path(self, name: str | Path) -> Path:
        """Checkpoint file of one model.

        Parameters
        ----------
        name
            Name of a model, or path of a checkpoint file.

        Returns
        -------
        Path
            Absolute path of the file.

        Raises
        ------
        ModelError
            There is no such model; the message lists those that there are.
        """
        known = self.paths()
        if str(name) in known:
            return known[str(name)]
        path = Path(name)
        reason = not_a_file(path)
        if reason is None:
            return path.absolute()
        if path.name.endswith(SUFFIX) or path.is_absolute() or "no such file" not in reason:
            raise ModelError(f"{one_line(path, 200)}: {reason}")
        names = ", ".join(known) or "none"
        raise ModelError(
            f"there is no model {str(name)!r}; known are: {names}; give one of them or the path of "
            f"a {SUFFIX} file, or add one with 'mlcharge models add FILE'"
        )

    def load(self, name: str | Path = DEFAULT) -> LoadedModel:
        """Load a model, once per process; a file that was replaced is loaded anew.

        Parameters
        ----------
        name
            Name of a model, or path of a checkpoint file.

        Returns
        -------
        LoadedModel
            The same object for the same file.

        Raises
        ------
        ModelError
            There is no such model, its file is broken, or its architecture cannot be loaded.
        """
        path = self.path(name)
        stamp = path.stat()
        return _load(path, stamp.st_mtime_ns, stamp.st_size)

    def card(self, name: str | Path = DEFAULT) -> Card:
        """Card of a model; its weights are not read.

        Parameters
        ----------
        name
            Name of a model, or path of a checkpoint file.

        Returns
        -------
        Card
            As the checkpoint holds it.

        Raises
        ------
        ModelError
            There is no such model, or its file is no checkpoint.
        """
        return read_card(self.path(name))

    def checksum(self, name: str | Path = DEFAULT) -> str:
        """SHA-256 of the checkpoint of a model, which is not loaded.

        Parameters
        ----------
        name
            Name of a model, or path of a checkpoint file.

        Returns
        -------
        str
            Hexadecimal.

        Raises
        ------
        ModelError
            There is no such model.
        """
        path = self.path(name)
        stamp = path.stat()
        return _checksum(path, stamp.st_mtime_ns, stamp.st_size)

    def remove(self, name: str) -> Path:
        """Remove one of the user's models.

        Parameters
        ----------
        name
            Name of the model.

        Returns
        -------
        Path
            The file that was removed.

        Raises
        ------
        ModelError
            There is no such model, or it is one of those in the package.
        """
        path = self.path(name) if name in self.paths() else self.folder / f"{name}{SUFFIX}"
        if path.parent == SHIPPED:
            raise ModelError(f"{name}: is shipped with the package and cannot be removed")
        if not path.is_file():
            names = ", ".join(n for n, p in self.paths().items() if p.parent != SHIPPED) or "none"
            raise ModelError(f"there is no model {name!r} of your own; there are: {names}")
        path.unlink()
        return path

    def add(self, file: Path, replace: bool = False) -> Path:
        """Copy a checkpoint to the user's models, under the name on its card.

        Parameters
        ----------
        file
            The checkpoint; it is loaded first.
        replace
            Whether another model of the same name in the folder may be replaced.

        Returns
        -------
        Path
            The copy.

        Raises
        ------
        ModelError
            The file is no checkpoint, its architecture is unknown, or there is another model of
            its name.
        """
        self.load(file.absolute())
        target = self.folder / f"{read_card(file).name}{SUFFIX}"
        if target.exists() and not replace:
            if target.read_bytes() == file.read_bytes():
                return target
            raise ModelError(
                f"{target}: there is another model of this name; replace it with --replace"
            )
        target.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(target) as partial:
            shutil.copyfile(file, partial)
        return target


@lru_cache(maxsize=8)
def _load(path: Path, mtime: int, size: int) -> LoadedModel:
    architecture = ""
    try:
        checkpoint = read_checkpoint(path)
        architecture = f"mlcharge_flows.models.{checkpoint.card.architecture}"
        model = import_module(architecture).load(checkpoint)
    except ModuleNotFoundError as error:
        if error.name == architecture:
            raise ModelError(
                f"{path}: this version of mlcharge_flows has no architecture "
                f"{checkpoint.card.architecture!r}; update it"
            ) from None
        raise ModelError(
            f"{path}: needs {error.name}: pip install 'mlcharge-flows[models]'"
        ) from None
    return LoadedModel(model, _checksum(path, mtime, size))


@lru_cache(maxsize=64)
def _checksum(path: Path, mtime: int, size: int) -> str:
    return file_sha256(path)
