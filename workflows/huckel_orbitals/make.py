"""Write the orbitals of the extended Hückel calculation, from GPAW's PBE data sets.

    python workflows/huckel_orbitals/make.py src/mlcharge_flows/models/huckel/orbitals.json

Prints how well the Gaussians fit. Predictions of trained checkpoints depend on the table: change it
only together with them.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from ase.units import Bohr, Ha
from gpaw.setup_data import SetupData

from mlcharge_flows.gpaw_vasp.library import available_elements
from mlcharge_flows.models.huckel.orbitals import EXPONENTS, LMAX
from mlcharge_flows.models.orbital.elements import radii

DEEPEST = -30.5
"""Shells below (eV) do not bind."""
CONFINEMENT = 2.2
"""Radius of the confinement in radii of the element: free atoms are too wide for a crystal."""
DAMPING = 1e-4
"""Of the fit, which keeps coefficients of the order of one."""


def main() -> None:
    """Fit all shells and write the table."""
    table, errors = {}, {}
    for symbol in available_elements():
        data = SetupData(symbol, "PBE")
        r, dr = np.asarray(data.rgd.r_g) * Bohr, np.asarray(data.rgd.dr_g) * Bohr
        confined = np.exp(-((r / (CONFINEMENT * radii([symbol])[0])) ** 2))
        shells = []
        for n, degree, electrons, energy, wave in zip(
            data.n_j, data.l_j, data.f_j, data.eps_j, data.phit_jg, strict=True
        ):
            if n < 0 or degree > LMAX or energy * Ha < DEEPEST:
                continue  # a scattering state, f electrons, or the core
            coefficients, error = fitted(r, dr, degree, np.asarray(wave) * confined)
            errors[f"{symbol} {n}{'spd'[degree]}"] = error
            shells.append(
                {
                    "l": degree,
                    "electrons": float(electrons),
                    "energy": round(energy * Ha, 3),
                    "coefficients": [round(float(c), 4) for c in coefficients],
                }
            )
        table[symbol] = shells
    lines = (
        f"{json.dumps(symbol)}: [\n"
        + ",\n".join(f"  {json.dumps(shell)}" for shell in shells)
        + "\n]"
        for symbol, shells in table.items()
    )
    Path(sys.argv[1]).write_text("{\n" + ",\n".join(lines) + "\n}\n")
    worst = sorted(errors, key=errors.__getitem__)[-5:]
    print(
        f"{len(errors)} shells of {len(table)} elements; error of the fit: median "
        f"{np.median(list(errors.values())):.3f}, largest "
        + ", ".join(f"{name} {errors[name]:.3f}" for name in worst)
    )


def fitted(
    r: np.ndarray, dr: np.ndarray, degree: int, wave: np.ndarray
) -> tuple[np.ndarray, float]:
    """Coefficients of normalised Gaussians, and the norm of what is left of the normalised wave."""
    root = r * np.sqrt(dr)
    wave = wave * root / np.linalg.norm(wave * root)
    gaussians = r[:, None] ** degree * np.exp(-np.outer(r**2, EXPONENTS)) * root[:, None]
    gaussians /= np.linalg.norm(gaussians, axis=0)
    damped = np.vstack([gaussians, DAMPING * np.eye(len(EXPONENTS))])
    wanted = np.concatenate([wave, np.zeros(len(EXPONENTS))])
    coefficients = np.linalg.lstsq(damped, wanted, rcond=None)[0]
    return coefficients, float(np.linalg.norm(gaussians @ coefficients - wave))


if __name__ == "__main__":
    main()
