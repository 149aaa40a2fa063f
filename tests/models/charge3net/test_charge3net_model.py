from dataclasses import replace
from datetime import date

import numpy as np
import pytest
import torch

from mlcharge_flows.density.paw_dataset import PawDataset
from mlcharge_flows.models.card import Card, DataCard
from mlcharge_flows.models.charge3net import load
from mlcharge_flows.models.charge3net.config import DIFFERENCE
from mlcharge_flows.models.charge3net.model import density_of
from mlcharge_flows.models.checkpoint import Checkpoint, CheckpointError
from mlcharge_flows.models.model import ModelError
from mlcharge_flows.models.range import TrainingRange

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
        range=TrainingRange.of([oblique]),
        licence="MIT",
        created=date(2026, 1, 1),
        version="0.1.0",
    )
    return Checkpoint(card, {}, learned)


def positive(checkpoint, crystal):
    """The model with the sign of its output such that it holds electrons."""
    model = load(checkpoint)
    if model.points.field(crystal).on_grid(SHAPE).mean() < 0:
        with torch.no_grad():
            model.points.network.probe_model.readout.weight *= -1
    return model


def test_a_prediction_holds_the_electrons_of_its_atoms(checkpoint, oblique):
    density = positive(checkpoint, oblique).predict(oblique, SHAPE)
    assert density.n_electrons == pytest.approx(12, abs=1e-9)
    assert density.shape == SHAPE
    assert density.occupancies is None
    assert density.total.dtype == np.float64


def test_the_same_is_predicted_again(checkpoint, oblique):
    model = positive(checkpoint, oblique)
    first, second = (model.predict(oblique, SHAPE).total for _ in range(2))
    assert first.tobytes() == second.tobytes()


def test_what_is_no_density_is_refused(checkpoint, oblique):
    model = positive(checkpoint, oblique)
    with torch.no_grad():
        model.points.network.probe_model.readout.weight *= -1
    with pytest.raises(ModelError, match="not trained for this crystal"):
        model.predict(oblique, SHAPE)


def test_electrons_of_a_difference_come_from_the_superposition():
    """In proportion to it: none come into vacuum, and a difference without any is kept."""
    rng = np.random.default_rng(0)
    start, output = rng.uniform(size=(2, *SHAPE))
    start[0] = 0  # vacuum
    output[0] = 0
    density = density_of(output, start)
    assert density.sum() == pytest.approx(start.sum())
    assert not density[0].any()
    np.testing.assert_allclose(
        density_of(output - output.mean(), start) - start, DIFFERENCE * (output - output.mean())
    )


def test_a_difference_needs_the_free_atoms(checkpoint):
    config = {**checkpoint.card.config, "target": "difference"}
    card = checkpoint.card.model_copy(update={"config": config})
    with pytest.raises(CheckpointError, match="lacks free atoms to correct"):
        load(replace(checkpoint, card=card))


def test_weights_that_do_not_fit_the_card_are_refused(checkpoint):
    weights = dict(checkpoint.weights)
    del weights["probe_model.readout.weight"]
    with pytest.raises(CheckpointError, match=r"probes: .*readout\.weight is missing"):
        load(Checkpoint(checkpoint.card, {}, weights))
    other = checkpoint.card.model_copy(update={"config": {"lmax": 3, "color": "red"}})
    with pytest.raises(CheckpointError, match="color"):
        load(Checkpoint(other, {}, checkpoint.weights))
