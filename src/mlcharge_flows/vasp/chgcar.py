"""VASP's CHGCAR: charge density, PAW occupancies and, for spin-polarized runs, magnetization.

The file holds rho * V_cell with x running fastest; both exist only in its reader and writer. A
density is in electrons per cubic angstrom and indexed (x, y, z). Reading is strict, because VASP
is: a record that is one number short makes it drop the whole density.

>>> import numpy as np, tempfile
>>> from mlcharge_flows.density.crystal import Crystal
>>> from mlcharge_flows.density.density import Density
>>> from mlcharge_flows.vasp.chgcar import read_chgcar, write_chgcar
>>> lithium = Crystal(3 * np.eye(3), ("Li",), np.zeros((1, 3)))
>>> density = Density(lithium, np.full((4, 4, 4), 1 / 27), (np.zeros(15),), comment="bcc Li")
>>> with tempfile.NamedTemporaryFile(suffix="CHGCAR") as file:
...     write_chgcar(file.name, density)
...     again = read_chgcar(file.name)
>>> again.comment, round(again.n_electrons, 9)
('bcc Li', 1.0)
"""

from mlcharge_flows.vasp.chgcar_errors import (
    ChgcarError,
    IncompleteGridError,
    MagnetizationError,
    OccupancyError,
)
from mlcharge_flows.vasp.chgcar_header import COMMENT_LENGTH, echoed_comment, header_comment
from mlcharge_flows.vasp.chgcar_reader import ChgcarDensity, read_chgcar
from mlcharge_flows.vasp.chgcar_writer import write_chgcar

__all__ = [
    "COMMENT_LENGTH",
    "ChgcarDensity",
    "ChgcarError",
    "IncompleteGridError",
    "MagnetizationError",
    "OccupancyError",
    "echoed_comment",
    "header_comment",
    "read_chgcar",
    "write_chgcar",
]
