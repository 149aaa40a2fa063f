"""Composition: equal by value, serialized with the Makers that hold it, open to new sources."""

import json
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from jobflow import Maker
from monty.json import MontyDecoder, MontyEncoder

from mlcharge_flows.atomate2.flows.compare import CompareDensitiesMaker
from mlcharge_flows.atomate2.jobs.initial_density import InitialDensityMaker
from mlcharge_flows.atomate2.jobs.run import RunFromDensityMaker
from mlcharge_flows.atomate2.powerups import start_from_predicted_density
from mlcharge_flows.sources import (
    Anchored,
    Carried,
    Converged,
    ElementMean,
    Evaluated,
    Fallback,
    FromFile,
    InitialDensity,
    InitialDensityDocument,
    Learned,
    Same,
    Source,
    SourceError,
    Superposition,
    parse_arms,
)

DENSITIES = [
    InitialDensity(Superposition()),
    InitialDensity(Converged(), Superposition()),
    InitialDensity(FromFile("/runs/CHGCAR"), Learned("other")),
    InitialDensity(Learned("other"), ElementMean()),
    InitialDensity(Carried("/runs/1")),
    InitialDensity(Anchored("/runs/1", "other")),
    InitialDensity(Fallback((Learned(), Superposition())), Converged()),
]


def through_json(value):
    return json.loads(json.dumps(value, cls=MontyEncoder), cls=MontyDecoder)


@pytest.mark.parametrize("density", DENSITIES, ids=str)
def test_it_survives_serialization(density):
    assert through_json(density) == density
    assert hash(through_json(density)) == hash(density)
    for maker in (
        InitialDensityMaker(initial_density=density),
        RunFromDensityMaker(initial_density=density),
        CompareDensitiesMaker(initial_densities={"arm": density}),
    ):
        again = through_json(maker)
        assert again == maker
        assert type(maker).from_dict(maker.as_dict()) == maker


def test_makers_with_arms_survive_the_search_for_makers():
    maker = CompareDensitiesMaker(initial_densities=parse_arms(["learned/atomic", "converged"]))
    changed = maker.update_kwargs({"icharg": 2}, class_filter=RunFromDensityMaker)
    assert changed == maker


def test_the_same_source_twice_is_one():
    assert InitialDensity(Learned(), Learned()) == InitialDensity(Learned(), Same())
    assert InitialDensity(Learned(), Learned("x")) != InitialDensity(Learned())


def test_same_is_no_source_of_densities(inputs):
    with pytest.raises(SourceError, match="not of densities"):
        InitialDensity(Same()).evaluate(inputs)


def test_warnings_of_both_sources_are_joined_each_once(inputs, trained):
    trained()
    bare = replace(inputs, supplied_datasets=inputs.datasets)

    @dataclass(frozen=True)
    class Warned(Source):
        text: str
        word = "warned"

        def evaluate(self, inputs, given=None):
            return replace(Superposition().evaluate(inputs), warnings=("both", self.text))

    found = InitialDensity(Warned("first"), Warned("second")).evaluate(bare)
    assert found.warnings == ("both", "first", "second")


@dataclass(frozen=True)
class Scaled(Source):
    """A source as another package would add one."""

    factor: float
    word = "scaled"

    def evaluate(self, inputs, given=None):
        density = (given or Superposition().evaluate(inputs)).density
        scaled = tuple(self.factor * values for values in density.augmentation)
        return Evaluated(replace(density, augmentation=scaled))


@dataclass
class HoldingMaker(Maker):
    """A Maker of another package that holds an initial density."""

    name: str = "holding"
    density: InitialDensity = field(default_factory=lambda: InitialDensity(Superposition()))


def test_a_source_of_another_package(inputs, atoms, tmp_path):
    initial = InitialDensity(Superposition(), Scaled(2.0))
    document = initial.write(inputs, tmp_path)
    assert (document.density_source, document.augmentation_source) == ("superposition", "scaled")
    found = initial.evaluate(inputs).density
    expected = Superposition().evaluate(inputs).density
    np.testing.assert_array_equal(found.total, expected.total)
    np.testing.assert_array_equal(found.augmentation[0], 2 * expected.augmentation[0])
    maker = start_from_predicted_density(HoldingMaker(), Scaled(3.0))
    assert maker.density == InitialDensity(Superposition()), "only runs of VASP are changed"


def test_documents_of_the_first_release_are_read():
    old = {
        "kind": "learned",
        "path": "/runs/CHGCAR",
        "comment": "mlcharge learned 3f2a",
        "occupancies": "learned by tiny",
        "seconds": 2.5,
        "messages": ["interpolated"],
    }
    document = InitialDensityDocument.model_validate(old)
    assert (document.density_source, document.augmentation_source) == ("learned", "learned by tiny")
    assert (document.preparation_time, document.warnings) == (2.5, ["interpolated"])
    again = InitialDensityDocument.model_validate_json(document.model_dump_json())
    assert again == document
