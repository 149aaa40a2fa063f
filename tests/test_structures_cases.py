"""Files that people have: each case of the shared folder is read rightly or refused in one line."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from mlcharge_flows.structures import read_structures

if TYPE_CHECKING:
    from pathlib import Path

CUBE = (4.12, 4.12, 4.12)

READ = {
    "S01_latin1_cif/CsCl.cif": ("CsCl", "Cs1 Cl1", CUBE),
    "S01_latin1_cif/POSCAR": ("S01_latin1_cif", "Cs1 Cl1", CUBE),
    "S02_bom/CsCl.cif": ("CsCl", "Cs1 Cl1", CUBE),
    "S02_bom/CsCl.json": ("CsCl", "Cs1 Cl1", CUBE),
    "S02_bom/POSCAR": ("S02_bom", "Cs1 Cl1", CUBE),
    "S03_data_global/CsCl.cif": ("CsCl", "Cs1 Cl1", CUBE),
    "S04_data_in_text_field/CsCl.cif": ("CsCl", "Cs1 Cl1", CUBE),
    "S05_odd_formula/f0.cif": ("f0", "Cs1 Cl1", CUBE),
    "S05_odd_formula/f2.cif": ("f2", "Cs1 Cl1", CUBE),
    "S07_rhombohedral_axes/As.cif": ("As", "As2", (4.131, 4.131, 4.131)),
    "S07_rhombohedral_axes/Bi.cif": ("Bi", "Bi2", (4.7459, 4.7459, 4.7459)),
    "S07_rhombohedral_axes/Bi_hex.cif": ("Bi_hex", "Bi6", (4.546, 4.546, 11.863)),
    "S11_scales/POSCAR_cart_scaled": ("POSCAR_cart_scaled", "Cs1 Cl1", CUBE),
    "S11_scales/POSCAR_negative": ("POSCAR_negative", "Cs1 Cl1", CUBE),
    "S11_scales/POSCAR_three": ("POSCAR_three", "Cs1 Cl1", (4.12, 4.12, 8.24)),
    "S16_potcar_names/POSCAR": ("S16_potcar_names", "Ga1 As1", CUBE),
    "S16_potcar_names/POSCAR_bang": ("POSCAR_bang", "Ga1 As1", CUBE),
    "S16_potcar_names/POSCAR_h125": ("POSCAR_h125", "As1 H1", CUBE),
    "S16_potcar_names/POSCAR_hash": ("POSCAR_hash", "Ga1 As1", CUBE),
    "S16_potcar_names/POSCAR_zero": ("POSCAR_zero", "Ga1 As1", CUBE),
    "S20_labels_only/caps_formula.cif": ("caps_formula", "Cs1 Cl1", CUBE),
    "S20_labels_only/mixed_formula.cif": ("mixed_formula", "Cs1 Cl1", CUBE),
    "S20_labels_only/mixed_noformula.cif": ("mixed_noformula", "Cs1 Cl1", CUBE),
    "S20_labels_only/water.cif": ("water", "H2 O1", CUBE),
    "S20_labels_only/water_formula.cif": ("water_formula", "H2 O1", CUBE),
}
REFUSED = {
    "S13_vasp4_no_symbols/POSCAR": "no element symbols",
    "S13_vasp4_no_symbols/POSCAR_named_in_comment": "no element symbols",
    "S20_labels_only/caps.cif": "label CS1 may be Cs or C; add _atom_site_type_symbol",
    "S22_unknown_coordinates/dot_moved.cif": "atom H1 has no coordinates",
    "attack/badz.vasp.gz": "cannot be read",
    "attack/bigint.json": "holds a number of thousands of digits",
    "attack/deep.json": "is nested too deeply",
    "attack/huge.vasp": "the cell has a volume of 9e+15 cubic angstrom",
    "attack/module_in_site_properties.json": "holds an object of 'h_evil', not of pymatgen",
    "attack/nan.vasp": "line 9 is 'nan 0 0', expected the coordinates of ion 1",
}


@pytest.mark.parametrize("name", READ)
def test_a_case_is_read(cases: Path, name: str) -> None:
    (material,), problems = read_structures([cases / name])
    assert problems == []
    identity, formula, lengths = READ[name]
    assert (material.id, material.structure.formula) == (identity, formula)
    assert material.structure.lattice.abc == pytest.approx(lengths)


@pytest.mark.parametrize("name", REFUSED)
def test_a_case_is_refused_in_one_line(cases: Path, name: str) -> None:
    materials, problems = read_structures([cases / name])
    assert materials == []
    (line,) = problems
    assert line.startswith(f"{cases / name}: ")
    assert REFUSED[name] in line
    assert "may be cut" not in line
    assert line.isprintable()


def test_every_case_of_a_structure_is_here(cases: Path) -> None:
    others = {"README", "f0.h5", "f1.h5", "CHGCAR_esc"}  # data sets and a density
    files = [*cases.glob("S*/*"), *(cases / "attack").iterdir()]
    names = {f"{f.parent.name}/{f.name}" for f in files if f.is_file() and f.name not in others}
    assert names == READ.keys() | REFUSED.keys()
