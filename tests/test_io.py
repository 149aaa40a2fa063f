import errno
from pathlib import Path

import pytest

from mlcharge_flows.io import atomic_path, atomic_write


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
