"""Blocks of numbers: reading against float(), writing against format_e(), number by number."""

from io import BytesIO

import numpy as np
import pytest

from mlcharge_flows.vasp.chgcar_writer import format_grid
from mlcharge_flows.vasp.fortran import format_e, read_block


def values_of(n=25_003):
    rng = np.random.default_rng(1)
    return rng.standard_normal(n) * 10.0 ** rng.integers(-8, 4, n)


def lines(texts, per_line=5, newline="\n"):
    rows = [texts[i : i + per_line] for i in range(0, len(texts), per_line)]
    return "".join(" " + " ".join(row) + newline for row in rows).encode()


def read(text, count):
    return read_block(BytesIO(text), count)[0]


def test_vasps_style_is_read_as_float_reads_it():
    rng = np.random.default_rng(2)
    texts = [
        format_e(v, 17, 11)
        for v in rng.standard_normal(100_000) * 10.0 ** rng.integers(-90, 90, 100_000)
    ]
    # Eleven digits and a two-digit exponent: what float() makes of it is the law.
    expected = np.array([float(text) for text in texts])
    np.testing.assert_array_equal(read(lines(texts), len(texts)), expected)


@pytest.mark.parametrize("newline", ["\n", "\r\n"])
@pytest.mark.parametrize("n", [1, 4, 5, 6, 20_480, 25_003])
def test_line_ends_and_last_lines(newline, n):
    text = b"".join(format_grid(values_of(n))).replace(b"\n", newline.encode())
    file = BytesIO(text + b"next line\n")
    values, padded = read_block(file, n)
    np.testing.assert_allclose(values, values_of(n), rtol=1e-10)
    assert file.readline() == b"next line\n"
    assert padded == (n % 5 != 0)


@pytest.mark.parametrize(
    "style",
    [
        lambda v: f"{v:.11E}",  # 4.4E-01, wider lines
        lambda v: f"{v:.10e}",  # the same, lower case
        lambda v: f"{v: 17.11f}".strip(),
        lambda v: ("-" if v < 0 else "") + "0" + format_e(abs(v), 17, 11)[1:],
    ],
)
def test_other_styles_are_read_format_free(style):
    texts = [style(v) for v in values_of(1003)]
    expected = np.array([float(text) for text in texts])
    np.testing.assert_array_equal(read(lines(texts), 1003), expected)
    np.testing.assert_array_equal(read(lines(texts, per_line=10), 1003), expected)


def test_exponents_without_letter_among_regular_numbers():
    texts = [format_e(v, 17, 11) for v in values_of(30_000)]
    texts[17], texts[25_000] = "0.50000000000-100", "-.25000000000-123"
    found = read(lines(texts), 30_000)
    assert (found[17], found[25_000]) == (0.5e-100, -0.25e-123)
    assert found[18] == float(texts[18])


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("0.50000000000E+00", "*****************", "stars"),
        ("0.50000000000E+00", "0.5000000x000E+00", "not a number"),
        ("0.50000000000E+00", "              NaN", "NaN"),
        ("0.50000000000E+00", "                 ", "expected"),
        ("\n", "\n\n", "blank line"),
        ("\n", " 0.1\n", "unequal length"),
    ],
)
def test_defects_are_named(old, new, reason):
    text = lines(["0.25000000000E+00"] * 50 + ["0.50000000000E+00"] + ["0.25000000000E+00"] * 59)
    at = text.decode().find(old, 400)
    broken = text[:at] + new.encode() + text[at + len(old) :]
    with pytest.raises(ValueError, match=reason):
        read(broken, 110)


@pytest.mark.parametrize("keep", [0, 5, 91, 1000, 91 * 22 - 2])
def test_truncation_is_an_end_of_file(keep):
    text = lines(["0.25000000000E+00"] * 110)
    assert len(text) == 91 * 22
    with pytest.raises(EOFError):
        read(text[:keep], 110)


def test_a_last_line_without_its_end_is_whole_if_its_last_number_is():
    text = lines(["0.25000000000E+00"] * 110)
    np.testing.assert_array_equal(read(text[:-1], 110), np.full(110, 0.25))
    with pytest.raises(EOFError):
        read(text[:-2], 110)


def test_a_number_that_the_parser_splits_does_not_replace_a_missing_one():
    texts = ["0.25000000000E+00"] * 20
    texts[7] = "0.50000000000-100"
    rows = lines(texts).splitlines(keepends=True)
    short = b"".join([*rows[:2], rows[2][18:], rows[3]])
    with pytest.raises(ValueError, match="20 numbers expected, 19 found"):
        read(short, 20)


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
    assert b"".join(format_grid(values)) == reference(values)


@pytest.mark.parametrize("n", [0, 1, 4, 5, 6, 9, 10])
def test_last_incomplete_line_is_padded(n):
    values = np.linspace(-1, 1, n)
    assert b"".join(format_grid(values)) == reference(values)


def test_chunks_are_whole_lines():
    pieces = list(format_grid(np.linspace(0, 1, 50_003)))
    assert len(pieces) > 2
    assert all(piece.endswith(b"\n") for piece in pieces)


@pytest.mark.parametrize("where", [0, 7])
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_numbers_that_are_not_finite_are_not_written(where, bad):
    values = np.ones(8)
    values[where] = bad
    with pytest.raises(ValueError, match="cannot be written"):
        list(format_grid(values))
