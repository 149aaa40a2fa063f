"""Comparison with inputs and outputs of the authors' own code, for random weights."""

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


def last_digit_changed(coordinates):
    """The coordinates, each moved to a neighboring number of single precision."""
    rounded = coordinates.astype(np.float32)
    direction = np.random.default_rng(0).choice([-np.inf, np.inf], rounded.shape)
    return np.nextafter(rounded, direction.astype(np.float32)).astype(float)


@pytest.mark.skipif(not REFERENCE.is_dir(), reason=f"the reference is not there: {REFERENCE}")
@pytest.mark.parametrize("network", ["published_size", "small"])
@pytest.mark.parametrize("crystal", ["NaCl", "SrTiO3_triclinic"])
def test_predictions_are_those_of_the_authors_code(network, crystal):
    """In double precision, which leaves the rounding of the stored, single-precision output.

    The authors' code rounds coordinates, then subtracts them. Its output therefore differs from the
    exact one about as much as the density changes when every coordinate moves by one unit in the
    last place of single precision (1e-5 standard deviations here). Rounding of the features, with
    sums in an order that depends on the processor, adds as much again; with a margin, three times.
    """
    config = json.loads((REFERENCE / f"{network}_config.json").read_text())
    model = load_published(REFERENCE / f"{network}_checkpoint.pt", **config)
    model.network.double()
    stored = np.load(REFERENCE / f"{network}_{crystal}.npz")

    def density(positions, probes):
        structure = Structure(
            Lattice(stored["cell"]),
            stored["numbers"].tolist(),
            positions,
            coords_are_cartesian=True,
        )
        return model.density_at(structure, probes)

    positions, probes = stored["positions"], stored["probe_positions"]
    found, expected = density(positions, probes), stored["prediction"]
    assert found.shape == expected.shape
    moved = density(last_digit_changed(positions), last_digit_changed(probes))
    rounding = np.max(np.abs(moved - found))
    assert rounding < 3e-5 * expected.std()
    assert np.max(np.abs(found - expected)) < 3 * rounding


@pytest.mark.parametrize("lmax", [0, 2, 4])
def test_the_number_of_parameters_is_that_of_the_authors_code(lmax):
    network = ChargE3Net(ChargE3NetConfig(lmax=lmax))
    assert size(network) == PARAMETERS[lmax]
    if lmax == 4:
        assert (size(network.atom_model), size(network.probe_model)) == (823_538, 1_085_851)
