"""The first source of a chain that has a density is taken, and documented."""

import numpy as np
import pytest

from mlcharge_flows.density.density import superpose
from mlcharge_flows.models.registry import Registry
from mlcharge_flows.sources import (
    Converged,
    Fallback,
    FromFile,
    InitialDensity,
    Learned,
    SourceError,
    Superposition,
)
from mlcharge_flows.vasp.chgcar import read_chgcar


@pytest.fixture
def written(inputs, trained, tmp_path):
    """Write learned or else superposed with a model of the test; document and density."""

    def written(**changes):
        path = trained(**changes)
        chain = Fallback((Learned(path), Superposition()))
        document = InitialDensity(chain).write(inputs, tmp_path)
        own = Registry(tmp_path).load(path).model.predict(inputs.crystal, inputs.grid)
        return document, read_chgcar(tmp_path / "CHGCAR"), own

    return written


def test_what_the_model_knows_is_learned(written):
    document, density, own = written()
    assert document.warnings == []
    assert (document.density_source, document.augmentation_source) == ("learned", "learned")
    assert document.model == "tiny"
    assert document.comment.startswith("mlcharge-learned-")
    np.testing.assert_allclose(density.total, own.total, rtol=1e-8, atol=1e-9)


def test_what_it_refuses_is_superposed_and_the_reason_is_given(written, inputs, atoms, tiny):
    far = tiny.checkpoint(atoms, [inputs.crystal]).card.geometry.model_copy(
        update={"volume": (100.0, 120.0)}
    )
    document, density, _ = written(geometry=far)
    assert "outside what the model" in document.warnings[0]
    assert (document.density_source, document.augmentation_source) == ("superposition", "atomic")
    assert (document.model, document.checkpoint) == (None, None)
    assert document.comment.startswith("mlcharge-superposition-")
    atomic = superpose(inputs.crystal, atoms, inputs.grid)
    np.testing.assert_allclose(density.total, atomic.total, rtol=1e-8, atol=1e-9)


def test_all_refusals_are_in_the_error(inputs, tiny):
    chain = Fallback((Learned(), Converged()))
    assert chain.needs_reference_run
    with pytest.raises(SourceError, match=r"there is no model 'orbital'.*; no earlier run to take"):
        chain.evaluate(inputs)
    with pytest.raises(ValueError, match="needs a source"):
        Fallback(())


def test_the_source_that_gave_the_occupancies_is_documented(inputs, tmp_path):
    missing = FromFile(str(tmp_path / "CHGCAR-missing"))
    density = InitialDensity(Superposition(), Fallback((missing, Superposition())))
    assert density.write(inputs, tmp_path).augmentation_source == "atomic"
