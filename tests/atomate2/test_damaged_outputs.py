"""Damaged and cut archives: one line that names the file, and no finished result is lost."""

import bz2
import gzip
import lzma
from pathlib import Path

import pytest

import mlcharge_flows
from mlcharge_flows.atomate2.handlers import (
    CrashedDensityHandler,
    CrashedOrbitalsHandler,
    DivergedDensityHandler,
    DivergedOrbitalsHandler,
    InitialDensityValidator,
)
from mlcharge_flows.atomate2.jobs.comparison import count
from mlcharge_flows.atomate2.schemas import RunProvenance
from mlcharge_flows.atomate2.staging import ARCHIVED, finalize_run
from mlcharge_flows.io import UnreadableFileError, file_sha256, open_bytes, open_text
from mlcharge_flows.sources import InitialDensityDocument
from mlcharge_flows.training.finished_run import RunError, read_finished_run
from mlcharge_flows.training.origin import Origin
from mlcharge_flows.vasp.density_messages import read_density_messages
from mlcharge_flows.vasp.incar import IncarError, read_incar
from mlcharge_flows.vasp.oszicar import read_oszicar
from mlcharge_flows.vasp.outcar import read_outcar

COMMENT = "mlcharge-file-3f2a"
GIVEN = InitialDensityDocument(density_source="file", path="x", comment=COMMENT)
PACK = {".gz": gzip.compress, ".bz2": bz2.compress, ".xz": lzma.compress}
DAMAGE = {
    "cut": lambda packed: packed[: len(packed) // 2],
    "torn": lambda packed: packed[:20] + bytes(byte ^ 0xFF for byte in packed[20:60]) + packed[60:],
    "header": lambda packed: packed[:10],
}
STDOUT = f" charge-density read from file: {COMMENT}\n entering main loop\n"
OSZICAR = """\
DAV:   1     0.482340968417E+01    0.48234E+01   -0.28645E+03  1392   0.498E+02
   1 F= -.10846877E+02 E0= -.10846870E+02  d E =-.108469E+02
"""
OUTCAR = """\
   number of dos      NEDOS =    301   number of ions     NIONS =      2
 initial charge density was supplied:
--------------------------------------- Iteration      1(   1)  ---------------------------------
  free energy    TOTEN  =         4.82340968 eV
------------------------ aborting loop because EDIFF is reached ---------------------------------
                         Elapsed time (sec):        7.340
"""
TEXTS = {"vasp.out": STDOUT, "OSZICAR": OSZICAR, "OUTCAR": OUTCAR, "INCAR": "NELM = 9\n"}


def _noise(name):
    """Text that packs badly, so that half of the archive is not the end of one block."""
    lines = (f" {hash((name, n)) % 10**12:012d}" for n in range(4000))
    return (TEXTS[name] + "\n".join(lines)).encode()


@pytest.fixture(params=[(end, kind) for end in PACK for kind in DAMAGE], ids="-".join)
def damaged(request, tmp_path):
    end, kind = request.param

    def write(name):
        path = tmp_path / f"{name}{end}"
        path.write_bytes(DAMAGE[kind](PACK[end](_noise(name))))
        return path

    return write


@pytest.mark.parametrize("read", [read_oszicar, read_outcar, read_density_messages, file_sha256])
def test_readers_name_a_damaged_archive_in_one_line(damaged, read):
    path = damaged("INCAR")  # no reader finds what it could stop at
    options = {"unpacked": True} if read is file_sha256 else {}
    with pytest.raises(
        UnreadableFileError, match=r"INCAR\.\w+: the \w+ archive is damaged"
    ) as error:
        read(path, **options)
    assert "\n" not in str(error.value)


def test_an_incar_that_cannot_be_unpacked_is_named(damaged):
    with pytest.raises(IncarError, match=r"INCAR\.\w+: the \w+ archive is damaged"):
        read_incar(damaged("INCAR"))


@pytest.mark.parametrize("name", ["vasp.out", "OSZICAR", "OUTCAR"])
def test_a_finished_run_survives_a_damaged_output(damaged, tmp_path, name):
    for other, text in TEXTS.items():
        if other != name:
            (tmp_path / other).write_text(text)
    path = damaged(name)
    (tmp_path / "CHGCAR").write_text(f"{COMMENT}\n")
    for icharg in (1, 11):
        RunProvenance(icharg=icharg, initial_density=GIVEN).write(tmp_path)
        for handler in (DivergedDensityHandler, DivergedOrbitalsHandler):
            assert not handler().check(str(tmp_path))
        for handler in (CrashedDensityHandler, CrashedOrbitalsHandler):
            assert not handler().check(str(tmp_path)) or name != "vasp.out"
        assert not InitialDensityValidator().check(str(tmp_path)), "the result is kept"
    assert not (tmp_path / "CHGCAR").exists()
    assert (tmp_path / ARCHIVED).is_file()
    issue = RunProvenance.read(tmp_path).output_issue
    run = count.original(str(tmp_path))
    for text in {run.failure, issue or run.failure}:
        assert path.name in text
        assert "archive is damaged" in text
        assert "\n" not in text
    assert (issue is None) == (name != "vasp.out")
    if name == "vasp.out":
        assert RunProvenance.read(tmp_path).started_from == "unknown"
    with pytest.raises(RunError):
        read_finished_run(tmp_path, Origin("x", "y"))


def test_a_finished_run_survives_a_damaged_provenance(tmp_path):
    (tmp_path / "vasp.out").write_text(STDOUT)
    (tmp_path / "CHGCAR").write_text(f"{COMMENT}\n")
    (tmp_path / "OSZICAR").write_text(OSZICAR)
    (tmp_path / "OUTCAR").write_text(OUTCAR)
    assert count.original(str(tmp_path)).failure is None
    (tmp_path / "mlcharge.json").write_text('{"icharg": 1, ')
    for handler in (DivergedDensityHandler, CrashedOrbitalsHandler, CrashedDensityHandler):
        assert not handler().check(str(tmp_path))
    assert not InitialDensityValidator().check(str(tmp_path))
    assert not (tmp_path / "CHGCAR").exists(), "no prediction passes for a result"
    assert "mlcharge.json: is no provenance" in count.original(str(tmp_path)).failure


def test_a_half_written_record_of_custodian_does_not_stop_a_run(tmp_path):
    RunProvenance(icharg=1, initial_density=GIVEN).write(tmp_path)
    (tmp_path / "vasp.out").write_text(STDOUT)
    for text in ("", "[{", '[{"job": 1}]', "{}"):
        (tmp_path / "custodian.json").write_text(text)
        CrashedDensityHandler().check(str(tmp_path))
        CrashedOrbitalsHandler().check(str(tmp_path))


def test_a_full_disk_does_not_lose_a_finished_run(tmp_path, monkeypatch):
    (tmp_path / "vasp.out").write_text(STDOUT)
    (tmp_path / "CHGCAR").write_text(f"{COMMENT}\n")
    RunProvenance(icharg=1, initial_density=GIVEN).write(tmp_path)

    def full(*given):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mlcharge_flows.atomate2.staging._compress", full)
    provenance = finalize_run(tmp_path)
    assert "No space left" in provenance.output_issue
    assert provenance.read_by_vasp
    assert provenance.initial_density.path is None
    assert not (tmp_path / "CHGCAR").exists()


@pytest.mark.parametrize("end", ["", *PACK])
def test_what_is_whole_is_read_whatever_it_is_called(tmp_path, end):
    path = tmp_path / "OSZICAR.gz"
    path.write_bytes(PACK.get(end, bytes)(OSZICAR.encode()))
    with open_text(path) as file:
        assert file.read() == OSZICAR
    with open_bytes(path) as file:
        assert file.readline() == OSZICAR.encode().splitlines(keepends=True)[0]
    assert read_oszicar(path).ionic_steps[0].n_total == 1


def test_errors_of_a_reader_are_not_taken_for_a_damaged_archive(tmp_path):
    path = tmp_path / "x.gz"
    path.write_bytes(gzip.compress(b"x"))
    with pytest.raises(FileNotFoundError), open_bytes(path):
        Path(tmp_path / "other").read_text()
    with pytest.raises(ValueError, match="another"), open_bytes(path):
        raise ValueError("another")


def test_every_reader_opens_files_through_io():
    """A reader that unpacks for itself would raise the errors of zlib, bz2 and lzma."""
    root = Path(mlcharge_flows.__file__).parent
    words = ("zopen", "zpath", "gzip.open", "bz2.open", "lzma.open")
    found = {
        str(path.relative_to(root))
        for path in root.rglob("*.py")
        if any(word in path.read_text() for word in words)
    }
    assert found == set()


def test_a_damaged_copy_costs_nothing_where_the_file_is_whole(tmp_path):
    for name, text in (("OSZICAR", OSZICAR), ("OUTCAR", OUTCAR), ("vasp.out", STDOUT)):
        (tmp_path / name).write_text(text)
        (tmp_path / f"{name}.gz").write_bytes(gzip.compress(text.encode())[:30])
    run = count.original(str(tmp_path))
    assert (run.failure, run.n_total) == (None, 1)
    (tmp_path / "OSZICAR").unlink()
    assert "OSZICAR.gz: the gzip archive is damaged" in count.original(str(tmp_path)).failure


def test_an_empty_archive_is_a_damaged_one(tmp_path):
    (tmp_path / "OSZICAR").write_text(OSZICAR)
    (tmp_path / "OUTCAR").write_text(OUTCAR)
    (tmp_path / "vasp.out.gz").touch()
    run = count.original(str(tmp_path))
    assert run.failure.endswith("vasp.out.gz: the archive is damaged or cut (it is empty)")
    assert run.n_total == 1, "what can be read is kept"
