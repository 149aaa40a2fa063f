"""The script that fetches real VASP files, beside a server on this machine."""

import csv
import functools
import gzip
import hashlib
import http.server
import importlib.util
import threading
from pathlib import Path

import pytest

FILES = Path(__file__).parents[1] / "test_files"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("fetch", FILES / "fetch_vasp_samples.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


class Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *args):
        pass


@pytest.fixture
def server(tmp_path):
    """Folder that is served, and its URL."""
    root = tmp_path / "server"
    root.mkdir()
    handler = functools.partial(Quiet, directory=root)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as httpd:
        thread = threading.Thread(target=httpd.serve_forever)
        thread.start()
        yield root, f"http://127.0.0.1:{httpd.server_port}"
        httpd.shutdown()
        thread.join()


@pytest.fixture
def fetch(script, server, tmp_path):
    """Serve files, write their manifest, fetch; returns the exit status."""
    root, url = server

    def fetch(files, served=None):
        with (tmp_path / "manifest.csv").open("w", newline="") as file:
            rows = csv.writer(file)
            rows.writerow(("file", "repository", "commit", "path", "sha256"))
            for name, (path, text) in files.items():
                sha256 = hashlib.sha256(text).hexdigest()
                rows.writerow((name, "someone/something", "0123abc", path, sha256))
        for path, data in (served or dict(files.values())).items():
            target = root / "someone/something/0123abc" / path
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(data)
        arguments = [str(tmp_path / "samples"), "--manifest", str(tmp_path / "manifest.csv")]
        return script.main([*arguments, "--base-url", url])

    return fetch


def test_files_are_fetched_once(fetch, tmp_path, capsys):
    files = {"si/OSZICAR": ("out/OSZICAR", b"DAV:"), "si/CHGCAR.gz": ("out/CHGCAR", b"unknown")}
    assert fetch(files) == 0
    assert "2 fetched, 0 there, 0 missing" in capsys.readouterr().out
    assert (tmp_path / "samples/si/OSZICAR").read_bytes() == b"DAV:"
    assert gzip.decompress((tmp_path / "samples/si/CHGCAR.gz").read_bytes()) == b"unknown"
    assert fetch(files) == 0
    assert "0 fetched, 2 there, 0 missing" in capsys.readouterr().out


def test_a_compressed_file_is_checked_by_its_content(fetch, tmp_path):
    files = {"al/OUTCAR.gz": ("Al/OUTCAR.gz", b"vasp.5.2.2"), "al/INCAR": ("Al/INCAR", b"ENCUT")}
    served = {"Al/OUTCAR.gz": gzip.compress(b"vasp.5.2.2"), "Al/INCAR.gz": gzip.compress(b"ENCUT")}
    assert fetch(files, served) == 0
    assert gzip.decompress((tmp_path / "samples/al/OUTCAR.gz").read_bytes()) == b"vasp.5.2.2"
    assert (tmp_path / "samples/al/INCAR").read_bytes() == b"ENCUT"


def test_another_content_is_refused_and_named(fetch, tmp_path, capsys):
    files = {"a": ("a", b"right"), "b": ("b", b"right"), "c": ("c", b"right")}
    assert fetch(files, {"a": b"wrong", "c": b"right"}) == 1
    captured = capsys.readouterr()
    assert "a: SHA-256" in captured.err
    assert "b: there is no such file" in captured.err
    assert "1 fetched, 0 there, 2 missing" in captured.out
    assert {path.name for path in (tmp_path / "samples").iterdir()} == {"c"}


def test_a_damaged_file_is_fetched_again(fetch, tmp_path):
    files = {"a.gz": ("a", b"right" * 100)}
    assert fetch(files) == 0
    path = tmp_path / "samples/a.gz"
    path.write_bytes(path.read_bytes()[:-9])
    assert fetch(files) == 0
    assert gzip.decompress(path.read_bytes()) == b"right" * 100


def test_a_server_that_is_not_there_is_named(script, tmp_path, capsys):
    assert script.main([str(tmp_path), "--base-url", "http://127.0.0.1:9"]) == 1
    assert "http://127.0.0.1:9/hackingmaterials/atomate/" in capsys.readouterr().err


def test_the_samples_are_those_of_the_manifest(script, vasp_samples):
    with script.MANIFEST.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows
    wrong = [
        row["file"] for row in rows if not script.holds(vasp_samples / row["file"], row["sha256"])
    ]
    assert wrong == []
