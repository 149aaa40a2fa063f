import bz2
import errno
import gzip
import lzma
import os
import socket
from hashlib import sha256
from pathlib import Path

import pytest

from mlcharge_flows import io
from mlcharge_flows.file_kinds import not_a_file
from mlcharge_flows.io import (
    UnreadableFileError,
    atomic_path,
    atomic_write,
    compression,
    file_sha256,
    open_text,
    read_bytes,
)


class StopError(Exception):
    pass


@pytest.fixture
def target(tmp_path):
    path = tmp_path / "CHGCAR"
    path.write_text("old")
    return path


def test_the_new_file_replaces_the_old_one(target):
    with atomic_path(target) as partial:
        partial.write_text("new")
        assert target.read_text() == "old"
        assert not list(target.parent.glob("CHGCAR?*"))
    assert target.read_text() == "new"
    assert list(target.parent.iterdir()) == [target]


def test_a_failure_leaves_the_old_file_and_no_litter(target):
    def fail():
        with atomic_path(target) as partial:
            partial.write_text("half")
            raise StopError

    with pytest.raises(StopError):
        fail()
    assert target.read_text() == "old"
    assert list(target.parent.iterdir()) == [target]


@pytest.mark.parametrize("method", ["replace", "write_text"])
def test_a_full_disk_is_told_of_the_file_that_the_user_knows(target, monkeypatch, method):
    def full(path, *_, **__):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, method, full)
    with pytest.raises(OSError, match="No space left") as caught:
        atomic_write(target, "new")
    assert caught.value.filename == str(target)
    assert target.read_bytes() == b"old"
    assert list(target.parent.iterdir()) == [target]


def test_a_folder_that_is_not_there(tmp_path):
    path = tmp_path / "none" / "CHGCAR"
    with pytest.raises(FileNotFoundError) as caught:
        atomic_write(path, "new")
    assert caught.value.filename == str(path)


def test_errors_of_other_files_keep_their_names(target):
    def copy():
        with atomic_path(target):
            Path("/no/such/source").read_text()

    with pytest.raises(FileNotFoundError) as caught:
        copy()
    assert caught.value.filename == "/no/such/source"


PACKED = {"gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress}


@pytest.mark.parametrize("name", PACKED)
def test_archives_are_unpacked_whatever_their_name(tmp_path, name):
    path = tmp_path / "INCAR"
    path.write_bytes(PACKED[name](b"ENCUT = ") + PACKED[name](b"520"))
    assert compression(path) == name
    assert read_bytes(path) == b"ENCUT = 520"
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(UnreadableFileError, match=f"the {name} archive is damaged or cut"):
        read_bytes(path)


@pytest.mark.parametrize("pack", [*PACKED.values(), bytes])
def test_no_more_is_read_than_the_limit(tmp_path, pack):
    path = tmp_path / "INCAR"
    path.write_bytes(pack(b"x" * (2**20 + 1)))
    with pytest.raises(UnreadableFileError, match="is larger than 1 MiB, the limit"):
        read_bytes(path, 2**20)
    assert len(read_bytes(path, 2**20 + 1)) == 2**20 + 1


@pytest.mark.parametrize("module", [gzip, bz2, lzma])
def test_the_content_of_an_archive_is_hashed_or_the_archive_is_named(tmp_path, module):
    content = bytes(range(256)) * 64
    packed = module.compress(content)
    path = tmp_path / "CHGCAR"
    path.write_bytes(packed)
    assert file_sha256(path, unpacked=True) == sha256(content).hexdigest()
    for damaged in (packed[:-20], packed[:60] + b"mlcharge" + packed[68:]):
        path.write_bytes(damaged)
        with pytest.raises(UnreadableFileError, match=r"CHGCAR: the .* archive is damaged"):
            file_sha256(path, unpacked=True)


FOREIGN = {
    "compress": b"\x1f\x9d\x90..",
    "Zstandard": b"\x28\xb5\x2f\xfd..",
    "ZIP": b"PK\x03\x04..",
    "LZMA": lzma.compress(b"x" * 99, lzma.FORMAT_ALONE),
}


@pytest.mark.parametrize("form", FOREIGN)
def test_archives_of_other_formats_are_named(target, form):
    target.write_bytes(FOREIGN[form])
    for read in (read_bytes, compression, lambda path: file_sha256(path, unpacked=True)):
        with pytest.raises(UnreadableFileError, match=f"is a {form} archive; unpack it"):
            read(target)


def test_what_is_no_file_is_named_and_never_waited_for(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    os.mkfifo("pipe")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket")
    kinds = {"pipe": "a named pipe", "socket": "a socket", "/dev/null": "a device", ".": "a folder"}
    for name, kind in kinds.items():
        assert f"is {kind}" in str(not_a_file(name))
        if name != ".":
            with pytest.raises(UnreadableFileError, match=f"is {kind}, no file"):
                read_bytes(name)
    assert "too long" in str(not_a_file("x" * 999))
    assert not_a_file("nothing") == "there is no such file"
    (tmp_path / "file").touch()
    assert not_a_file("file") is None


@pytest.mark.parametrize("with_lines", [False, True])
def test_a_text_that_unpacks_without_end_takes_no_memory(tmp_path, monkeypatch, with_lines):
    monkeypatch.setattr(io, "_LONGEST_LINE", 2**16)
    monkeypatch.setattr(io, "_FREE_BYTES", 2**18)
    row = b"0" * 99 + b"\n" * with_lines
    (tmp_path / "OUTCAR.gz").write_bytes(gzip.compress(row * 30_000))
    with (
        pytest.raises(UnreadableFileError, match=r"OUTCAR\.gz: .*(16 MiB|200 times its size)"),
        open_text(tmp_path / "OUTCAR.gz") as file,
    ):
        for _ in file:
            pass


def test_an_archive_of_numbers_is_read_whole(tmp_path, monkeypatch):
    monkeypatch.setattr(io, "_FREE_BYTES", 2**10)
    rows = "".join(f"{n * 0.618033:.9f}\n" for n in range(5000))
    (tmp_path / "OUTCAR.gz").write_bytes(gzip.compress(rows.encode()))
    with open_text(tmp_path / "OUTCAR.gz") as file:
        assert file.read() == rows
