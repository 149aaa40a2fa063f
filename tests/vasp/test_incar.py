"""INCAR as VASP reads it."""

import gzip

import pytest
from pymatgen.io.vasp.inputs import Incar

from mlcharge_flows.errors import MlchargeError
from mlcharge_flows.vasp.incar import IncarError, parse_incar, read_incar
from mlcharge_flows.vasp.outcar import read_outcar


@pytest.mark.parametrize(
    ("text", "tags"),
    [
        ("EDIFF = 1D-6", {"EDIFF": 1e-6}),
        ("ENCUT = 3.5d2\nSIGMA=5.D-2", {"ENCUT": 350.0, "SIGMA": 0.05}),
        ("EDIFF = 1-6", {"EDIFF": 1e-6}),
        ("encut=520", {"ENCUT": 520.0}),
        ("  ISMEAR = 0; SIGMA = .05 ;LWAVE=F;", {"ISMEAR": 0, "SIGMA": 0.05, "LWAVE": False}),
        (
            "LWAVE = .TRUE.\nLCHARG = T\nLASPH = .f.",
            {"LWAVE": True, "LCHARG": True, "LASPH": False},
        ),
        ("NSW = 0 ! ionic steps\nISIF = 2 # stress", {"NSW": 0, "ISIF": 2}),
        ("! NSW = 5\n# ISIF = 3\n ISTART = 0", {"ISTART": 0}),
        ("ENCUT = 400 eV\nISMEAR = 0  (Gaussian)", {"ENCUT": 400.0, "ISMEAR": 0}),
        ("MAGMOM = 2*5 3*0.6", {"MAGMOM": [5, 5, 0.6, 0.6, 0.6]}),
        ("MAGMOM = 2*2*-1 1D0", {"MAGMOM": [-1, -1, -1, -1, 1.0]}),
        ("MAGMOM = 1.0 \\\n 2.0 \\ ! more\n -3", {"MAGMOM": [1.0, 2.0, -3]}),
        ("LATTICE_CONSTRAINTS = .FALSE. T F", {"LATTICE_CONSTRAINTS": [False, True, False]}),
        ("LDAUU = 4", {"LDAUU": [4]}),
        ("NSW = 0\nNSW = 5", {"NSW": 0}),
        ("nsw = 0; NSW = 5", {"NSW": 0}),
        (
            "SYSTEM = NaCl, primitive cell\nPREC = accurate",
            {"SYSTEM": "NaCl, primitive cell", "PREC": "Accurate"},
        ),
        ("LREAL = Auto", {"LREAL": "Auto"}),
        ("LREAL = .FALSE.\n", {"LREAL": False}),
        ("LREAL = O", {"LREAL": "O"}),
        ("GGA = 91\nALGO = Normal", {"GGA": "91", "ALGO": "Normal"}),
        ("GGA =\nMETAGGA =  ", {}),
        (
            'WANNIER90_WIN = "\nnum_wann = 8\nbegin projections\n"\nNSW = 0',
            {"WANNIER90_WIN": "num_wann = 8\nbegin projections", "NSW": 0},
        ),
        (
            "XYZZY = 3\nPLUGH = 2D0\nFROTZ = .T.\nGNUSTO = cleave",
            {"XYZZY": 3, "PLUGH": 2.0, "FROTZ": True, "GNUSTO": "Cleave"},
        ),
        (
            "ENMAX = 2.5D2; SPRING = -5.0; POMASS = 6.94 16",
            {"ENMAX": 250.0, "SPRING": -5.0, "POMASS": [6.94, 16]},
        ),
        ("a heading\n\nNSW = 0", {"NSW": 0}),
        ("MAGNETISM = Ferro", {"MAGNETISM": "Ferro"}),
        ("general:\nSYSTEM graphene\nGGA settings\n-----\nNSW = 0", {"NSW": 0}),
        ("LDAU:\nISMEAR and SIGMA\nLDAU = T; ISMEAR = 0", {"LDAU": True, "ISMEAR": 0}),
        ("! ENCUT = 300\x85ENCUT = 200\nNSW = 0", {"NSW": 0}),
        ("# ENCUT: 500\n\n ! binary", {}),
        ("", {}),
    ],
)
def test_tags_are_read_as_vasp_reads_them(text, tags):
    found = parse_incar(text)
    assert found == tags
    assert {tag: type(value) for tag, value in found.items()} == {
        tag: type(value) for tag, value in tags.items()
    }
    assert list(found) == list(tags)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SIGMA = 5D-2x", "SIGMA = 5D-2x is not a number"),
        ("ENCUT = 520eV", "ENCUT = 520eV is not a number"),
        ("EDIFF = inf", "EDIFF = inf is not a number"),
        ("EDIFF = 1e400", "EDIFF = 1e400 is not a finite number"),
        ("EDIFF = NaN", "EDIFF = NaN is not a number"),
        ("ENCUT = 1_000", "ENCUT = 1_000 is not a number"),
        ("NGXF = 1e400", "NGXF = 1e400 is not an integer"),
        ("ISMEAR = 0.5", "ISMEAR = 0.5 is not an integer"),
        ("NSW =", "NSW has no value"),
        ("LWAVE = yes", "LWAVE = yes is not a logical (.TRUE. or .FALSE.)"),
        ("MAGMOM = 1.0 up", "MAGMOM = 1.0 up is not a list of numbers: 'up'"),
        ("MAGMOM = 9999*9999*1", "MAGMOM = 9999*9999*1 repeats a number too often"),
        ("MAGMOM = ", "MAGMOM has no value"),
        ("cutoff ENCUT = 500", "'cutoff ENCUT' before '=' is not a tag"),
        ("\u0131SMEAR = 0", "'\u0131SMEAR' before '=' is not a tag"),
        ("SIGMA = \u0660.\u0662", "SIGMA = \u0660.\u0662 is not a number"),
        ("ENCUT: 150", "'ENCUT: 150' lacks '=' behind ENCUT"),
        ("ENCUT 150", "'ENCUT 150' lacks '=' behind ENCUT"),
        ("NSW = 0; encut\t-> 1.5D2 eV", "'encut -> 1.5D2 eV' lacks '=' behind ENCUT"),
        ("EDIFF:1E-6", "'EDIFF:1E-6' lacks '=' behind EDIFF"),
        ("LWAVE .FALSE.", "'LWAVE .FALSE.' lacks '=' behind LWAVE"),
        ("LWAVE", "'LWAVE' lacks '=' and a value behind LWAVE"),
        ("LREAL Auto", "'LREAL Auto' lacks '=' behind LREAL"),
        ("ALGO: Fast", "'ALGO: Fast' lacks '=' behind ALGO"),
        ("METAGGA R2SCAN", "'METAGGA R2SCAN' lacks '=' behind METAGGA"),
        ("MAGMOM 2*5 -5", "'MAGMOM 2*5 -5' lacks '=' behind MAGMOM"),
        (
            "MAGMOM = 1 2\n3*0.6 -1",
            "'3*0.6 -1' belongs to no tag: a backslash at the end of a line joins the next to it",
        ),
        ("NSW = 0\x00", "is no text, or in an encoding other than UTF-8 and Latin-1"),
    ],
)
def test_other_values_are_refused_in_one_line(text, message, tmp_path):
    (tmp_path / "INCAR").write_text(f"ISTART = 0\n{text}\nNELM = 60\n")
    with pytest.raises(IncarError) as caught:
        read_incar(tmp_path / "INCAR")
    assert str(caught.value) == f"{tmp_path / 'INCAR'}: {message}"
    assert isinstance(caught.value, MlchargeError)


def test_a_tag_with_two_values_is_told_of_files_of_users_only(tmp_path, capsys):
    path = tmp_path / "INCAR"
    path.write_text(
        "ENCUT = 300\nEDIFF = 1e-6; encut = 400 # more\nMAGMOM = 2*1  3\nMAGMOM=2*1 3\n"
    )
    assert read_incar(path) == {"ENCUT": 300.0, "EDIFF": 1e-6, "MAGMOM": [1, 1, 3]}
    assert capsys.readouterr().err == ""
    assert read_incar(path, tell=True) == read_incar(path)
    assert capsys.readouterr().err == (
        f"mlcharge: {path}: ENCUT is given twice; VASP takes the first value, 300, and not 400\n"
    )


@pytest.mark.parametrize(
    "content",
    [
        bytes((0, 1, 2, 255)) * 50,
        b"<html>\n<body>hello</body>",
        b'{"ENCUT": 150,\n "ISMEAR": 0}',
        b"general:\n",
        "NSW = 0\n".encode("utf-16-le"),
        gzip.compress(gzip.compress(b"NSW = 0\n", mtime=0), mtime=0),
    ],
)
def test_files_without_any_tag_are_refused(tmp_path, content):
    (tmp_path / "INCAR").write_bytes(content)
    with pytest.raises(IncarError, match=r"INCAR: (is no text|no 'tag = value' in it)") as caught:
        read_incar(tmp_path / "INCAR")
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"\xef\xbb\xbfNSW = 0\r\n", b"NSW = 0 ! M\xfcller\n", b"NSW=0"]
)
@pytest.mark.parametrize("compressed", [False, True])
def test_encodings_and_compression(tmp_path, content, compressed):
    path = tmp_path / ("INCAR.gz" if compressed else "INCAR")
    path.write_bytes(gzip.compress(content) if compressed else content)
    assert read_incar(path) == {"NSW": 0}


def test_real_files_are_read_as_pymatgen_reads_them(vasp_samples):
    paths = sorted(vasp_samples.glob("*/INCAR*"))
    assert len(paths) > 5
    for path in paths:
        theirs = dict(Incar.from_file(path))
        if path.parent.name == "ga4_spin":  # gives NELM twice, and pymatgen takes the last
            theirs["NELM"] = read_outcar(path.with_name("OUTCAR.gz")).nelm
        assert read_incar(path) == theirs, path


def test_what_pymatgen_writes_is_read(tmp_path):
    tags = {
        "ALGO": "Fast",
        "EDIFF": 1e-6,
        "ENCUT": 520,
        "LREAL": "Auto",
        "LWAVE": False,
        "MAGMOM": [5.0, 5.0, -0.6],
        "LDAUU": [0, 3.9],
        "SYSTEM": "Fe O",
        "ISMEAR": -5,
    }
    Incar(tags).write_file(tmp_path / "INCAR")
    assert read_incar(tmp_path / "INCAR") == tags
