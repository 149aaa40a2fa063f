"""Against inputs and outputs of the authors' own code, for random weights."""

import json
from pathlib import Path

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from mlcharge_flows.models.charge3net import ChargE3Net, ChargE3NetConfig, load_published

REFERENCE = Path(__file__).parents[4] / "shared" / "charge3net_reference"

# Of the published size at l = 0 to 4, from the authors' code.
PARAMETERS = (3_910_680, 2_508_341, 2_011_470, 1_895_939, 1_909_389)


def size(module):
    return sum(weights.numel() for weights in module.parameters())


@pytest.mark.skipif(not REFERENCE.is_dir(), reason=f"the reference is not there: {REFERENCE}")
@pytest.mark.parametrize("network", ["published_size", "small"])
@pytest.mark.parametrize("crystal", ["NaCl", "SrTiO3_triclinic"])
def test_predictions_are_those_of_the_authors_code(network, crystal):
    config = json.loads((REFERENCE / f"{network}_config.json").read_text())
    model = load_published(REFERENCE / f"{network}_checkpoint.pt", **config)
    stored = np.load(REFERENCE / f"{network}_{crystal}.npz")
    structure = Structure(
        Lattice(stored["cell"]),
        stored["numbers"].tolist(),
        stored["positions"],
        coords_are_cartesian=True,
    )
    found = model.density_at(structure, stored["probe_positions"])
    assert found.shape == stored["prediction"].shape
    error = np.max(np.abs(found - stored["prediction"])) / stored["prediction"].std()
    assert error < 1e-5


@pytest.mark.parametrize("lmax", [0, 2, 4])
def test_parameters_are_as_many_as_the_authors(lmax):
    assert size(ChargE3Net(ChargE3NetConfig(lmax=lmax))) == PARAMETERS[lmax]


def test_parts_have_as_many_parameters_as_the_authors():
    network = ChargE3Net(ChargE3NetConfig())
    assert size(network.atom_model) == 823_538
    assert size(network.probe_model) == 1_085_851
