"""PAW data sets of other families: exported with their file, told apart, run as GPAW does."""

from __future__ import annotations

import gzip
import re
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("gpaw", reason="needs the gpaw extra")

from ase import Atoms
from gpaw import setup_paths
from gpaw.new.ase_interface import GPAW
from pymatgen.io.vasp.inputs import Kpoints, Poscar

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.density import superpose
from mlcharge_flows.density.paw_atom import paw_atom
from mlcharge_flows.gpaw_vasp.errors import UnsupportedInputError
from mlcharge_flows.gpaw_vasp.execute import execute
from mlcharge_flows.gpaw_vasp.export_identity import check_export, sealed, without_seal
from mlcharge_flows.gpaw_vasp.generated_family import RECIPES, generate_family
from mlcharge_flows.gpaw_vasp.inputs import read_inputs
from mlcharge_flows.gpaw_vasp.paw_family import PawXml, find_family
from mlcharge_flows.gpaw_vasp.potcar import fill_library, load_setup, potcar_text
from mlcharge_flows.vasp.chgcar import read_chgcar
from mlcharge_flows.vasp.chgcar_writer import write_chgcar
from mlcharge_flows.vasp.incar import read_incar
from mlcharge_flows.vasp.potcar import read_potcar

CRYSTALS = Path(__file__).parents[2] / "test_files" / "crystals"
ELEMENTS = ("O", "Mg", "Si")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "second"
    assert generate_family(path, ELEMENTS) == len(ELEMENTS)
    return path


@pytest.fixture(scope="module")
def family(folder):
    return find_family(str(folder))


@pytest.fixture(scope="module")
def exports(family):
    return {symbol: potcar_text(symbol, paw_xml) for symbol, paw_xml in family.items()}


@pytest.fixture
def foreign_run(run_folder, exports):
    """A function: the run folder of a crystal with the second family's data sets for elements."""

    def make(name, elements=ELEMENTS, **arguments):
        path = run_folder(name, **arguments)
        symbols = Poscar.from_file(path / "POSCAR", check_for_potcar=False).site_symbols
        texts = [exports[s] if s in elements else potcar_text(s) for s in symbols]
        (path / "POTCAR").write_text("".join(texts))
        return path

    return make


def test_the_family_is_reproducible(folder, tmp_path):
    generate_family(tmp_path, ["O"])
    assert (tmp_path / "O.PBE").read_bytes() == (folder / "O.PBE").read_bytes()
    assert len(RECIPES) >= 20


def test_an_export_contains_the_file(family, exports, folder):
    for symbol in ELEMENTS:
        found = check_export(exports[symbol], symbol)
        assert found == family[symbol]
        assert found.content == (folder / f"{symbol}.PBE").read_bytes()


@pytest.mark.parametrize("symbol", ELEMENTS)
def test_the_reader_of_vasps_layout_gets_the_data_set(symbol, family, exports, tmp_path):
    (tmp_path / "POTCAR").write_text(exports[symbol])
    (dataset,) = read_potcar(tmp_path / "POTCAR")
    setup = family[symbol].setup()
    assert (dataset.symbol, dataset.zval) == (symbol, setup.Nv)
    assert dataset.channels == tuple(setup.l_j)
    assert dataset.titel == family[symbol].titel
    assert dataset.form_factor[0] == pytest.approx(dataset.zval)
    assert paw_atom(dataset).charge == pytest.approx(dataset.zval)
    alone = Crystal(np.eye(3) * 8.0, (symbol,), np.zeros((1, 3)))
    density = superpose(alone, {symbol: dataset}, (32, 32, 32))
    assert density.n_electrons == pytest.approx(dataset.zval, abs=1e-9)


def test_valence_and_channels_differ_on_purpose(family):
    assert family["Mg"].setup().Nv == 2
    assert load_setup("Mg").Nv == 10
    assert len(family["O"].setup().l_j) == len(load_setup("O").l_j)


def test_titles_differ_wherever_the_content_does(family):
    silicon = family["Si"]
    other = PawXml("Si", silicon.label, silicon.content + b"\n")
    titles = {potcar_text("Si").splitlines()[0].strip(), silicon.titel, other.titel}
    assert len(titles) == 3
    assert all("GPAW" in title for title in titles)


def test_a_file_that_gpaw_finds_elsewhere_has_another_title(folder, foreign_run, monkeypatch):
    path = foreign_run("Si", elements=())
    own = potcar_text("Si")
    monkeypatch.setattr("gpaw.setup_data.setup_paths", [folder, *setup_paths])
    elsewhere = potcar_text("Si")
    titles = [text.splitlines()[0].strip() for text in (own, elsewhere)]
    assert re.fullmatch(re.escape(titles[0]) + r"-[0-9a-f]{8}", titles[1])
    assert check_export(elsewhere, "Si") is None
    with pytest.raises(UnsupportedInputError, match=r"GPAW-\S+' is not GPAW's installed"):
        read_inputs(path)


def test_a_folder_of_compressed_files_is_the_same_family(family, folder, tmp_path):
    packed = tmp_path / folder.name
    packed.mkdir()
    for path in folder.iterdir():
        (packed / f"{path.stem}.xml.gz").write_bytes(gzip.compress(path.read_bytes()))
    (packed / "README.xml").write_text("no element")
    assert find_family(str(packed)) == family


def test_a_library_of_another_family_leaves_other_elements(family, tmp_path):
    kept = tmp_path / "POT_GGA_PAW_PBE" / "POTCAR.Al.gz"
    kept.parent.mkdir()
    kept.write_bytes(b"")
    assert fill_library(tmp_path, family={"Mg": family["Mg"]}) == 1
    names = {path.name for path in kept.parent.iterdir()}
    assert {"POTCAR.Al.gz", "POTCAR.Mg.gz", "POTCAR.Mg_pv.gz"} <= names


def as_atompaw_writes(content: bytes) -> bytes:
    """Numbers without E, and functions that end where they become zero."""

    def cut(match):
        values = match[2].split()
        while float(values[-1]) == 0.0:
            values.pop()
        return match[1] + b" ".join([*values, b"-1.25-120"]) + match[3]

    functions = rb"(<(?:projector_function|zero_potential)[^>]*>)([^<]*)(</)"
    return re.sub(functions, cut, content)


def test_defects_of_atompaws_files_are_mended(family):
    whole = family["O"].setup_data()
    changed = PawXml("O", "other", as_atompaw_writes(family["O"].content))
    mended = changed.setup_data()
    for name in ("pt_jg", "phi_jg"):
        np.testing.assert_allclose(getattr(mended, name), getattr(whole, name), atol=1e-12)
    np.testing.assert_allclose(mended.vbar_g, whole.vbar_g, atol=1e-12)
    assert len(changed.content) < len(family["O"].content)


def test_the_cutoff_that_a_file_recommends_is_enmax(family):
    content = family["O"].content
    assert family["O"].enmax is None
    advised = content.replace(b"<xc_f", b'<pw_ecut low="9.0" medium="20.00" high="30"/><xc_f', 1)
    paw_xml = PawXml("O", "other", advised)
    assert paw_xml.enmax == pytest.approx(544.23, abs=0.01)
    assert "ENMAX  =  544.228" in potcar_text("O", paw_xml)


REFUSED = {
    "its file is cut": (
        lambda text: re.sub(r"( {3}\d+)(\n QlpoO)", r"   3\2", text),
        "is not GPAW's installed",
    ),
    "its file is missing": (
        lambda text: text.replace(" PAW-XML (", " PAW-XML ["),
        "is not GPAW's installed",
    ),
    "another hash": (lambda text: re.sub("second-.", "second-x", text), "is not GPAW's installed"),
    "another hash, sealed": (
        lambda text: sealed(re.sub("second-[0-9a-f]{4}", "second-0000", without_seal(text)), "Si"),
        "is not GPAW's installed",
    ),
    "an unknown family": (
        lambda text: re.sub(r"second-\w{8} GPAW", "third 01Jan2001", text),
        "third 01Jan2001' is not GPAW's installed data set of Si",
    ),
    "a digit changed": (lambda text: text.replace("ENMAX  =  4", "ENMAX  =  3"), "changed after"),
}


@pytest.mark.parametrize(("change", "reason"), REFUSED.values(), ids=REFUSED)
def test_what_is_not_such_an_export_is_refused(change, reason, exports, foreign_run):
    path = foreign_run("Si")
    text = change(exports["Si"])
    assert text != exports["Si"]
    (path / "POTCAR").write_text(text)
    with pytest.raises(UnsupportedInputError, match=rf"^POTCAR: .*{reason}") as refusal:
        read_inputs(path)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    ("files", "reason"),
    [
        (None, "neither 'gpaw' nor 'jth' nor a folder"),
        ({}, "no PAW-XML files such as Si.PBE"),
        ({"Si.xml": b"<paw_dataset"}, "Si of other: not a PBE data set of Si in PAW-XML"),
        ({"Si.xml": b"<paw_dataset></paw_dataset>"}, "Si of other: not a PBE data set"),
    ],
)
def test_unusable_families_give_one_line(files, reason, gpaw_vasp, tmp_path):
    if files is not None:
        (tmp_path / "other").mkdir()
    for name, content in (files or {}).items():
        (tmp_path / "other" / name).write_bytes(content)
    result = gpaw_vasp(tmp_path, "potcar", "library", "--family", "other")
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert line.startswith("gpaw-vasp: ")
    assert re.search(reason, line)


def test_without_abinits_data_the_line_tells_what_to_do(gpaw_vasp, monkeypatch, tmp_path):
    monkeypatch.setenv("ABI_PSPDIR", str(tmp_path))
    monkeypatch.setattr("mlcharge_flows.gpaw_vasp.paw_family.JTH_ROOTS", ())
    result = gpaw_vasp(tmp_path, "potcar", "library", "--family", "jth")
    assert result.exit_code == 2
    assert "--family jth: no folder Pseudodojo_paw_pbe_standard in" in result.stderr
    assert "set ABI_PSPDIR" in result.stderr


def test_an_element_without_recipe_gives_one_line(gpaw_vasp, tmp_path):
    result = gpaw_vasp(tmp_path, "generate-family", "family", "Xe")
    assert result.exit_code == 2
    assert result.stderr.startswith("gpaw-vasp: Xe: no recipe")


@pytest.mark.gpaw
def test_energy_and_forces_are_those_of_gpaw_with_the_data_set(foreign_run, family):
    structure = Poscar.from_file(CRYSTALS / "Si.vasp").structure
    structure.translate_sites([1], [0.01, 0, 0])
    mesh = Kpoints.gamma_automatic((2, 2, 2))
    run = execute(foreign_run("Si", structure=structure, kpoints=mesh, EDIFF=1e-7, ISYM=0))
    atoms = Atoms(
        [site.specie.symbol for site in structure],
        cell=structure.lattice.matrix,
        scaled_positions=structure.frac_coords,
        pbc=True,
    )
    atoms.calc = GPAW(
        mode={"name": "pw", "ecut": 350},
        xc="PBE",
        setups={"Si": family["Si"].setup_data()},
        gpts=[run.parameters[tag] for tag in ("NGX", "NGY", "NGZ")],
        kpts={"size": (2, 2, 2), "gamma": True},
        symmetry={"point_group": False},
        nbands=run.parameters["NBANDS"],
        occupations={"name": "methfessel-paxton", "order": 0, "width": 0.1},
        convergence={"energy": 1e-7, "density": 1e-7},
        txt=None,
    )
    assert run.steps[-1].energy_zero == pytest.approx(atoms.get_potential_energy(), abs=1e-5)
    np.testing.assert_allclose(run.forces, atoms.get_forces(), atol=2e-3)


@pytest.mark.gpaw
def test_a_potcar_of_two_families_runs_and_restarts(foreign_run):
    """MgO with magnesium of the second family and GPAW's oxygen, and the other way round."""
    electrons = []
    for element in ("Mg", "O"):
        path = foreign_run("MgO", elements=(element,), folder=element)
        from_atoms = execute(path)
        density = read_chgcar(path / "CHGCAR")
        assert density.n_electrons == pytest.approx(read_inputs(path).n_electrons, abs=1e-6)
        electrons.append(density.n_electrons)
        (path / "WAVECAR").unlink()
        with (path / "INCAR").open("a") as incar:
            incar.write("\nICHARG = 1\n")
        again = execute(path)
        assert len(again.steps) == 6 < len(from_atoms.steps)
        assert again.steps[-1].energy_zero == pytest.approx(
            from_atoms.steps[-1].energy_zero, abs=1e-4
        )
    assert electrons == pytest.approx([8, 16])


@pytest.mark.gpaw
def test_dft_plus_u_acts_on_the_data_set_of_the_second_family(foreign_run):
    tags = {"LDAU": True, "LDAUTYPE": 2, "LDAUL": [1], "LDAUJ": [0.0], "EDIFF": 1e-4}
    mesh = Kpoints.gamma_automatic((2, 2, 2))
    energies = [
        execute(foreign_run("Si", folder=f"U{u:g}", kpoints=mesh, LDAUU=[u], **tags))
        .steps[-1]
        .energy_zero
        for u in (0.0, 2.0)
    ]
    assert energies[1] > energies[0] + 0.1


@pytest.mark.gpaw
def test_the_superposition_of_the_export_is_what_a_run_begins_with(foreign_run):
    """Free atoms as every source reads them from the POTCAR give the steps of ICHARG = 2."""
    mesh = Kpoints.gamma_automatic((2, 2, 2))
    path = foreign_run("Si", kpoints=mesh)
    default = execute(path)
    inputs = read_inputs(path)
    datasets = {dataset.symbol: dataset for dataset in inputs.datasets}
    given = foreign_run("Si", folder="given", kpoints=mesh, ICHARG=1)
    write_chgcar(given / "CHGCAR", superpose(inputs.crystal, datasets, inputs.grids.fine))
    steps = execute(given).steps
    assert abs(len(steps) - len(default.steps)) <= 1
    assert steps[0].energy_zero == pytest.approx(default.steps[0].energy_zero, abs=1e-3)
    assert steps[-1].energy_zero == pytest.approx(default.steps[-1].energy_zero, abs=1e-4)


@pytest.mark.gpaw
def test_the_shipped_model_serves_the_second_family(foreign_run, tmp_path, monkeypatch):
    """Density and occupancies are near those that a run with these data sets converges to."""
    pytest.importorskip("torch", reason="needs the models extra")
    from mlcharge_flows.density.density import error_removed
    from mlcharge_flows.sources import Learned, RunInputs, Superposition

    own = tmp_path / "own"
    own.mkdir()
    (own / "POTCAR.Si").write_text(potcar_text("Si"))
    monkeypatch.setenv("MLCHARGE_MODEL_POTCARS", str(own))
    path = foreign_run("Si", kpoints=Kpoints.gamma_automatic((3, 3, 3)), ENCUT=350)
    execute(path)
    structure = Poscar.from_file(path / "POSCAR", check_for_potcar=False).structure
    inputs = RunInputs.from_files(structure, read_incar(path / "INCAR"), path / "POTCAR")
    found = Learned().evaluate(inputs)
    assert "the PAW data sets of Si are not those of the model orbital" in found.warnings[0]
    superposition = Superposition().evaluate(inputs).density
    removed = error_removed(found.density, superposition, read_chgcar(path / "CHGCAR"))
    assert removed[0] > 0.8
    assert removed[1] > 0.8
