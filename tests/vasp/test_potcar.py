"""Reading POTCARs, on synthetic ones of the same layout."""

import gzip
from hashlib import sha256

import numpy as np
import pytest

from mlcharge_flows.density.augmentation import n_occupancies
from mlcharge_flows.vasp.potcar import PotcarError, read_potcar

PSGMAX = 60.0
Q = np.arange(1000) * PSGMAX / 1000


def numbers(values):
    rows = [values[i : i + 5] for i in range(0, len(values), 5)]
    return "\n".join("".join(f"{v:16.8E}" for v in row) for row in rows)


def synthetic(symbol="Si", zval=4.0, blocks=((0, 2), (1, 2)), vrhfin=True, radial=None):
    """A data set with the sections, titles and order of VASP's; all numbers invented."""
    n = sum(count for _, count in blocks)
    radial = 0.97 * zval * np.exp(-(Q**2) / 20) if radial is None else radial
    q_atom = np.diag(np.arange(n) + 0.5)
    header = [
        f"  PAW_PBE {symbol}_sv 01Jan2001",
        f"   {zval:.14f}",
        " parameters from PSCTR are:",
        f"   VRHFIN ={symbol}: s2p2" if vrhfin else "",
        "   LEXCH  = PE",
        "   EATOM  =   103.0669 eV,    7.5752 Ry",
        f"   TITEL  = PAW_PBE {symbol}_sv 01Jan2001",
        f"   POMASS =   28.085; ZVAL   = {zval:8.3f}    mass and valenz",
        "   RWIGS  =    2.480; RWIGS  =    1.312    wigner-seitz radius (au A)",
        "   ENMAX  =  245.345; ENMIN  =  184.009 eV",
        "   ICORE  =        3    local potential",
        "END of PSCTR-controll parameters",
        " local part",
        f"   {PSGMAX:.10f}",
        numbers(-1.0 / (1 + Q)),
        " gradient corrections used for XC",
        "   8",
        " core charge-density (partial)",
        numbers(np.exp(-Q)),
        " atomic pseudo charge-density",
        numbers(radial),
        "  13.2283 F",
    ]
    for degree, count in blocks:
        header += [
            " Non local Part",
            f"  {degree}  {count}  1.89794",
            numbers(np.ones(count * count)),
            " Reciprocal Space Part",
            numbers(np.ones(100)),
            " Real Space Part",
            numbers(np.ones(100)),
        ]
    header += [
        " PAW radial sets",
        "   395   1.3",
        " (5E20.12)",
        " augmentation charges (non sperical)",
        numbers(np.ones(n * n)),
        " uccopancies in atom",
        numbers(q_atom.ravel()),
        " grid",
        numbers(np.ones(395)),
        " End of Dataset",
    ]
    return "\n".join(line for line in header if line) + "\n"


@pytest.fixture
def write(tmp_path):
    def write_text(text, name="POTCAR"):
        path = tmp_path / name
        data = text.encode()
        path.write_bytes(gzip.compress(data) if name.endswith(".gz") else data)
        return path

    return write_text


@pytest.mark.parametrize("name", ["POTCAR", "POTCAR.gz"])
def test_header_and_channels(write, name):
    (potcar,) = read_potcar(write(synthetic(), name))
    assert potcar.titel == "PAW_PBE Si_sv 01Jan2001"
    assert (potcar.symbol, potcar.lexch) == ("Si", "PE")
    assert (potcar.zval, potcar.enmax, potcar.mass) == (4.0, 245.345, 28.085)
    assert potcar.sha256 == sha256(synthetic().split("End of")[0].strip().encode()).hexdigest()
    assert potcar.channels == (0, 0, 1, 1)


def test_data_sets_are_read_in_file_order(write):
    text = synthetic("Co", 9.0, ((2, 2), (0, 2), (1, 2))) + synthetic("O", 6.0)
    cobalt, oxygen = read_potcar(write(text))
    assert (cobalt.symbol, oxygen.symbol) == ("Co", "O")
    assert cobalt.channels == (2, 2, 0, 0, 1, 1)


def test_the_free_atom_holds_zval_electrons_in_spherical_occupancies(write):
    (potcar,) = read_potcar(write(synthetic()))
    atom = potcar
    assert atom.form_factor[0] == 4.0
    np.testing.assert_allclose(atom.form_factor_at(np.array([1.0])), 4 * np.exp(-1 / 20), rtol=1e-6)
    np.testing.assert_allclose(atom.q, Q)
    assert len(atom.atomic_occupancies) == n_occupancies((0, 0, 1, 1)) == 33
    # First p channel: 2.5 electrons per m in three m.
    assert np.isclose(atom.atomic_occupancies, 3 * 2.5 / np.sqrt(4 * np.pi)).any()


def test_element_from_title_where_vrhfin_is_missing(write):
    (potcar,) = read_potcar(write(synthetic("Mg", vrhfin=False)))
    assert potcar.symbol == "Mg"


def test_element_from_title_where_vrhfin_names_none(write):
    (potcar,) = read_potcar(write(synthetic("Xe").replace("VRHFIN =Xe:", "VRHFIN =X:")))
    assert potcar.symbol == "Xe"


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        (" End of Dataset", "", "End of Dataset"),
        ("   TITEL  =", "   TITLE  =", "TITEL"),
        ("ENMAX  =  245.345", "ENMAX  =  none", "ENMAX"),
        (" Non local Part", " Something else", "Non local Part"),
        (" uccopancies in atom", " nothing", "uccopancies"),
        (" atomic pseudo charge-density", " nothing", "atomic pseudo"),
        ("  0  2  1.89794", "  1.89794", "l and a number"),
        (f"   {PSGMAX:.10f}", "   0.0", "no mesh"),
    ],
)
def test_defects_are_named(write, old, new, reason):
    path = write(synthetic().replace(old, new))
    with pytest.raises(PotcarError, match=reason) as caught:
        read_potcar(path)
    assert str(caught.value).startswith(str(path))
    assert "\n" not in str(caught.value)


def test_truncated_file_is_refused(write):
    text = synthetic()
    with pytest.raises(PotcarError, match="End of Dataset"):
        read_potcar(write(text + text[: len(text) // 2]))


def test_truncated_archive_is_refused(write):
    path = write(synthetic(), "POTCAR.gz")
    path.write_bytes(path.read_bytes()[:500])
    with pytest.raises(PotcarError, match="gzip"):
        read_potcar(path)


def test_short_section_is_named(write):
    radial = 4.0 * np.exp(-Q)[:20]
    with pytest.raises(PotcarError, match="atomic pseudo charge-density"):
        read_potcar(write(synthetic(radial=radial)))
