from dataclasses import replace

import numpy as np
import pytest
import torch
from image_models import ATOMS, card_of, network_of
from pydantic import ValidationError

from mlcharge_flows.models.checkpoint import (
    CheckpointError,
    read_checkpoint,
    write_checkpoint,
)
from mlcharge_flows.models.model import DensityModel, ModelError
from mlcharge_flows.models.registry import Registry
from mlcharge_flows.models.superres import (
    PRESETS,
    SuperResConfig,
    SuperResModel,
    SuperResNetwork,
    load,
)


def test_a_checkpoint_predicts_the_same_as_its_network(checkpoint, oblique, tmp_path):
    path = tmp_path / "image.safetensors"
    write_checkpoint(path, checkpoint)
    loaded = Registry(tmp_path).load("image")
    assert isinstance(loaded.model, DensityModel)
    found = loaded.model.predict(oblique, (16, 20, 24))
    assert found.augmentation is None
    assert found.comment == "image"
    expected = load(read_checkpoint(path)).predict(oblique, (16, 20, 24))
    assert np.array_equal(found.total, expected.total)


def test_broken_checkpoints_are_refused_in_one_line(checkpoint):
    other = network_of(channels=5).float()
    paw = {symbol: replace(data, form_factor=None) for symbol, data in checkpoint.card.paw.items()}
    without = checkpoint.card.model_copy(update={"paw": paw})
    for broken, says in (
        (replace(checkpoint, weights=other.state_dict()), "do not fit its card"),
        (replace(checkpoint, card=without), "lacks the free atoms of Cl, Na"),
        (
            replace(checkpoint, card=card_of(other, config={"kernel": 4})),
            "kernel: Value error, a kernel needs a point in its middle",
        ),
    ):
        with pytest.raises(CheckpointError, match=says) as refused:
            load(broken)
        assert "\n" not in str(refused.value)


def test_a_prediction_that_is_not_finite_is_refused(checkpoint, oblique):
    model = load(checkpoint)
    model.network.last.bias.fill_(torch.nan)
    with pytest.raises(ModelError, match="image: predicts no density"):
        model.predict(oblique, (16, 20, 24))


def test_the_paper_preset_has_the_size_of_the_published_network():
    paper = PRESETS["paper"]
    assert (paper.target, paper.upscale, paper.channels, paper.blocks) == ("density", 2, 32, 32)
    assert (paper.kernel, paper.kernel_ends) == (5, 5)
    network = SuperResNetwork(paper)
    # Per convolution n_in n_out 5^3 weights and n_out biases; one PReLU per block, and two more.
    inner, first, last = 32 * 32 * 125 + 32, 32 * 125 + 32, 32 * 125 + 1
    expected = first + 65 * inner + 8 * inner + last + 34
    assert sum(weights.numel() for weights in network.parameters()) == expected


@pytest.mark.parametrize("option", [{"kernel": 2}, {"upscale": 3}, {"width": 1}, {"spacing": 0}])
def test_impossible_options_are_refused(option):
    with pytest.raises(ValidationError):
        SuperResConfig(**option)


def test_a_kernel_may_be_wider_than_the_cell(oblique):
    network = network_of(spacing=1.0, kernel=9).float()
    small = replace(oblique, lattice=np.eye(3) * 2.0)
    model = SuperResModel(card_of(network), network, ATOMS)
    assert model.predict(small, (8, 8, 8)).n_electrons == pytest.approx(19.0, abs=1e-10)


def test_options_of_earlier_checkpoints_are_read():
    assert SuperResConfig.model_validate({"symmetrise": True}).symmetrize
    assert "symmetrize" in SuperResConfig(symmetrize=True).model_dump()
