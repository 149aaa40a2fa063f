"""What a model predicts, as samples that train and never judge."""

from pathlib import Path

import numpy as np
import pytest

from mlcharge_flows.atomate2.jobs.pack import pseudo_label
from mlcharge_flows.atomate2.sets.comparison import ComparisonSetGenerator
from mlcharge_flows.density.density import nmae
from mlcharge_flows.models.registry import Registry
from mlcharge_flows.sources import SourceError
from mlcharge_flows.structures import Material


def test_a_sample_holds_the_prediction_on_the_grid_of_the_run(inputs, salt, trained):
    path = trained()
    material = Material("mp-1", salt, Path("earlier.json"), "train")
    sample = pseudo_label(material, ComparisonSetGenerator(), "p", path)
    own = Registry(Path()).load(path).model.predict(inputs.crystal, inputs.grid)
    assert (sample.id, sample.origin.protocol, sample.origin.split) == (
        "mp-1",
        "p",
        "pseudo-labeled",
    )
    assert sample.shape == inputs.grid
    assert sample.n_total == 0, "there was no run"
    assert sample.density().n_electrons == pytest.approx(8.0, abs=1e-9)
    assert nmae(sample.density().total, own.total) < 2e-3 * sample.baseline_nmae
    for packed, predicted in zip(sample.density().augmentation, own.augmentation, strict=True):
        np.testing.assert_allclose(packed, predicted, atol=1e-3)


def test_refused_materials_are_not_pseudo_labeled(salt, trained):
    crystal = salt.copy()
    crystal.scale_lattice(5 * crystal.volume)
    with pytest.raises(SourceError, match="outside what the model"):
        pseudo_label(Material("mp-2", crystal, Path()), ComparisonSetGenerator(), "p", trained())
