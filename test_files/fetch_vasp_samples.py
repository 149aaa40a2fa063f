"""Fetch the real VASP files that tests read: `python test_files/fetch_vasp_samples.py [FOLDER]`.

vasp_samples.csv names each by repository, commit and path, and holds the SHA-256 of its content
(uncompressed: repositories keep some files plain that are compressed here). Files that are there
already and hold that content stay. All are licensed for redistribution by their repositories; no
POTCAR is among them. The standard library is all that this needs.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import hashlib
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent
MANIFEST = HERE / "vasp_samples.csv"
BASE_URL = "https://raw.githubusercontent.com"
TIMEOUT = 60
"""Seconds until a server that does not answer is given up."""


class FetchError(RuntimeError):
    """A file cannot be had, or is not the one of the manifest."""


def content(data: bytes) -> bytes:
    """Uncompress data if it is a gzip stream."""
    return gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data


def holds(path: Path, sha256: str) -> bool:
    """Whether a file is there and has the content of this SHA-256."""
    if not path.is_file():
        return False
    try:
        return hashlib.sha256(content(path.read_bytes())).hexdigest() == sha256
    except (OSError, EOFError):  # cut off, or no gzip file after all
        return False


def download(url: str) -> bytes:
    """Content behind a URL, or behind the same with or without ``.gz``."""
    other = url.removesuffix(".gz") if url.endswith(".gz") else f"{url}.gz"
    for candidate in (url, other):
        try:
            with urllib.request.urlopen(candidate, timeout=TIMEOUT) as answer:
                return content(answer.read())
        except urllib.error.HTTPError as error:
            if error.code != 404:
                raise FetchError(f"{candidate}: {error}") from None
        except OSError as error:
            raise FetchError(f"{candidate}: {error}") from None
    raise FetchError(f"{url}: there is no such file")


def fetch(row: dict[str, str], folder: Path, base_url: str) -> bool:
    """Write one file of the manifest into a folder; False if it was there."""
    path = folder / row["file"]
    if holds(path, row["sha256"]):
        return False
    url = f"{base_url}/{row['repository']}/{row['commit']}/{row['path']}"
    data = download(url)
    found = hashlib.sha256(data).hexdigest()
    if found != row["sha256"]:
        raise FetchError(f"{url}: SHA-256 {found}, not {row['sha256']}")
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.partial")
    partial.write_bytes(gzip.compress(data, mtime=0) if path.suffix == ".gz" else data)
    partial.replace(path)
    return True


def main(arguments: list[str] | None = None) -> int:
    """Fetch all files; 1 if one could not be had, after all others were tried."""
    parser = argparse.ArgumentParser(description=__doc__.split(":", maxsplit=1)[0])
    default = os.environ.get("MLCHARGE_VASP_SAMPLES", HERE.parents[1] / "shared" / "vasp_samples")
    parser.add_argument("folder", nargs="?", type=Path, default=Path(default), metavar="FOLDER")
    parser.add_argument("--manifest", type=Path, default=MANIFEST, help="another CSV of files")
    parser.add_argument("--base-url", default=BASE_URL, help="a mirror of GitHub's raw files")
    options = parser.parse_args(arguments)
    with options.manifest.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    new = failed = 0
    for row in rows:
        try:
            new += fetch(row, options.folder, options.base_url.rstrip("/"))
        except FetchError as error:
            failed += 1
            print(error, file=sys.stderr)
    print(f"{options.folder}: {new} fetched, {len(rows) - new - failed} there, {failed} missing")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
