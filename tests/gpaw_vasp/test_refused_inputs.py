"""Input that VASP drops or refuses, or that GPAW cannot compute: one line, exit status 2."""

from __future__ import annotations

import bz2
import gzip
import re

import pytest

pytest.importorskip("gpaw", reason="needs the gpaw extra")

from mlcharge_flows.gpaw_vasp import export_identity
from mlcharge_flows.gpaw_vasp.errors import UnsupportedInputError
from mlcharge_flows.gpaw_vasp.execute import execute
from mlcharge_flows.gpaw_vasp.export_identity import sealed, without_seal
from mlcharge_flows.gpaw_vasp.inputs import read_inputs
from mlcharge_flows.gpaw_vasp.kohn_sham import KohnSham
from mlcharge_flows.gpaw_vasp.potcar import potcar_text

INCAR = {"ENCUT": "150", "ISMEAR": "1", "SIGMA": "0.2"}
KPOINTS = "mesh\n0\nGamma\n2 2 2\n0 0 0\n"
POSCAR = "x\n1\n0 2.025 2.025\n2.025 0 2.025\n2.025 2.025 0\nAl\n1\nDirect\n0 0 0\n"
MGO = "x\n1\n0 2.12 2.12\n2.12 0 2.12\n2.12 2.12 0\nMg O\n1 1\nDirect\n0 0 0\n.5 .5 .5\n"


@pytest.fixture(scope="module")
def potcars():
    return {symbol: potcar_text(symbol) for symbol in ("Al", "Mg", "O")}


@pytest.fixture
def folder(tmp_path, potcars):
    """A function that writes the inputs of one aluminum atom, with changes."""

    def make(incar="", kpoints=KPOINTS, poscar=POSCAR, potcar=("Al",)):
        changes = dict(line.split(" = ") for line in incar.splitlines())
        tags = "".join(f"{tag} = {value}\n" for tag, value in (INCAR | changes).items())
        (tmp_path / "INCAR").write_text(tags)
        (tmp_path / "KPOINTS").write_text(kpoints)
        (tmp_path / "POSCAR").write_text(poscar)
        content = potcar if isinstance(potcar, bytes) else "".join(potcars[s] for s in potcar)
        (tmp_path / "POTCAR").write_bytes(
            content if isinstance(content, bytes) else content.encode()
        )
        return tmp_path

    return make


MD = "NSW = 2\nIBRION = 0\nPOTIM = 1"
CASES = {
    "two masses": ({"incar": f"{MD}\nPOMASS = 1 2"}, "POMASS has 2 values for 1 species"),
    "negative mass": ({"incar": f"{MD}\nPOMASS = -1"}, "POMASS: masses are positive"),
    "negative friction": (
        {"incar": f"{MD}\nMDALGO = 3\nLANGEVIN_GAMMA = -3"},
        "LANGEVIN_GAMMA: frictions are not negative",
    ),
    "scaled energy": ({"incar": f"{MD}\nSCALEE = 0.5"}, "SCALEE"),
    "grid coarser than the waves": (
        {"incar": "NGX = 3\nNGY = 3\nNGZ = 3\nNGXF = 6\nNGYF = 6\nNGZF = 6"},
        "does not hold the plane waves of",
    ),
    "grid of 640^3 points": (
        {"incar": "NGXF = 640\nNGYF = 640\nNGZF = 640"},
        "points, more than 134,217,728",
    ),
    "number with a unit": ({"incar": "SIGMA = 0.2eV"}, "INCAR: SIGMA"),
    "number that is a word": ({"incar": "EDIFF = small"}, "INCAR: EDIFF"),
    "EDIFF 0": ({"incar": "EDIFF = 0"}, "EDIFF"),
    "EDIFF negative": ({"incar": "EDIFF = -1E-4"}, "EDIFF"),
    "EDIFF inf": ({"incar": "EDIFF = inf"}, "EDIFF"),
    "NGXF inf": ({"incar": "NGXF = 1e400"}, "NGXF"),
    "NGXF coarser than NGX": ({"incar": "NGXF = 8\nNGYF = 8\nNGZF = 8"}, "coarser"),
    "grid of 8e9 points": ({"incar": "NGX = 2000\nNGY = 2000\nNGZ = 2000"}, "too large|coarser"),
    "NBANDS below the electrons": ({"incar": "NBANDS = 1"}, "NBANDS"),
    "three k-points for tetrahedra": (
        {"incar": "ISMEAR = -5"},
        "Tetrahedron method fails for NKPT<4. NKPT = 3",
    ),
    "unknown tag": ({"incar": "ENCTU = 300"}, "ENCTU"),
    "HDF5 in place of the CHGCAR": ({"incar": "LH5 = .TRUE."}, "LH5"),
    "k-point nan": ({"kpoints": "l\n1\nRec\nnan 0 0 1\n"}, "KPOINTS"),
    "negative weight": ({"kpoints": "l\n2\nRec\n0 0 0 1\n.5 0 0 -1\n"}, "KPOINTS: weights"),
    "no weight": ({"kpoints": "l\n1\nRec\n0 0 0 0\n"}, "KPOINTS: weights"),
    "8e9 k-points": ({"kpoints": "m\n0\nGamma\n2000 2000 2000\n"}, "KPOINTS: .* too many"),
    "path without an end": (
        {"kpoints": "p\n5\nLine\nReciprocal\n0 0 0\n.5 0 0\n.5 .5 0\n"},
        "KPOINTS",
    ),
    "coordinate nan": ({"poscar": POSCAR.replace("\n0 0 0", "\nnan 0 0")}, "POSCAR: line 9"),
    "cell of 1e300": ({"poscar": POSCAR.replace("\n0 2.025 2", "\n0 1e300 2")}, "POSCAR: .*volume"),
    "left-handed cell": (
        {"poscar": POSCAR.replace("2.025 0 2.025\n2.025 2.025 0", "2.025 2.025 0\n2.025 0 2.025")},
        "POSCAR: the triple product",
    ),
    "no symbols": ({"poscar": POSCAR.replace("Al\n", "")}, "POSCAR: no element symbols"),
    "tiny cell": ({"poscar": POSCAR.replace("2.025", "0.6")}, "plane waves"),
    "POTCARs in another order": ({"poscar": MGO, "potcar": ("O", "Mg")}, "POTCAR: .* O Mg"),
    "POTCARs too few": ({"poscar": MGO, "potcar": ("Mg",)}, "POTCAR"),
    "POTCAR of bytes": ({"potcar": b"\x1f\x8b\x08\x00zzzzzz2\n"}, "POTCAR"),
}


@pytest.mark.parametrize(("changes", "reason"), CASES.values(), ids=CASES.keys())
def test_refused(folder, changes, reason):
    with pytest.raises(UnsupportedInputError, match=reason) as refusal:
        KohnSham(read_inputs(folder(**changes)))
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 300


UNREADABLE_FOR_VASP = {
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "UTF-16": lambda content: content.decode().encode("utf-16"),
    "carriage returns": lambda content: content.replace(b"\n", b"\r"),
    "a zero byte": lambda content: content + b"\0",
}


@pytest.mark.parametrize("name", ["INCAR", "POSCAR", "KPOINTS", "POTCAR"])
@pytest.mark.parametrize("encode", UNREADABLE_FOR_VASP.values(), ids=UNREADABLE_FOR_VASP)
def test_files_that_fortran_does_not_read_as_text_are_refused(folder, name, encode):
    path = folder() / name
    path.write_bytes(encode(path.read_bytes()))
    with pytest.raises(UnsupportedInputError, match=f"^{name}: (is|line)") as refusal:
        read_inputs(path.parent)
    assert "\n" not in str(refusal.value)
    assert len(str(refusal.value)) < 200


def test_a_compressed_incar_ends_with_status_2(folder, gpaw_vasp):
    path = folder() / "INCAR"
    path.write_bytes(gzip.compress(path.read_bytes()))
    result = gpaw_vasp(path.parent)
    assert result.exit_code == 2
    assert result.stderr == (
        "gpaw-vasp: INCAR: is a gzip archive, VASP reads plain files only: unpack it\n"
    )


@pytest.mark.parametrize(
    "text", [b"ENCUT: 150", b"ENCUT 150", b"<html>", b"\xef\xbb\xbfENCUT = 150", b"ENCUT =\xa0150"]
)
def test_an_incar_that_is_read_as_empty_or_in_part_is_refused(folder, text):
    path = folder() / "INCAR"
    path.write_bytes(text)
    with pytest.raises(UnsupportedInputError, match=r"^INCAR: "):
        read_inputs(path.parent)


def digit(text, line):
    """A data set with the last digit of another line of its data changed."""
    lines = text.splitlines(keepends=True)
    number = lines.index(" atomic pseudo charge-density\n") + line
    last = int(lines[number][-6])
    lines[number] = f"{lines[number][:-6]}{(last + 1) % 10}{lines[number][-5:]}"
    return "".join(lines)


OTHER_POTCARS = {
    "VASP's": (lambda text: text.replace("GPAW-", "04Jan2001 "), "'PAW_PBE Al 04Jan2001 .* not"),
    "another version": (lambda text: re.sub(r"GPAW-\S+", "GPAW-9.9", text), "GPAW-9.9' is not"),
    "another TITEL": (lambda text: text.replace("PAW_PBE Al", "PAW_PBE Si"), "'PAW_PBE Si"),
    "another TITEL alone": (lambda text: text.replace("= PAW_PBE Al", "= PAW_PBE Si"), "Si GPAW"),
    "another first line": (lambda text: text.replace("PAW_PBE Al", "PAW_PBE Si", 1), "Si GPAW"),
    "another element": (lambda text: text.replace("VRHFIN =Al", "VRHFIN =Si"), "data set of Si"),
    "another ZVAL": (lambda text: text.replace("ZVAL   =    3", "ZVAL   =    4"), "changed after"),
    "another line 2": (lambda text: text.replace("   3.0000", "   5.0000", 1), "changed after"),
    "another ENMAX": (lambda text: text.replace("ENMAX  =  400", "ENMAX  =  300"), "changed"),
    "a digit of the density": (lambda text: digit(text, 3), "changed after"),
    "a digit of a wave": (lambda text: digit(text, 900), "changed after"),
    "a line less": (lambda text: text.replace("   LCOR   =        T", "", 1), "changed after"),
    "an earlier layout": (without_seal, "an earlier gpaw-vasp .*: write the library anew"),
    "another file of GPAW": (
        lambda text: sealed(re.sub("fingerprint .", "fingerprint x", without_seal(text)), "Al"),
        "another file",
    ),
}


@pytest.mark.parametrize(("change", "reason"), OTHER_POTCARS.values(), ids=OTHER_POTCARS)
def test_a_potcar_is_to_the_letter_what_is_computed(folder, potcars, change, reason):
    text = change(potcars["Al"])
    assert text != potcars["Al"]
    with pytest.raises(UnsupportedInputError, match=f"^POTCAR: .*{reason}") as refusal:
        read_inputs(folder(potcar=text.encode()))
    assert "\n" not in str(refusal.value)


def test_the_second_data_set_is_looked_at_too(folder, potcars):
    text = potcars["Mg"] + digit(potcars["O"], 9)
    with pytest.raises(UnsupportedInputError, match=r"POTCAR: PAW_PBE O .* changed after"):
        read_inputs(folder(poscar=MGO, potcar=text.encode()))


def test_blanks_around_data_sets_and_line_ends_do_not_matter(folder, potcars):
    text = "\n".join(potcars[symbol].strip("\n") for symbol in ("Mg", "O")) + "\n\n"
    for content in (text, text.replace("\n", "\r\n")):
        assert len(read_inputs(folder(poscar=MGO, potcar=content.encode())).datasets) == 2


def test_a_data_set_of_an_installed_gpaw_data_that_is_older_is_refused(folder, monkeypatch):
    path = folder()
    monkeypatch.setattr(export_identity, "version", lambda package: "0.9")
    with pytest.raises(UnsupportedInputError, match=r"installed data set of Al, '.*GPAW-0.9'"):
        read_inputs(path)


@pytest.mark.parametrize("text", ["2.0d-1", "2.0D-1", "0.2 ! eV", "200E-3", ".2"])
def test_numbers_of_fortran_are_read(folder, text):
    assert read_inputs(folder(f"SIGMA = {text}")).settings.sigma == 0.2


def test_of_a_tag_given_twice_the_first_counts(folder):
    path = folder()
    (path / "INCAR").write_text("SIGMA = 0.2\nENCUT = 150\nSIGMA = 0.1; sigma = 0.3\n")
    assert read_inputs(path).settings.sigma == 0.2


def test_refusals_end_with_status_2(folder, gpaw_vasp):
    result = gpaw_vasp(folder("ISMEAR = -5"))
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("gpaw-vasp: INCAR: ISMEAR = -5")
    assert "ERROR: INCAR: ISMEAR = -5" in result.stdout


@pytest.mark.gpaw
def test_bands_that_cannot_hold_a_metal_are_refused(folder):
    """Two bands hold the three electrons of aluminum, but not at every k-point."""
    with pytest.raises(UnsupportedInputError, match="NBANDS = 2: TOO FEW BANDS"):
        execute(folder("NBANDS = 2"))
    assert not (folder("NBANDS = 2") / "vasprun.xml").exists()


@pytest.mark.gpaw
def test_an_insulator_may_have_no_empty_band_but_is_warned(folder, capsys):
    execute(folder("NBANDS = 8", poscar=MGO, potcar=("Mg", "O")))
    assert "TOO FEW BANDS" in capsys.readouterr().out


def test_a_wavecar_without_a_header_is_none_as_in_vasp(folder):
    path = folder()
    assert read_inputs(path).notices == ()
    for content in (b"", b"orbitals"):
        (path / "WAVECAR").write_bytes(content)
        inputs = read_inputs(path)
        assert inputs.wavecar is None
        assert inputs.notices == ("found WAVECAR, reading the header",)
        assert inputs.settings.nelmdl == 5
    folder("ISTART = 0")
    assert read_inputs(path).notices == ()


def test_a_mesh_that_breaks_the_symmetry_is_announced_as_by_vasp(folder):
    (warning,) = read_inputs(folder(kpoints="m\n0\nGamma\n4 4 2\n")).warnings
    assert warning.startswith(
        "Reciprocal lattice and k-lattice belong to different class of lattices."
    )
    assert read_inputs(folder(kpoints="m\n0\nGamma\n4 4 2\n", incar="ISYM = 0")).warnings == []


def test_blocks_of_one_element_join(folder):
    text = MGO.replace("Mg O\n1 1", "Mg Mg\n1 1")
    inputs = read_inputs(folder(poscar=text, potcar=("Mg", "Mg")))
    assert [dataset.symbol for dataset in inputs.datasets] == ["Mg"]
    assert inputs.n_electrons == 2 * inputs.datasets[0].zval
    with pytest.raises(UnsupportedInputError, match="POTCAR"):
        read_inputs(folder(poscar=text, potcar=("Mg",)))


def test_constraints_of_dynamics_are_refused(folder):
    made = folder(incar=MD)
    read_inputs(made)
    (made / "ICONST").write_text("LR 1 0\n")
    with pytest.raises(UnsupportedInputError, match="ICONST: constraints are not supported"):
        read_inputs(made)
