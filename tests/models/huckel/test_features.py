"""Populations as the network sees them."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra")

from mlcharge_flows.density.crystal import Crystal  # noqa: E402
from mlcharge_flows.density.harmonics import real_harmonics, sphere_quadrature  # noqa: E402
from mlcharge_flows.models.huckel.features import (  # noqa: E402
    N_SCALARS,
    PAIRS,
    HuckelFeatures,
    scalars,
    tensors,
)
from mlcharge_flows.models.huckel.populations import populations  # noqa: E402

CROOKED = Crystal(
    np.array([[4.1, 0.0, 0.3], [0.5, 5.2, 0.0], [-0.4, 0.7, 6.0]]),
    ("Ti", "O", "O", "Na"),
    np.array([[0.02, 0.1, 0.0], [0.45, 0.3, 0.2], [0.1, 0.7, 0.35], [0.6, 0.5, 0.7]]),
)


def test_tensors_are_the_density_matrix_on_the_sphere():
    """Against the slow reference: sum Y_i D_ij Y_j at points of the sphere, projected on Y_LM."""
    found = populations(CROOKED)
    values = tensors(found, 4)
    points, weights = sphere_quadrature(8)
    harmonics = real_harmonics(4, points)
    for ion, shells in enumerate(found.shells):
        on_sphere = np.zeros((len(points), len(PAIRS)))
        first = np.cumsum([0, *(2 * degree + 1 for degree in shells)])
        for i, one in enumerate(shells):
            for j, other in enumerate(shells):
                block = found.matrices[ion][first[i] : first[i + 1], first[j] : first[j + 1]]
                pair = PAIRS.index((min(one, other), max(one, other)))
                on_sphere[:, pair] += np.einsum(
                    "pm,mn,pn->p", harmonics[one], block, harmonics[other]
                )
        for L in range(1, 5):
            expected = np.einsum("p,pM,pk->Mk", weights, harmonics[L], on_sphere)
            np.testing.assert_allclose(
                values[ion, L**2 : (L + 1) ** 2], expected * (4 * np.pi) ** 0.5, atol=1e-9
            )
        assert not values[ion, 0].any()


def test_scalars_conserve_electrons_and_tell_ions_apart():
    numbers = scalars(populations(CROOKED), CROOKED.volume)
    assert numbers.shape == (4, N_SCALARS)
    assert numbers[:, :3].sum() == pytest.approx(0, abs=1e-6)
    assert numbers[1:3, :3].sum() > 0.5  # oxygen gains
    assert (numbers[:, 4] > 0).all()  # every ion is bound
    same_for_all = numbers[:, 5:]
    np.testing.assert_array_equal(same_for_all, np.broadcast_to(same_for_all[0], (4, 5)))


def test_scales_come_from_the_examples():
    features = HuckelFeatures(4)
    raw = features.of(CROOKED)
    features.fit(*raw)
    known, bounded = features(*raw)
    varying = raw[0].std(0) > 1e-4
    np.testing.assert_allclose(known[:, varying].mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(known[:, varying].std(0), 1, atol=1e-3)
    assert torch.isfinite(bounded).all()
    assert bounded.abs().max() < 4.0
    huge, _ = features(raw[0] * 1e6, raw[1])
    assert huge.abs().max() <= 4.0
