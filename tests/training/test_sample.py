from dataclasses import replace

import numpy as np
import pytest
from synthetic_samples import PAW, converged, packed

from mlcharge_flows.density.density import error_removed, nmae
from mlcharge_flows.density.paw_dataset import PawDataset
from mlcharge_flows.training.origin import Origin
from mlcharge_flows.training.sample import TOLERANCE, TOLERANCE_WITHOUT_ATOMS, DensitySample


@pytest.fixture
def density():
    return converged()


def test_packing_keeps_all_but_a_thousandth_of_the_difference(density):
    sample = DensitySample.pack(density, PAW, Origin("mp-1", "p"))
    grid, augmentation = error_removed(sample.density(), sample.superposition(), density)
    assert 1 - grid <= TOLERANCE
    assert 1 - augmentation <= TOLERANCE


def test_the_number_of_electrons_is_exact(density):
    sample = DensitySample.pack(density, PAW, Origin("mp-1", "p"))
    assert sample.density().n_electrons == pytest.approx(14.0, abs=1e-12)
    assert sample.difference().n_electrons == pytest.approx(0.0, abs=1e-12)


def test_a_charged_cell_keeps_its_charge(density):
    charged = density.scaled_to(13.0)
    sample = DensitySample.pack(charged, PAW, Origin("mp-1", "p"), n_electrons=13.0)
    assert sample.density().n_electrons == pytest.approx(13.0, abs=1e-12)


def test_the_density_is_superposition_plus_difference(density):
    sample = DensitySample.pack(density, PAW, Origin("mp-1", "p"))
    total = sample.superposition().total + sample.difference().total
    np.testing.assert_allclose(sample.density().total, total, atol=1e-14)
    assert sample.baseline_nmae == pytest.approx(nmae(sample.superposition().total, density.total))


def test_without_free_atoms_the_density_itself_is_packed(density):
    paw = {s: PawDataset(s, data.titel, None, data.channels) for s, data in PAW.items()}
    sample = DensitySample.pack(density, paw, Origin("mp-1", "p"))
    assert sample.superposition() is None
    assert np.isnan(sample.baseline_nmae)
    assert nmae(sample.density().total, density.total) <= 100 * TOLERANCE_WITHOUT_ATOMS
    assert sample.density().n_electrons == pytest.approx(density.n_electrons, abs=1e-9)


def test_augmentation_occupancies_must_fit_the_channels(density):
    wrong = replace(density, augmentation=density.augmentation[::-1])
    with pytest.raises(ValueError, match="Na has 40 augmentation occupancies"):
        DensitySample.pack(wrong, PAW, Origin("mp-1", "p"))
    with pytest.raises(ValueError, match="no augmentation occupancies"):
        DensitySample.pack(replace(density, augmentation=None), PAW, Origin("mp-1", "p"))


def test_the_fingerprint_distinguishes_densities():
    assert packed().fingerprint == packed().fingerprint
    assert packed(seed=1).fingerprint != packed().fingerprint
    assert converged(seed=1).fingerprint != converged().fingerprint
