"""Learned where the model gives a start, superposed where it does not."""

import numpy as np
import pytest

from mlcharge_flows.density.superposition import superpose
from mlcharge_flows.models.registry import Registry
from mlcharge_flows.sources import best_start
from mlcharge_flows.sources.best_start import BestStartMaker
from mlcharge_flows.sources.learned import LearnedStartMaker
from mlcharge_flows.vasp.chgcar import read_chgcar


@pytest.fixture
def written(inputs, trained, tmp_path, monkeypatch):
    """Write the best start with a model of the test; document and density."""

    def written(**changes):
        path = trained(**changes)
        monkeypatch.setattr(best_start, "LearnedStartMaker", lambda: LearnedStartMaker(model=path))
        document = BestStartMaker().write(inputs, tmp_path)
        own = Registry(tmp_path).load(path).model.predict(inputs.crystal, inputs.grid)
        return document, read_chgcar(tmp_path / "CHGCAR"), own

    return written


def test_what_the_model_knows_is_learned(written):
    document, density, own = written()
    assert document.messages == []
    assert document.comment.startswith("mlcharge best ")
    np.testing.assert_allclose(density.total, own.total, rtol=1e-8, atol=1e-9)


def test_what_it_refuses_starts_from_atoms_and_says_why(written, inputs, atoms, tiny):
    far = tiny.checkpoint(atoms, [inputs.crystal]).card.geometry.model_copy(
        update={"volume": (100.0, 120.0)}
    )
    document, density, _ = written(geometry=far)
    assert "outside what the model" in document.messages[0]
    atomic = superpose(inputs.crystal, atoms, inputs.grid)
    np.testing.assert_allclose(density.total, atomic.total, rtol=1e-8, atol=1e-9)
