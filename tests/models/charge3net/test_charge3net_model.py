from dataclasses import replace
from datetime import date

import numpy as np
import pytest
import torch

from mlcharge_flows.density.paw_dataset import PawDataset
from mlcharge_flows.models.card import Card, DataCard
from mlcharge_flows.models.charge3net import load
from mlcharge_flows.models.charge3net.config import DIFFERENCE_SCALE
from mlcharge_flows.models.charge3net.model import density_from_output
from mlcharge_flows.models.checkpoint import Checkpoint, CheckpointError
from mlcharge_flows.models.domain import GeometryBounds
from mlcharge_flows.models.model import ModelError

SHAPE = (5, 6, 7)


@pytest.fixture
def checkpoint(learned, tiny, oblique):
    card = Card(
        name="probes",
        architecture="charge3net",
        config=tiny.model_dump(),
        data=DataCard(name="none", train=0, validation=0),
        paw_family="none",
        paw={
            symbol: PawDataset(symbol, symbol, zval, (0,))
            for symbol, zval in {"Mg": 2, "O": 6, "Ti": 4}.items()
        },
        occupancies="none",
        geometry=GeometryBounds.of([oblique]),
        license="MIT",
        created=date(2026, 1, 1),
        version="0.1.0",
    )
    return Checkpoint(card, learned)


def positive(checkpoint, crystal):
    """The model, with the sign of the readout such that the density is positive on average."""
    model = load(checkpoint)
    if model.points.field(crystal).on_grid(SHAPE).mean() < 0:
        with torch.no_grad():
            model.points.network.probe_model.readout.weight *= -1
    return model


def test_a_prediction_integrates_to_the_valence_electrons(checkpoint, oblique):
    density = positive(checkpoint, oblique).predict(oblique, SHAPE)
    assert density.n_electrons == pytest.approx(12, abs=1e-9)
    assert density.shape == SHAPE
    assert density.augmentation is None
    assert density.total.dtype == np.float64


def test_predictions_are_reproducible_bit_for_bit(checkpoint, oblique):
    model = positive(checkpoint, oblique)
    first, second = (model.predict(oblique, SHAPE).total for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_a_negative_density_is_refused(checkpoint, oblique):
    model = positive(checkpoint, oblique)
    with torch.no_grad():
        model.points.network.probe_model.readout.weight *= -1
    with pytest.raises(ModelError, match="not trained for this crystal"):
        model.predict(oblique, SHAPE)


def test_a_difference_is_made_neutral_in_proportion_to_the_superposition():
    """No electrons appear in vacuum, and a neutral difference is unchanged."""
    rng = np.random.default_rng(0)
    superposition, output = rng.uniform(size=(2, *SHAPE))
    superposition[0] = 0  # vacuum
    output[0] = 0
    density = density_from_output(output, superposition)
    assert density.sum() == pytest.approx(superposition.sum())
    assert not density[0].any()
    np.testing.assert_allclose(
        density_from_output(output - output.mean(), superposition) - superposition,
        DIFFERENCE_SCALE * (output - output.mean()),
    )


def test_a_difference_needs_the_free_atoms(checkpoint):
    config = {**checkpoint.card.config, "target": "difference"}
    card = checkpoint.card.model_copy(update={"config": config})
    with pytest.raises(CheckpointError, match="lacks free atoms"):
        load(replace(checkpoint, card=card))


def test_weights_that_do_not_fit_the_card_are_refused(checkpoint):
    weights = dict(checkpoint.weights)
    del weights["probe_model.readout.weight"]
    with pytest.raises(CheckpointError, match=r"probes: .*readout\.weight is missing"):
        load(Checkpoint(checkpoint.card, weights))
    other = checkpoint.card.model_copy(update={"config": {"lmax": 3, "color": "red"}})
    with pytest.raises(CheckpointError, match="color"):
        load(Checkpoint(other, checkpoint.weights))
