"""Features that rotate: one component per (l, m), and maps that treat every degree alike.

Features are tensors of shape (sites, (lmax + 1)^2, channels); component l^2 + l + m is that of the
real harmonic Y_lm in VASP's order, so that the coefficients and occupancies that are read from
them need no change of basis. All have the parity (-1)^l of the harmonics.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from mlcharge_flows.density.harmonics import real_harmonics


def harmonics(vectors: np.ndarray, lmax: int) -> torch.Tensor:
    """Real spherical harmonics of all degrees up to `lmax`.

    Parameters
    ----------
    vectors
        Any lengths but zero, shape (n, 3), cartesian.
    lmax
        Highest degree.

    Returns
    -------
    torch.Tensor
        Shape (n, (lmax + 1)^2), orthonormal on the sphere, m = -l..l; computed in double
        precision, of torch's default type.

    Examples
    --------
    >>> import numpy as np
    >>> round(float(harmonics(np.array([[0.0, 0.0, 2.0]]), 1)[0, 2]), 4)  # Y_10 along z
    0.4886
    """
    directions = vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)
    values = np.concatenate(real_harmonics(lmax, directions), axis=-1)
    return torch.from_numpy(values).to(torch.get_default_dtype())


def degree_of_component(lmax: int) -> torch.Tensor:
    """Degree l of each component, shape ((lmax + 1)^2,).

    Examples
    --------
    >>> degree_of_component(1).tolist()
    [0, 1, 1, 1]
    """
    degrees = torch.arange(lmax + 1)
    return torch.repeat_interleave(degrees, 2 * degrees + 1)


class DegreeLinear(nn.Module):
    """Mix channels, with one matrix per degree and the same for all its components.

    Parameters
    ----------
    n_in, n_out
        Channels.
    lmax
        Highest degree.
    """

    degrees: torch.Tensor

    def __init__(self, n_in: int, n_out: int, lmax: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(lmax + 1, n_in, n_out) / n_in**0.5)
        self.register_buffer("degrees", degree_of_component(lmax), persistent=False)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Shape (sites, components, n_in) to (sites, components, n_out)."""
        mixed = torch.bmm(features.transpose(0, 1), self.weight[self.degrees])
        return mixed.transpose(0, 1)
