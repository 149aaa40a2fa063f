"""PAW projectors of one k-point, whose part of the stress takes one pass over the plane waves."""

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

#: Step of the derivative of a projector by the length of the wave, 1/bohr.
STEP = 1e-4


class Projectors(PWAtomCenteredFunctions):
    """Projectors that sum over bands first, and over the components of the strain at the end.

    GPAW strains every projector nine times and overlaps each with every band, and asks its splines
    for one plane wave at a time.
    """

    def stress_contribution(
        self, a: PWArray, c: Mapping[int, np.ndarray] | float = 1.0
    ) -> np.ndarray:
        """Derivative of ``sum_an c_an <p_a|psi_n>`` by the strain, shape (3, 3).

        A strain turns the wave vectors ``K`` of ``f(K) S_lm(K) exp(-i K R)``, where ``S_lm`` is a
        solid harmonic and ``K R`` a constant; the derivative by ``K_w`` times ``K_v`` is
        ``K_v (K_w f'(K) / |K| S_lm + f dS_lm/dK_w)``.

        Parameters
        ----------
        a
            Orbitals.
        c
            Their coefficients with the projectors of each ion, shape (bands, projectors).
        """
        if isinstance(c, float):
            return super().stress_contribution(a, c)
        self._lazy_init()
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
        # Real orbitals hold half of the waves; the one at zero is not strained.
        halves = 2 if projectors.real else 1
        return -halves * waves.T @ (along[:, None] * waves + across.T)


def _value_and_slope(spline: object, lengths: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of a projector's transform over ``|K|^l``: itself, and its derivative over ``|K|``."""
    transform = rescaled_fourier_bessel_transform(spline)
    # It is even in K: below zero stands its mirror image.
    after, before = transform.map(lengths + STEP), transform.map(np.abs(lengths - STEP))
    return transform.map(lengths), (after - before) / (2 * STEP * np.maximum(lengths, STEP))
