from __future__ import annotations

import pytest

from mlcharge_flows.gpaw_vasp.errors import UnsupportedInputError
from mlcharge_flows.gpaw_vasp.settings import Settings
from mlcharge_flows.gpaw_vasp.tags import check_tags


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        ("ISPIN", 2),
        ("NSW", 5),
        ("LDAU", True),
        ("LHFCALC", True),
        ("METAGGA", "R2scan"),
        ("LSORBIT", True),
        ("IVDW", 11),
        ("LOPTICS", True),
        ("ALGO", "Gw0"),
        ("PREC", "High"),
        ("GGA", "Ps"),
        ("ICHARG", 4),
        ("ISMEAR", -3),
        ("ISYM", 7),
    ],
)
def test_physics_that_is_not_computed_is_refused_in_one_line(tag, value):
    with pytest.raises(UnsupportedInputError) as refusal:
        check_tags({tag: value})
    assert tag in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_tags_without_influence_pass_silently():
    assert (
        check_tags({"NCORE": 4, "KPAR": 2, "LWAVE": False, "LREAL": "Auto", "MAGMOM": [0.6]}) == []
    )


def test_unknown_and_ineffective_tags_are_named():
    unknown, mixer = check_tags({"FOOBAR": 1, "IMIX": 1})
    assert "FOOBAR" in unknown
    assert "IMIX" in mixer


def test_defaults_are_vasps():
    settings = Settings.from_incar({}, enmax=400.0, n_electrons=8.0, n_ions=2)
    assert settings.encut == 400.0
    assert settings.icharg == 2
    assert settings.nelmdl == 5
    assert settings.nelm == 60
    assert settings.ismear == 1
    assert settings.sigma == 0.2
    assert settings.lmaxmix == 2
    assert settings.nbands == 8


@pytest.mark.parametrize(
    ("icharg", "reads", "fixed"),
    [(1, True, False), (2, False, False), (11, True, True), (12, False, True)],
)
def test_icharg(icharg, reads, fixed):
    settings = Settings.from_incar({"ICHARG": icharg}, 400.0, 8.0, 2)
    assert (settings.reads_chgcar, settings.fixed_density) == (reads, fixed)


def test_icharg_0_means_atoms_without_a_wavecar():
    assert Settings.from_incar({"ICHARG": 0}, 400.0, 8.0, 2).icharg == 2


def test_charged_cells_and_too_few_bands_are_refused():
    with pytest.raises(UnsupportedInputError, match="NELECT"):
        Settings.from_incar({"NELECT": 9.0}, 400.0, 8.0, 2)
    with pytest.raises(UnsupportedInputError, match="NBANDS"):
        Settings.from_incar({"NBANDS": 3}, 400.0, 8.0, 2)


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        ("ENCUT", "abc"),
        ("ENCUT", -5.0),
        ("SIGMA", "abc"),
        ("SIGMA", 0.0),
        ("NBANDS", "many"),
        ("NELM", 0),
        ("LMAXMIX", -1),
        ("NEDOS", 1),
        ("NELECT", "eight"),
        ("KSPACING", "fine"),
    ],
)
def test_values_out_of_range_are_refused_in_one_line(tag, value):
    with pytest.raises(UnsupportedInputError) as refusal:
        Settings.from_incar({tag: value}, 400.0, 8.0, 2)
    assert f"{tag} = {value}" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_exactly_filled_bands_are_enough():
    assert Settings.from_incar({"NBANDS": 4}, 400.0, 8.0, 2).nbands == 4
    with pytest.raises(UnsupportedInputError, match="at least 5"):
        Settings.from_incar({"NBANDS": 4}, 400.0, 9.0, 2)


@pytest.mark.parametrize("algo", ["N", "Normal", "Fast", "VeryFast", "All", "D", "Exact"])
def test_algorithms_of_the_ground_state_pass(algo):
    assert check_tags({"ALGO": algo}) == []


@pytest.mark.parametrize("algo", ["Gw0", "EVGW0", "CHI", "ACFDT", "BSE", "TDHF"])
def test_other_algorithms_are_refused(algo):
    with pytest.raises(UnsupportedInputError, match="ALGO"):
        check_tags({"ALGO": algo})
