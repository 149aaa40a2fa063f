"""``mlcharge models add`` with a file of ChargE3Net as its authors published it."""

import gzip
import re

import numpy as np
import pytest
from pymatgen.core import SETTINGS as PYMATGEN
from typer.testing import CliRunner

torch = pytest.importorskip("torch", reason="needs the models extra")
pytest.importorskip("e3nn", reason="needs the models extra")

from mlcharge_flows.cli.app import app  # noqa: E402
from mlcharge_flows.density.crystal import Crystal  # noqa: E402
from mlcharge_flows.models.charge3net import (  # noqa: E402
    ChargE3Net,
    ChargE3NetConfig,
    load_published,
)
from mlcharge_flows.models.registry import Registry  # noqa: E402

SIZE = ChargE3NetConfig(mul=12, lmax=1, num_interactions=1, num_basis=6)


def mlcharge(*words):
    return CliRunner().invoke(app, [str(word) for word in words])


def refused(*words):
    result = mlcharge(*words)
    assert result.exit_code == 2, result.output
    (line,) = result.stderr.splitlines()
    return line


@pytest.fixture
def file(tmp_path, monkeypatch):
    """A small network in the form of the published files."""
    monkeypatch.setattr("mlcharge_flows.models.charge3net.model.network_config", lambda **_: SIZE)
    torch.manual_seed(0)
    network = ChargE3Net(SIZE)
    with torch.no_grad():
        network.probe_model.readout.weight.fill_(1.0)
    path = tmp_path / "charge3net_mp.pt"
    torch.save({"model": network.learned(), "epoch": 1}, path)
    return path


def potcar(symbol, element, zval):
    """The parts of a data set that are read; all numbers invented."""
    q = np.arange(1000) * 0.06
    rows = [
        f"   TITEL  = PAW_PBE {symbol} 01Jan2001",
        f"   VRHFIN ={element}: s2",
        "   LEXCH  = PE",
        f"   POMASS =   10.000; ZVAL   = {zval:.3f}    mass and valenz",
        "   ENMAX  =  245.345; ENMIN  =  184.009 eV",
        " local part",
        "   60.0",
        " atomic pseudo charge-density",
        *(f"{value:.8E}" for value in zval * np.exp(-(q**2))),
        " Non local Part",
        "  0  1  1.9",
        " Non local Part",
        "  1  1  1.9",
        "   uccopancies in atom",
        "  2.0 0.0 0.0 1.0",
        "End of Dataset\n",
    ]
    return "\n".join(rows)


@pytest.fixture
def library(tmp_path, monkeypatch):
    """A POTCAR library with magnesium and oxygen, and a VASP to use it; no model yet."""
    folder = tmp_path / "potcars"
    pbe = folder / "POT_GGA_PAW_PBE"
    pbe.mkdir(parents=True)
    for symbol, element, zval in (("Mg_pv", "Mg", 8), ("O", "O", 6)):
        (pbe / f"POTCAR.{symbol}.gz").write_bytes(
            gzip.compress(potcar(symbol, element, zval).encode())
        )
    vasp = tmp_path / "vasp_std"
    vasp.write_text("#!/bin/sh\n")
    vasp.chmod(0o755)
    monkeypatch.setenv("MLCHARGE_VASP_CMD", str(vasp))
    monkeypatch.setenv("PMG_VASP_PSP_DIR", str(folder))
    monkeypatch.setitem(PYMATGEN, "PMG_VASP_PSP_DIR", str(folder))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.setenv("MLCHARGE_MODELS", str(tmp_path / "models"))
    return folder


def test_a_published_file_becomes_a_model(file, library, tmp_path):
    result = mlcharge("models", "add", file, "--as", "charge3net-mp")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0].startswith("without a POTCAR, and left out: Ac, Ag, ")
    assert lines[-1] == f"added charge3net-mp: {tmp_path}/models/charge3net-mp.safetensors"
    assert len(lines) == 2
    model = Registry(tmp_path / "models").load("charge3net-mp").model
    assert (model.card.elements, model.card.occupancies) == (("Mg", "O"), "none")
    magnesium = model.card.paw["Mg"]
    assert (magnesium.titel, magnesium.zval) == ("PAW_PBE Mg_pv 01Jan2001", 8.0)
    assert (magnesium.channels, magnesium.q_step) == ((0, 1), None)
    assert model.card.paw_family == "VASP's, PBE, chosen as Materials Project does"
    salt = Crystal(np.eye(3) * 3.0, ("Mg", "O"), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]))
    points = np.random.default_rng(1).random((5, 3)) * 3
    expected = load_published(file).density_at(salt, points)
    assert model.points.density_at(salt, points).tolist() == expected.tolist()
    assert "PAW_PBE O 01Jan2001: 6 electrons" in mlcharge("models", "info", "charge3net-mp").output


def test_without_potcars_nothing_is_added(file, library, tmp_path):
    words = ("models", "add", file, "--as", "charge3net-mp", "--functional", "PBE_54")
    line = refused(*words)
    assert f"{file}: needs POTCARs" in line
    assert f"there is none of PBE_54 in {library}" in line
    assert not (tmp_path / "models").exists()


def test_what_cannot_be_added_is_one_line(file, library, tmp_path):
    other = tmp_path / "other.pt"
    torch.save({"model": {"encoder.weight": torch.ones(2)}}, other)
    own = tmp_path / "own.safetensors"
    own.write_text("")
    for words, says in (
        ((file,), f"{file}: not a .safetensors checkpoint; .* --as NAME"),
        ((own, "--as", "mine"), f"{own}: has its name on its card; leave out --as mine"),
        ((tmp_path / "none.pt", "--as", "x"), "none.pt: there is no such file"),
        ((other, "--as", "x"), f"{other}: no checkpoint of ChargE3Net"),
        ((file, "--as", "a/b"), "--as a/b: cannot be a model's name"),
    ):
        assert re.search(says, refused("models", "add", *words))
