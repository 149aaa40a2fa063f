"""Molecules in boxes as a data set: the script that makes them, and runs at the Gamma point."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import typer
from typer.testing import CliRunner

pytest.importorskip("h5py", reason="needs the train extra")
pytest.importorskip("ase", reason="needs the gpaw extra")

from mlcharge_flows.cli import compare, dataset_build
from mlcharge_flows.cli.app import app
from mlcharge_flows.structures import read_structures

SCRIPT = Path(__file__).parents[2] / "workflows" / "train_scdp" / "molecules.py"


def make(folder, *words):
    out = folder / "molecules.json"
    subprocess.run(
        [sys.executable, SCRIPT, *words, "--out", out], check=True, capture_output=True, timeout=120
    )
    materials, problems = read_structures([out])
    assert not problems
    return materials


def test_molecules_stand_in_vacuum(tmp_path):
    water, methane = make(tmp_path, "H2O", "CH4", "--vacuum", "5")
    assert (water.id, methane.id) == ("H2O", "CH4")
    for molecule in (water, methane):
        lattice = molecule.structure.lattice
        assert lattice.is_orthogonal
        extent = np.ptp(molecule.structure.cart_coords, axis=0)
        assert np.all(np.array(lattice.abc) - extent >= 5.0)
        assert np.all(np.array(lattice.abc) - extent < 5.25)


def test_without_names_there_are_enough_for_two_splits(tmp_path):
    everything = make(tmp_path)
    splits = [molecule.split for molecule in everything]
    assert splits.count("train") >= 60
    assert splits.count("test") >= 10
    tested = make(tmp_path, "--split", "test")
    assert [m.id for m in tested] == [m.id for m in everything if m.split == "test"]
    radical = subprocess.run([sys.executable, SCRIPT, "CH3"], capture_output=True, check=False)
    assert radical.returncode == 2
    assert b"unpaired electrons" in radical.stderr


@pytest.mark.gpaw
def test_gamma_is_another_protocol(tmp_path, monkeypatch):
    pytest.importorskip("gpaw", reason="needs the gpaw extra")
    (hydrogen,) = make(tmp_path, "H2")
    makers = []

    def run_materials(console, prepared, out, **_):
        makers.append(prepared.maker)
        raise typer.Exit

    monkeypatch.setattr(dataset_build, "run_materials", run_materials)
    monkeypatch.setattr(compare, "run_materials", run_materials)
    molecules = str(tmp_path / "molecules.json")
    for command in (["dataset", "build", molecules, "--test"], ["compare", molecules]):
        for words in ([], ["--gamma"]):
            result = CliRunner().invoke(app, [*command, *words])
            assert result.exit_code == 0, result.output
    dense, gamma, compared_dense, compared_gamma = makers
    assert dense.protocol != gamma.protocol
    assert [dense.protocol, gamma.protocol] == [compared_dense.protocol, compared_gamma.protocol]
    inputs = [
        maker.static_maker.input_set_generator.get_input_set(hydrogen.structure, potcar_spec=True)
        for maker in (dense, gamma)
    ]
    assert inputs[0]["KPOINTS"].kpts[0] != (1, 1, 1)
    assert inputs[1]["KPOINTS"].kpts[0] == (1, 1, 1)
    assert inputs[1]["INCAR"] == inputs[0]["INCAR"]
