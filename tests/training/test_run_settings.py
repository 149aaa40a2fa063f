import pytest

from mlcharge_flows.training.run_settings import RunSettings
from mlcharge_flows.vasp.outcar import Outcar

PBE = RunSettings(
    functional="PE",
    metagga="",
    hybrid=False,
    ispin=1,
    charged=False,
    hubbard={"Fe": (2, 5.3, 0.0), "O": (-1, 0.0, 0.0)},
    occupancy_lmax={"Fe": 4, "O": 2},
)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"functional": "PS"}, "GGA = PS instead of PE"),
        ({"metagga": "R2SCAN"}, "METAGGA = R2SCAN instead of none"),
        ({"hybrid": True}, "LHFCALC = True instead of False"),
        ({"ispin": 2}, "ISPIN = 2 instead of 1"),
        ({"charged": True}, "charged cell = True instead of False"),
        ({"hubbard": {"Fe": (2, 4.0, 0.0)}}, "U = 4, J = 0 eV on l = 2 of Fe instead of U = 5.3"),
        ({"hubbard": {"Fe": (-1, 0.0, 0.0)}}, "no U of Fe instead of U = 5.3"),
        ({"occupancy_lmax": {"Fe": 2}}, "occupancies of Fe up to L = 2 instead of 4"),
    ],
)
def test_every_setting_that_differs_is_a_conflict(change, message):
    assert message in PBE.conflict(PBE.model_copy(update=change))


@pytest.mark.parametrize(
    "change",
    [
        {"functional": None, "hybrid": None, "ispin": None, "charged": None, "metagga": None},
        {"hubbard": {"Ni": (2, 6.2, 0.0)}, "occupancy_lmax": {"Ni": 2}},
        {"lmaxmix": 6},
    ],
)
def test_unknown_settings_and_other_elements_are_none(change):
    assert PBE.conflict(PBE.model_copy(update=change)) is None


def test_a_meta_gga_does_not_mix_with_an_unknown_functional():
    scan = PBE.model_copy(update={"metagga": "SCAN"})
    assert scan.conflict(RunSettings()) == "METAGGA = not known instead of SCAN"


def test_joined_settings_are_those_known_of_either():
    nickel = RunSettings(ispin=1, lmaxmix=4, hubbard={"Ni": (2, 6.2, 0.0)})
    joined = PBE.joined(nickel)
    assert (joined.functional, joined.ispin, joined.lmaxmix) == ("PE", 1, 4)
    assert joined.hubbard == {**PBE.hubbard, **nickel.hubbard}
    assert PBE.joined(RunSettings()) == RunSettings().joined(PBE) == PBE


def test_lmaxmix_counts_as_far_as_the_channels_reach():
    """LMAXMIX = 4 keeps all occupancies of s and p channels, and those of d channels."""
    outcar = Outcar(
        titels=("PAW_PBE O", "PAW_PBE Fe"),
        channels=((0, 0, 1, 1), (2, 2, 0, 0)),
        lmaxmix=4,
        gga="--",
        lexch="PE",
        n_electrons=14.5,
    )
    settings = RunSettings.of(outcar, ["O", "Fe"], "None", 14.0)
    assert settings.occupancy_lmax == {"O": 2, "Fe": 4}
    assert (settings.functional, settings.metagga, settings.charged) == ("PE", "", True)
    assert settings.hubbard == {"O": (-1, 0.0, 0.0), "Fe": (-1, 0.0, 0.0)}
