"""INCAR tags: every tag of VASP's manual is honored, without meaning here, or refused by name."""

from __future__ import annotations

import pytest
from pymatgen.io.vasp.inputs import Incar

from mlcharge_flows.gpaw_vasp.errors import UnsupportedInputError
from mlcharge_flows.gpaw_vasp.ionic_settings import IonicSettings
from mlcharge_flows.gpaw_vasp.settings import IncarSettings
from mlcharge_flows.gpaw_vasp.tags import (
    HONORED,
    INEFFECTIVE,
    OUTPUT_FILES,
    REFUSED,
    WITHOUT_MEANING,
    check_tags,
    is_known,
    tags_without_meaning,
)


@pytest.mark.parametrize(
    ("tag", "value"),
    [
        ("ISPIN", 3),
        ("NSW", -5),
        ("LHFCALC", True),
        ("METAGGA", "R2scan"),
        ("LSORBIT", True),
        ("IVDW", 11),
        ("LOPTICS", True),
        ("ALGO", "Gw0"),
        ("PREC", "High"),
        ("GGA", "91"),
        ("ICHARG", 4),
        ("ISMEAR", -3),
        ("ISYM", 7),
        ("IALGO", 53),
        ("LORBIT", 2),
        ("IMIX", 1),
        ("WC", 0.0),
        ("LH5", True),
        ("AGGAC", 0.0),
        ("IBRION", 8),
        ("PSTRESS", 50.0),
        ("IDIPOL", 3),
        ("EFIELD", 0.1),
        ("I_CONSTRAINED_M", 1),
        ("LMAXPAW", -1),
        ("LPEAD", True),
        ("ML_LMLFF", True),
        ("XC", "Scan"),
        ("LDIAG", False),
        ("BEXT", [0.0, 0.0, 1.0]),
    ],
)
def test_physics_that_is_not_computed_is_refused_in_one_line(tag, value):
    with pytest.raises(UnsupportedInputError) as refusal:
        check_tags({tag: value})
    assert tag in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize(
    "tags",
    [
        {"IBRION": 3},
        {"IBRION": -1},
        {"IBRION": 2, "ISIF": 9},
        {"IBRION": 2, "ICHARG": 11},
        {"IBRION": 2, "POTIM": -0.5},
        {"IBRION": 0},
        {"IBRION": 0, "POTIM": 1.0, "ISIF": 3},
        {"IBRION": 0, "POTIM": 1.0, "SMASS": 2.5},
        {"IBRION": 0, "POTIM": 1.0, "MDALGO": 21},
        {"IBRION": 0, "POTIM": 1.0, "MDALGO": 3},
        {"IBRION": 0, "POTIM": 1.0, "SMASS": 0, "TEBEG": 300, "TEEND": 600},
    ],
    ids=str,
)
def test_motions_that_are_not_supported_are_refused_in_one_line(tags):
    with pytest.raises(UnsupportedInputError, match=r"^INCAR: [^\n]*$"):
        IonicSettings.from_incar({"NSW": 5} | tags)


def test_every_tag_that_pymatgen_lists_is_classified():
    unclassified = [tag for tag in Incar.INCAR_PARAMS if not is_known(tag)]
    assert unclassified == []


def test_no_tag_has_two_classes():
    classes = [HONORED, set(OUTPUT_FILES), set(INEFFECTIVE), *WITHOUT_MEANING.values()]
    for index, one in enumerate(classes):
        for other in classes[index + 1 :]:
            assert not set(one) & set(other)
        if one is not HONORED:  # whose values may be refused
            assert not set(one) & REFUSED.keys()


def test_tags_without_meaning_pass_silently():
    tags = {"NCORE": 4, "KPAR": 2, "LWAVE": False, "LREAL": "Auto", "MAGMOM": [0.6]}
    leftovers = {
        "LDAUU": [4.0],
        "LDAUTYPE": 1,
        "MAGMOM": [1.0],
        "HFSCREEN": 0.2,
        "ML_MODE": "Run",
        "EDIFFG": -0.01,
        "IVDW": 0,
    }
    assert check_tags(tags | leftovers) == []


def test_files_that_are_not_written_and_tags_without_influence_are_named():
    files, mixer = check_tags({"LAECHG": True, "LELF": False, "MAXMIX": 40})
    assert "AECCAR" in files
    assert "MAXMIX" in mixer


@pytest.mark.parametrize("tag", ["FOOBAR", "ENCTU", "ICHARGE", "LDAUX"])
def test_unknown_tags_are_refused_by_name(tag):
    with pytest.raises(UnsupportedInputError, match=f"INCAR: {tag} is not known"):
        check_tags({"ENCUT": 300.0, tag: 1})


def test_defaults_are_vasps():
    settings = IncarSettings.from_incar({}, enmax=400.0, n_electrons=8.0, n_ions=2)
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
    settings = IncarSettings.from_incar({"ICHARG": icharg}, 400.0, 8.0, 2)
    assert (settings.reads_chgcar, settings.fixed_density) == (reads, fixed)


@pytest.mark.parametrize(
    ("tags", "delay"),
    [
        ({"NELMDL": -3}, 3),
        ({"NELMDL": 4}, 4),
        ({"NELMDL": 0}, 5),  # without the orbitals of a WAVECAR, VASP takes its default
        ({"ALGO": "Fast"}, 5),
        ({"ALGO": "Veryfast"}, 12),
        ({"IALGO": 48}, 12),
        ({"IALGO": 48, "ALGO": "Normal"}, 5),
        ({"ALGO": "Veryfast", "NELMDL": -2}, 2),
    ],
)
def test_delay_of_mixing(tags, delay):
    assert IncarSettings.from_incar(tags, 400.0, 8.0, 2).nelmdl == delay


def test_icharg_0_means_atoms_without_a_wavecar():
    assert IncarSettings.from_incar({"ICHARG": 0}, 400.0, 8.0, 2).icharg == 2


@pytest.mark.parametrize(
    ("tags", "icharg", "delay"),
    [
        ({}, 0, 0),
        ({"ALGO": "VeryFast"}, 0, 0),
        ({"ICHARG": 1}, 1, 0),
        ({"ICHARG": 11, "NELMDL": -2}, 11, 2),
    ],
)
def test_with_the_orbitals_of_a_wavecar_defaults_are_others(tags, icharg, delay):
    settings = IncarSettings.from_incar(tags, 400.0, 8.0, 2, orbitals_read=True)
    assert (settings.icharg, settings.nelmdl) == (icharg, delay)


def test_charged_cells_and_too_few_bands_are_refused():
    with pytest.raises(UnsupportedInputError, match="NELECT"):
        IncarSettings.from_incar({"NELECT": 9.0}, 400.0, 8.0, 2)
    with pytest.raises(UnsupportedInputError, match="NBANDS"):
        IncarSettings.from_incar({"NBANDS": 3}, 400.0, 8.0, 2)


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
        ("EDIFF", 0.0),
        ("EDIFF", -1e-5),
        ("EDIFF", float("inf")),
        ("SIGMA", float("nan")),
        ("NELECT", float("nan")),
        ("NEDOS", 10**9),
    ],
)
def test_values_out_of_range_are_refused_in_one_line(tag, value):
    with pytest.raises(UnsupportedInputError) as refusal:
        IncarSettings.from_incar({tag: value}, 400.0, 8.0, 2)
    assert f"{tag} = {value}" in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_exactly_filled_bands_are_enough():
    assert IncarSettings.from_incar({"NBANDS": 4}, 400.0, 8.0, 2).nbands == 4
    with pytest.raises(UnsupportedInputError, match="at least 5"):
        IncarSettings.from_incar({"NBANDS": 4}, 400.0, 9.0, 2)


@pytest.mark.parametrize("algo", ["N", "Normal", "Fast", "VeryFast", "All", "D", "Exact"])
def test_algorithms_of_the_ground_state_pass(algo):
    assert check_tags({"ALGO": algo}) == []


@pytest.mark.parametrize(
    "algo", ["Gw0", "EVGW0", "CHI", "ACFDT", "BSE", "TDHF", "None", "Nothing", "Eigenval", "Subrot"]
)
def test_other_algorithms_are_refused(algo):
    with pytest.raises(UnsupportedInputError, match="ALGO"):
        check_tags({"ALGO": algo})


def test_tags_of_input_sets_without_meaning_are_named_in_one_line():
    incar = Incar.from_str(
        "LREAL = Auto\nLASPH = T\nKPAR = 4\nENCUT = 520\nML_MODE = run\nLAECHG = T"
    )
    assert tags_without_meaning(incar) == [
        "gpaw-vasp: without meaning here: KPAR LASPH LREAL ML_MODE"
    ]
    assert tags_without_meaning({"ENCUT": 520.0, "LDAUU": [1.0], "LAECHG": True}) == []
    assert all(tags_without_meaning({tag: 1}) for tags in WITHOUT_MEANING.values() for tag in tags)
