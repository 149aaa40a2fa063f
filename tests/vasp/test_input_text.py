"""Input files as Fortran reads them, and as people store them."""

from __future__ import annotations

import bz2
import codecs
import gzip
import lzma
from typing import TYPE_CHECKING

import pytest

from mlcharge_flows.errors import MlchargeError
from mlcharge_flows.vasp.incar import IncarError, read_incar
from mlcharge_flows.vasp.input_text import NotPlainTextError, read_content, read_text, split_lines
from mlcharge_flows.vasp.kpoints import read_kpoints
from mlcharge_flows.vasp.poscar import read_poscar
from mlcharge_flows.vasp.potcar import read_potcar

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

POSCAR = "salt\n1.0\n4.12 0 0\n0 4.12 0\n0 0 4.12\nCs Cl\n1 1\nDirect\n0 0 0\n.5 .5 .5\n"
KPOINTS = "mesh\n0\nGamma\n2 2 2\n0 0 0\n"
INCAR = "NSW = 0\nSIGMA = 0.1\n"

FOREIGN: dict[str, tuple[Callable[[str], bytes], str]] = {
    "gzip": (lambda text: gzip.compress(text.encode()), "is a gzip archive"),
    "bzip2": (lambda text: bz2.compress(text.encode()), "is a bzip2 archive"),
    "xz": (lambda text: lzma.compress(text.encode()), "is a xz archive"),
    "utf-16": (lambda text: text.encode("utf-16"), "is encoded in UTF-16"),
    "utf-32": (lambda text: text.encode("utf-32"), "is encoded in UTF-16 or UTF-32"),
    "returns": (lambda text: text.replace("\n", "\r").encode(), "line 1 holds a carriage return"),
}
READERS: dict[str, tuple[Callable[..., object], str]] = {
    "INCAR": (read_incar, INCAR),
    "POSCAR": (read_poscar, POSCAR),
    "KPOINTS": (read_kpoints, KPOINTS),
}


@pytest.mark.parametrize("name", READERS)
@pytest.mark.parametrize(("encode", "reason"), FOREIGN.values(), ids=FOREIGN)
def test_only_a_reader_that_is_told_so_refuses_what_fortran_does_not_read(
    tmp_path: Path, name: str, encode: Callable[[str], bytes], reason: str
) -> None:
    reader, text = READERS[name]
    (tmp_path / name).write_bytes(encode(text))
    (tmp_path / "plain").write_text(text)
    found, expected = reader(tmp_path / name), reader(tmp_path / "plain", plain=True)
    for one in (found, expected):
        assert str(getattr(one, "structure", one))
    assert str(getattr(found, "structure", found)) == str(getattr(expected, "structure", expected))
    with pytest.raises(NotPlainTextError, match=reason) as caught:
        reader(tmp_path / name, plain=True)
    assert isinstance(caught.value, MlchargeError)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("encode", [lambda b: gzip.compress(b), lambda b: b.replace(b"\n", b"\r")])
def test_a_potcar_is_plain_where_that_is_asked_for(
    tmp_path: Path, encode: Callable[[bytes], bytes]
) -> None:
    (tmp_path / "POTCAR").write_bytes(encode(b"PAW_PBE Al\n End of Dataset\n"))
    with pytest.raises(NotPlainTextError):
        read_potcar(tmp_path / "POTCAR", plain=True)


@pytest.mark.parametrize("byte", [b"\x00", b"\x0c", b"\x1a", b"\x1b", b"\x7f"])
def test_control_characters_are_no_text(tmp_path: Path, byte: bytes) -> None:
    (tmp_path / "INCAR").write_bytes(b"NSW = 0 !" + byte)
    with pytest.raises(NotPlainTextError, match="byte 10 is 0x"):
        read_text(tmp_path / "INCAR", plain=True)
    assert read_content(tmp_path / "INCAR").endswith(byte)


def test_what_editors_of_windows_write_is_plain(tmp_path: Path) -> None:
    (tmp_path / "INCAR").write_bytes(INCAR.replace("\n", "\r\n").encode())
    assert read_incar(tmp_path / "INCAR", plain=True) == {"NSW": 0, "SIGMA": 0.1}


def test_a_byte_order_mark_spoils_the_first_tag_but_no_comment(tmp_path: Path) -> None:
    path = tmp_path / "FILE"
    path.write_bytes(codecs.BOM_UTF8 + INCAR.encode())
    assert read_incar(path) == {"NSW": 0, "SIGMA": 0.1}
    with pytest.raises(IncarError, match="byte-order mark"):
        read_incar(path, plain=True)
    for first in ("# settings", "", "settings:"):
        path.write_bytes(codecs.BOM_UTF8 + f"{first}\n{INCAR}".encode())
        assert read_incar(path, plain=True) == {"NSW": 0, "SIGMA": 0.1}
    path.write_bytes(codecs.BOM_UTF8)
    assert read_incar(path, plain=True) == {}
    path.write_bytes(codecs.BOM_UTF8 + POSCAR.encode())
    assert read_poscar(path, plain=True).comment == "salt"


@pytest.mark.parametrize("blank", ["\xa0", "\u2003", "\x85"])
def test_blanks_that_are_not_ascii_separate_nothing(tmp_path: Path, blank: str) -> None:
    (tmp_path / "INCAR").write_text(f"SIGMA ={blank}0.1\n", encoding="utf-8")
    (tmp_path / "POSCAR").write_text(POSCAR.replace("0 0 4", f"0{blank}0 4"), encoding="utf-8")
    with pytest.raises(IncarError, match="SIGMA"):
        read_incar(tmp_path / "INCAR", plain=True)
    with pytest.raises(ValueError, match="line 5"):
        read_poscar(tmp_path / "POSCAR", plain=True)


def test_lines_end_where_editors_end_them() -> None:
    assert split_lines("") == []
    assert split_lines("a\n\nb") == ["a", "", "b"]
    assert split_lines("a\r\nb\rc\n") == ["a", "b", "c"]
    assert split_lines("a\x0bb\x85c\u2028d") == ["a\x0bb\x85c\u2028d"]
