from dataclasses import astuple, dataclass, replace

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp import Poscar, PotcarSingle

from mlcharge_flows.atomate2.sets.comparison import ComparisonSetGenerator
from mlcharge_flows.settings import Settings, SetupError
from mlcharge_flows.sources import (
    Fallback,
    InitialDensity,
    Learned,
    RunInputs,
    SourceError,
    Superposition,
)
from mlcharge_flows.vasp.potcar import PotcarError, read_potcar

FROM_POTCAR = RunInputs.__dict__["_potcar"]
SALT = Structure(Lattice.cubic(3.0), ["O", "Mg"], [[0.5, 0.5, 0.5], [0, 0, 0]])


def same(first, second):
    assert first.keys() == second.keys()
    for symbol, one in first.items():
        for name, value in vars(one).items():
            other = getattr(second[symbol], name)
            if name in ("partial_waves", "ionic_potential"):
                for array, of_other in zip(astuple(value), astuple(other), strict=True):
                    np.testing.assert_array_equal(array, of_other)
            else:
                np.testing.assert_array_equal(value, other)


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
        same(RunInputs.from_generator(SALT, generator).datasets, written)
        same(RunInputs.from_input_set(made).datasets, written)
        described = RunInputs.from_files(SALT.get_sorted_structure(), {}, tmp_path / "POTCAR")
        same(described.datasets, written)


@pytest.mark.gpaw
def test_a_data_set_is_read_once_and_not_validated(monkeypatch):
    pytest.importorskip("gpaw", reason="needs the gpaw extra")

    def validate(self):
        raise AssertionError("this compares with the table of all data sets")

    monkeypatch.setattr(PotcarSingle, "is_valid", property(validate))
    first, second = (
        RunInputs.from_generator(SALT, ComparisonSetGenerator()).datasets for _ in range(2)
    )
    assert all(first[symbol] is second[symbol] for symbol in first)


def test_without_a_library_there_are_no_potcars(monkeypatch):
    def refuse(self):
        raise SetupError("no executable here")

    monkeypatch.setattr(Settings, "activated", refuse)
    inputs = RunInputs.from_generator(SALT, ComparisonSetGenerator())
    assert not inputs.has_potcar
    with pytest.raises(SetupError):
        _ = inputs.n_electrons


def test_a_broken_potcar_is_no_missing_one(tmp_path):
    (tmp_path / "POTCAR").write_text("cut")
    inputs = RunInputs.from_files(SALT, {"ENCUT": 350}, tmp_path / "POTCAR")
    with pytest.raises(PotcarError, match="POTCAR: no whole data set"):
        _ = inputs.has_potcar


def made(atoms, **tags):
    """Inputs of the salt with a POTCAR of these data sets; without them, no POTCAR."""
    reader = {"read_potcar": lambda: atoms} if atoms else {}
    return RunInputs(SALT.get_sorted_structure(), {"PREC": "Normal", **tags}, **reader)


def test_without_encut_vasp_takes_the_largest_enmax(atoms):
    datasets = [replace(atoms["Mg"], enmax=200.0), replace(atoms["O"], enmax=400.0)]
    default, explicit = made(datasets), made(datasets, ENCUT=400.0)
    assert default.encut == 400.0
    assert default.grid == explicit.grid != made(datasets, ENCUT=200.0).grid
    assert made(None).encut is None
    with pytest.raises(ValueError, match="ENCUT is missing"):
        _ = made(None).grid


def test_two_data_sets_of_one_element_are_refused(atoms):
    other = replace(atoms["O"], titel="PAW_PBE O_s test")
    with pytest.raises(PotcarError, match="two PAW data sets of O"):
        _ = made([*atoms.values(), other]).datasets
    assert made([*atoms.values(), atoms["O"]]).datasets == atoms


def test_two_data_sets_of_one_element_refuse_initial_densities_and_not_the_run(
    atoms, trained, monkeypatch
):
    """What needs no data sets by element, such as grid and cutoff, is known all the same."""
    trained("tiny")
    monkeypatch.setattr(RunInputs, "_potcar", FROM_POTCAR)
    other = replace(atoms["O"], titel="PAW_PBE O_s test", enmax=400.0)
    inputs = made([*atoms.values(), other])
    assert inputs.has_potcar
    assert inputs.encut == 400.0
    assert inputs.grid == made(list(atoms.values()), ENCUT=400.0).grid
    for source in (Superposition(), Learned("tiny"), Fallback((Learned("tiny"), Superposition()))):
        with pytest.raises(SourceError, match=r"two PAW data sets of O .*one of each element"):
            InitialDensity(source).evaluate(inputs)


def test_supplied_data_sets_never_replace_those_of_a_potcar(atoms):
    other = {symbol: replace(data, titel="other") for symbol, data in atoms.items()}
    inputs, bare = made(atoms.values()), made(None)
    assert inputs.with_datasets(other) is inputs
    completed = bare.with_datasets(other)
    assert not completed.has_potcar
    assert completed.datasets == other
    assert completed.with_datasets(atoms) is completed
    assert bare.supplied_datasets is None, "the inputs are not changed"


def test_a_left_handed_cell_is_reversed_as_it_is_in_the_poscar():
    reversed_cell = Structure(Lattice(-SALT.lattice.matrix), SALT.species, SALT.frac_coords)
    inputs = RunInputs.from_generator(reversed_cell, ComparisonSetGenerator())
    written = Poscar.from_str(Poscar(inputs.structure).get_str()).structure
    assert np.linalg.det(inputs.crystal.lattice) > 0
    np.testing.assert_allclose(inputs.crystal.lattice, written.lattice.matrix)
    np.testing.assert_allclose(inputs.crystal.positions, written.frac_coords)
