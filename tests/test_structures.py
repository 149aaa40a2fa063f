import bz2
import gzip
import json
import lzma

import pytest
from pymatgen.core import Lattice, Structure

from mlcharge_flows.structures import MAX_IONS, StructureError, check_structure, read_structures
from mlcharge_flows.structures import read as reading


@pytest.fixture
def salt():
    return Structure.from_spacegroup(
        "Fm-3m", Lattice.cubic(4.21), ["Mg", "O"], [[0, 0, 0], [0.5, 0.5, 0.5]]
    )


def problem(path):
    """The one line about a file that holds no usable structure."""
    materials, problems = read_structures([path])
    assert materials == []
    (line,) = problems
    assert "\n" not in line
    assert line.startswith(str(path))
    return line


def test_cif_poscar_and_gzip_give_the_same_crystal(tmp_path, salt):
    (tmp_path / "a.cif").write_text(salt.to(fmt="cif"))
    (tmp_path / "POSCAR_b").write_text(salt.to(fmt="poscar"))
    (tmp_path / "c.cif.gz").write_bytes(gzip.compress(salt.to(fmt="cif").encode()))
    materials, problems = read_structures([tmp_path])
    assert problems == []
    assert [material.id for material in materials] == ["POSCAR_b", "a", "c"]
    assert all(material.structure.matches(salt) for material in materials)


def test_json_forms(tmp_path, salt):
    forms = {
        "one": salt.as_dict(),
        "list": [salt.as_dict(), salt.as_dict()],
        "cifs": {"meta": {}, "structures": [{"material_id": "mp-1", "cif": salt.to(fmt="cif")}]},
        "dicts": {"structures": [{"material_id": "mp/2", "structure": salt.as_dict()}]},
    }
    for name, content in forms.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    materials, problems = read_structures([tmp_path / f"{name}.json" for name in forms])
    assert problems == []
    assert [material.id for material in materials] == ["one", "list-1", "list-2", "mp-1", "mp_2"]


def test_ids_are_unique_and_run_folders_give_their_name(tmp_path, salt):
    for folder in ("first", "second"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "POSCAR").write_text(salt.to(fmt="poscar"))
        (tmp_path / folder / "x.cif").write_text(salt.to(fmt="cif"))
    materials, _ = read_structures([tmp_path / "first", tmp_path / "second"])
    assert [material.id for material in materials] == ["first", "x", "second", "x-2"]


def test_several_data_blocks_in_one_cif(tmp_path, salt):
    (tmp_path / "two.cif").write_text(salt.to(fmt="cif") + salt.to(fmt="cif"))
    materials, _ = read_structures([tmp_path / "two.cif"])
    assert [material.id for material in materials] == ["two-1", "two-2"]


@pytest.mark.parametrize("keep", [0.1, 0.3, 0.6, 0.8, 0.9, 0.97])
def test_truncated_cif(tmp_path, keep):
    crystal = Structure(
        Lattice.hexagonal(4.29, 6.62),
        ["Y", "Al", "Al", "Ge", "Ge"],
        [[0, 0, 0], [0.67, 0.33, 0.35], [0.33, 0.67, 0.65], [0.67, 0.33, 0.74], [0.33, 0.67, 0.26]],
    )
    text = crystal.to(fmt="cif")
    path = tmp_path / "cut.cif"
    path.write_text(text[: int(keep * len(text))])
    line = problem(path)
    assert line == f"{path}: not a complete CIF; the file may be cut" or "formula" in line


def test_cif_that_ends_between_two_atoms(tmp_path, salt):
    path = tmp_path / "cut.cif"
    path.write_text("".join(salt.to(fmt="cif").splitlines(keepends=True)[:-1]))
    assert "fewer atoms" in problem(path)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("empty.cif", "", "the file is empty"),
        ("text.cif", "hello\n", "no data block"),
        ("POSCAR", "Si\n1.0\n1 0 0\n", "not a complete POSCAR; the file may be cut"),
        ("cut.json", '{"a": 1', "is the file complete"),
        ("other.json", '{"a": 1}', "neither a structure nor a list"),
        ("wrong.json", "[1, 2]", "entry 1 is not a structure"),
        ("twice.json", '{"a": 1, "b": {"lattice": 1, "lattice": 2}}', "gives 'lattice' twice"),
        (
            "twice.cif",
            "data_x\n_cell_length_a 4\n_cell_length_b 4\n_Cell_length_a 5\n",
            "gives _cell_length_a twice",
        ),
    ],
)
def test_unreadable_files(tmp_path, name, content, reason):
    (tmp_path / name).write_text(content)
    assert reason in problem(tmp_path / name)


def test_damaged_gzip(tmp_path, salt):
    path = tmp_path / "a.cif.gz"
    path.write_bytes(gzip.compress(salt.to(fmt="cif").encode())[:60])
    assert "cannot be read" in problem(path)


def test_missing_file_and_empty_folder(tmp_path):
    assert "no such file" in problem(tmp_path / "none.cif")
    assert "no CIF" in problem(tmp_path)


def test_atoms_on_top_of_each_other(tmp_path):
    crystal = Structure(Lattice.cubic(4), ["Na", "Cl", "Cl"], [[0, 0, 0], [0.5] * 3, [0.55] * 3])
    path = tmp_path / "overlap.json"
    path.write_text(crystal.to_json())
    assert "atoms 2 (Cl) and 3 (Cl) are 0.35 angstrom apart" in problem(path)


def test_two_atoms_on_one_site_of_a_cif(tmp_path, salt):
    text = salt.to(fmt="cif").replace("0.50000000  0.50000000  0.50000000", "0.0  0.0  0.0")
    path = tmp_path / "same.cif"
    path.write_text(text)
    assert "two atoms on one site" in problem(path)


def test_partly_occupied_sites():
    with pytest.raises(StructureError, match="partly occupied"):
        check_structure(Structure(Lattice.cubic(4), [{"Na": 0.5, "K": 0.5}], [[0, 0, 0]]))


def test_one_bad_file_leaves_the_others(tmp_path, salt):
    (tmp_path / "good.cif").write_text(salt.to(fmt="cif"))
    (tmp_path / "bad.cif").write_text("")
    materials, problems = read_structures([tmp_path])
    assert [material.id for material in materials] == ["good"]
    assert len(problems) == 1


@pytest.mark.parametrize(
    ("suffix", "compress"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)]
)
def test_compressed_files(tmp_path, salt, suffix, compress):
    text = salt.to(fmt="cif").encode()
    (tmp_path / f"a.cif.{suffix}").write_bytes(compress(text))
    (tmp_path / f"POSCAR.{suffix}").write_bytes(compress(salt.to(fmt="poscar").encode()))
    materials, problems = read_structures([tmp_path])
    assert problems == []
    assert [material.id for material in materials] == [tmp_path.name, "a"]
    (tmp_path / f"a.cif.{suffix}").write_bytes(compress(text)[:-20])
    assert "cut" in problem(tmp_path / f"a.cif.{suffix}")


@pytest.mark.parametrize("compress", [gzip.compress, bz2.compress, lzma.compress, bytes])
def test_a_bomb_is_refused_with_the_limit_named(tmp_path, monkeypatch, compress):
    monkeypatch.setattr(reading, "MAX_BYTES", 2**24)
    path = tmp_path / "bomb.cif.gz"
    path.write_bytes(compress(b"x" * (2**24 + 1)))
    assert "is larger than 16 MiB, the limit" in problem(path)


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16", "utf-32"])
def test_a_byte_order_mark_names_the_encoding(tmp_path, salt, encoding):
    (tmp_path / "a.json").write_text(salt.to_json(), encoding=encoding)
    (tmp_path / "b.cif").write_text(salt.to(fmt="cif"), encoding=encoding)
    (tmp_path / "c.vasp").write_text(salt.to(fmt="poscar"), encoding=encoding)
    materials, problems = read_structures([tmp_path])
    assert problems == []
    assert all(material.structure.matches(salt) for material in materials)


def test_joined_gzip_files_are_one(tmp_path, salt):
    text = salt.to(fmt="cif").encode()
    path = tmp_path / "a.cif.gz"
    path.write_bytes(gzip.compress(text[:50]) + gzip.compress(text[50:]))
    assert len(read_structures([path])[0]) == 1


@pytest.mark.parametrize("constant", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_numbers_that_are_none(tmp_path, salt, constant):
    path = tmp_path / "a.json"
    path.write_text(salt.to_json().replace("0.5", constant))
    assert "is no number" in (line := problem(path)) or "not a finite number" in line


@pytest.mark.parametrize(
    "part",
    [
        {"@module": "os", "@class": "PathLike"},
        {"@module": "pymatgenx", "@class": "X"},
        {"@module": "pymatgen.core", "@callable": "x"},
        {"a": [{"@module": "subprocess", "@class": "Popen", "args": ["true"]}]},
    ],
)
def test_objects_of_other_modules_are_not_made(tmp_path, salt, part):
    entry = salt.as_dict() | {"properties": {"x": part}}
    path = tmp_path / "a.json"
    path.write_text(json.dumps(entry))
    assert "not of pymatgen" in problem(path)


def test_objects_of_pymatgen_are_read(tmp_path, salt):
    from pymatgen.io.vasp import Kpoints

    salt.properties["task_kpoints"] = Kpoints().as_dict()
    path = tmp_path / "a.json"
    path.write_text(salt.to_json())
    (material,), _ = read_structures([path])
    assert Kpoints.from_dict(material.structure.properties["task_kpoints"]).kpts == Kpoints().kpts


@pytest.mark.parametrize(
    ("name", "identity"),
    [
        ("../../etc/passwd", "etc_passwd"),
        ("..", "material"),
        ("a\x1b]0;owned\x07b", "a_0_owned_b"),
        ("x" * 5000, "x" * 100),
        ("a/b\\c d", "a_b_c_d"),
    ],
)
def test_an_identifier_is_the_name_of_a_folder(tmp_path, salt, name, identity):
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"id": name, "structure": salt.as_dict()}]))
    (material,), _ = read_structures([path])
    assert material.id == identity


def test_nothing_of_a_file_reaches_the_terminal_as_an_escape(tmp_path, salt):
    path = tmp_path / "a\x1b[31m.json"
    path.write_text(json.dumps([{"id": "\x1b[2J", "cif": "x"}, salt.as_dict()]))
    _, (line,) = read_structures([path])
    assert line.isprintable()


@pytest.mark.parametrize(
    ("lattice", "reason"),
    [
        (Lattice.cubic(1e-6), "a lattice vector measures 1e-06 angstrom"),
        (Lattice.cubic(1e15), "a lattice vector measures 1e\\+15 angstrom"),
        (Lattice([[3, 0, 0], [3, 1e-9, 0], [0, 0, 3]]), "cubic angstrom; correct the cell"),
        (Lattice([[30, 0, 0], [30, 0.1, 0], [0, 0, 3]]), "images of an atom are 0.1 angstrom"),
        (Lattice([[0, 3, 0], [3, 0, 0], [0, 0, 3]]), "the triple product .* is negative"),
    ],
)
def test_cells_that_are_none(lattice, reason):
    with pytest.raises(StructureError, match=reason):
        check_structure(Structure(lattice, ["He"], [[0, 0, 0]]))


def test_too_many_ions(tmp_path):
    count = MAX_IONS + 1
    sites = "\n".join(f"0 0 {n / count}" for n in range(count))
    path = tmp_path / "a.vasp"
    path.write_text(f"x\n1.0\n9 0 0\n0 9 0\n0 0 900\nHe\n{count}\nDirect\n{sites}\n")
    assert f"has {count} atoms; the limit is {MAX_IONS}" in problem(path)


def test_several_crystals_in_one_entry(tmp_path, salt):
    path = tmp_path / "a.json"
    path.write_text(json.dumps([{"cif": salt.to(fmt="cif") * 2}]))
    assert "2 crystals in one entry" in problem(path)


@pytest.mark.parametrize(
    ("moments", "message"),
    [
        ([[0, 0, 2], [0, 0, 2]], r"magmom of atom 1 \(Fe\) is \[0, 0, 2\]: give one number"),
        ([2.0, "down"], r"magmom of atom 2 \(Fe\) is 'down': give one number"),
        ([2.0, float("inf")], r"magmom of atom 2 \(Fe\) is inf: give one number"),
        ([None, 2.0], r"atom 1 \(Fe\) has no magmom, others have: give 0"),
    ],
)
def test_moments_that_make_no_magmom_are_refused(moments, message):
    iron = Structure(Lattice.cubic(2.8), ["Fe"] * 2, [[0, 0, 0], [0.5] * 3])
    for fine in ([2, -2.0], [None, None]):
        check_structure(iron.copy(site_properties={"magmom": fine}))
    with pytest.raises(StructureError, match=message):
        check_structure(iron.copy(site_properties={"magmom": moments}))


@pytest.mark.parametrize("far", [1e9, -1e7, 2000.0])
def test_ions_far_outside_of_the_cell_are_refused(far):
    """A search for their neighbors would never end."""
    structure = Structure(Lattice.cubic(3.0), ["He", "Ne"], [[0, 0, 0], [0.5, far, 0.5]])
    with pytest.raises(StructureError, match=r"atom 2 \(Ne\) is .* cells away from the cell"):
        check_structure(structure)
    check_structure(Structure(Lattice.cubic(3.0), ["He"], [[-12.5, 7.0, 0.0]]))


def test_a_dictionary_that_contradicts_itself_is_refused(tmp_path):
    path = tmp_path / "salt.json"

    def reason(change):
        content = Structure(Lattice.cubic(4.2), ["He", "Ne"], [[0, 0, 0], [0.5] * 3]).as_dict()
        change(content)
        path.write_text(json.dumps(content))
        (line,) = read_structures([str(path)])[1] or [""]
        return line

    assert "gives a = 5.0 and a lattice vector of 4.2" in reason(
        lambda c: c["lattice"].update(a=5.0)
    )
    assert "xyz and abc of atom 2" in reason(lambda c: c["sites"][1].update(xyz=[1.0, 1.0, 1.0]))
    assert not reason(lambda c: c["sites"][1].update(xyz=[2.1, -2.1, 2.1])), "another image"
    assert not reason(lambda c: [site.pop("xyz") for site in c["sites"]])


@pytest.mark.parametrize("name", ["a.cif.zst", "a.cif.Z", "POSCAR.zip", "a.json.lz4"])
def test_an_archive_of_a_foreign_format_in_a_folder_is_told(tmp_path, name):
    magic = {"zst": b"\x28\xb5\x2f\xfd", "Z": b"\x1f\x9d", "zip": b"PK\x03\x04"}
    (tmp_path / name).write_bytes(magic.get(name.split(".")[-1], b"\x04\x22\x4d\x18"))
    assert "archive; unpack it" in read_structures([tmp_path])[1][0]
