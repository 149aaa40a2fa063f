"""The orbitals of free atoms that the extended Hückel calculation starts from."""

import importlib.util
import json
from hashlib import sha256
from importlib import resources
from pathlib import Path

import numpy as np
import pytest
from scipy.special import spherical_jn

from mlcharge_flows.models.huckel.orbitals import (
    EXPONENTS,
    LARGEST_WAVE,
    atomic_orbitals,
    falls,
)

TABLE = resources.files("mlcharge_flows.models.huckel") / "orbitals.json"
SHELLS = [(symbol, shell) for symbol, shells in atomic_orbitals().items() for shell in shells]


def test_the_table_is_the_one_that_checkpoints_were_trained_with():
    """Whoever changes it changes every prediction of shipped checkpoints: train them again."""
    digest = sha256(TABLE.read_bytes()).hexdigest()
    assert digest == "f30af5d678946696f2843d65f9138236b0dd52faa7520b335315582860917862"


def test_shells_are_of_atoms():
    for symbol, shell in SHELLS:
        assert 0 <= shell.electrons <= 4 * shell.degree + 2, symbol
        assert -31 < shell.energy < 0, symbol


@pytest.mark.parametrize(("symbol", "index"), [("O", 1), ("Ti", 0), ("Cu", 1), ("Na", 2)])
def test_transform_is_the_spherical_bessel_integral(symbol, index):
    shell = atomic_orbitals()[symbol][index]
    r = np.linspace(0, 12, 6001)
    gaussians = r[:, None] ** shell.degree * np.exp(-np.outer(r**2, EXPONENTS))
    gaussians /= np.sqrt(np.trapezoid((gaussians * r[:, None]) ** 2, r, axis=0))
    wave = gaussians @ shell.coefficients
    q = np.array([0.3, 1.1, 2.9, 5.0])
    bessel = spherical_jn(shell.degree, np.outer(q, r))
    expected = 4 * np.pi * np.trapezoid(bessel * wave * r**2, r, axis=1)
    found = shell.transform(q, falls(q))
    np.testing.assert_allclose(found / found[0], expected / expected[0], rtol=1e-4)


def test_norm_below_the_largest_wave_is_one():
    q = np.linspace(0, LARGEST_WAVE, 2001)
    for _, shell in SHELLS:
        radial = shell.transform(q, falls(q))
        assert np.trapezoid((radial * q) ** 2, q) / (2 * np.pi) ** 3 == pytest.approx(1, rel=1e-3)


@pytest.mark.gpaw
def test_the_table_is_made_by_its_script(tmp_path, monkeypatch, capsys):
    pytest.importorskip("gpaw", reason="needs the gpaw extra")
    script = Path(__file__).parents[3] / "workflows/huckel_orbitals/make.py"
    spec = importlib.util.spec_from_file_location("make_huckel_orbitals", script)
    make = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(make)
    monkeypatch.setattr(make, "available_elements", lambda: ["O", "Ti"])
    monkeypatch.setattr("sys.argv", [str(script), str(tmp_path / "table.json")])
    make.main()
    assert "2 elements" in capsys.readouterr().out
    made, shipped = json.loads((tmp_path / "table.json").read_text()), json.loads(TABLE.read_text())
    for symbol in ("O", "Ti"):
        for one, other in zip(made[symbol], shipped[symbol], strict=True):
            assert (one["l"], one["electrons"]) == (other["l"], other["electrons"])
            assert one["energy"] == pytest.approx(other["energy"], abs=2e-3)
            np.testing.assert_allclose(one["coefficients"], other["coefficients"], atol=2e-3)
