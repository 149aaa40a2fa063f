import json
import re
import struct
from dataclasses import replace

import numpy as np
import pytest
import torch
from pydantic import ValidationError

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.io import file_sha256
from mlcharge_flows.models.card import Card
from mlcharge_flows.models.checkpoint import (
    RENAMED_WEIGHTS,
    CheckpointError,
    current_name,
    read_card,
    read_checkpoint,
    write_checkpoint,
)

SALT = Crystal(np.eye(3) * 3.0, ("Mg", "O"), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]))


@pytest.fixture
def checkpoint(tiny):
    return tiny.checkpoint({"Mg": tiny.atom("Mg", 2.0), "O": tiny.atom("O", 6.0)}, [SALT])


def refusal(path):
    with pytest.raises(CheckpointError) as error:
        read_checkpoint(path)
    line = str(error.value)
    assert line.startswith(f"{path}: ")
    assert "\n" not in line
    return line


def test_what_is_read_is_what_was_written(checkpoint, tmp_path):
    path = tmp_path / "tiny.safetensors"
    digest = write_checkpoint(path, checkpoint)
    again = read_checkpoint(path)
    assert digest == file_sha256(path)
    assert again.card == read_card(path) == checkpoint.card
    assert len(checkpoint.card.free_atoms) == 2
    for symbol, atom in checkpoint.card.free_atoms.items():
        for name in ("q", "form_factor", "atomic_occupancies"):
            found = getattr(again.card.paw[symbol], name)
            np.testing.assert_array_equal(found, getattr(atom, name))
    assert {name: float(value) for name, value in again.weights.items()} == {
        name: float(value) for name, value in checkpoint.weights.items()
    }


def test_weights_keep_their_type_and_may_share_memory(checkpoint, tmp_path):
    whole = torch.arange(6, dtype=torch.float32, requires_grad=True)
    weights = {"whole": whole, "part": whole[::2], "half": whole.half(), "count": torch.tensor(3)}
    write_checkpoint(tmp_path / "a", replace(checkpoint, weights=weights))
    again = read_checkpoint(tmp_path / "a").weights
    assert {name: tensor.dtype for name, tensor in again.items()} == {
        name: tensor.dtype for name, tensor in weights.items()
    }
    assert again["part"].tolist() == [0.0, 2.0, 4.0]


def test_equal_checkpoints_are_equal_files(checkpoint, tmp_path):
    turned = replace(checkpoint, weights=dict(reversed(checkpoint.weights.items())))
    assert write_checkpoint(tmp_path / "a", checkpoint) == write_checkpoint(tmp_path / "b", turned)


def with_datasets(checkpoint, **changes):
    """The checkpoint with every PAW data set of its card changed."""
    paw = {symbol: replace(data, **changes) for symbol, data in checkpoint.card.paw.items()}
    return replace(checkpoint, card=checkpoint.card.model_copy(update={"paw": paw}))


def test_atoms_may_be_left_out(checkpoint, tmp_path):
    without = with_datasets(checkpoint, q_step=None, form_factor=None)
    write_checkpoint(tmp_path / "a", without)
    assert read_checkpoint(tmp_path / "a").card.free_atoms == {}


@pytest.mark.parametrize("missing", ["form_factor", "atomic_occupancies"])
def test_a_mesh_without_its_free_atom_is_not_written(checkpoint, tmp_path, missing):
    with pytest.raises(CheckpointError, match="free atom of Mg is missing"):
        write_checkpoint(tmp_path / "a", with_datasets(checkpoint, **{missing: None}))
    assert not list(tmp_path.glob("*a*"))


def test_files_that_are_no_checkpoints(checkpoint, tmp_path):
    from safetensors.torch import save_file

    path = tmp_path / "x.safetensors"
    assert "there is no such file" in refusal(path)
    path.write_text("POSCAR of nothing")
    assert "not a whole safetensors file" in refusal(path)
    save_file({"a": torch.zeros(2)}, path)
    assert "has no card" in refusal(path)
    write_checkpoint(path, checkpoint)
    path.write_bytes(path.read_bytes()[:-10])
    assert "not a whole safetensors file" in refusal(path)


def test_cards_of_another_version(checkpoint, tmp_path):
    path = tmp_path / "x.safetensors"
    write_checkpoint(path, checkpoint)
    content = path.read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    header = json.loads(content[8 : 8 + length])
    card = json.loads(header["__metadata__"]["card"]) | {"format": 2}
    header["__metadata__"]["card"] = json.dumps(card)
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + content[8 + length :])
    assert "its card cannot be read (format: " in refusal(path)
    assert "another version" in refusal(path)


def test_a_card_holds_no_nan(checkpoint):
    facts = checkpoint.card.model_dump() | {"errors": {"nmae_median": float("nan")}}
    with pytest.raises(ValidationError, match="finite"):
        Card.model_validate(facts)
    with pytest.raises(ValidationError, match="pattern"):
        Card.model_validate(checkpoint.card.model_dump() | {"name": "../evil"})


OLD_NAMES = {
    "description.learned.weight": "embedding.learned.weight",
    "occupancies.response_3": "augmentation.response_3",
    "softness.0.bias": "charge_weight.0.bias",
    "interactions.0.mean_neighbours": "interactions.0.mean_neighbors",
    "interactions.1.weights.2.weight": "interactions.1.radial.2.weight",
    "interactions.1.heard.weight": "interactions.1.aggregated.weight",
    "interactions.1.kept.weight": "interactions.1.residual.weight",
    "interactions.1.mixed.weight": "interactions.1.update.weight",
    "interactions.1.coupling.where.weight": "interactions.1.coupling.direction.weight",
    "interactions.1.coupling.what.weight": "interactions.1.coupling.feature.weight",
    "interactions.1.coupling.mixed.weight": "interactions.1.coupling.update.weight",
    "head.kept.weight": "head.residual.weight",
    "head.mixed.weight": "head.update.weight",
    "head.factors.weight": "head.factors.weight",
    "readout": "readout",
}


@pytest.mark.parametrize("architecture", ["orbital", "scdp"])
def test_old_names_of_weights_are_mapped_and_new_ones_kept(architecture):
    for old, new in OLD_NAMES.items():
        assert current_name(architecture, old) == new
        assert current_name(architecture, new) == new
        assert current_name("tiny", old) == old


@pytest.mark.parametrize("architecture", ["orbital", "scdp"])
def test_every_renaming_applies_to_some_old_name(architecture):
    for pattern, _ in RENAMED_WEIGHTS[architecture]:
        assert any(re.search(pattern, old) for old in OLD_NAMES), pattern


def test_weights_of_an_earlier_version_are_read_under_their_new_names(checkpoint, tmp_path):
    old = {"softness.0.bias": torch.tensor([1.0]), "readout": torch.tensor([2.0])}
    card = checkpoint.card.model_copy(update={"architecture": "orbital"})
    write_checkpoint(tmp_path / "a", replace(checkpoint, card=card, weights=old))
    weights = read_checkpoint(tmp_path / "a").weights
    assert {name: float(value) for name, value in weights.items()} == {
        "charge_weight.0.bias": 1.0,
        "readout": 2.0,
    }
