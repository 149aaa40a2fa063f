"""The checkpoints of this project: each can be loaded, and knows where atoms send electrons."""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the models extra")
pytest.importorskip("safetensors", reason="needs the models extra")

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.density import superpose
from mlcharge_flows.models.catalog import fetched, read_catalog
from mlcharge_flows.models.checkpoint import read_checkpoint
from mlcharge_flows.models.registry import SHIPPED, Registry

NAMES = ("charge3net", "orbital", "superres")
SHAPE = (32, 32, 32)
CATALOG = str(Path(__file__).parents[2] / "workflows" / "compare_models" / "models")


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    registry = Registry(tmp_path_factory.mktemp("models"))
    for name in read_catalog(CATALOG):
        with fetched(name, CATALOG) as file:
            registry.add(file, replace=False)
    return registry


@pytest.fixture(scope="module")
def silicon():
    """Two atoms, the bond between them at (1/8, 1/8, 1/8), the hole between four at (1/2, ..)."""
    lattice = 5.43 / 2 * np.array([[0.0, 1, 1], [1, 0, 1], [1, 1, 0]])
    return Crystal(lattice, ("Si", "Si"), np.array([[0.0, 0, 0], [0.25, 0.25, 0.25]]))


def test_one_is_shipped_and_others_are_fetched(models):
    assert [path.name for path in SHIPPED.iterdir()] == ["orbital.safetensors"]
    assert (SHIPPED / "orbital.safetensors").stat().st_size < 8e6
    assert tuple(sorted(models.paths())) == NAMES
    for name in NAMES:
        card = models.card(name)
        assert card.name == name
        assert card.license == "MIT"
        assert card.errors["density_removed"] > 0
        assert 0 < card.training.hours < 1, "an evening of one core trains it again"


@pytest.mark.parametrize("name", NAMES)
def test_electrons_of_silicon_leave_the_holes(models, silicon, name):
    loaded = models.load(name)
    loaded.domain.check(silicon, SHAPE)
    density = loaded.model.predict(silicon, SHAPE)
    assert density.n_electrons == pytest.approx(8, abs=1e-6)
    start = superpose(silicon, read_checkpoint(models.path(name)).card.free_atoms, SHAPE)
    bond, hole = (tuple(np.array(SHAPE) // part) for part in (8, 2))
    assert density.total[hole] < 0.9 * start.total[hole]
    if name != "superres":  # too small for bonds
        assert density.total[bond] > 1.05 * start.total[bond]


@pytest.mark.parametrize("name", NAMES)
def test_every_density_can_be_completed(models, silicon, name):
    orbital = models.load("orbital").model
    assert orbital.completes_densities
    density = models.load(name).model.predict(silicon, SHAPE)
    start = superpose(silicon, orbital.card.free_atoms, SHAPE)
    for complete in (orbital.complete, orbital.with_element_means):
        records = complete(density).augmentation
        for record, atomic in zip(records, start.augmentation, strict=True):
            assert 0.01 < np.abs(record - atomic).max() < 1
