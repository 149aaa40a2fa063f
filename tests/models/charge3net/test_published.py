import pickle

import pytest
import torch

from mlcharge_flows.density.paw_dataset import PawDataset
from mlcharge_flows.models.charge3net import load, load_published, published_checkpoint
from mlcharge_flows.models.checkpoint import CheckpointError, read_checkpoint, write_checkpoint
from mlcharge_flows.models.model import DensityModel, ModelError

SYMBOLS = "atom_model.convolutions.1.tp._compiled_main_left_right._w3j_1_1_2"
PAW = {s: PawDataset(s, f"PAW_PBE {s}", 6.0, (0, 0, 1, 1)) for s in ("Mg", "O", "Ti")}


@pytest.fixture
def size(tiny):
    return tiny.model_dump()


@pytest.fixture
def released(learned):
    """Tensors as the authors' files hold them: weights, and constants of e3nn."""
    from e3nn.o3 import wigner_3j

    return {
        **learned,
        "atom_model.convolutions.0.sc.output_mask": torch.ones(3),
        "probe_model.convolutions.0.tp.weight": torch.zeros(0),
        "probe_model.gates.0.mul.output_mask": torch.ones(3),
        "probe_model.readout.bias": torch.zeros(0),
        SYMBOLS: wigner_3j(1, 1, 2),
    }


@pytest.fixture
def file(tmp_path):
    def write(content):
        path = tmp_path / "published.pt"
        torch.save(content, path)
        return path

    return write


@pytest.fixture
def forms(released):
    return {
        "released": {"model": released, "epoch": 3, "step": 7},
        "lightning": {
            "state_dict": {f"network.{name}": value for name, value in released.items()},
            "pytorch-lightning_version": "1.9",
        },
        "tensors": released,
    }


@pytest.mark.parametrize("form", ["released", "lightning", "tensors"])
def test_every_file_form_gives_the_network(form, forms, file, size, learned, oblique, points):
    model = load_published(file(forms[form]), **size)
    found = model.network.learned()
    assert found.keys() == learned.keys()
    assert all(torch.equal(found[name], learned[name]) for name in learned)
    assert model.density_at(oblique, points).shape == (25,)


def test_a_file_of_another_size_is_refused_in_one_line(forms, file, size):
    with pytest.raises(CheckpointError) as refused:
        load_published(file(forms["released"]))
    line = str(refused.value)
    assert "published.pt" in line
    assert "lmax=4, mul=500" in line
    assert "has shape" in line
    assert "\n" not in line
    with pytest.raises(CheckpointError, match="of no part of a network of this size"):
        load_published(file(forms["released"]), **{**size, "num_interactions": 1})
    with pytest.raises(CheckpointError, match="missing"):
        load_published(file(forms["released"]), **{**size, "num_interactions": 3})


@pytest.mark.parametrize(
    ("config", "line"), [({"lmax": -1}, "lmax"), ({"mul": 3}, "l=1"), ({"layers": 3}, "layers")]
)
def test_an_impossible_size_is_refused_in_one_line(config, line, forms, file):
    with pytest.raises(ModelError, match=line) as refused:
        load_published(file(forms["released"]), **config)
    assert "\n" not in str(refused.value)


class Foreign:
    def __reduce__(self):
        return (print, ("code of the file ran",))


def test_code_in_a_file_is_not_executed(released, file, size, capsys):
    with pytest.raises(CheckpointError, match="could run foreign code"):
        load_published(file({"model": released, "hyper_parameters": Foreign()}), **size)
    assert capsys.readouterr().out == ""


def test_bad_files_are_refused_in_one_line(tmp_path, forms, file, size):
    whole = file(forms["released"]).read_bytes()
    bad = tmp_path / "bad.pt"
    listed = pickle.dumps([1, 2], protocol=2)
    for content in (b"", b"no checkpoint", whole[: len(whole) // 2], listed):
        bad.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"bad\.pt: .*not? .*") as refused:
            load_published(bad, **size)
        assert "\n" not in str(refused.value)
    with pytest.raises(CheckpointError, match="no such file"):
        load_published(tmp_path / "absent.pt", **size)
    for content in ([1.0], {"model": {}}, {"model": {"encoder.weight": torch.ones(2)}}):
        with pytest.raises(CheckpointError, match="no checkpoint of ChargE3Net"):
            load_published(file(content), **size)


def test_broken_weights_are_refused(released, file, size):
    with pytest.raises(CheckpointError, match="3j symbol"):
        load_published(file({"model": {**released, SYMBOLS: -released[SYMBOLS]}}), **size)
    name = "probe_model.readout.weight"
    with pytest.raises(CheckpointError, match="not finite"):
        load_published(file({"model": {**released, name: released[name] * torch.nan}}), **size)


def test_a_converted_file_is_the_same_model(forms, file, size, tmp_path, oblique, points):
    path = file(forms["released"])
    write_checkpoint(
        tmp_path / "mine.safetensors", published_checkpoint(path, "charge3net-mp", PAW, **size)
    )
    checkpoint = read_checkpoint(tmp_path / "mine.safetensors")
    model = load(checkpoint)
    assert isinstance(model, DensityModel)
    expected = load_published(path, **size).density_at(oblique, points)
    assert model.points.density_at(oblique, points).tolist() == expected.tolist()
    card = model.card
    assert (card.name, card.architecture, card.license) == ("charge3net-mp", "charge3net", "MIT")
    assert card.occupancies == "none"
    assert card.units["density"] == "electrons/angstrom^3"
    assert "Materials Project" in card.data.name
    assert "10, 161 (2024)" in card.citation
