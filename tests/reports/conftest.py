"""A made-up campaign with everything that a report has to show."""

from __future__ import annotations

import numpy as np
import pytest

from mlcharge_flows.scf.comparison import Comparison
from mlcharge_flows.scf.run import ScfRun

FORMULAS = (
    *("Si", "MgO", "Cu", "GaAs", "TiO2", "CaF2"),
    *("NaCl", "TiZn3", "CaGa4", "Cu2Se", "Al", "KBr"),
)
KEPT = {"default": 1.0, "superposition": 1.0, "learned": 0.1, "converged": 0.0005}


def scf_run(rng, arm: str, n_default: int, energy: float, residual: float, folder: str) -> ScfRun:
    error = KEPT[arm]
    saved = {"default": 0, "superposition": 0, "learned": 0.32, "converged": 0.52}[arm]
    n_scf = max(2, round((n_default - 4) * (1 - saved * rng.uniform(0.8, 1.4))))
    n_total = 4 + n_scf
    fall = 10.0 ** -np.arange(4) * 5
    tail = 0.3 * error**0.5 * 10.0 ** -np.linspace(0, 5, n_scf) * (-1) ** np.arange(n_scf)
    energies = [*(energy + fall), *(energy + tail)]
    given = arm != "default"
    comment = f"{arm} 3f2a" if given else None
    residuals = [None] * 4 + list(residual * error * 10.0 ** -np.linspace(0, 3, n_scf))
    residuals[-1] = None
    return ScfRun(
        folder=folder,
        n_atoms=2,
        n_total=n_total,
        n_scf=n_scf,
        first_residual=residual * error,
        energies=energies,
        residuals=residuals,
        energy=energy + rng.normal(scale=5e-5),
        wall_time=2.0 * n_total * rng.uniform(0.95, 1.05),
        cpu_time=1.9 * n_total,
        preparation_time={"learned": 1.5, "converged": 0.2}.get(arm, 0.0),
        converged=True,
        started_from="chgcar" if given else "atoms",
        echoed_comment=comment,
        expected_comment=comment,
    )


@pytest.fixture
def campaign() -> list[Comparison]:
    """Twelve materials, four arms; a fall-back, a correction, a kill, a lost stdout, a mean dE."""
    rng = np.random.default_rng(7)
    comparisons = []
    for number, formula in enumerate(FORMULAS):
        n_default, energy = int(rng.integers(10, 21)), -5.4 * (number + 1)
        residual = rng.uniform(0.2, 0.9)
        arms = {
            arm: scf_run(rng, arm, n_default, energy, residual, f"/campaign/{formula}/{arm}")
            for arm in KEPT
        }
        comparisons.append(
            Comparison(
                material_id=f"mp-{100 + 37 * number}",
                formula=formula,
                n_atoms=2,
                protocol="9b1d",
                arms=arms,
            )
        )
    learned = [comparison.arms["learned"] for comparison in comparisons]
    learned[2].started_from, learned[2].echoed_comment = "atoms", None
    learned[2].warnings = ["WARNING: dimensions on CHGCAR file are different"]
    learned[5].corrections = 1
    learned[7] = comparisons[7].arms["learned"] = ScfRun(
        folder="/campaign/TiZn3/learned",
        expected_comment="learned 3f2a",
        failure="did not finish: killed, or still running",
    )
    comparisons[9].arms["converged"].energy += 0.0031
    comparisons[10].arms["superposition"].started_from = "unknown"
    return comparisons
