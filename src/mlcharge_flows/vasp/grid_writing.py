"""Millions of numbers as VASP writes a grid, ``5(1X,E17.11)``, from tables instead of formats.

Eleven digits fit into a double exactly, so a number is scaled to an eleven-digit integer whose
pieces are looked up as text. The few numbers whose rounding that scaling could change, and those at
the ends of the double range, are written by :func:`~mlcharge_flows.vasp.fortran.format_e`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mlcharge_flows.vasp.fortran import FortranNumberError, format_e, format_exponent

if TYPE_CHECKING:
    from collections.abc import Iterator

_PER_LINE = 5
_CHUNK = 4096 * _PER_LINE  # numbers whose working arrays stay in the processor's cache
_DIGITS = 11

_MAX_EXPONENT = 330
_EXPONENTS = np.array(
    [format_exponent(e).encode() for e in range(-_MAX_EXPONENT, _MAX_EXPONENT + 1)], dtype="S4"
).view("<u4")
_POWERS = np.array([float(f"1e{k}") for k in range(-300, 301)])


def _padded(n_digits: int) -> np.ndarray:
    """All numbers of so many digits as text, zeros in front: bytes, shape (10**n, n)."""
    powers = 10 ** np.arange(n_digits)[::-1]
    return (np.arange(10**n_digits)[:, None] // powers % 10 + ord("0")).astype(np.uint8)


# One number is four pieces: blank, lead, point and five digits | four digits | two | exponent.
_FIRST = np.empty((2, 100_000, 8), dtype=np.uint8)
_FIRST[..., :3] = [[list(b" 0.")], [list(b" -.")]]
_FIRST[..., 3:] = _padded(5)
_HEADS = _FIRST.view("<u8").ravel()
_MIDDLES = _padded(4).view("<u4").ravel()
_ENDS = _padded(2).view("<u2").ravel()
_NUMBER = np.dtype([("head", "<u8"), ("middle", "<u4"), ("end", "<u2"), ("exponent", "<u4")])
_LINE = np.dtype([("numbers", _NUMBER, _PER_LINE), ("newline", "S1")])


def grid_text(values: np.ndarray) -> Iterator[bytes]:
    """Write numbers as VASP writes a grid: ``5(1X,E17.11)``.

    Parameters
    ----------
    values
        Finite numbers, shape (n,).

    Yields
    ------
    bytes
        Whole lines; the last incomplete line is padded with two blanks, as VASP does.

    Raises
    ------
    ValueError
        If a number is not finite.
    """
    if not np.all(np.isfinite(values)):
        raise FortranNumberError("NaN or infinity cannot be written as a Fortran number")
    n_full = len(values) // _PER_LINE * _PER_LINE
    for start in range(0, n_full, _CHUNK):
        yield _full_lines(values[start : min(start + _CHUNK, n_full)])
    if n_full < len(values):
        rest = "".join(f" {format_e(value, 17, _DIGITS)}" for value in values[n_full:])
        yield f"{rest}  \n".encode()


def _full_lines(values: np.ndarray) -> bytes:
    magnitude = np.abs(values)
    zero = magnitude == 0.0
    magnitude[zero] = 0.1
    exponent = np.floor(np.log10(magnitude)).astype(np.intp) + 1
    scaled = magnitude * _POWERS[np.clip(_DIGITS - exponent, -300, 300) + 300]
    mantissa = np.floor(scaled + 0.5)
    # `scaled` is right to 3e-5. Where that could change the rounding, where the logarithm was one
    # off and at the ends of the double range, the number takes the slow way.
    hard = np.abs(scaled - np.floor(scaled) - 0.5) < 1e-3
    hard |= (mantissa < 1e10) | (mantissa >= 1e11) | (np.abs(exponent) > 280)
    mantissa[hard] = 1e10
    mantissa[zero] = 0.0
    exponent[zero] = 0

    digits = mantissa.astype(np.int64)
    # Division by a constant is vectorized, divmod is not.
    upper = digits // 1_000_000
    digits -= upper * 1_000_000
    middle = digits // 100
    digits -= middle * 100
    lines = np.empty(len(values) // _PER_LINE, dtype=_LINE)
    lines["newline"] = b"\n"
    numbers = lines["numbers"]
    shape = numbers.shape
    numbers["head"] = _HEADS[upper + 100_000 * np.signbit(values)].reshape(shape)
    numbers["middle"] = _MIDDLES[middle].reshape(shape)
    numbers["end"] = _ENDS[digits].reshape(shape)
    numbers["exponent"] = _EXPONENTS[exponent + _MAX_EXPONENT].reshape(shape)
    for index in np.flatnonzero(hard):
        line, column = divmod(int(index), _PER_LINE)
        exact = f" {format_e(float(values[index]), 17, _DIGITS)}".encode()
        numbers[line, column] = np.frombuffer(exact, dtype=_NUMBER)[0]
    return lines.tobytes()
