from __future__ import annotations

import warnings

import numpy as np
import pytest

pytest.importorskip("gpaw", reason="needs the gpaw extra")

from pymatgen.io.vasp.inputs import PotcarSingle

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.density import superpose
from mlcharge_flows.gpaw_vasp import potcar as library
from mlcharge_flows.gpaw_vasp.potcar import load_setup, potcar_text
from mlcharge_flows.vasp.potcar import read_potcar


@pytest.fixture(params=["H", "Si", "K", "Ti", "Cu", "I"])
def export(request, tmp_path):
    path = tmp_path / "POTCAR"
    path.write_text(potcar_text(request.param))
    return request.param, path


def test_our_reader_gets_the_data_set_back(export):
    symbol, path = export
    setup = load_setup(symbol)
    (potcar,) = read_potcar(path)
    assert potcar.symbol == symbol
    assert potcar.zval == setup.Nv
    assert potcar.channels == tuple(setup.l_j)
    assert "GPAW" in potcar.titel


def test_pymatgen_reads_the_header(export):
    symbol, path = export
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it cannot know these data sets
        potcar = PotcarSingle.from_file(path)
    assert potcar.element == symbol
    assert potcar.functional == "PBE"
    assert potcar.potential_type == "PAW"
    assert sum(f for _, _, f in potcar.electron_configuration) == pytest.approx(potcar.zval)


def test_the_atom_holds_its_electrons_and_is_smooth(export):
    _, path = export
    dataset = read_potcar(path)[0]
    assert dataset.form_factor[0] == pytest.approx(dataset.zval)
    assert np.abs(dataset.form_factor[-100:]).max() < 1e-3, "no noise at large wave numbers"


def test_a_far_atom_is_the_sum_of_its_shells(export):
    symbol, path = export
    dataset = read_potcar(path)[0]
    alone = Crystal(np.eye(3) * 8.0, (symbol,), np.zeros((1, 3)))
    density = superpose(alone, {symbol: dataset}, (48, 48, 48))
    assert density.n_electrons == pytest.approx(dataset.zval, abs=1e-9)


def test_every_symbol_that_input_sets_ask_for_has_an_element():
    symbols = library.potcar_symbols()
    assert {"Ca", "Ca_sv"} <= symbols["Ca"]
    assert set(library.available_elements()) == set(symbols)
    assert len(symbols) > 80


def test_the_library_serves_pymatgen(tmp_path, monkeypatch):
    from pymatgen.core import SETTINGS

    monkeypatch.setattr(library, "available_elements", lambda: ["Mg", "O"])
    assert library.fill_library(tmp_path) == 2
    monkeypatch.setitem(SETTINGS, "PMG_VASP_PSP_DIR", str(tmp_path))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for functional in ("PBE", "PBE_54", "PBE_64"):
            potcar = PotcarSingle.from_symbol_and_functional("Mg_pv", functional)
            assert potcar.element == "Mg"
