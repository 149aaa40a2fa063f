"""Models that are fetched: files at an address, with their SHA-256 in a catalog beside them.

A catalog is the file ``models.json`` at the address:

    {"orbital-large": {"file": "orbital-large.safetensors", "sha256": "..", "license": "MIT"}}

The address is that of a web server, ``file:///folder``, or the path of a folder.
"""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Annotated
from urllib.error import URLError
from urllib.parse import quote, urljoin
from urllib.request import urlopen

from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from mlcharge_flows.errors import one_line
from mlcharge_flows.io import file_sha256
from mlcharge_flows.models.checkpoint import SUFFIX
from mlcharge_flows.models.model import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

CATALOG = "models.json"
_TIMEOUT = 60.0
_SCHEMES = ("http://", "https://", "file://")


class CatalogEntry(BaseModel):
    """One file of a catalog.

    Parameters
    ----------
    file
        Name of the file, relative to the catalog.
    sha256
        SHA-256 of its content, hexadecimal.
    license
        Of the weights.
    """

    file: Annotated[str, Field(pattern=r"^[\w.+-]+$")]
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
    license: str = "not stated"


def read_catalog(address: str) -> dict[str, CatalogEntry]:
    """Read the catalog at an address.

    Parameters
    ----------
    address
        Of a web server or a folder; see the module's text.

    Returns
    -------
    dict of str to CatalogEntry
        By name of the model.

    Raises
    ------
    ModelError
        There is no catalog, or it cannot be understood.
    """
    with TemporaryDirectory() as folder:
        path = _download(_base(address), CATALOG, Path(folder))
        try:
            known = TypeAdapter(dict[str, CatalogEntry]).validate_json(path.read_bytes())
        except ValidationError as error:
            reason = one_line(error.errors()[0]["msg"])
            raise ModelError(f"{address}: {CATALOG} is no catalog of models ({reason})") from None
    return known


@contextmanager
def fetched(name: str, address: str) -> Iterator[Path]:
    """Fetch a model and compare its SHA-256 with the catalog.

    Parameters
    ----------
    name
        Name in the catalog.
    address
        Of the catalog.

    Yields
    ------
    Path
        The checkpoint, in a folder that is removed afterwards.

    Raises
    ------
    ModelError
        The catalog has no such model, the file cannot be fetched, or is not the one of the catalog.
    """
    known = read_catalog(address)
    if name not in known:
        raise ModelError(f"{address}: has no model {name!r}; it has {', '.join(known) or 'none'}")
    with TemporaryDirectory() as folder:
        path = _download(_base(address), known[name].file, Path(folder))
        if (found := file_sha256(path)) != known[name].sha256:
            raise ModelError(
                f"{address}: {known[name].file} has SHA-256 {found[:12]}.., the catalog says "
                f"{known[name].sha256[:12]}..; it was not added"
            )
        if not path.name.endswith(SUFFIX):
            raise ModelError(f"{address}: {known[name].file} is no {SUFFIX} file")
        yield path


def _base(address: str) -> str:
    """Address of a folder, with a slash at its end."""
    if not address.startswith(_SCHEMES):
        address = Path(address).expanduser().absolute().as_uri()
    return address.rstrip("/") + "/"


def _download(base: str, name: str, folder: Path) -> Path:
    path = folder / name
    try:
        with (
            urlopen(urljoin(base, quote(name)), timeout=_TIMEOUT) as response,
            path.open("wb") as file,
        ):
            shutil.copyfileobj(response, file)
    except (URLError, OSError, ValueError) as error:
        reason = one_line(getattr(error, "reason", error))
        raise ModelError(f"{base}{name}: cannot be fetched ({reason})") from None
    return path
