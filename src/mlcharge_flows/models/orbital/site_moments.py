"""Moments with which the ions of a run begin: predicted sizes, compared with MAGMOM.

MAGMOM gives the order and signs of the moments. The network gives their sizes, with a spread; where
MAGMOM asks for another state, or the spread is large, the ion has what VASP superposes for MAGMOM
(:mod:`mlcharge_flows.models.moment_sizes` has the rules).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mlcharge_flows.models.magnetization import SMALLEST_MOMENT
from mlcharge_flows.models.moment_sizes import MIN_SYSTEMS, Moments, size_issue

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


@dataclass(frozen=True, eq=False)
class SiteMoments:
    """Moments with which the ions of a run begin.

    Parameters
    ----------
    moments
        Bohr magnetons, shape (ions,).
    is_predicted
        Whether the moment is the model's and not that of MAGMOM, shape (ions,).
    warnings
        A line for each element whose moments are those of MAGMOM, with the reason.
    """

    moments: np.ndarray
    is_predicted: np.ndarray
    warnings: tuple[str, ...]

    @classmethod
    def of(
        cls,
        symbols: Sequence[str],
        magmom: np.ndarray,
        sizes: np.ndarray,
        spreads: np.ndarray,
        known: Mapping[str, bool],
        ranges: Mapping[str, tuple[float, float] | None],
        smallest: float = SMALLEST_MOMENT,
    ) -> SiteMoments:
        """Compare predicted sizes with MAGMOM.

        Parameters
        ----------
        symbols
            Element of each ion.
        magmom
            MAGMOM: moment of each ion, Bohr magnetons, shape (ions,).
        sizes, spreads
            Predicted size of the moment of each ion and its standard deviation, shape (ions,).
        known
            Whether an element carries moments, of those in spin-polarized runs of the training.
        ranges
            Smallest and largest size of MAGMOM with which the ions of an element began in these
            runs, Bohr magnetons; None if it is not known.
        smallest
            Moment with which an ion begins at least, unless MAGMOM is smaller, Bohr magnetons. An
            element that carries none, in a crystal with moments, has what its neighbors induce.

        Returns
        -------
        SiteMoments
            Of the signs of MAGMOM, zero where it is zero.
        """
        moments, warnings = np.array(magmom, dtype=float), dict[str, None]()
        is_predicted = np.ones(len(moments), dtype=bool)
        induced = []
        for ion, symbol in enumerate(symbols):
            given, size = float(magmom[ion]), max(float(sizes[ion]), 0.0)
            if given == 0.0:
                continue
            issue: str | None = None
            if symbol not in known:
                issue = "the model was not trained with moments of the element"
            elif known[symbol]:
                elements = tuple(sorted(set(symbols)))
                typical = Moments(
                    elements=elements,
                    n_runs=1,
                    n_systems=MIN_SYSTEMS,
                    mean=size,
                    spread=float(spreads[ion]),
                )
                issue = size_issue(given, typical, elements, ranges.get(symbol))
            else:
                induced.append(ion)
                size = 0.0
            if issue is not None:
                warnings[f"VASP's superposition for the moments of {symbol}: {issue}"] = None
                is_predicted[ion] = False
            elif known[symbol]:
                moments[ion] = np.copysign(max(size, min(abs(given), smallest)), given)
        moments[induced] = 0.0
        if not moments.any():
            moments[induced] = np.sign(magmom[induced]) * np.minimum(
                np.abs(magmom[induced]), smallest
            )
        return cls(moments, is_predicted, tuple(warnings))
