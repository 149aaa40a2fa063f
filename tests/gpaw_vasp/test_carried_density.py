"""A carried density is moved once: by its source, or by VASP for a file with the old positions."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Structure

pytest.importorskip("gpaw", reason="needs the gpaw extra")

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.density import superpose
from mlcharge_flows.gpaw_vasp.initial_density import initial_density
from mlcharge_flows.gpaw_vasp.inputs import read_inputs
from mlcharge_flows.sources import RunInputs, Superposition
from mlcharge_flows.sources.carried import carry
from mlcharge_flows.vasp.chgcar import read_chgcar
from mlcharge_flows.vasp.chgcar_writer import write_chgcar
from mlcharge_flows.vasp.incar import read_incar

pytestmark = pytest.mark.gpaw

SALT = Path(__file__).parents[2] / "test_files" / "crystals" / "MgO.vasp"


@pytest.fixture
def displaced_run(run_folder):
    """Run folder of displaced MgO, and a density of the undisplaced crystal on its grid."""
    structure = Structure.from_file(SALT)
    moved = structure.copy()
    moved.translate_sites([0], [0.0, 0.03, 0.01])
    folder = run_folder("MgO", structure=moved, ICHARG=1)
    inputs = read_inputs(folder)
    datasets = {dataset.symbol: dataset for dataset in inputs.datasets}
    crystal = Crystal.from_structure(structure)
    atomic = superpose(crystal, datasets, inputs.grids.fine)
    wave = np.cos(2 * np.pi * np.arange(atomic.shape[0]) / atomic.shape[0])
    reference = replace(
        atomic,
        total=atomic.total + 0.02 * wave[:, None, None],
        augmentation=tuple(1.1 * values for values in atomic.augmentation),
    )
    return folder, moved, reference


def test_a_header_with_the_new_positions_is_not_moved_again(displaced_run):
    folder, structure, reference = displaced_run
    run = RunInputs.from_files(structure, read_incar(folder / "INCAR"), folder / "POTCAR")
    carried = carry(reference, run, Superposition()).density
    write_chgcar(folder / "CHGCAR", carried)
    begun, messages = initial_density(folder, read_inputs(folder))
    written = read_chgcar(folder / "CHGCAR")
    assert not [line for line in messages if "gpaw-vasp" in line]
    np.testing.assert_allclose(begun.total, written.total, rtol=1e-6, atol=1e-9)

    # The old positions in the header: the executable moves the density itself, to the same end.
    write_chgcar(folder / "CHGCAR", reference)
    extrapolated, _ = initial_density(folder, read_inputs(folder))
    assert np.abs(reference.total - carried.total).max() > 0.05
    np.testing.assert_allclose(extrapolated.total, carried.total, atol=1e-5)
    for one, other in zip(extrapolated.augmentation, carried.augmentation, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
