"""How well a training set covers a crystal: counts of its elements, and distances of its sites.

The error of a prediction on unseen crystals follows from these more than from anything else that is
known without a run.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Self

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

N_COMPONENTS = 8
"""Principal components of the scalars of a site that enter distances."""
MAX_LANDMARKS = 1024
"""Sites of the training set that are kept; chosen far apart, so that they cover all others."""
_LEAST_DISTANCE = 0.1
"""Distance below which sites count as equal, in standard deviations of the components."""
_LEAST_DEVIATION = 1e-6


@dataclass(frozen=True, eq=False)
class TrainingSites:
    """Sites of a training set in the space of the network's scalars.

    Parameters
    ----------
    mean
        Of the scalars over all sites, shape (channels,).
    projection
        From scalars to principal components of unit variance, shape (channels, components).
    landmarks
        Components of sites that cover the training set, shape (landmarks, components).
    """

    mean: np.ndarray
    projection: np.ndarray
    landmarks: np.ndarray

    @classmethod
    def of(cls, scalars: np.ndarray) -> Self:
        """Summarize the sites of a training set.

        Parameters
        ----------
        scalars
            Scalars of the network's last interaction, shape (sites, channels).

        Returns
        -------
        TrainingSites
            With landmarks that are added one by one, each where the distance to the others is
            largest; the first is closest to the mean.
        """
        scalars = np.asarray(scalars, dtype=float)
        mean = scalars.mean(axis=0)
        deviation = np.maximum(scalars.std(axis=0), _LEAST_DEVIATION)
        standardized = (scalars - mean) / deviation
        _, sizes, axes = np.linalg.svd(standardized, full_matrices=False)
        sizes, axes = sizes[:N_COMPONENTS], axes[:N_COMPONENTS]
        spread = np.maximum(sizes / np.sqrt(len(scalars)), _LEAST_DEVIATION)
        projection = (axes / spread[:, None]).T / deviation[:, None]
        sites = (scalars - mean) @ projection
        chosen = [int(np.argmin((sites**2).sum(axis=1)))]
        nearest = np.full(len(sites), np.inf)
        while len(chosen) < min(MAX_LANDMARKS, len(sites)):
            np.minimum(nearest, ((sites - sites[chosen[-1]]) ** 2).sum(axis=1), out=nearest)
            chosen.append(int(np.argmax(nearest)))
        return cls(mean, projection, sites[chosen])

    def distances(self, scalars: np.ndarray) -> np.ndarray:
        """Distance of each site to the nearest landmark.

        Parameters
        ----------
        scalars
            Shape (sites, channels).

        Returns
        -------
        numpy.ndarray
            In standard deviations of the components, shape (sites,).
        """
        sites = (np.asarray(scalars, dtype=float) - self.mean) @ self.projection
        squares = ((sites[:, None] - self.landmarks) ** 2).sum(axis=-1)
        return np.asarray(np.sqrt(squares.min(axis=1)))


def familiarity(
    sites: TrainingSites,
    scalars: np.ndarray,
    symbols: Sequence[str],
    materials: Mapping[str, int],
    signs: np.ndarray | None = None,
) -> np.ndarray:
    """Features of a crystal; the same for rotated, permuted and repeated cells.

    Parameters
    ----------
    sites
        Of the training set.
    scalars
        Scalars of the network's last interaction of each ion, shape (ions, channels).
    symbols
        Element of each ion.
    materials
        Training materials with each element.
    signs
        Sign of the moment of each ion: 1, -1 or 0, shape (ions,); None without moments.

    Returns
    -------
    numpy.ndarray
        Logarithms of the number of training materials with an element: of the rarest, and the mean
        over the ions; of the distance to the training set: of the mean over the ions, and of the
        farthest one; and the fraction of ions with a moment. Shape (5,).
    """
    counts = np.log1p([materials.get(symbol, 0) for symbol in symbols])
    distances = sites.distances(scalars)
    return np.array(
        [
            counts.min(),
            counts.mean(),
            np.log(distances.mean() + _LEAST_DISTANCE),
            np.log(distances.max() + _LEAST_DISTANCE),
            0.0 if signs is None else np.mean(signs != 0),
        ]
    )
