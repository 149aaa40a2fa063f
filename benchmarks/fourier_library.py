"""Transforms of orbitals with scipy's library and with MKL's, in one run.

Needs the extra ``mkl``::

    python benchmarks/fourier_library.py

Prints a Markdown table: median time of a forward transform of a complex grid, and the ratio with
its range over the repeats, which alternate.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

from statistics import median
from time import perf_counter

import numpy as np
from scipy import fft

from mlcharge_flows.gpaw_vasp.command import use_mkl_transforms

SIZES, REPEATS, CALLS = (24, 30, 32, 36, 40, 48), 15, 10


def seconds(values: np.ndarray) -> float:
    """Time of one transform."""
    begin = perf_counter()
    for _ in range(CALLS):
        fft.fftn(values)
    return (perf_counter() - begin) / CALLS


def main() -> None:
    """Print the table."""
    if not use_mkl_transforms():
        raise SystemExit("needs the extra mkl: pip install 'mlcharge-flows[mkl]'")
    random = np.random.default_rng(0)
    print("| grid | scipy, us | MKL, us | ratio (range) |")
    print("|---|---:|---:|---:|")
    for n in SIZES:
        values = random.standard_normal((n, n, n)) + 1j * random.standard_normal((n, n, n))
        pairs = []
        for _ in range(REPEATS):
            fft.set_global_backend("scipy")
            slow = seconds(values)
            use_mkl_transforms()
            pairs.append((slow, seconds(values)))
        ratios = sorted(slow / fast for slow, fast in pairs)
        slow, fast = (1e6 * median(times) for times in zip(*pairs, strict=True))
        print(
            f"| {n}^3 | {slow:.0f} | {fast:.0f} "
            f"| {median(ratios):.2f} ({ratios[0]:.2f} to {ratios[-1]:.2f}) |"
        )


if __name__ == "__main__":
    main()
