"""The fast writer against the slow reference, number by number."""

import numpy as np
import pytest

from mlcharge_flows.vasp.fortran import format_e
from mlcharge_flows.vasp.grid_writing import grid_text


def reference(values):
    lines = [values[i : i + 5] for i in range(0, len(values), 5)]
    text = "".join("".join(f" {format_e(v, 17, 11)}" for v in line) + "\n" for line in lines)
    return (text[:-1] + "  \n" if len(values) % 5 else text).encode()


def awkward(n):
    """Every magnitude, exact ties of the last digit, powers of ten and their neighbors."""
    rng = np.random.default_rng(0)
    powers = 10.0 ** np.arange(-310.0, 309.0)
    ties = (rng.integers(10**10, 10**11, n // 4) + 0.5) * 10.0 ** rng.integers(-14, 5, n // 4)
    return np.concatenate(
        [
            rng.standard_normal(n // 4) * 10.0 ** rng.integers(-320, 300, n // 4),
            rng.standard_normal(n // 4) * 10.0 ** rng.integers(-6, 3, n // 4),
            np.round(rng.standard_normal(n // 4), 5),
            rng.choice([-1, 1], n // 4) * ties,
            powers,
            np.nextafter(powers, 0),
            np.nextafter(powers, np.inf),
            [0.0, -0.0, 5e-324, -5e-324, 1.7e308, -1e-100, 0.99999999999949996, 0.999999999995],
        ]
    )


def test_every_number_is_correctly_rounded():
    values = awkward(100_000)
    assert b"".join(grid_text(values)) == reference(values)


@pytest.mark.parametrize("n", [0, 1, 4, 5, 6, 9, 10])
def test_last_incomplete_line_is_padded(n):
    values = np.linspace(-1, 1, n)
    assert b"".join(grid_text(values)) == reference(values)


def test_chunks_are_whole_lines():
    pieces = list(grid_text(np.linspace(0, 1, 50_003)))
    assert len(pieces) > 2
    assert all(piece.endswith(b"\n") for piece in pieces)


@pytest.mark.parametrize("where", [0, 7])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_refused(where, bad):
    values = np.ones(8)
    values[where] = bad
    with pytest.raises(ValueError, match="cannot be written"):
        list(grid_text(values))
