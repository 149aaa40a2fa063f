"""Sums over rows that belong to one place: images of a pair, neighbors of a site, a crystal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import torch


def summed(values: torch.Tensor, places: torch.Tensor, n_places: int) -> torch.Tensor:
    """Sum rows by where they belong.

    Examples
    --------
    >>> import torch
    >>> summed(torch.tensor([1.0, 2.0, 3.0]), torch.tensor([0, 2, 0]), 3).tolist()
    [4.0, 0.0, 2.0]
    """
    return values.new_zeros(n_places, *values.shape[1:]).index_add(0, places, values)
