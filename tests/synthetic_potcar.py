"""A POTCAR of silicon with the sections of VASP's and invented numbers."""

import numpy as np

SILICON = "PAW_PBE Si 05Jan2001"
"""TITEL of the run ``si2_aiida`` of the samples."""
Q = np.arange(1000) * 0.06


def potcar(width=20.0):
    """A data set of silicon with the sections of VASP's and invented numbers."""

    def numbers(values):
        return " ".join(f"{value:.8E}" for value in values)

    blocks = [
        line
        for degree in (0, 1)
        for line in (
            "Non local Part",
            f" {degree} 2 1.9",
            numbers(np.ones(4)),
            "Reciprocal Space Part",
            numbers(np.ones(100)),
            "Real Space Part",
            numbers(np.ones(100)),
        )
    ]
    lines = [
        f"  {SILICON}",
        " 4.0",
        " parameters from PSCTR are:",
        "   VRHFIN =Si: s2p2",
        "   LEXCH  = PE",
        f"   TITEL  = {SILICON}",
        "   POMASS =   28.085; ZVAL   =    4.000    mass and valenz",
        "   ENMAX  =  245.345; ENMIN  =  184.009 eV",
        "END of PSCTR-controll parameters",
        " local part",
        "   60.0",
        numbers(-1.0 / (1 + Q)),
        " atomic pseudo charge-density",
        numbers(4.0 * np.exp(-(Q**2) / width)),
        *blocks,
        " PAW radial sets",
        " augmentation charges (non sperical)",
        numbers(np.ones(16)),
        " uccopancies in atom",
        numbers(np.diag([2.0, 0.0, 0.66, 0.0]).ravel()),
        " End of Dataset",
    ]
    return "\n".join(lines) + "\n"
