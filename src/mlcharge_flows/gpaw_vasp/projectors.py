"""PAW projectors of a k-point in plane waves, made once for all orbitals of a run.

They compute their contribution to the stress in one pass over the plane waves.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from gpaw.core.pwacf import PWAtomCenteredFunctions
from gpaw.ffbt import rescaled_fourier_bessel_transform
from gpaw.sphere.spherical_harmonics import nablarlYL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from gpaw.core.plane_waves import PWArray
    from gpaw.core.pwacf import PWLFC

#: Step of the numerical derivative of a projector by |K|, in 1/bohr.
DERIVATIVE_STEP = 1e-4


class Projectors(PWAtomCenteredFunctions):
    """Projectors whose stress contribution sums over bands first and over strain components last.

    GPAW's own method strains every projector nine times, overlaps each with every band, and
    evaluates its splines for one plane wave at a time.
    """

    def stress_contribution(
        self, a: PWArray, c: Mapping[int, np.ndarray] | float = 1.0
    ) -> np.ndarray:
        """Differentiate ``sum_an c_an <p_a|psi_n>`` by the strain.

        A strain changes the wave vectors ``K`` of ``f(K) S_lm(K) exp(-i K R)``, where ``S_lm`` is a
        solid harmonic and ``K R`` a constant; the derivative by ``K_w`` times ``K_v`` is
        ``K_v (K_w f'(K) / |K| S_lm + f dS_lm/dK_w)``.

        Parameters
        ----------
        a
            Orbitals.
        c
            Their coefficients with the projectors of each ion, shape (bands, projectors).

        Returns
        -------
        numpy.ndarray
            In hartree, shape (3, 3).
        """
        if isinstance(c, float):
            return np.asarray(super().stress_contribution(a, c))  # type: ignore[no-untyped-call]
        self._lazy_init()  # type: ignore[no-untyped-call]
        projectors: PWLFC = self._lfc  # type: ignore[assignment]
        waves = projectors.G_plus_k_Gv
        positions = np.asarray(projectors.pos_av)
        lengths = np.linalg.norm(waves, axis=1)
        harmonics = projectors.Y_GL.T
        gradients = np.array([nablarlYL(lm, waves.T) for lm in range(len(harmonics))])
        radial = {
            spline: _value_and_slope(spline, lengths)
            for spline in {spline for splines in self.functions for spline in splines}
        }
        along = np.zeros(len(waves))
        across = np.zeros((3, len(waves)))
        for ion, splines in enumerate(self.functions):
            # exp(i G R); the phase exp(i k R) that GPAW keeps apart cancels.
            phase = np.exp(1j * waves @ positions[ion])
            summed = (c[ion].T @ a.data) * phase
            first = 0
            for spline in splines:
                value, slope = radial[spline]
                m = slice(spline.l**2, (spline.l + 1) ** 2)
                part = (1j**spline.l * summed[first : first + 2 * spline.l + 1]).real
                along += slope * (harmonics[m] * part).sum(axis=0)
                across += value * (gradients[m] * part[:, None]).sum(axis=0)
                first += 2 * spline.l + 1
        # Real orbitals hold half of the plane waves; the one at K = 0 is not strained.
        halves = 2 if projectors.real else 1
        return np.asarray(-halves * waves.T @ (along[:, None] * waves + across.T))


def _value_and_slope(spline: object, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Radial transform f of a projector over ``|K|^l``, and ``f' / |K|``."""
    transform = rescaled_fourier_bessel_transform(spline)
    # f is even in K: below zero lies its mirror image.
    step = DERIVATIVE_STEP
    after, before = transform.map(lengths + step), transform.map(np.abs(lengths - step))
    slope = (after - before) / (2 * step * np.maximum(lengths, step))
    return transform.map(lengths), slope
