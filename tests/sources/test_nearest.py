"""Of the finished runs that there are, the nearest is taken, and the document tells why."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Structure

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.density import superpose
from mlcharge_flows.scf.run import ScfRun
from mlcharge_flows.sources import Carried, InitialDensity, Nearest, RunInputs
from mlcharge_flows.testing.crystals import random_crystal
from mlcharge_flows.vasp.chgcar_writer import write_chgcar

SHAPE = (16, 16, 16)


@pytest.fixture
def crystal():
    return random_crystal(np.random.default_rng(5), ("Mg", "O", "O"))


@pytest.fixture
def finished(atoms, tmp_path, monkeypatch):
    """Leave the folder of a finished run of a crystal; gives its path."""

    def outcome(folder):
        failed = (folder / "failed").exists()
        return ScfRun(folder=str(folder), converged=not failed, failure="killed" * failed or None)

    monkeypatch.setattr("mlcharge_flows.sources.from_file.count_run", outcome)

    def finished(crystal, name, failed=False):
        folder = tmp_path / "archive" / name
        folder.mkdir(parents=True)
        write_chgcar(folder / "CHGCAR", superpose(crystal, atoms, SHAPE))
        if failed:
            (folder / "failed").touch()
        return str(folder)

    return finished


@pytest.fixture
def document_of(crystal, atoms, tmp_path):
    """Document of the initial density of a run of the crystal."""

    def document_of(source, previous=None):
        structure = Structure(crystal.lattice, crystal.symbols, crystal.positions)
        grid = dict(zip(("NGXF", "NGYF", "NGZF"), SHAPE, strict=True))
        inputs = RunInputs(
            structure, {"ENCUT": 300, **grid}, reference_run=previous, supplied_datasets=atoms
        )
        return InitialDensity(source).write(inputs, tmp_path)

    return document_of


def moved(crystal, size):
    positions = crystal.positions.copy()
    positions[1] += np.array([size, 0.0, 0.0]) @ np.linalg.inv(crystal.lattice)
    return replace(crystal, positions=positions)


def test_the_nearest_of_an_archive(crystal, finished, document_of, tmp_path):
    finished(moved(crystal, 0.2), "deep/within/far")
    near = finished(moved(crystal, 0.05), "deep/near")
    finished(Crystal(crystal.lattice, ("Mg", "O", "Mg"), crystal.positions), "other")
    finished(replace(crystal, lattice=crystal.lattice * 1.06), "strained")
    finished(crystal, ".removed-1/left by a killed campaign")
    document = document_of(Nearest((str(tmp_path / "archive"),), model=None))
    assert (document.density_source, document.augmentation_source) == ("carried", "carried")
    assert document.reference_run == near
    assert document.warnings[0] == f"from {near}, the nearest of 3 finished runs"
    assert document.warnings[1].startswith("ions moved by up to 0.050 angstrom")


def test_the_previous_run_wins_only_if_nothing_is_nearer(crystal, finished, document_of, tmp_path):
    equal = finished(moved(crystal, 0.1), "a")
    previous = finished(moved(crystal, 0.1), "previous")
    source = Nearest((equal,), model=None)
    document = document_of(source, tmp_path / "archive" / "previous")
    assert document.reference_run == previous
    assert document.warnings[0] == "from the previous run, the nearest of 2 finished runs"
    nearer = finished(moved(crystal, 0.02), "nearer")
    source = Nearest((equal, f"host:{nearer}"), model=None)
    assert document_of(source, tmp_path / "archive" / "previous").reference_run == nearer


def test_the_own_run_of_a_displacement_is_nearer_than_the_undisplaced_one(
    crystal, finished, document_of, tmp_path
):
    own = finished(crystal, "displaced")
    finished(moved(crystal, 0.01), "previous")
    source = Nearest((own,), model=None)
    assert document_of(source, tmp_path / "archive" / "previous").reference_run == own


def test_a_run_that_failed_leaves_its_place_to_the_next(crystal, finished, document_of):
    failed = finished(crystal, "failed", failed=True)
    next_one = finished(moved(crystal, 0.1), "next")
    document = document_of(Nearest((failed, next_one), model=None))
    assert document.reference_run == next_one
    assert f"{failed}: killed" in document.warnings


def test_runs_that_have_not_ended_are_in_nobodys_way(crystal, finished, document_of, tmp_path):
    for name in "abcd":
        running = Path(finished(crystal, name))
        document = document_of(Nearest((), model=None))
        shutil.copy(document.path, running / "CHGCAR")
    near = finished(moved(crystal, 0.1), "near")
    document = document_of(Nearest((str(tmp_path / "archive"),), model=None))
    assert document.reference_run == near
    assert document.warnings[0].endswith("the nearest of 1 finished runs")


def test_without_a_run_that_corresponds_atoms_are_left(crystal, finished, document_of, tmp_path):
    other = finished(Crystal(crystal.lattice, ("Mg", "O", "Mg"), crystal.positions), "other")
    document = document_of(Nearest((other, str(tmp_path / "none")), model=None))
    assert (document.density_source, document.reference_run) == ("superposition", None)
    assert "another composition, Mg2O1 and not Mg1O2" in document.warnings[0]
    assert document.warnings[1] == f"{tmp_path / 'none'}: holds no CHGCAR"


def test_a_model_anchors_what_it_knows_and_else_predicts(
    crystal, finished, document_of, atoms, tiny, tmp_path
):
    path = tmp_path / "models" / "tiny.safetensors"
    tiny.write(path, atoms, [crystal, moved(crystal, 0.1)], name="tiny")
    near = finished(moved(crystal, 0.1), "near")
    source = Nearest((near,), str(path))
    assert source.model_name == "tiny"
    document = document_of(source)
    assert (document.density_source, document.model) == ("anchored", "tiny")
    assert document.reference_run == near
    learned = document_of(Nearest((), str(path)))
    assert (learned.density_source, learned.reference_run) == ("learned", None)
    lost = document_of(Nearest((near,), "no-such-model"))
    assert (lost.density_source, lost.model) == ("carried", None)
    assert any("no model 'no-such-model'" in line for line in lost.warnings)


def test_it_is_what_the_source_that_it_takes_is(crystal, finished, atoms):
    near = finished(moved(crystal, 0.1), "near")
    structure = Structure(crystal.lattice, crystal.symbols, crystal.positions)
    inputs = RunInputs(structure, {"ENCUT": 300}, supplied_datasets=atoms)
    found = Nearest((near,), model=None).evaluate(inputs)
    assert found.source == Carried(near)
    expected = Carried(near).evaluate(inputs)
    np.testing.assert_array_equal(found.density.total, expected.density.total)
