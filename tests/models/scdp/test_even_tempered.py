"""Exponents that are derived, against a direct derivation and the rule that cuts them."""

import numpy as np
import pytest
from scipy.integrate import quad

pytest.importorskip("torch", reason="needs the models extra")
bse = pytest.importorskip("basis_set_exchange", reason="needs the train extra")

from pydantic import ValidationError  # noqa: E402

from mlcharge_flows.models.scdp import PRESETS, ScdpConfig  # noqa: E402
from mlcharge_flows.models.scdp.basis import MIN_NORM_FRACTION, even_tempered, norm_fraction  # noqa: E402

BOHR = 0.529177210903


def products(symbol, degree, highest):
    """Exponents of all products of two orbitals whose degrees sum to one, 1/angstrom^2."""
    element = next(iter(bse.get_basis("def2-qzvppd", elements=[symbol])["elements"].values()))
    known = {}
    for shell in element["electron_shells"]:
        for exponent, *c in zip(shell["exponents"], *shell["coefficients"], strict=True):
            if max(abs(float(x)) for x in c) > 1e-3:
                known.setdefault(shell["angular_momentum"][0], []).append(float(exponent))
    return [
        2 * np.sqrt(one * other) / BOHR**2
        for first in range(min(degree, highest) + 1)
        if degree - first <= highest
        for one in known[first]
        for other in known[degree - first]
    ]


@pytest.mark.parametrize(("symbol", "highest"), [("H", 1), ("O", 2), ("Mg", 2), ("Fe", 3)])
@pytest.mark.parametrize("ratio", [2.0, 1.3])
def test_the_series_bridges_the_products_of_orbitals(symbol, highest, ratio):
    shells = even_tempered(symbol, ratio, 1e6, 6)  # a grid that holds everything
    assert len(shells) == 2 * highest + 1
    for degree, (smallest, n) in enumerate(shells):
        exponents = products(symbol, degree, highest)
        assert smallest == pytest.approx(min(exponents), rel=1e-6)
        # Up to within a ratio of the narrowest.
        assert smallest * ratio**n > max(exponents)
        assert smallest * ratio ** (n - 1) < ratio * max(exponents)


@pytest.mark.parametrize("ratio", [2.0, 1.5, 1.3])
def test_what_the_grid_cannot_hold_is_cut(ratio):
    cut, whole = (even_tempered("O", ratio, wave, 6) for wave in (24.0, 1e6))
    for degree, ((low, n), (same, most)) in enumerate(zip(cut, whole, strict=True)):
        assert low == same
        assert norm_fraction(low * ratio ** (n - 1), degree, 24.0) >= MIN_NORM_FRACTION
        assert n == most or norm_fraction(low * ratio**n, degree, 24.0) < MIN_NORM_FRACTION
    assert cut[0][1] < whole[0][1]


@pytest.mark.parametrize("degree", [0, 3])
def test_the_share_of_the_norm_is_an_integral(degree):
    def norm(end):
        return quad(lambda q: q ** (2 * degree + 2) * np.exp(-(q**2) / 80), 0, end)[0]

    assert norm_fraction(40.0, degree, 15.0) == pytest.approx(norm(15.0) / norm(200.0), rel=1e-6)


def options(**changes):
    elements = ["C", "H"]
    return {"elements": elements, "channels": {"C": [0, 0, 1], "H": [0, 0]}, **changes}


def test_a_configuration_derives_its_exponents_once():
    config = ScdpConfig(**options(ratio=1.5, virtual="bonds", **PRESETS["K8L6"]))
    assert (config.n_interactions, config.lmax) == (8, 6)
    assert sorted(config.shells) == ["C", "H", "O"]
    assert config.species == ["C", "H", "O"]
    assert config.shells["O"] == list(even_tempered("O", 1.5, config.g_max, 6))
    again = ScdpConfig.model_validate_json(config.model_dump_json())
    assert again == config
    assert len(ScdpConfig(**options(largest_degree=1)).shells["C"]) == 2


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"basis_set": "nonesuch"}, "there is no basis set 'nonesuch' for C"),
        ({"virtual": "both"}, "interstitials are of crystals"),
        ({"shells": {"C": [(0.5, 3)]}}, "shells: H has none"),
        ({"ratio": 1.0}, "ratio"),
        ({"elements": []}, "elements"),
    ],
)
def test_bad_options_say_what_is_wrong(changes, says):
    with pytest.raises(ValidationError, match=says):
        ScdpConfig(**options(**changes))


def test_without_the_library_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "basis_set_exchange", None)
    with pytest.raises(ValidationError, match="pip install basis-set-exchange"):
        ScdpConfig(**options(virtual_element="Xe", virtual="bonds"))
