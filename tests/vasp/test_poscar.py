"""POSCARs as people have them: read as VASP reads them, or refused in one line."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp import Poscar

from mlcharge_flows.vasp.poscar import PoscarError, element_symbol, parse_poscar, read_poscar

CRYSTALS = Path(__file__).parents[2] / "test_files" / "crystals"

CELL = "4.12 0 0\n0 4.12 0\n0 0 4.12\n"
SALT = f"salt\n1.0\n{CELL}Cs Cl\n1 1\nDirect\n0 0 0\n.5 .5 .5\n"


def changed(*pairs: tuple[str, str]) -> str:
    """The salt with parts of its text replaced."""
    text = SALT
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new, 1)
    return text


def test_files_of_pymatgen_come_back_exactly() -> None:
    for path in sorted(CRYSTALS.glob("*.vasp")):
        ours, theirs = read_poscar(path), Poscar.from_file(path, check_for_potcar=False)
        assert ours.structure == theirs.structure
        np.testing.assert_array_equal(
            ours.structure.lattice.matrix, theirs.structure.lattice.matrix
        )
        np.testing.assert_array_equal(ours.structure.frac_coords, theirs.structure.frac_coords)
        assert ours.comment == theirs.comment
        assert list(ours.symbols) == theirs.site_symbols


@pytest.mark.parametrize("encoding", ["latin-1", "utf-8", "utf-8-sig"])
def test_a_comment_may_have_any_encoding(tmp_path: Path, encoding: str) -> None:
    (tmp_path / "POSCAR").write_bytes(changed(("salt", "Größe")).encode(encoding))
    assert read_poscar(tmp_path / "POSCAR").comment == "Größe"


@pytest.mark.parametrize(
    ("scale", "lengths"),
    [
        ("1 1 2", (4.12, 4.12, 8.24)),
        ("1.0d0 2.0 1.0 ! along y", (4.12, 8.24, 4.12)),
        ("-69.934528", (4.12, 4.12, 4.12)),
        ("2.0 ! scale", (8.24, 8.24, 8.24)),
    ],
)
def test_scaling_factors(scale: str, lengths: tuple[float, ...]) -> None:
    found = parse_poscar(changed(("1.0", scale))).structure.lattice.abc
    assert found == pytest.approx(lengths)


@pytest.mark.parametrize("scale", ["4.12", "-69.934528", "4.12 4.12 4.12"])
def test_scaling_factors_hold_for_cartesian_coordinates(scale: str) -> None:
    text = changed(("1.0", scale), (CELL, "1 0 0\n0 1 0\n0 0 1\n"), ("Direct", "cart"))
    structure = parse_poscar(text).structure
    assert structure.lattice.abc == pytest.approx((4.12, 4.12, 4.12))
    np.testing.assert_allclose(structure.frac_coords[1], 0.5)


def test_comments_at_line_ends() -> None:
    text = changed(
        ("1.0", "1.0 ! scale"),
        ("4.12 0 0", "4.12 0 0 ! a"),
        ("Cs Cl", "Cs Cl # species"),
        ("1 1", "1 1 ! counts"),
        ("Direct", "Direct ! fractional"),
        ("0 0 0\n.5", "0 0 0 ! caesium\n.5"),
    )
    assert parse_poscar(text).structure == parse_poscar(SALT).structure


@pytest.mark.parametrize(
    ("names", "symbols"),
    [
        ("Ga_d As", ("Ga", "As")),
        ("Ga_d/a60ddf36e  As/0fc7481fb069", ("Ga", "As")),
        ("H1.25 As", ("H", "As")),
        ("H.5 As", ("H", "As")),
    ],
)
def test_data_sets_may_be_named(names: str, symbols: tuple[str, ...]) -> None:
    poscar = parse_poscar(changed(("Cs Cl", names)))
    assert poscar.symbols == symbols
    assert [name for name, _ in poscar.species] == names.split()
    assert [site.specie.symbol for site in poscar.structure] == list(symbols)


def test_a_species_without_ions_is_left_out() -> None:
    poscar = parse_poscar(changed(("Cs Cl", "Cs Br Cl"), ("1 1", "1 0 1")))
    assert poscar.species == (("Cs", 1), ("Cl", 1))


def test_names_and_counts_may_take_several_lines() -> None:
    text = changed(("Cs Cl", "Cs\nCl"), ("1 1", "1\n1"))
    assert parse_poscar(text).structure == parse_poscar(SALT).structure


def test_velocities_and_flags_of_dynamics_stay() -> None:
    text = changed(
        ("Direct", "Selective dynamics\nDirect"),
        ("0 0 0\n.5 .5 .5\n", "0 0 0 T F .TRUE.\n.5 .5 .5 T T T\n\n1 2 3\n4 5 6\n"),
    )
    properties = parse_poscar(text).structure.site_properties
    assert list(properties["selective_dynamics"][0]) == [True, False, True]
    assert list(properties["velocities"][1]) == [4, 5, 6]


def test_a_file_of_vasp_4_may_name_each_ion() -> None:
    structure = Structure(Lattice.cubic(4.12), ["Cs", "Cl"], [[0] * 3, [0.5] * 3])
    text = Poscar(structure).get_str(vasp4_compatible=True)
    assert "Cs Cl" not in text.splitlines()[5]
    assert parse_poscar(text).symbols == ("Cs", "Cl")


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "empty"),
        ("\n\n", "empty"),
        ("salt\n1.0\n", "ends before a lattice vector"),
        (changed(("Cs Cl\n", "")), "no element symbols"),
        (changed(("Cs Cl\n", ""), ("salt", "Cs Cl")), "no element symbols"),
        (changed(("Cs Cl", "Cs Xx")), "'Xx' is no element"),
        (changed(("Cs Cl", "Cs2 Cl")), "'Cs2' is no element"),
        (changed(("Cs Cl", "Cs Br Cl")), "3 elements, but 2 numbers"),
        (changed(("1 1", "1 -1")), "numbers of ions"),
        (changed(("1 1", "0 0")), "no ions"),
        (changed(("1 1", "1 2")), "ends after 2 of 3 ions"),
        (changed(("1 1", "1")), "2 elements, but 1 number"),
        (changed(("Cs Cl", "Cs"), ("1 1", "1")), "more coordinates follow"),
        (changed(("Direct\n", "")), "expected Direct or Cartesian"),
        (changed(("0 0 0\n.5", "nan 0 0\n.5")), "the coordinates of ion 1"),
        (changed((".5 .5 .5", ".5 .5")), "the coordinates of ion 2"),
        (changed((".5 .5 .5", ". . .")), "the coordinates of ion 2"),
        (changed(("4.12 0 0", "1e300 0 0")), "volume"),
        (changed(("4.12 0 0", "0 4.12 0")), "a volume of 0"),
        (changed(("4.12 0 0", "1e400 0 0")), "too large"),
        (changed(("1.0", "0")), "a volume of 0"),
        (changed(("4.12 0 0", "-4.12 0 0")), "triple product of the lattice vectors is negative"),
        (changed(("1.0", "1 -1 1")), "must be positive"),
        (changed(("1.0", "one")), "the scaling factor"),
        (changed(("Direct", "Selective\nDirect")), "three flags"),
        (SALT + "\n1 2 x\n4 5 6\n", "what follows the ions"),
    ],
)
def test_what_is_no_complete_crystal_is_refused_in_one_line(text: str, reason: str) -> None:
    with pytest.raises(PoscarError, match=reason) as refusal:
        parse_poscar(text)
    assert "\n" not in str(refusal.value)


def test_lower_case_is_no_element() -> None:
    with pytest.raises(PoscarError, match="no element"):
        element_symbol("si")


@pytest.mark.parametrize("tail", ["\n1 2 3\n", "\n1 2 3\n1 2\n", "\n1 2 3\n4 x 6\n", "\n1\n2\n"])
def test_velocities_that_are_cut_off_are_refused_in_words(tail: str) -> None:
    cell = "x\n4\n1 0 0\n0 1 0\n0 0 1\nCs Cl\n1 1\nD\n0 0 0\n.5 .5 .5\n"
    with pytest.raises(PoscarError, match="velocities: a line of 3 numbers for each of 2 ions"):
        parse_poscar(cell + tail)
