from __future__ import annotations

import gzip

import numpy as np
import pytest
from pymatgen.io.vasp import Vasprun

from mlcharge_flows.scf.band_gap import band_gap, read_band_gap


def fermi(energies: np.ndarray, level: float, width: float = 0.05) -> np.ndarray:
    return 1 / (1 + np.exp(np.clip((energies - level) / width, -500, 500)))


@pytest.fixture
def levels() -> np.ndarray:
    """Four bands at nine k-points: 0.5 eV between the second and the third."""
    wave = np.cos(np.linspace(0, np.pi, 9))
    bands = [-4 + wave, -1.2 + wave / 5, -0.3 + wave / 5, 2 + wave]
    return np.sort(np.array(bands).T, axis=1)[None]


def test_smearing_does_not_close_a_gap(levels):
    gap = levels[..., 2].min() - levels[..., 1].max()
    middle = levels[..., 1].max() + gap / 2
    for width in (1e-4, 0.05, 0.1):
        assert band_gap(levels, fermi(levels, middle, width), 4) == pytest.approx(gap)


def test_bands_across_the_fermi_level_have_no_gap(levels):
    inside = float(np.median(levels[..., 1]))
    assert band_gap(levels, fermi(levels, inside, 0.01), 3) == 0.0


def test_a_half_filled_level_is_no_gap():
    atom = np.array([[[-5.0, 0.0, 0.0, 0.0, 3.0]]])
    assert band_gap(atom, np.array([[[1, 2 / 3, 2 / 3, 2 / 3, 0.0]]]), 6) == 0.0


def test_two_equal_spins_are_a_run_without_spin(levels):
    occupied = fermi(levels, -0.9, 0.02)
    once = band_gap(levels, occupied, 4)
    assert once > 0
    assert band_gap(np.vstack([levels] * 2), np.vstack([occupied] * 2), 4) == once
    # As spinors, the same levels hold one electron each.
    doubled = np.repeat(levels, 2, axis=2), np.repeat(occupied, 2, axis=2)
    assert band_gap(*doubled, 4) == once


def test_the_gap_of_two_spins_is_that_between_the_highest_and_the_lowest_of_both(levels):
    up, down = levels, levels + 1.0
    filled = np.arange(4) < 2
    occupied = np.broadcast_to(filled, levels.shape).astype(float)
    both = band_gap(np.vstack([up, down]), np.vstack([occupied, occupied]), 4)
    assert both == pytest.approx(max(up[..., 2].min() - down[..., 1].max(), 0.0))
    half_metal = np.vstack([occupied, fermi(down, float(np.median(down[..., 1])), 0.01)])
    assert band_gap(np.vstack([up, down]), half_metal, 3) == 0.0


def test_nothing_is_known_without_empty_bands_or_occupations(levels):
    assert band_gap(levels, np.ones_like(levels), 8) is None
    assert band_gap(levels, np.zeros_like(levels), 4) is None


EIGENVAL = """\
    2    2    1    {spins}
  0.2004350E+02  0.3866974E-09  0.3866974E-09  0.3866974E-09  0.5000000E-15
  1.000000000000000E-004
  CAR
 Si
      2      1      2

  0.0000000E+00  0.0000000E+00  0.0000000E+00  0.1000000E+01
{rows}
"""
WITH_SPIN = "    1  -5.0  -4.5   1.000000   1.000000\n    2   0.5   0.75  0.000000   0.000000"


@pytest.mark.parametrize(
    ("spins", "rows", "gap"),
    [
        (1, "    1       -5.000000   1.000000\n    2        0.500000   0.000000", 5.5),
        (2, WITH_SPIN, 5.0),
        (1, "    1       -5.000000\n    2        0.500000", None),  # before VASP 5.3
    ],
)
def test_eigenval_is_read(tmp_path, spins, rows, gap):
    text = EIGENVAL.format(spins=spins, rows=rows)
    plain, packed = tmp_path / "EIGENVAL", tmp_path / "EIGENVAL.gz"
    plain.write_text(text)
    packed.write_bytes(gzip.compress(text.encode()))
    assert read_band_gap(plain) == read_band_gap(packed) == gap


@pytest.mark.parametrize("text", ["", "no EIGENVAL\n", "2 2 1 1\n\n\n\n\n 2 1\n"])
def test_another_file_is_refused(tmp_path, text):
    path = tmp_path / "EIGENVAL"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"\A.+\Z"):
        read_band_gap(path)


def test_a_file_without_levels_has_no_gap(tmp_path):
    path = tmp_path / "EIGENVAL"
    path.write_text(EIGENVAL.format(spins=1, rows="").partition("  0.0000000E+00")[0])
    assert read_band_gap(path) is None


SAMPLES = {
    "al_pbesol_spin": 0.0,
    "lih_scan": 2.976,
    "si_nscf11": 0.611,
    "si_spin_vasp6": 0.750,
    "si_g0w0_static": 0.716,
    # Smearing fills some empty levels, and pymatgen finds 0.006 eV and 1.621 eV.
    "si2_aiida": 0.514,
    "graphene_relax": 0.0,
}


@pytest.mark.parametrize(("name", "gap"), SAMPLES.items())
def test_gaps_of_real_runs(vasp_samples, name, gap):
    path = vasp_samples / name / "vasprun.xml.gz"
    run = Vasprun(path, parse_potcar_file=False, parse_dos=False)
    values = np.array(list(run.eigenvalues.values()))
    found = band_gap(values[..., 0], values[..., 1], run.parameters["NELECT"])
    assert found == pytest.approx(gap, abs=1e-3)
    if name not in ("si2_aiida", "graphene_relax"):
        assert found == pytest.approx(run.eigenvalue_band_properties[0], abs=1e-6)
