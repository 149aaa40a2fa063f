"""Input that VASP drops or refuses, or that GPAW cannot compute: one line, exit status 2."""

from __future__ import annotations

import pytest

pytest.importorskip("gpaw", reason="needs the gpaw extra")

from mlcharge_flows.gpaw_vasp.errors import UnsupportedInputError
from mlcharge_flows.gpaw_vasp.execute import execute
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


CASES = {
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
