"""Run folders of the VASP jobs in a jobflow JobStore."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from mlcharge_flows.errors import MlchargeError, one_line

if TYPE_CHECKING:
    from jobflow import JobStore


class JobStoreError(MlchargeError, ValueError):
    """A job store cannot be read; one line."""


def run_folders(store: Path | JobStore) -> list[Path]:
    """Folders of all jobs whose task document names one.

    Parameters
    ----------
    store
        File of a JobStore, as ``JOBFLOW_CONFIG_FILE`` names it, or the store itself.

    Returns
    -------
    list of Path
        Each once, in the order of the store, without the names of hosts.

    Raises
    ------
    JobStoreError
        The file is no JobStore, or the store does not answer.
    """
    from jobflow import JobStore

    if isinstance(store, Path):
        name = str(store)
        store = _open(store)
    else:
        name = str(store.name)
    assert isinstance(store, JobStore)
    try:
        with store as opened:
            found = opened.query(
                {"output.dir_name": {"$exists": True}}, properties=["output.dir_name"]
            )
            names = [document["output"]["dir_name"] for document in found]
    except Exception as error:  # of the database behind it, whichever that is
        raise JobStoreError(f"{name}: does not answer ({one_line(error)})") from None
    paths = (_without_host(name) for name in names if isinstance(name, str))
    return [Path(path) for path in dict.fromkeys(paths)]


def _open(path: Path) -> JobStore:
    import yaml
    from jobflow import JobStore

    if not path.is_file():
        raise JobStoreError(f"--job-store {path}: there is no such file")
    try:
        content = yaml.safe_load(path.read_text())
        content = content.get("JOB_STORE", content)  # jobflow.yaml, or the store alone
        return JobStore.from_dict_spec(content)
    except Exception as error:  # of yaml, or of a class that the file names
        raise JobStoreError(f"{path}: no JobStore of jobflow ({one_line(error)})") from None


def _without_host(name: str) -> str:
    """Path of a folder that may have the name of its host before it, as atomate2 writes it."""
    host, colon, path = name.partition(":")
    return path if colon and "/" not in host else name
