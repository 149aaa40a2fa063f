"""What a learned start refuses, in one line each, and what it only remarks on."""

from dataclasses import replace

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure

from mlcharge_flows.atomate2.sets.comparison import ComparisonSetGenerator
from mlcharge_flows.atomate2.staging import check_datasets
from mlcharge_flows.models.card import DataCard
from mlcharge_flows.settings import SetupError
from mlcharge_flows.sources import (
    InitialDensity,
    InitialDensityDocument,
    Learned,
    RunInputs,
    SourceError,
)
from mlcharge_flows.sources.learned import NO_POTCAR


def test_no_model(inputs, refusal):
    assert refusal(inputs, Learned()).startswith("there is no model 'orbital'; known are: none;")


def test_unknown_elements(inputs, trained, refusal):
    trained()
    other = RunInputs.from_generator(
        Structure(Lattice.cubic(3.0), ["Ca", "O"], [[0, 0, 0], [0.5] * 3]), ComparisonSetGenerator()
    )
    line = refusal(other, Learned("tiny"))
    assert line == "the model tiny does not know Ca; it knows Mg, O"


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"titel": "PAW_PBE O_s test"}, "TITEL is PAW_PBE O test, the run's is PAW_PBE O_s test"),
        ({"zval": 8.0}, "ZVAL is 6.0, the run's is 8.0"),
        (
            {"channels": (0, 0, 1, 2), "atomic_occupancies": None},
            "channels is (0, 0, 1, 1), the run's is (0, 0, 1, 2)",
        ),
        ({"q_step": 0.05}, "the mesh of its free atom differs, under the same TITEL"),
        ({"atomic_occupancies": np.ones(33)}, "the occupancies of its free atom differs"),
    ],
)
def test_other_paw_data_sets(inputs, trained, atoms, refusal, monkeypatch, change, reason):
    trained()
    other = {"Mg": atoms["Mg"], "O": replace(atoms["O"], **change)}
    monkeypatch.setattr(RunInputs, "_potcar", other)
    line = refusal(inputs, Learned("tiny"))
    assert line.startswith("the model tiny was trained with other PAW data for O (made for tests)")
    assert reason in line


def test_charged_cells(inputs, trained, refusal):
    trained()
    inputs = replace(inputs, incar={**inputs.incar, "NELECT": 7.0})
    line = refusal(inputs, Learned("tiny"))
    assert line.startswith("the cell is charged (NELECT = 7, the atoms have 8 electrons)")


def test_distances_and_grids_outside_the_training(salt, trained, refusal):
    trained()
    generator = ComparisonSetGenerator()
    wide = RunInputs.from_generator(
        Structure(Lattice.cubic(9.0), salt.species, salt.frac_coords), generator
    )
    assert "ion 1 (Mg) is isolated" in refusal(wide, Learned("tiny"))
    near = RunInputs.from_generator(
        Structure(salt.lattice, salt.species, [[0.2] * 3, [0] * 3]), generator
    )
    assert "ions 1 (Mg) and 2 (O) are 1.04 angstrom" in refusal(near, Learned("tiny"))
    coarse = {"NGXF": 12, "NGYF": 12, "NGZF": 12}
    rough = RunInputs.from_generator(salt, ComparisonSetGenerator(user_incar_settings=coarse))
    assert "the grid 12 x 12 x 12 is too coarse" in refusal(rough, Learned("tiny"))


def test_without_potcars_the_card_counts(salt, inputs, trained, tmp_path, monkeypatch):
    trained()
    with_potcars = InitialDensity(Learned("tiny")).write(inputs, tmp_path)

    def nothing(self):
        raise SetupError("no POTCARs here")

    monkeypatch.setattr(RunInputs, "_potcar", property(nothing))
    bare = RunInputs.from_generator(salt, ComparisonSetGenerator())
    document = InitialDensity(Learned("tiny")).write(bare, tmp_path)
    assert document.warnings == [NO_POTCAR]
    assert document.sha256 == with_potcars.sha256
    assert document.paw == with_potcars.paw
    charged = RunInputs.from_generator(
        salt, ComparisonSetGenerator(user_incar_settings={"NELECT": 9})
    )
    with pytest.raises(SourceError, match="charged"):
        InitialDensity(Learned("tiny")).write(charged, tmp_path)


@pytest.mark.parametrize(
    ("trained_at", "known"),
    [(None, None), ((350.0, 350.0), None), ((340.0, 400.0), None), ((520.0, 520.0), "520")],
)
def test_another_cutoff_is_remarked_on(inputs, trained, tmp_path, trained_at, known):
    trained(data=DataCard(name="a few crystals", train=1, validation=0, encut=trained_at))
    document = InitialDensity(Learned("tiny")).write(inputs, tmp_path)
    remark = f"the model tiny was trained at ENCUT = {known} eV, the run has 350 eV"
    assert [line.split(":")[0] for line in document.warnings] == ([remark] if known else [])


def test_a_run_refuses_what_was_predicted_for_other_data(inputs):
    given = InitialDensityDocument(
        density_source="learned", path="x", paw={"Mg": "PAW_PBE Mg test"}
    )
    check_datasets(given, inputs)
    check_datasets(InitialDensityDocument(density_source="superposition", path="x"), inputs)
    with pytest.raises(SourceError, match="was made for the PAW data set PAW_PBE Mg_pv old"):
        check_datasets(given.model_copy(update={"paw": {"Mg": "PAW_PBE Mg_pv old"}}), inputs)
