import json
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp import Poscar
from typer.testing import CliRunner

from mlcharge_flows.cli.app import app
from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.paw_dataset import PartialWaves
from mlcharge_flows.models.card import Card, ExpectedErrorCard
from mlcharge_flows.models.checkpoint import read_checkpoint, write_checkpoint
from mlcharge_flows.models.expected_error import ExpectedError
from mlcharge_flows.models.registry import DEFAULT
from mlcharge_flows.sources import InitialDensityDocument, InitialOrbitalsDocument
from mlcharge_flows.sources.initial_wavecar import is_initial_wavecar
from mlcharge_flows.vasp.chgcar import read_chgcar
from mlcharge_flows.vasp.wavecar import WavecarReader

SALT = Structure(Lattice.cubic(3.0), ["O", "Mg"], [[0.5, 0.5, 0.5], [0, 0, 0]])


def mlcharge(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def refused(*words, status=2):
    """The lines of a refusal."""
    result = mlcharge(*words)
    assert result.exit_code == status, result.output
    lines = result.stderr.splitlines()
    assert all(line.startswith("mlcharge: ") for line in lines), lines
    return [line.removeprefix("mlcharge: ") for line in lines]


@pytest.fixture
def checkpoint(tiny, tmp_path):
    """A checkpoint that knows MgO; nothing is added yet."""
    atoms = {"Mg": tiny.atom("Mg", 2.0), "O": tiny.atom("O", 6.0)}
    return tiny.write(tmp_path / "given.safetensors", atoms, [Crystal.from_structure(SALT)])


@pytest.fixture
def model(checkpoint):
    assert mlcharge("models", "add", checkpoint).exit_code == 0
    return "tiny"


@pytest.fixture
def salt(tmp_path):
    path = tmp_path / "MgO.cif"
    SALT.to(filename=str(path))
    return path


@pytest.mark.parametrize("words", [("predict",), ("models", "add"), ("models", "info")])
def test_help_teaches_by_example(words):
    assert f"mlcharge {' '.join(words)} " in mlcharge(*words, "--help").output


def test_the_model_of_the_help_is_the_default():
    assert DEFAULT in mlcharge("predict", "--help").output
    assert DEFAULT in mlcharge("compare", "--help").output


def test_help_needs_no_torch():
    code = (
        "import sys; import mlcharge_flows.cli.app;"
        "print({'torch', 'e3nn', 'safetensors', 'numpy', 'pydantic'} & set(sys.modules))"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "set()"


def test_models_are_added_listed_and_described(tiny, checkpoint, tmp_path):
    assert "no model yet" in refused("models", "list", status=1)[0]
    added = mlcharge("models", "add", checkpoint).output
    assert added == f"added tiny: {tmp_path}/models/tiny.safetensors\n"
    listed = mlcharge("models", "list").output
    assert listed.split()[:4] == ["tiny", "tiny,", "2", "elements,"]
    told = mlcharge("models", "info", "tiny").output
    for fact in ("PAW_PBE Mg test: 2 electrons, channels sspp", "nmae_median 1.5", "license"):
        assert fact in told
    assert len(next(line for line in told.splitlines() if "sha256" in line).split()[1]) == 64
    card = Card.model_validate_json(mlcharge("models", "info", checkpoint, "--json").output)
    assert card.name == "tiny"


def test_another_model_is_replaced_only_on_demand(tiny, model, tmp_path):
    other = tiny.write(
        tmp_path / "other.safetensors", {"Mg": tiny.atom("Mg", 2.0)}, [Crystal.from_structure(SALT)]
    )
    assert "--replace" in refused("models", "add", other)[0]
    assert mlcharge("models", "add", other, "--replace").exit_code == 0
    assert "1 elements" in mlcharge("models", "list").output


def test_models_that_cannot_be_used(tiny, tmp_path, salt):
    assert "there is no model 'orbital'" in refused("models", "info", "orbital")[0]
    broken = tmp_path / "models" / "broken.safetensors"
    broken.parent.mkdir()
    broken.write_text("nothing")
    assert f"{broken}: not a whole" in refused("models", "info", "broken")[0]
    assert "broken: " in mlcharge("models", "list").output
    words = ("predict", salt, "--encut", 350, "--out", tmp_path / "out")
    assert "known are: broken" in refused(*words)[0]
    assert "not a whole" in refused(*words, "--model", "broken")[0]
    assert not (tmp_path / "out").exists()


def test_compare_looks_for_its_model_first(tiny, tmp_path, salt, monkeypatch):
    from mlcharge_flows.settings import Settings

    monkeypatch.setattr(Settings, "check", lambda self: None)
    words = ("compare", salt, "--out", tmp_path / "out", "--arms")
    lines = refused(*words, "learned", "--model", "nonesuch")
    assert lines[0].startswith("there is no model 'nonesuch'")
    assert "'magic' is no source of densities; write DENSITY" in refused(*words, "magic")[0]


def test_predictions_are_initial_densities(model, salt, tmp_path):
    out = tmp_path / "out"
    (tmp_path / "INCAR").write_text("ENCUT = 350\nPREC = Normal\nISPIN = 1\nICHARG = 1\n")
    words = ("--model", model, "--out", out)
    result = mlcharge("predict", salt, "--encut", 350, *words)
    assert result.exit_code == 0, result.output
    folder = out / "MgO"
    document = InitialDensityDocument.model_validate_json(
        (folder / "initial_density.json").read_text()
    )
    written = read_chgcar(folder / "CHGCAR")
    assert written.comment == document.comment
    assert written.shape == document.grid == (28, 28, 28)
    assert written.crystal.symbols == ("Mg", "O")
    assert Poscar.from_file(folder / "POSCAR").site_symbols == ["Mg", "O"]
    assert written.n_electrons == pytest.approx(8.0, abs=1e-6)
    looked = mlcharge(
        *("inspect", folder / "CHGCAR", "--poscar", folder / "POSCAR"),
        *("--incar", tmp_path / "INCAR"),
    )
    assert looked.exit_code == 0, looked.output
    assert "this file" in looked.output
    assert result.output.count("note: no POTCAR here") == 1
    # By the INCAR it is the same file, and an earlier prediction is replaced.
    before = document.sha256
    assert mlcharge("predict", salt, "--incar", tmp_path / "INCAR", *words).exit_code == 0
    document = InitialDensityDocument.model_validate_json(
        (folder / "initial_density.json").read_text()
    )
    assert document.sha256 == before
    assert (document.model, document.warnings) == (
        "tiny",
        ["no POTCAR here: whether the run has the model's PAW data sets is not checked"],
    )


def test_a_prediction_beyond_the_limit_is_refused(model, salt, tmp_path, monkeypatch, tiny):
    figures = {"materials": 9, "correlation": 0, "coverage_50": 0.5, "coverage_90": 0.9}
    known = ExpectedErrorCard(**figures, above_high=0.1, spread=0.5)
    expected = ExpectedError(0.9, 0.5)
    monkeypatch.setattr(tiny.TinyModel, "expected_error", lambda self, *given: expected)
    path = tmp_path / "doubtful.safetensors"
    read = read_checkpoint(tmp_path / "models" / f"{model}.safetensors")
    changed = read.card.model_copy(update={"expected_error": known, "name": "doubtful"})
    write_checkpoint(path, replace(read, card=changed))
    assert read.card.expected_error is None
    assert "refused if more than 100 % may be left" in mlcharge("models", "info", path).output
    words = ("predict", salt, "--encut", 350, "--model", path, "--out", tmp_path / "out")
    (line,) = refused(*words)
    assert "the model doubtful is expected to leave 90 % of the superposition's error" in line
    assert not (tmp_path / "out" / "MgO" / "CHGCAR").exists()
    monkeypatch.setenv("MLCHARGE_MAX_EXPECTED_ERROR", "inf")
    assert mlcharge(*words).exit_code == 0
    told = (tmp_path / "out" / "MgO" / "initial_density.json").read_text()
    assert json.loads(told)["expected_error"][0] == 0.9


def test_what_vasp_would_not_say_of_a_prediction(model, tmp_path):
    """Neither that it drops a file of other projectors, nor that ions are in another order."""
    given, in_order = tmp_path / "salt.vasp", tmp_path / "sorted.vasp"
    Poscar(SALT).write_file(given)
    Poscar(SALT.get_sorted_structure()).write_file(in_order)
    words = ("--encut", 350, "--model", model, "--out", tmp_path / "out")
    told = " ".join(mlcharge("predict", given, *words).output.split())
    assert told.count("note: give --potcar with the POTCAR of the runs: if its PAW") == 1
    assert "VASP does not use these files and begins from free atoms" in told
    assert "note: the ions of salt were put in another order than in the structure file" in told
    assert "put in another order" not in mlcharge("predict", in_order, *words).output
    # The CHGCAR does not fit the POSCAR that was given.
    chgcar = tmp_path / "out" / "salt" / "CHGCAR"
    assert mlcharge("inspect", chgcar, "--poscar", given).exit_code == 1
    assert mlcharge("inspect", chgcar, "--poscar", in_order).exit_code == 0


def test_moments_that_are_left_out_are_named_once(model, tmp_path):
    magnetic = SALT.copy(site_properties={"magmom": [0.0, 1.0]})
    path = tmp_path / "all.json"
    path.write_text(json.dumps([s.as_dict() for s in (SALT, magnetic, magnetic)]))
    words = ("predict", path, "--encut", 350, "--model", model, "--out", tmp_path / "out")
    told = " ".join(mlcharge(*words).output.split())
    assert told.count("note: the moments of all-2, all-3 are not in the files") == 1


def test_ions_are_in_the_order_of_the_potcar(tiny, checkpoint, salt, tmp_path, monkeypatch):
    atoms = [tiny.atom("O", 6.0), tiny.atom("Mg", 2.0)]
    monkeypatch.setattr("mlcharge_flows.vasp.potcar.read_potcar", lambda path: atoms)
    monkeypatch.setattr("mlcharge_flows.sources.run_inputs.read_potcar", lambda path: atoms)
    (tmp_path / "POTCAR").touch()
    words = ("--encut", 350, "--model", checkpoint, "--out", tmp_path / "out")
    result = mlcharge("predict", salt, *words, "--potcar", tmp_path / "POTCAR")
    assert result.exit_code == 0, result.output
    assert "give --potcar with the POTCAR" not in result.output
    folder = tmp_path / "out" / "MgO"
    assert read_chgcar(folder / "CHGCAR").crystal.symbols == ("O", "Mg")
    assert Poscar.from_file(folder / "POSCAR").site_symbols == ["O", "Mg"]
    # VASP assigns data sets by their place.
    atoms.reverse()
    words = ("inspect", folder / "CHGCAR", "--poscar", folder / "POSCAR")
    (line,) = refused(*words, "--potcar", tmp_path / "POTCAR")
    assert line.endswith("are of Mg O, the blocks of ions of O Mg: VASP would assign them by place")


GRID = "ENCUT = 60\nPREC = Normal\nNGXF = 28; NGYF = 28; NGZF = 28\n"


@pytest.fixture
def with_potcar(tiny, tmp_path, monkeypatch):
    """Files of a run whose data sets have partial waves: those that --orbitals needs."""
    atoms = [with_waves(tiny.atom("Mg", 2.0)), with_waves(tiny.atom("O", 6.0))]
    for place in ("vasp.potcar", "sources.run_inputs"):
        monkeypatch.setattr(f"mlcharge_flows.{place}.read_potcar", lambda path: atoms)
    (tmp_path / "POTCAR").touch()
    (tmp_path / "INCAR").write_text(f"{GRID}ISPIN = 2\n")
    (tmp_path / "KPOINTS").write_text("mesh\n0\nGamma ! centered\n2 2 2\n")
    return [f"--{name.lower()}={tmp_path / name}" for name in ("INCAR", "POTCAR", "KPOINTS")]


def with_waves(dataset):
    r = np.geomspace(1e-4, 3.0, 120)
    u = np.stack([r ** (degree + 1) * np.exp(-2 * r) for degree in dataset.channels])
    return replace(dataset, partial_waves=PartialWaves(r, u, u, np.zeros((1, len(r)))))


def test_orbitals_beside_a_prediction(model, with_potcar, salt, tmp_path):
    """For the k-points, the cutoff and the spin of the run, with the tags that begin from them."""
    words = ("predict", salt, "--model", model, "--out", tmp_path / "out")
    result = mlcharge(*words, *with_potcar, "--orbitals")
    assert result.exit_code == 0, result.output
    folder = tmp_path / "out" / "MgO"
    told = " ".join(result.output.split())
    assert f"{folder}/WAVECAR, 4 k-points, " in told
    assert "ENCUT = 60 eV, ISPIN = 2, " in told
    assert "runs with ISTART = 1 and ICHARG = 1 begin from these files; leave NELMDL out" in told
    with WavecarReader(folder / "WAVECAR") as file:
        header = file.header
        assert (header.encut, header.n_kpoints, header.n_spins) == (60.0, 4, 2)
        written = read_chgcar(folder / "CHGCAR").crystal
        np.testing.assert_allclose(header.lattice, written.lattice, atol=1e-6)
    document = InitialOrbitalsDocument.model_validate_json(
        (folder / "initial_orbitals.json").read_text()
    )
    assert (document.n_bands, document.failure) == (header.n_bands, None)
    assert is_initial_wavecar(folder / "WAVECAR")
    # Without the option, no orbitals of an earlier call are left beside the density.
    assert mlcharge(*words, *with_potcar[:2]).exit_code == 0
    assert sorted(path.name for path in folder.iterdir()) == [
        "CHGCAR",
        "POSCAR",
        "initial_density.json",
    ]


def test_what_orbitals_need(model, with_potcar, salt, tmp_path):
    words = ("predict", salt, "--model", model, "--out", tmp_path / "out")
    incar, potcar, kpoints = with_potcar
    for given in ([incar, kpoints], ["--encut", 60, potcar, kpoints], [incar, potcar]):
        (line,) = refused(*words, *given, "--orbitals")
        assert line.startswith("--orbitals: the orbitals follow from the partial waves and the k-p")
    (line,) = refused(*words, *with_potcar)
    assert line.startswith("--kpoints is for --orbitals")
    (tmp_path / "KPOINTS").write_text("mesh\n0\n")
    (line,) = refused(*words, *with_potcar, "--orbitals")
    assert line == f"{tmp_path}/KPOINTS: the file ends after line 2"
    assert not (tmp_path / "out").exists()
    # KSPACING stands for a KPOINTS; the result of a run is not replaced.
    (tmp_path / "INCAR").write_text(f"{GRID}KSPACING = 1.1\n")
    assert mlcharge(*words, incar, potcar, "--orbitals").exit_code == 0
    (tmp_path / "out" / "MgO" / "WAVECAR").write_bytes(bytes(400))
    (line,) = refused(*words, incar, potcar, "--orbitals")
    assert "WAVECAR: is of a run and is not replaced" in line


def test_two_data_sets_of_one_element_are_refused(tiny, model, salt, tmp_path, monkeypatch):
    atoms = [tiny.atom("O", 6.0), tiny.atom("Mg", 2.0), tiny.atom("Mg", 8.0)]
    atoms[2] = replace(atoms[2], titel="PAW_PBE Mg_pv test")
    monkeypatch.setattr("mlcharge_flows.vasp.potcar.read_potcar", lambda path: atoms)
    (tmp_path / "POTCAR").touch()
    words = ("--encut", 350, "--model", model, "--out", tmp_path / "out")
    (line,) = refused("predict", salt, *words, "--potcar", tmp_path / "POTCAR")
    assert "two PAW data sets of Mg (PAW_PBE Mg test and PAW_PBE Mg_pv test)" in line


def test_the_potcar_of_other_blocks_of_ions_is_said(tiny, model, salt, tmp_path, monkeypatch):
    oxygen, magnesium = tiny.atom("O", 6.0), tiny.atom("Mg", 2.0)
    (tmp_path / "POTCAR").touch()
    words = ("predict", salt, "--encut", 350, "--model", model, "--out", tmp_path / "out")
    words += ("--potcar", tmp_path / "POTCAR")

    def given(*datasets):
        monkeypatch.setattr("mlcharge_flows.vasp.potcar.read_potcar", lambda path: datasets)
        monkeypatch.setattr("mlcharge_flows.sources.run_inputs.read_potcar", lambda path: datasets)

    given(magnesium)
    (line,) = refused(*words)
    assert "POTCAR has no data set for O" in line
    given(oxygen, magnesium)
    assert "by place" not in mlcharge(*words).output
    for others in ([oxygen, oxygen, magnesium], [oxygen, tiny.atom("Si", 4.0), magnesium]):
        given(*others)
        result = mlcharge(*words)
        assert result.exit_code == 0, result.stderr
        told = " ".join(result.output.split())
        assert "VASP assigns data sets to blocks of ions by place: runs of MgO need O Mg" in told


def test_what_an_incar_asks_for_beside_the_density_is_said(model, salt, tmp_path):
    incar = tmp_path / "INCAR"
    words = ("predict", salt, "--model", model, "--out", tmp_path / "out", "--incar", incar)
    incar.write_text("ENMAX = 350\nGGA = PS\nLDAU = T\nISPIN = 2\nICHARG = 2\n")
    told = " ".join(mlcharge(*words).output.split())
    for note in (
        "INCAR asks for GGA = Ps, LDAU = True: the density is one of the functional that",
        "with ISPIN = 2, VASP superposes the moments of MAGMOM",
        "runs with ICHARG = 2 do not read CHGCAR",
    ):
        assert note in told
    incar.write_text("ENCUT = 350\n")
    assert "INCAR asks" not in mlcharge(*words).output
    for text, reason in (
        ("ISPIN = 3", "ISPIN = 3 is neither 1 nor 2"),
        (f"NGXF = {'9' * 5000}", "is too large for an integer"),
    ):
        incar.write_text(f"ENCUT = 60\n{text}\n")
        (line,) = refused(*words)
        assert reason in line


def test_everything_that_is_wrong_with_a_structure_can_be_skipped(
    tiny, model, tmp_path, monkeypatch
):
    """Unreadable, unknown, charged, twice the same name, of no data set, a result in its place."""
    strained = SALT.copy().apply_strain(0.01)
    for name, structure in {"good": SALT, "result": strained}.items():
        structure.to(filename=str(tmp_path / f"{name}.cif"))
    (tmp_path / "broken.cif").write_text("nothing")
    Structure(Lattice.cubic(4.0), ["Cs"], [[0, 0, 0]]).to(filename=str(tmp_path / "other.cif"))
    (tmp_path / "charged.json").write_text(json.dumps(SALT.copy().set_charge(1).as_dict()))
    for folder in ("one", "two"):
        (tmp_path / folder).mkdir()
        strained.to(filename=str(tmp_path / folder / "same.cif"))
    chgcar = tmp_path / "out" / "result" / "CHGCAR"
    chgcar.parent.mkdir(parents=True)
    chgcar.write_text("unknown system\n")
    structures = [tmp_path / f"{n}.cif" for n in ("good", "result", "broken", "other")]
    structures += [tmp_path / "charged.json", tmp_path / "one", tmp_path / "two"]
    words = ("predict", *structures, "--encut", 350, "--model", model, "--out", tmp_path / "out")
    assert "broken.cif" in " ".join(refused(*words))
    atoms = [tiny.atom("Mg", 2.0), tiny.atom("O", 6.0)]
    monkeypatch.setattr("mlcharge_flows.vasp.potcar.read_potcar", lambda path: atoms)
    monkeypatch.setattr("mlcharge_flows.sources.run_inputs.read_potcar", lambda path: atoms)
    (tmp_path / "POTCAR").touch()
    for more in ((), ("--potcar", tmp_path / "POTCAR")):
        result = mlcharge(*words, *more, "--skip-bad")
        assert result.exit_code == 0, result.output + result.stderr
        written = {path.parent.name for path in (tmp_path / "out").glob("*/initial_density.json")}
        assert "good" in written
        assert not {"result", "other", "charged", "broken"} & written
        assert chgcar.read_text() == "unknown system\n"
    chgcar.write_text("")  # as VASP leaves it with LCHARG = F
    assert mlcharge(*words, "--skip-bad").exit_code == 0
    assert chgcar.stat().st_size


def test_many_structures_share_one_model(model, tiny, tmp_path):
    structures = [SALT.copy().apply_strain(strain) for strain in (0.0, 0.01, 0.02)]
    structures.insert(1, Structure(Lattice.cubic(30.0), ["Mg"], [[0, 0, 0]]))
    path = tmp_path / "all.json"
    path.write_text(json.dumps([structure.as_dict() for structure in structures]))
    tiny.LOADS.clear()
    words = ("predict", path, "--encut", 350, "--model", model, "--out", tmp_path / "out")
    lines = refused(*words)
    assert len(lines) == 1
    assert lines[0].startswith(f"{path}: all-2: outside what the model tiny was trained on: ion 1")
    assert tiny.LOADS == ["tiny"]
    assert len(list((tmp_path / "out").glob("*/CHGCAR"))) == 3
    result = mlcharge(*words, "--skip-bad")
    assert result.exit_code == 0
    assert "left out: " in result.output


def test_the_result_of_a_run_is_not_overwritten(model, salt, tmp_path):
    chgcar = tmp_path / "out" / "MgO" / "CHGCAR"
    chgcar.parent.mkdir(parents=True)
    chgcar.write_text("unknown system\n")
    words = ("predict", salt, "--encut", 350, "--model", model, "--out", tmp_path / "out")
    assert f"{chgcar}: is of a run and is not replaced" in refused(*words)[0]
    assert chgcar.read_text() == "unknown system\n"


@pytest.mark.parametrize(
    ("incar", "words", "reason"),
    [
        (None, (), "give --encut (and --prec), or its --incar"),
        (
            None,
            ("--encut", 350, "--prec", "Lo"),
            "PREC = Lo takes its fine grid from the data sets",
        ),
        (None, ("--encut", 350, "--occupancies", "converged"), "converged ones need a run"),
        (None, ("--encut", 350, "--potcar", "none"), "none: there is no such file"),
        (None, ("--incar", "none"), "none: there is no such file"),
        (None, ("--encut", 350, "--potcar", "/"), "/: is a folder; name the file in it"),
        (None, ("--incar", "/"), "/: is a folder; name the file in it"),
        (None, ("--incar", "x" * 5000), "name too long"),
        (None, ("--encut", 350, "--occupancies", "nope"), "--occupancies: 'nope' in "),
        (None, ("--encut", 350, "--occupancies", "x" * 5000), "--occupancies: 'xxx"),
        (None, ("--encut", 350, "--model", "x" * 5000), "cannot be read (File name too long)"),
        (None, ("--encut", 350, "--model", ""), "--model: is empty"),
        (None, ("--encut", 350, "--prec", ""), "PREC = is unknown"),
        (None, ("--encut", "inf"), "ENCUT = inf is larger than"),
        (None, ("--encut", 9e5), "points are too large, lower ENCUT"),
        (None, ("--encut", 350, "--out", "/dev/null"), "/dev/null"),
        ("PREC = Normal\n", (), "ENCUT is missing"),
        ("ENCUT = 350\n", ("--encut", 300), "give either --incar, or --encut and --prec"),
        ("ENCUT = 350\nNELECT = 7\n", (), "the cell is charged (NELECT = 7"),
        ("ENCUT = 350\nICHARG = 11\nISPIN = 2\n", (), "would keep the moments of MAGMOM"),
        ("ENCUT = 350\nNGXF = 8\nNGYF = 8\nNGZF = 8\n", (), "the grid 8 x 8 x 8 is too coarse"),
    ],
)
def test_what_is_refused(model, salt, tmp_path, incar, words, reason):
    if incar:
        (tmp_path / "INCAR").write_text(incar)
        words = ("--incar", tmp_path / "INCAR", *words)
    lines = refused("predict", salt, "--model", model, "--out", tmp_path / "out", *words)
    assert len(lines) == 1
    assert reason in lines[0]
    assert not list((tmp_path / "out").glob("*/CHGCAR"))


@pytest.mark.parametrize("tag", ["LSORBIT = T", "LNONCOLLINEAR = .TRUE."])
def test_a_run_that_has_more_than_a_density_is_told_so(model, salt, tmp_path, tag):
    (tmp_path / "INCAR").write_text(f"ENCUT = 350\n{tag}\n")
    out = ("--model", model, "--out", tmp_path / "out")
    result = mlcharge("predict", salt, "--incar", tmp_path / "INCAR", *out)
    assert result.exit_code == 0
    assert "note: noncollinear: the initial density has no direction" in result.output


def test_a_charged_structure(model, tmp_path):
    path = tmp_path / "charged.json"
    path.write_text(json.dumps(SALT.copy().set_charge(1).as_dict()))
    lines = refused("predict", path, "--encut", 350, "--model", model, "--out", tmp_path / "out")
    assert "charged: the cell is charged" in lines[0]
