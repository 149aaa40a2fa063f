"""CIFs: what a block says decides, and what it leaves open is asked for."""

from __future__ import annotations

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.cif import CifWriter

from mlcharge_flows.structures.cif import StructureError, cif_blocks, structure_of_cif
from mlcharge_flows.structures.space_group import settings_of

CELL = {
    **{f"_cell_length_{axis}": "4.12" for axis in "abc"},
    **{f"_cell_angle_{angle}": "90" for angle in ("alpha", "beta", "gamma")},
}
SALT = "Cs1 Cs 0 0 0\nCl1 Cl .5 .5 .5\n"
COLUMNS = ("label", "type_symbol", "fract_x", "fract_y", "fract_z")


def cif(atoms: str = SALT, columns: tuple[str, ...] = COLUMNS, **items: str | None) -> str:
    """A CIF; items are given without their first underscore, None leaves one out."""
    given = {**CELL, **{f"_{name.replace('__', '-')}": value for name, value in items.items()}}
    lines = [f"{name} '{value}'" for name, value in given.items() if value is not None]
    loop = "\n".join(f"_atom_site_{name}" for name in columns)
    return "data_x\n" + "\n".join(lines) + f"\nloop_\n{loop}\n{atoms}"


def refusal(text: str) -> str:
    with pytest.raises(StructureError) as error:
        structure_of_cif(*cif_blocks(text))
    return str(error.value)


def read(text: str) -> Structure:
    (block,) = cif_blocks(text)
    return structure_of_cif(block)


def test_without_any_symmetry_it_is_p1() -> None:
    assert read(cif()).formula == "Cs1 Cl1"


@pytest.mark.parametrize("suffix", ["", "\r", "   # a comment"])
def test_ends_of_lines_and_names_in_any_case(suffix: str) -> None:
    text = cif().replace("_cell_length_a", "_Cell_Length_A").replace("data_", "DATA_")
    text = "\n".join(line + suffix for line in text.splitlines())
    assert read(text).formula == "Cs1 Cl1"


@pytest.mark.parametrize("occupancy", [".", "?", "1", "1.0(2)"])
def test_an_unknown_occupancy_is_a_full_one(occupancy: str) -> None:
    atoms = f"Cs1 Cs 0 0 0 {occupancy}\nCl1 Cl .5 .5 .5 {occupancy}\n"
    assert read(cif(atoms, (*COLUMNS, "occupancy"))).formula == "Cs1 Cl1"


@pytest.mark.parametrize("value", [".", "?"])
def test_unknown_coordinates_are_refused(value: str) -> None:
    assert "atom H1 has no coordinates" in refusal(cif(f"{SALT}H1 H .1 {value} .1\n"))


@pytest.mark.parametrize(
    ("symbol", "element"), [("CS", "Cs"), ("Cs1+", "Cs"), ("CS1+", "Cs"), ("cs", "Cs")]
)
def test_type_symbols_in_capitals_and_with_charges(symbol: str, element: str) -> None:
    structure = read(cif(SALT.replace("Cs1 Cs", f"Cs1 {symbol}")))
    assert structure.composition.element_composition[element] == 1


@pytest.mark.parametrize("symbol", ["Wat", "Xx", "?", "'O-H'"])
def test_type_symbols_that_are_no_element(symbol: str) -> None:
    assert "is no element" in refusal(cif(SALT.replace("Cs1 Cs", f"Cs1 {symbol}")))


@pytest.mark.parametrize(
    ("label", "formula", "found"),
    [
        ("Fe1", None, "Fe"),
        ("FE1", "Fe Cl", "Fe"),
        ("FE1", None, "may be Fe or F"),
        ("CO1", "C Cl", "C"),
        ("CO1", "Co C Cl", "may be Co or C"),
        ("Ca1", "C Cl", "C"),
        ("OW1", None, "O"),
        ("HO1", "H Cl", "H"),
        ("Wat1", None, "names no element"),
        ("OH1", None, "names no element"),
        ("1", None, "names no element"),
        ("Q1", None, "names no element"),
    ],
)
def test_elements_of_labels(label: str, formula: str | None, found: str) -> None:
    columns = ("label", *COLUMNS[2:])
    text = cif(f"{label} 0 0 0\nCl1 .5 .5 .5\n", columns, chemical_formula_sum=formula)
    if " " in found:
        assert found in refusal(text)
    elif formula == "Co C Cl":
        refusal(text)
    else:
        assert {str(e) for e in read(text).composition} == {found, "Cl"}


@pytest.mark.parametrize("formula", ["?", ".", "Cs Cl (1)", "Cs1(2) Cl1(2)", "Cs,Cl", "salt"])
def test_a_formula_that_cannot_be_read_is_unknown(formula: str) -> None:
    assert read(cif(chemical_formula_sum=formula)).formula == "Cs1 Cl1"


@pytest.mark.parametrize(
    ("formula", "z", "reason"),
    [
        ("Cs Cl", "1", None),
        ("Cs Cl", None, None),
        ("CsCl", "?", None),
        ("Cs Cl", "2", "has 1 units of its formula"),
        ("Cs2 Cl2", "1", None),  # as pymatgen writes it: the whole cell, units of the reduced one
        ("Cs2 Cl2", "2", "fewer atoms"),
        ("Cs Cl H2 O", "1", "fewer atoms"),
        ("Cs", "1", "other atoms"),
        ("Cs Br", "1", "other atoms"),
    ],
)
def test_formula_and_units_are_compared_both_ways(
    formula: str, z: str | None, reason: str | None
) -> None:
    text = cif(chemical_formula_sum=formula, cell_formula_units_Z=z)
    if formula == "Cs2 Cl2" and reason is None:
        atoms = "Cs1 Cs 0 0 0\nCs2 Cs .5 0 0\nCl1 Cl .5 .5 .5\nCl2 Cl 0 .5 .5\n"
        text = cif(atoms, chemical_formula_sum=formula, cell_formula_units_Z="2")
    if reason is None:
        assert read(text).composition.reduced_formula == "CsCl"
    else:
        assert reason in refusal(text)


def test_stray_text_is_refused() -> None:
    text = cif().replace("loop_", "_symmetry_space_group_name_H-M P 1 21/c 1\nloop_")
    assert "text that belongs to no item: '1'" in refusal(text)


def test_operations_with_blanks_and_without_quotes_are_refused() -> None:
    text = cif().replace("loop_", "loop_\n_symmetry_equiv_pos_as_xyz\nx, y, z\nloop_")
    assert "operation 'x,' cannot be read" in refusal(text)


def test_operations_of_another_cell_are_refused() -> None:
    loop = "loop_\n_symmetry_equiv_pos_as_xyz\n'z, x, y'\n'y,z,x'\n'x,y,z'\n"
    text = cif(cell_length_c="5.0").replace("loop_", f"{loop}loop_")
    assert "not those of the cell" in refusal(text)


def test_cartesian_coordinates_are_refused() -> None:
    columns = ("label", "type_symbol", "Cartn_x", "Cartn_y", "Cartn_z")
    assert "give fractional ones" in refusal(cif(columns=columns))


def test_text_fields_begin_no_block() -> None:
    text = cif().replace("loop_", "_publ_section_comment\n;\n data_old\ndata_new\n;\nloop_")
    assert read(text).formula == "Cs1 Cl1"


def test_blocks_without_a_crystal_are_no_structures() -> None:
    (block,) = cif_blocks(f"data_global\n_journal_year 2021\n{cif()}\ndata_refln\n_refln_index_h 1")
    assert block.startswith("data_x")
    with pytest.raises(StructureError, match="no data block"):
        cif_blocks("hello")


DIAMOND = {"symmetry_space_group_name_H__M": "F d -3 m"}


@pytest.mark.parametrize(
    ("items", "atoms"),
    [
        (DIAMOND | {"cell_formula_units_Z": "8", "chemical_formula_sum": "Si"}, 8),
        (DIAMOND | {"cell_formula_units_Z": "16", "chemical_formula_sum": "Si"}, 16),
        ({"symmetry_space_group_name_H__M": "F d -3 m :1"}, 8),
        ({"symmetry_space_group_name_H__M": "F d -3 m S"}, 8),
        ({"symmetry_space_group_name_H__M": "Fd-3m:2"}, 16),
        ({"space_group_name_Hall": "F 4d 2 3 -1d"}, 8),
        (DIAMOND, None),
        ({"symmetry_Int_Tables_number": "227"}, None),
    ],
)
def test_the_origin_is_chosen_by_the_units_or_asked_for(
    items: dict[str, str], atoms: int | None
) -> None:
    lengths = {f"cell_length_{axis}": "5.43" for axis in "abc"}
    text = cif("Si1 Si 0 0 0\n", **lengths, **items)
    if atoms is None:
        assert "several settings" in (line := refusal(text))
        assert "Fd-3m:1 8, Fd-3m:2 16" in line
    else:
        assert len(read(text)) == atoms


def test_a_cell_that_is_not_of_its_space_group() -> None:
    text = cif(symmetry_space_group_name_H__M="F m -3 m", cell_length_c="5.0")
    assert "the cell is not one of space group F m -3 m" in refusal(text)
    assert "unknown space group Q 3" in refusal(cif(symmetry_space_group_name_H__M="Q 3"))


def test_the_unique_axis_is_that_of_the_cell() -> None:
    lattice = Lattice.from_parameters(4, 5, 6, 90, 90, 100).matrix
    assert [s.name for s in settings_of(lattice, "P 21/m", None, None)] == ["P2_1/m:c"]
    lattice = Lattice.from_parameters(4, 5, 6, 90, 100, 90).matrix
    assert [s.name for s in settings_of(lattice, "P 21/n", None, None)] == ["P2_1/c:b2"]
    assert [s.name for s in settings_of(lattice, None, None, 14)] == ["P2_1/c:b1"]


@pytest.mark.parametrize("symmetrized", [True, False])
def test_what_pymatgen_writes_is_read(symmetrized: bool) -> None:
    corundum = Structure.from_spacegroup(
        "R-3c", Lattice.hexagonal(4.76, 12.99), ["Al", "O"], [[0, 0, 0.352], [0.306, 0, 0.25]]
    )
    corundum.add_oxidation_state_by_element({"Al": 3, "O": -2})
    text = str(CifWriter(corundum, symprec=0.01 if symmetrized else None))
    assert read(text).matches(corundum, primitive_cell=False, scale=False)


def test_key_words_may_be_in_capitals() -> None:
    text = cif().replace("loop_", "LOOP_").replace("data_", "DATA_")
    assert structure_of_cif(*cif_blocks(text)) == structure_of_cif(*cif_blocks(cif()))


def operations(*texts: str) -> str:
    return "loop_\n_symmetry_equiv_pos_as_xyz\n" + "".join(f"'{text}'\n" for text in texts)


NUMBER, NAME = "symmetry_Int_Tables_number", "symmetry_space_group_name_H__M"


@pytest.mark.parametrize(
    ("names", "listed", "reason"),
    [
        (
            {NAME: "F m -3 m", NUMBER: "1"},
            "",
            "different space groups, F m -3 m and number 1",
        ),
        ({NAME: "P 1", NUMBER: "225"}, "", "names different space groups, P 1 and number 225"),
        ({NAME: "F m -3 m", NUMBER: "225"}, ("x,y,z",), "lists operations of number 1; complete"),
        (
            {NUMBER: "225"},
            ("x,y,z",),
            "names space group number 225, but lists operations",
        ),
        ({"space_group_name_Hall": "-P 4 2 3"}, ("x,y,z", "-x,-y,-z"), ""),  # the crystal's own
        ({NAME: "P m -3 m"}, ("x,y,z",), ""),
        ({NAME: "P 1", NUMBER: "1"}, ("x,y,z",), ""),
        ({NAME: "P 4"}, ("x,y,z", "-y,x,z", "-x,-y,z"), "are no group: some are missing or wrong"),
        ({}, ("x,y,z", "-y,x,z"), "are no group: some are missing or wrong"),
        # One of the names is that of the operations, which decide.
        ({NAME: "P -1", NUMBER: "1"}, ("x,y,z", "-x,-y,-z"), ""),
    ],
)
def test_names_of_a_space_group_and_its_operations_agree(names, listed, reason) -> None:
    """Of an incomplete list, another crystal would be made."""
    text = cif(**names)
    if listed:
        text = text.replace("loop_", f"{operations(*listed)}loop_", 1)
    if reason:
        assert reason in refusal(text)
    else:
        assert read(text).formula == "Cs1 Cl1"


@pytest.mark.parametrize("number", [15, 227, 166, 62, 194, 141])
def test_operations_of_every_setting_are_those_of_their_group(number: int) -> None:
    from mlcharge_flows.structures import space_group as groups

    for hall in groups._by_number()[number]:
        rotations, shifts = groups._operations(hall)
        rounded = shifts.round(3)
        assert groups.group_of(rotations, rounded, _lattice(rotations)) == number


@pytest.mark.parametrize("silent", [True, False])
def test_a_cell_that_is_almost_hexagonal_may_have_the_identity_alone(
    silent: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Relaxed cells of the Materials Project; here that of CuI (mp-570081).

    Whether spglib returns None or raises depends on whether phonopy has been imported.
    """
    errors = pytest.importorskip("spglib.error", reason="this spglib does not raise")
    monkeypatch.setattr(errors, "OLD_ERROR_HANDLING", silent)
    from mlcharge_flows.structures import space_group as groups

    lattice = Lattice.from_parameters(
        4.12861160, 4.12862427, 7.47810604, 89.99107309, 90.00938773, 119.98448271
    )
    assert groups.group_of(np.eye(3)[None], np.zeros((1, 3)), lattice.matrix) == 1


def _lattice(rotations) -> np.ndarray:
    """A lattice that the rotations leave as it is: of the mean of a metric that they turn."""
    metric = np.diag([16.0, 25.0, 36.0]) + 1.0
    mean = np.mean([w.T @ metric @ w for w in rotations], axis=0)
    return np.linalg.cholesky(mean)


def test_moments_without_magnetic_symmetry_are_refused() -> None:
    moments = "loop_\n_atom_site_moment_label\n_atom_site_moment_crystalaxis_x\nCs1 2\n"
    text = cif(f"{SALT}{moments}").replace("loop_", f"{operations('x,y,z')}loop_", 1)
    assert "gives magnetic moments without magnetic symmetry operations" in refusal(text)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (cif(cell_volume="280.0"), "_cell_volume is 280, that of its cell 69.9345 cubic angstrom"),
        (
            cif(
                "Cs1 Cs 0 0 0 1\nCl1 Cl .5 .5 .5 1\n",
                (*COLUMNS, "symmetry_multiplicity"),
                space_group_IT_number="225",
            ),
            "the multiplicities add up to 2 atoms, its symmetry makes 8",
        ),
        (
            cif("Cs1 Cs 0 0 0 d\nCl1 Cl .5 .5 .5 dum\n", (*COLUMNS, "calc_flag")),
            "atom Cl1 is a dummy (_atom_site_calc_flag dum)",
        ),
        (cif("Cs1 Cs 0 0 0\nCl1 Cl .5 1/2 .5\n"), "atom Cl1: '1/2' is no number"),
        (cif(cell_length_a="4,12"), "_cell_length_a: '4,12' is no number"),
        (cif(cell_volume="70,0"), "_cell_volume: '70,0' is no number"),
    ],
)
def test_what_contradicts_the_crystal_is_named(text: str, reason: str) -> None:
    assert reason in refusal(text)


def test_volume_and_multiplicities_that_agree_are_read() -> None:
    columns = (*COLUMNS, "symmetry_multiplicity", "calc_flag")
    atoms = "Cs1 Cs 0 0 0 1 d\nCl1 Cl .5 .5 .5 1 .\n"
    text = cif(atoms, columns, space_group_IT_number="221", cell_volume="69.93(2)")
    assert read(text).formula == "Cs1 Cl1"
