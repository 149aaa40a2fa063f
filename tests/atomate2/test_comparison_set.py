"""The input set of a comparison: LMAXMIX by elements."""

import pytest
from pymatgen.core import Lattice, Structure

from mlcharge_flows.atomate2.sets.comparison import ComparisonSetGenerator, lmaxmix
from mlcharge_flows.density.augmentation import labels


@pytest.mark.parametrize(
    ("symbols", "expected"),
    [(("Si", "O"), 4), (("Fe", "O"), 4), (("Ba", "O"), 4), (("La", "O"), 6), (("O", "U"), 6)],
)
def test_lmaxmix_is_6_with_f_elements_and_else_4(symbols, expected):
    salt = Structure(Lattice.cubic(5.0), symbols, [[0, 0, 0], [0.5] * 3])
    assert lmaxmix(salt.atomic_numbers) == expected
    inputs = ComparisonSetGenerator().get_input_set(salt, potcar_spec=True)
    assert inputs["INCAR"]["LMAXMIX"] == expected


@pytest.mark.parametrize(("channels", "number"), [((0, 0, 1, 1, 2, 2), 26), ((2, 2, 3, 3), 58)])
def test_lmaxmix_keeps_every_augmentation_occupancy(channels, number):
    assert lmaxmix([8, number]) == max(L for _, _, L, _ in labels(channels))
