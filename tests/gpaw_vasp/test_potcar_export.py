from __future__ import annotations

import re
import warnings

import numpy as np
import pytest

pytest.importorskip("gpaw", reason="needs the gpaw extra")

from pymatgen.io.vasp.inputs import PotcarSingle
from scipy.integrate import simpson
from scipy.special import spherical_jn

from mlcharge_flows.atomate2.execution import potcar_hash
from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.density import superpose
from mlcharge_flows.gpaw_vasp import potcar as library
from mlcharge_flows.gpaw_vasp.export_identity import check_export, sealed, without_seal
from mlcharge_flows.gpaw_vasp.potcar import load_setup, potcar_text
from mlcharge_flows.gpaw_vasp.radial_functions import form_factor
from mlcharge_flows.vasp.potcar import read_potcar
from mlcharge_flows.vasp.potcar_data import section


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


def numbers(path, title, count, occurrence=0):
    lines = [line.strip() for line in path.read_text().splitlines()]
    return section(lines, title, count, occurrence)


def test_partial_waves_give_the_tabulated_charges(export):
    """VASP computes its augmentation charges from the waves on the logarithmic mesh."""
    _, path = export
    (dataset,) = read_potcar(path)
    waves, n = dataset.partial_waves, len(dataset.channels)
    tabulated = numbers(path, "augmentation charges (non sperical)", n * n).reshape(n, n)
    weights = waves.r * np.log(waves.r[1] / waves.r[0])  # dr of a step of the mesh
    for a, la in enumerate(dataset.channels):
        for b, lb in enumerate(dataset.channels):
            if la != lb:
                assert tabulated[a, b] == 0
                continue
            difference = waves.all_electron[a] * waves.all_electron[b]
            difference = difference - waves.pseudo[a] * waves.pseudo[b]
            assert simpson(difference * weights) == pytest.approx(tabulated[a, b], abs=2e-4)


def test_readers_that_take_rows_behind_the_grid_find_the_waves(export):
    """All numbers behind the grid are rows on the mesh, the last ones pseudo and ae in turns."""
    _, path = export
    (dataset,) = read_potcar(path)
    waves = dataset.partial_waves
    text = path.read_text().split(" grid\n")[1].split(" End of Dataset")[0]
    words = [w for line in text.splitlines() if line[1] not in "acp" for w in line.split()]
    rows = np.array(words, dtype=float).reshape(-1, len(waves.r))
    np.testing.assert_array_equal(rows[0], waves.r)
    n = len(dataset.channels)
    np.testing.assert_array_equal(rows[-2 * n :: 2], waves.pseudo)
    np.testing.assert_array_equal(rows[-2 * n + 1 :: 2], waves.all_electron)


def test_waves_are_alike_outside_and_the_bound_ones_normalized(export):
    symbol, path = export
    (dataset,) = read_potcar(path)
    waves, setup = dataset.partial_waves, load_setup(symbol)
    outside = waves.r > 0.56 * max(setup.data.rcut_j)
    assert outside.sum() > 5
    np.testing.assert_allclose(
        waves.all_electron[:, outside], waves.pseudo[:, outside], atol=1e-6, rtol=1e-6
    )
    for wave, n in zip(waves.all_electron, setup.n_j, strict=True):
        inside = np.trapezoid(wave**2, waves.r)
        if n > 0:
            assert 0.1 < inside < 1.001


def test_compensation_charges_have_unit_multipoles(export):
    _, path = export
    waves = read_potcar(path)[0].partial_waves
    assert len(waves.compensation) == 3
    for degree, charge in enumerate(waves.compensation):
        multipole = np.trapezoid(charge * waves.r ** (degree + 2), waves.r)
        assert multipole == pytest.approx(1.0, abs=2e-3)


def test_core_densities_hold_the_core_electrons(export):
    symbol, path = export
    waves = read_potcar(path)[0].partial_waves
    setup = load_setup(symbol)
    core = numbers(path, "core charge-density", len(waves.r))
    electrons = np.sqrt(4 * np.pi) * np.trapezoid(core, waves.r)
    assert electrons == pytest.approx(setup.Z - setup.Nv, abs=0.03)
    pseudized = numbers(path, "core charge-density (pseudized)", len(waves.r))
    outside = waves.r > 0.56 * max(setup.data.rcut_j)
    np.testing.assert_allclose(core[outside], pseudized[outside], atol=1e-5)
    assert np.all(pseudized <= core + 1e-6)


def test_projectors_are_dual_to_the_pseudo_waves(export):
    """In real space as listed, and in reciprocal space, whose transform gives them back."""
    _, path = export
    (dataset,) = read_potcar(path)
    waves = dataset.partial_waves
    q = np.arange(100) * numbers_after(path, "atomic pseudo charge-density", 1000) / 100
    rcut = {
        (a, la): radius
        for (a, la), radius in zip(enumerate(dataset.channels), radii(path), strict=True)
    }
    for (a, la), rmax in rcut.items():
        r = np.arange(100) * rmax / 100
        real = numbers(path, "Real Space Part", 100, a)
        reciprocal = numbers(path, "Reciprocal Space Part", 100, a)
        for b, lb in enumerate(dataset.channels):
            if lb == la:
                overlap = np.trapezoid(real * r * np.interp(r, waves.r, waves.pseudo[b]), r)
                assert overlap == pytest.approx(float(a == b), abs=2e-2)
        back = np.trapezoid(reciprocal * q**2 * spherical_jn(la, np.outer(r, q)), q) / (
            2 * np.pi**2
        )
        assert np.abs(back - real).max() < 0.03 * np.abs(real).max()


def numbers_after(path, title, count):
    """First number below a section."""
    lines = [line.strip() for line in path.read_text().splitlines()]
    return float(lines[lines.index(title) + 1 + count // 5].split()[0])


def radii(path):
    """Radius of the real-space projectors of each channel, in angstrom."""
    lines = [line.strip() for line in path.read_text().splitlines()]
    found = []
    for number, line in enumerate(lines):
        if line == "Non local Part":
            _, count, radius = lines[number + 1].split()
            found += [float(radius)] * int(count)
    return found


def test_the_local_potential_is_a_coulomb_tail_outside(export):
    symbol, path = export
    setup = load_setup(symbol)
    q = np.arange(1000) * 98.0 / 1000
    # At the nucleus it is Z / r; a Gaussian of 0.05 angstrom takes the ripples of the cut off.
    short = numbers(path, "local part", 1001)[1:] * np.exp(-((q / 30) ** 2))
    r = np.array([1.3, 1.6, 2.2]) * max(setup.data.rcut_j) * 0.529177
    inverse = np.trapezoid(short * q**2 * np.sinc(np.outer(r, q) / np.pi), q) / (2 * np.pi**2)
    assert np.abs(inverse).max() < 0.02
    inside = np.trapezoid(short * q**2, q) / (2 * np.pi**2)
    assert inside > 5.0  # the tail diverges at the nucleus, the potential does not


def test_the_free_atom_is_what_checkpoints_hold(export):
    """The shipped model compares it to 1e-9 electrons."""
    symbol, path = export
    (dataset,) = read_potcar(path)
    setup = load_setup(symbol)
    exact = form_factor(setup, dataset.q)
    np.testing.assert_allclose(
        dataset.form_factor, exact * setup.Nv / exact[0], rtol=1e-8, atol=1e-9
    )


def test_an_export_carries_its_own_hash(export):
    symbol, path = export
    text = path.read_text()
    check_export(text, symbol)
    assert sealed(without_seal(text), symbol) == text
    seal = text.splitlines()[3]
    assert re.fullmatch(rf"   SHA256 = [0-9a-f]{{64}} {symbol}/POTCAR of GPAW", seal)
    assert PotcarSingle(text).keywords["SHA256"] == seal.split("= ")[1]
    assert potcar_hash(text) == potcar_hash(without_seal(text)), "recorded runs go on"
    assert potcar_hash(text) != potcar_hash(text.replace("ENMAX", "ENMIN", 1))


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
