from dataclasses import dataclass

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp import PotcarSingle

from mlcharge_flows.atomate2.sets.comparison import ComparisonSetGenerator
from mlcharge_flows.settings import Settings, SetupError
from mlcharge_flows.sources.inputs import VaspInputs
from mlcharge_flows.vasp.potcar import PotcarError, read_potcar

SALT = Structure(Lattice.cubic(3.0), ["O", "Mg"], [[0.5, 0.5, 0.5], [0, 0, 0]])


def same(first, second):
    assert first.keys() == second.keys()
    for symbol, one in first.items():
        for name, value in vars(one).items():
            np.testing.assert_array_equal(value, getattr(second[symbol], name))


@dataclass
class OddSetGenerator(ComparisonSetGenerator):
    """Chooses its POTCAR in a way of its own."""

    @property
    def potcar(self):
        return ComparisonSetGenerator(user_potcar_settings={"Mg": "Mg"}).get_input_set(SALT)[
            "POTCAR"
        ]


@pytest.mark.gpaw
@pytest.mark.filterwarnings("ignore:Overriding")
def test_data_sets_are_those_of_the_potcar_that_vasp_gets(tmp_path):
    pytest.importorskip("gpaw", reason="needs the gpaw extra")
    for generator in (
        ComparisonSetGenerator(),
        ComparisonSetGenerator(user_potcar_settings={"Mg": "Mg"}, user_potcar_functional="PBE_54"),
        OddSetGenerator(),
    ):
        with Settings().activated():
            made = generator.get_input_set(SALT)
        (tmp_path / "POTCAR").write_text(str(made["POTCAR"]))
        written = {potcar.symbol: potcar for potcar in read_potcar(tmp_path / "POTCAR")}
        same(VaspInputs(SALT, generator).potcars, written)
        same(VaspInputs.of(made).potcars, written)
        described = VaspInputs.described(SALT.get_sorted_structure(), {}, tmp_path / "POTCAR")
        same(described.potcars, written)


@pytest.mark.gpaw
def test_a_data_set_is_read_once_and_judged_by_nobody(monkeypatch):
    pytest.importorskip("gpaw", reason="needs the gpaw extra")

    def judge(self):
        raise AssertionError("this compares with the table of all data sets")

    monkeypatch.setattr(PotcarSingle, "is_valid", property(judge))
    first, second = (VaspInputs(SALT, ComparisonSetGenerator()).potcars for _ in range(2))
    assert all(first[symbol] is second[symbol] for symbol in first)


def test_without_a_library_there_are_no_potcars(monkeypatch):
    def refuse(self):
        raise SetupError("no executable here")

    monkeypatch.setattr(Settings, "activated", refuse)
    inputs = VaspInputs(SALT, ComparisonSetGenerator())
    assert not inputs.has_potcars()
    with pytest.raises(SetupError):
        _ = inputs.n_electrons


def test_a_broken_potcar_is_no_missing_one(tmp_path):
    (tmp_path / "POTCAR").write_text("cut")
    inputs = VaspInputs.described(SALT, {"ENCUT": 350}, tmp_path / "POTCAR")
    with pytest.raises(PotcarError, match="POTCAR: no whole data set"):
        inputs.has_potcars()
