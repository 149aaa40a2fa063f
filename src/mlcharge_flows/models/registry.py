"""Models by name: those that are shipped, and those that a user has added."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING

from mlcharge_flows.io import atomic_path
from mlcharge_flows.models.checkpoint import SUFFIX, checksum, read_card, read_checkpoint
from mlcharge_flows.models.model import DensityModel, ModelError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.models.card import Card

SHIPPED = Path(__file__).with_name("checkpoints")
DEFAULT = "orbital"
"""Name of the model that is taken if none is named."""


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """A model in memory, and what its checkpoint holds beside the weights.

    Parameters
    ----------
    model
        Ready to predict.
    atoms
        Free atoms of its PAW data sets, as far as the checkpoint holds them.
    sha256
        Of the checkpoint, in hexadecimal.
    """

    model: DensityModel
    atoms: Mapping[str, PawDataset]
    sha256: str

    @property
    def card(self) -> Card:
        """Card of the model."""
        return self.model.card


@dataclass(frozen=True)
class Registry:
    """Models that can be asked for by name; a user's own wins over a shipped one of its name.

    Parameters
    ----------
    folder
        Where a user's models are.

    Examples
    --------
    >>> from pathlib import Path
    >>> Registry(Path("/no/such/folder")).path("nonesuch")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    mlcharge_flows.models.model.ModelError: there is no model 'nonesuch'; ...
    """

    folder: Path

    def paths(self) -> dict[str, Path]:
        """Checkpoint file of each model, by name."""
        return {
            path.name.removesuffix(SUFFIX): path
            for folder in (SHIPPED, self.folder)
            for path in sorted(folder.glob(f"*{SUFFIX}"))
        }

    def path(self, name: str | Path) -> Path:
        """Find the checkpoint of a model.

        Parameters
        ----------
        name
            A name, or the path of a checkpoint file.

        Raises
        ------
        ModelError
            There is no such model; the line lists those that there are.
        """
        known = self.paths()
        if str(name) in known:
            return known[str(name)]
        path = Path(name)
        if path.name.endswith(SUFFIX) or path.is_file():
            if path.is_file():
                return path.absolute()
            raise ModelError(f"{path}: there is no such file")
        there = ", ".join(known) or "none"
        raise ModelError(
            f"there is no model {str(name)!r}; known are: {there}; give one of them or the path of "
            f"a {SUFFIX} file, or add one with 'mlcharge models add FILE'"
        )

    def load(self, name: str | Path = DEFAULT) -> LoadedModel:
        """Load a model, once per process; a file that was replaced is loaded anew.

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

        Raises
        ------
        ModelError
            There is no such model, or its file is no checkpoint.
        """
        return read_card(self.path(name))

    def checksum(self, name: str | Path = DEFAULT) -> str:
        """SHA-256 of the checkpoint of a model, in hexadecimal; nothing of it is loaded.

        Raises
        ------
        ModelError
            There is no such model.
        """
        path = self.path(name)
        stamp = path.stat()
        return _checksum(path, stamp.st_mtime_ns, stamp.st_size)

    def add(self, file: Path, replace: bool = False) -> Path:
        """Copy a checkpoint to the user's models, under the name on its card.

        Parameters
        ----------
        file
            The checkpoint; read as a whole before.
        replace
            Whether a model of the same name in the folder may be replaced.

        Raises
        ------
        ModelError
            It is no checkpoint, its architecture is unknown, or there is another one of its name.
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
    return LoadedModel(model, checkpoint.atoms, _checksum(path, mtime, size))


@lru_cache(maxsize=64)
def _checksum(path: Path, mtime: int, size: int) -> str:
    return checksum(path)
