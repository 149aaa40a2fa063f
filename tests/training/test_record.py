from dataclasses import replace

import numpy as np
import pytest
from synthetic_records import PAW, converged, packed

from mlcharge_flows.density.metrics import error_removed, nmae
from mlcharge_flows.density.paw_dataset import PawDataset
from mlcharge_flows.training.record import SHARE, SHARE_WITHOUT_ATOMS, Origin, Record


@pytest.fixture
def density():
    return converged()


def test_packing_keeps_all_but_a_thousandth_of_the_difference(density):
    record = Record.pack(density, PAW, Origin("mp-1", "p"))
    grid, occupancies = error_removed(record.density(), record.start(), density)
    assert 1 - grid <= SHARE
    assert 1 - occupancies <= SHARE


def test_electrons_are_exact(density):
    record = Record.pack(density, PAW, Origin("mp-1", "p"))
    assert record.density().n_electrons == pytest.approx(14.0, abs=1e-12)
    assert record.difference().n_electrons == pytest.approx(0.0, abs=1e-12)


def test_a_charged_cell_keeps_its_charge(density):
    charged = density.scaled_to(13.0)
    record = Record.pack(charged, PAW, Origin("mp-1", "p"), n_electrons=13.0)
    assert record.density().n_electrons == pytest.approx(13.0, abs=1e-12)


def test_density_is_start_plus_difference(density):
    record = Record.pack(density, PAW, Origin("mp-1", "p"))
    total = record.start().total + record.difference().total
    np.testing.assert_allclose(record.density().total, total, atol=1e-14)
    assert record.start_error == pytest.approx(nmae(record.start().total, density.total))


def test_without_atoms_the_density_is_packed_whole(density):
    paw = {s: PawDataset(s, data.titel, None, data.channels) for s, data in PAW.items()}
    record = Record.pack(density, paw, Origin("mp-1", "p"))
    assert record.start() is None
    assert np.isnan(record.start_error)
    assert nmae(record.density().total, density.total) <= 100 * SHARE_WITHOUT_ATOMS
    assert record.density().n_electrons == pytest.approx(density.n_electrons, abs=1e-9)


def test_occupancies_must_fit_the_channels(density):
    wrong = replace(density, augmentation=density.augmentation[::-1])
    with pytest.raises(ValueError, match="Na has 40 occupancies"):
        Record.pack(wrong, PAW, Origin("mp-1", "p"))
    with pytest.raises(ValueError, match="no occupancies"):
        Record.pack(replace(density, augmentation=None), PAW, Origin("mp-1", "p"))


def test_the_fingerprint_tells_densities_apart():
    assert packed().fingerprint == packed().fingerprint
    assert packed(seed=1).fingerprint != packed().fingerprint
    assert converged(seed=1).fingerprint != converged().fingerprint
