"""Fortran numbers, one by one."""

import numpy as np
import pytest

from mlcharge_flows.vasp.fortran import (
    FortranNumberError,
    format_e,
    format_exponent,
    parse_floats,
    parse_integer,
    parse_logical,
    parse_real,
)


@pytest.mark.parametrize(
    ("value", "width", "digits", "text"),
    [
        (0.44062142953, 17, 11, "0.44062142953E+00"),
        (-3.6466499731, 17, 11, "-.36466499731E+01"),
        (0.0, 17, 11, "0.00000000000E+00"),
        (-0.0, 17, 11, "-.00000000000E+00"),
        (-0.0, 20, 12, " -0.000000000000E+00"),
        (5e-101, 17, 11, "0.50000000000-100"),
        (1e100, 17, 11, "0.10000000000+101"),
        (0.999999999999, 17, 11, "0.10000000000E+01"),
        (-0.03307158, 15, 7, " -0.3307158E-01"),
        (0.7381396e-21, 15, 7, "  0.7381396E-21"),
        (0.6, 20, 12, "  0.600000000000E+00"),
        (1.0, 5, 7, "*****"),
        (np.nan, 6, 1, "   NaN"),
        (-np.inf, 6, 1, "  -Inf"),
        (np.inf, 3, 1, "***"),
    ],
)
def test_numbers_look_as_in_real_files(value, width, digits, text):
    assert format_e(value, width, digits) == text


def test_exponents_lose_their_letter_at_three_digits():
    assert [format_exponent(e) for e in (0, 9, -99, 100, -308)] == [
        "E+00",
        "E+09",
        "E-99",
        "+100",
        "-308",
    ]


def test_all_styles_are_read():
    text = b"0.44E+00 4.4e-01 -.364E+01 1.5D+02 0.5-100\n 0.25+101 7 -0.0\r\n"
    expected = [0.44, 0.44, -3.64, 150.0, 0.5e-100, 0.25e101, 7.0, 0.0]
    np.testing.assert_array_equal(parse_floats(text), expected)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (b"0.1 *****************", "stars"),
        (b"0.1 NaN", "NaN"),
        (b"0.1 Infinity", "NaN or infinite"),
        (b"0.1 1e999", "NaN or infinite"),
        (b"0.1 augmentation", "'augmentation' is not a number"),
        (b"0.10.2", "not a number"),
        (b"0.1E+00-0.2E+00", "not a number"),
    ],
)
def test_anything_else_is_named(text, reason):
    with pytest.raises(ValueError, match=reason):
        parse_floats(text)


@pytest.mark.parametrize(
    ("reader", "words", "values"),
    [
        (
            parse_real,
            ["1D-6", "5.", ".5e1", "-7", "+1.0Q2", "0.5-100"],
            [1e-6, 5, 5, -7, 100, 5e-101],
        ),
        (parse_integer, ["7", "-12", "+3"], [7, -12, 3]),
        (parse_logical, [".TRUE.", "t", "F", ".false", "False"], [True, True, False, False, False]),
    ],
)
def test_words_are_read_as_in_list_directed_input(reader, words, values):
    assert [reader(word) for word in words] == values


@pytest.mark.parametrize(
    ("reader", "word"),
    [
        (parse_real, word)
        for word in (
            "",
            "x",
            "1x",
            "1e",
            "1_000",
            "0x1",
            "inf",
            "nan",
            "1e400",
            "1.0.0",
            "--1",
            "*",
        )
    ]
    + [(parse_integer, word) for word in ("", "1.0", "1e2", "x", "1D0", "*")]
    + [(parse_logical, word) for word in ("", "yes", "1", ".x.", "T1")],
)
def test_words_that_are_not_wholly_a_value_are_refused(reader, word):
    with pytest.raises(FortranNumberError, match="is not"):
        reader(word)


def test_nothing_is_no_numbers():
    assert parse_floats(b" \n").size == 0
