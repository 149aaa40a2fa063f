import os
import subprocess
import sys

import numpy as np
import pytest

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.density import superpose
from mlcharge_flows.models import registry
from mlcharge_flows.models.model import DensityModel, ModelError
from mlcharge_flows.models.registry import Registry

SALT = Crystal(np.eye(3) * 3.0, ("Mg", "O"), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]))


@pytest.fixture
def write(tiny, tmp_path):
    """Write a checkpoint under a name in the folder of the test."""
    atoms = {"Mg": tiny.atom("Mg", 2.0), "O": tiny.atom("O", 6.0)}

    def write(name="given", **changes):
        return tiny.write(tmp_path / f"{name}.safetensors", atoms, [SALT], **changes)

    return write


@pytest.fixture
def models(tmp_path):
    return Registry(tmp_path / "models")


def test_a_model_that_is_not_there(models, write):
    with pytest.raises(ModelError, match=r"there is no model 'orbital'; known are: none; .*add"):
        models.load()
    models.add(write())
    with pytest.raises(ModelError, match="known are: tiny"):
        models.load()
    with pytest.raises(ModelError, match=r"nowhere/x.safetensors: there is no such file"):
        models.load("nowhere/x.safetensors")


def test_names_and_paths_are_the_same_model(models, write, tmp_path, monkeypatch):
    path = write()
    assert models.add(path) == tmp_path / "models" / "tiny.safetensors"
    assert list(models.paths()) == ["tiny"]
    monkeypatch.chdir(tmp_path)
    by_name, by_path = models.load("tiny"), models.load("given.safetensors")
    assert isinstance(by_name.model, DensityModel)
    assert by_name.sha256 == by_path.sha256
    assert by_name.card == by_path.card


def test_a_loaded_model_predicts_with_the_weights_of_its_file(models, write):
    loaded = models.load(write())
    density = loaded.model.predict(SALT, (20, 20, 20))
    atoms = superpose(SALT, loaded.card.free_atoms, (20, 20, 20))
    assert density.n_electrons == pytest.approx(8.0, abs=1e-9)
    assert np.abs(density.total - atoms.total).max() > 0.01
    assert density.augmentation[0][0] == pytest.approx(1.25 * atoms.augmentation[0][0])


def test_a_model_is_loaded_once(models, write, tiny):
    path = write()
    tiny.LOADS.clear()
    assert models.load(path) is models.load(str(path))
    assert tiny.LOADS == ["tiny"]
    # A file that was replaced is another model.
    write(name="given", description="better")
    os.utime(path, ns=(1, 1))
    assert models.load(path).card.description == "better"


def test_an_own_model_wins_over_a_shipped_one(models, write):
    registry.SHIPPED.mkdir()
    write().replace(registry.SHIPPED / "tiny.safetensors")
    assert models.path("tiny").parent == registry.SHIPPED
    models.add(write(description="mine"))
    assert models.load("tiny").card.description == "mine"


def test_another_model_of_the_same_name_is_not_replaced(models, write):
    models.add(write())
    models.add(write())
    with pytest.raises(ModelError, match=r"another model of this name.*--replace"):
        models.add(write(description="other"))
    models.add(write(description="other"), replace=True)
    assert models.load("tiny").card.description == "other"


def test_an_architecture_of_another_version(models, write, tmp_path):
    with pytest.raises(ModelError, match="no architecture 'nonesuch'; update it"):
        models.add(write(architecture="nonesuch"))
    assert not (tmp_path / "models").exists()


def test_a_library_that_is_missing_is_named(models, write, tiny, monkeypatch):
    def load(checkpoint):
        raise ModuleNotFoundError("No module named 'e3nn'", name="e3nn")

    monkeypatch.setattr(tiny, "load", load)
    with pytest.raises(ModelError, match=r"needs e3nn: pip install 'mlcharge-flows\[models\]'"):
        models.load(write())


def test_looking_at_models_needs_no_torch():
    code = (
        "import sys; from mlcharge_flows.models import model, card, checkpoint, domain, registry;"
        "print({'torch', 'e3nn', 'safetensors'} & set(sys.modules))"
    )
    output = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    )
    assert output.stdout.strip() == "set()"
