"""Batches and devices: a prediction depends on neither."""

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra")
pytest.importorskip("safetensors", reason="needs the models extra")

from mlcharge_flows.density.crystal import Crystal  # noqa: E402
from mlcharge_flows.models.model import ModelError  # noqa: E402
from mlcharge_flows.models.registry import SHIPPED, Registry  # noqa: E402
from mlcharge_flows.testing.laws import Tolerance, assert_same_density  # noqa: E402

SALT = Crystal(
    np.array([[0, 2.8, 2.8], [2.8, 0, 2.8], [2.8, 2.8, 0]]),
    ("Na", "Cl"),
    np.array([[0.01, 0, 0], [0.5, 0.5, 0.48]]),
)
LARGE = Crystal(
    SALT.lattice @ np.diag([1.0, 1.0, 1.0]) * 2,
    tuple(symbol for symbol in SALT.symbols for _ in range(8)),
    np.concatenate(
        [(site + np.stack(np.mgrid[:2, :2, :2], -1).reshape(-1, 3)) / 2 for site in SALT.positions]
    ),
)
SHAPES = [(20, 20, 20), (36, 36, 36), (18, 20, 24)]
CRYSTALS = [SALT, LARGE, SALT]
SINGLE = Tolerance(relative=1e-4, absolute=1e-4)
MODELS = sorted(path.stem for path in SHIPPED.glob("*.safetensors"))


def shapes_of(name):
    """Fine grids; few points for the network that is evaluated at each of them."""
    return [(6, 6, 6), (8, 8, 8), (6, 6, 7)] if name == "charge3net" else SHAPES


@pytest.mark.parametrize("name", MODELS)
def test_crystals_of_a_batch_do_not_meet(name, tmp_path):
    model = Registry(tmp_path).load(name).model
    shapes = shapes_of(name)
    for found, crystal, shape in zip(
        model.predict_batch(CRYSTALS, shapes), CRYSTALS, shapes, strict=True
    ):
        assert found.shape == shape
        assert_same_density(found, model.predict(crystal, shape), SINGLE)


@pytest.mark.parametrize("name", MODELS)
def test_an_unknown_element_of_a_batch_is_refused(name, tmp_path):
    model = Registry(tmp_path).load(name).model
    strange = Crystal(SALT.lattice, ("Na", "Xx"), SALT.positions)
    with pytest.raises((ModelError, ValueError, KeyError)):
        model.predict_batch([SALT, strange], [(6, 6, 6)] * 2)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("name", MODELS)
def test_densities_do_not_depend_on_the_device(name, tmp_path):
    model = Registry(tmp_path).load(name).model
    shapes = shapes_of(name)
    expected = model.to("cpu").predict_batch(CRYSTALS, shapes)
    found = model.to("cuda").predict_batch(CRYSTALS, shapes)
    for one, other in zip(found, expected, strict=True):
        assert_same_density(one, other, Tolerance(relative=1e-3, absolute=1e-4))


@pytest.mark.parametrize("name", MODELS)
def test_a_model_stays_the_same_on_the_device_that_it_has(name, tmp_path):
    model = Registry(tmp_path).load(name).model
    shape = shapes_of(name)[0]
    before = model.to("cpu").predict(SALT, shape)
    assert model.to("cpu") is model
    after = model.predict(SALT, shape)
    np.testing.assert_array_equal(after.total, before.total)
