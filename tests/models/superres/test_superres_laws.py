"""Laws of the image network: charge conservation, translations, supercells, symmetries."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from image_models import ATOMS, VARIANTS, card_of, network_of

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.density import superpose
from mlcharge_flows.models.superres import SuperResModel, asymmetry
from mlcharge_flows.models.superres.image import AXIS_PERMUTATIONS, Image, input_shape
from mlcharge_flows.models.superres.network import PixelShuffle

VARIANT = pytest.mark.parametrize("variant", VARIANTS)


def model_of(variant, symmetrize=None):
    network = network_of(**VARIANTS[variant])
    return SuperResModel(card_of(network), network, ATOMS, symmetrize)


@VARIANT
def test_the_number_of_electrons_is_exact(variant, oblique):
    model = model_of(variant)
    model.network.float()
    for shape in ((24, 28, 36), (17, 21, 25), (10, 12, 14)):
        predicted = model.predict(oblique, shape)
        assert predicted.n_electrons == pytest.approx(19.0, abs=1e-10)
        superposition = superpose(oblique, ATOMS, shape).total
        change = np.abs(predicted.total - superposition).sum()
        assert change > 1e-3 * np.abs(superposition).sum()


@VARIANT
def test_the_network_conserves_electrons_on_its_own_grid(variant, oblique):
    network = network_of(**VARIANTS[variant])
    image = Image.of(oblique, ATOMS, network.config).to(dtype=torch.float64)
    with torch.inference_mode():
        density = network(image)
    assert density.shape == image.superposition.shape
    assert density.mean().item() == pytest.approx(image.superposition.mean().item(), rel=1e-12)
    if network.config.target == "density":
        assert density.min() >= 0


@VARIANT
def test_the_density_is_translated_with_the_crystal_by_steps_of_the_grid(variant, oblique):
    model = model_of(variant)
    shape = tuple(4 * n for n in input_shape(oblique, model.network.config))
    steps = np.array([1, -2, 3])
    moved = replace(oblique, positions=oblique.positions + 4 * steps / shape)
    expected = np.roll(model.predict(oblique, shape).total, 4 * steps, axis=(0, 1, 2))
    # The image is in single precision, whatever the network.
    np.testing.assert_allclose(model.predict(moved, shape).total, expected, atol=2e-6)


@VARIANT
def test_a_supercell_has_the_density_of_its_cell(variant, oblique):
    model = model_of(variant)
    n = np.array(input_shape(oblique, model.network.config))
    # Lattice vectors of whole steps: the supercell gets the same points.
    lengths = np.linalg.norm(oblique.lattice, axis=1)
    step = model.network.config.input_spacing
    cell = replace(oblique, lattice=oblique.lattice * (n * step / lengths)[:, None])
    copies = np.concatenate([cell.positions + np.array([0, 0, k]) for k in range(3)])
    supercell = Crystal(cell.lattice * [[1], [1], [3]], cell.symbols * 3, copies / [1, 1, 3])
    shape = 3 * n
    expected = np.tile(model.predict(cell, tuple(shape)).total, (1, 1, 3))
    found = model.predict(supercell, (shape[0], shape[1], 3 * shape[2])).total
    np.testing.assert_allclose(found, expected, atol=2e-5)


def test_components_beyond_the_grid_are_those_of_the_superposition(oblique):
    model = model_of("difference")
    shape = (30, 36, 48)
    correction = model.predict(oblique, shape).total - superpose(oblique, ATOMS, shape).total
    amplitudes = np.abs(np.fft.fftn(correction))
    grid = input_shape(oblique, model.network.config)
    frequencies = [np.abs(np.fft.fftfreq(n) * n) for n in shape]
    inside = np.ix_(*(f <= n / 2 for f, n in zip(frequencies, grid, strict=True)))
    outside = amplitudes.copy()
    outside[inside] = 0
    assert outside.max() < 1e-10 * amplitudes.max()


@VARIANT
def test_the_correction_does_not_depend_on_the_fine_grid(variant, oblique):
    """Runs of different ENCUT have different grids."""
    model = model_of(variant)
    corrections = []
    for shape in ((24, 28, 36), (48, 56, 72)):
        correction = model.predict(oblique, shape).total - superpose(oblique, ATOMS, shape).total
        corrections.append(correction)
    np.testing.assert_allclose(corrections[1][::2, ::2, ::2], corrections[0], atol=1e-9)


def test_permuted_images_are_images_of_permuted_crystals(oblique):
    config = network_of().config
    image = Image.of(oblique, ATOMS, config)
    for permutation in AXIS_PERMUTATIONS[1::5]:
        expected = Image.of(permutation.of_crystal(oblique), ATOMS, config)
        found = image.permuted(permutation)
        torch.testing.assert_close(found.density, expected.density, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(found.metric, expected.metric)
    assert image.permuted(AXIS_PERMUTATIONS[0]).density.equal(image.density)


def test_the_asymmetry_is_measured_and_removed_by_symmetrization(rutile):
    shape = (24, 24, 16)
    found = asymmetry(model_of("difference"), rutile, shape)
    assert found.operations == 15
    assert found.crystal > 1e-3
    assert found.axes > 1e-3
    averaged = asymmetry(model_of("difference", symmetrize=True), rutile, shape)
    assert averaged.operations == 15
    # The rest is the superposition's, of G vectors at the corners of the grid.
    assert averaged.crystal < 1e-6
    assert averaged.axes < found.axes
    assert model_of("difference", symmetrize=True).predict(rutile, shape).n_electrons == (
        pytest.approx(38.0, abs=1e-10)
    )


def test_the_superposition_has_no_asymmetry(rutile):
    class Atoms:
        card = card_of(network_of())

        def predict(self, crystal, shape):
            return superpose(crystal, ATOMS, shape)

    found = asymmetry(Atoms(), rutile, (24, 24, 16))
    assert (found.crystal, found.axes) == (
        pytest.approx(0, abs=1e-9),
        pytest.approx(0, abs=1e-9),
    )


def test_pixel_shuffling_fills_octants():
    values = torch.arange(2 * 16 * 3 * 2 * 1).reshape(2, 16, 3, 2, 1)
    found = PixelShuffle()(values)
    assert found.shape == (2, 2, 6, 4, 2)
    for c, x, y, z in np.ndindex(2, 6, 4, 2):
        feature = 8 * c + 4 * (x % 2) + 2 * (y % 2) + z % 2
        assert found[1, c, x, y, z] == values[1, feature, x // 2, y // 2, z // 2]
