"""The choice of the source of a material's initial density, by measured savings and gates.

Sources are tried in their order of preference: the calibration of the rounds so far, then the arms
of the SPEC.yaml. With two or more control pairs, a source is used where the interval of its
saving for the elements of the material lies above zero (:mod:`.measured_saving`). Without, it is
used where its errors in left-out runs allow it. Else the run begins from free atoms.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from mlcharge_flows.campaign.measured_saving import MIN_PAIRS, Pair, SavingModel
from mlcharge_flows.campaign.round_order import elements_of, elements_of_formula
from mlcharge_flows.errors import MlchargeError, one_line
from mlcharge_flows.scf.comparison import REFERENCE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pymatgen.io.vasp.sets import VaspInputSet

    from mlcharge_flows.models.calibration import Calibration, RunErrors
    from mlcharge_flows.sources import InitialDensity
    from mlcharge_flows.structures import Material

UNMEASURED = "its saving is not measured yet"
"""Reason not to use a source whose errors in left-out runs are not known, either."""


@dataclass(frozen=True)
class RoundSource:
    """A source that a round may use.

    Parameters
    ----------
    arm
        Name of its arm, such as ``learned+calibration-1``.
    kind
        Sources of one kind share their measured savings.
    density
        Initial density.
    pairs
        Control pairs of this kind in earlier rounds.
    min_runs
        Runs of each element that its calibration needs.
    measured_only
        Whether nothing but its measured saving speaks for it.
    """

    arm: str
    kind: str
    density: InitialDensity
    pairs: Sequence[Pair] = ()
    min_runs: int = 1
    measured_only: bool = False

    @cached_property
    def savings(self) -> SavingModel | None:
        """Measured savings; None if there are too few pairs."""
        return SavingModel(self.pairs) if len(self.pairs) >= MIN_PAIRS else None

    @cached_property
    def calibration(self) -> Calibration | None:
        """Calibration of its model."""
        from mlcharge_flows.models.calibration import read_calibration

        path = self.density.calibration
        return read_calibration(path) if path else None

    def refusal(self, material: Material) -> str | None:
        """Reason why the source cannot be used, whatever it saves.

        Parameters
        ----------
        material
            Crystal.

        Returns
        -------
        str or None
            None if its calibration saw all elements, or it has none.
        """
        if self.calibration is None:
            return None
        elements = elements_of(material)
        part = self.calibration.part_for(elements)
        known = self.calibration.elements if part == "with model" else self.calibration.alone
        runs = {e: known[e].n_runs if e in known else 0 for e in sorted(elements)}
        if lacking := [f"{e} ({n})" for e, n in runs.items() if n < self.min_runs]:
            return f"too few runs of {', '.join(lacking)}"
        return None

    def gate(self, material: Material, generator: VaspInputSet) -> str | None:
        """Reason not to trust the source before its saving is measured.

        Parameters
        ----------
        material
            Crystal.
        generator
            Input set generator of its run.

        Returns
        -------
        str or None
            None if the errors in left-out runs of its elements, or else of all elements, are below
            those of the superposition and not above those without calibration; a model that is
            not calibrated counts for its own cutoff and PAW data sets only.
        """
        if self.measured_only or not self.density.uses_model:
            return UNMEASURED
        if self.calibration is not None:
            return _calibration_gate(self.calibration, elements_of(material))
        return self._domain_gate(material, generator)

    def _domain_gate(self, material: Material, generator: VaspInputSet) -> str | None:
        from mlcharge_flows.sources import Learned, RunInputs, known_models

        if not isinstance(self.density.density, Learned):
            return UNMEASURED
        try:
            domain = known_models().load(self.density.density.model).domain
            inputs = RunInputs.from_generator(material.structure, generator)
            unlike = domain.encut_warning(inputs.encut)
            domain.check(inputs.crystal, inputs.grid, inputs.n_electrons, inputs.datasets)
        except (MlchargeError, OSError, KeyError, ValueError) as error:
            unlike = one_line(error)
        return f"{UNMEASURED}: {unlike}" if unlike else None


def choose_source(
    material: Material,
    sources: Sequence[RoundSource],
    generator: VaspInputSet,
    confidence: float,
) -> tuple[str, str]:
    """Choose the source of a material's initial density.

    Parameters
    ----------
    material
        Crystal.
    sources
        In order of preference.
    generator
        Input set generator of its run.
    confidence
        Of the interval of a measured saving.

    Returns
    -------
    arm : str
        The first source that nothing speaks against; the reference if there is none.
    reason : str
        Why, and why none before it.
    """
    reasons: list[str] = []
    for source in sources:
        against, reason = source.refusal(material), ""
        if against is None and source.savings is not None:
            found = source.savings.estimate(elements_of(material), confidence)
            reason = (
                f"measured saving {_percent(found.mean)} ({_percent(found.low)} to "
                f"{_percent(found.high)}), {found.n_pairs} of {len(source.pairs)} pairs with its "
                "elements"
            )
            against = None if found.low > 0 else reason
        elif against is None:
            reason = "errors of left-out runs"
            against = source.gate(material, generator)
        if against is None:
            return source.arm, "; ".join([f"{source.arm}: {reason}", *reasons])
        reasons.append(f"not {source.arm}: {against}")
    return REFERENCE, "; ".join(reasons)


def _percent(fraction: float) -> str:
    return f"{100 * fraction:.0f} %"


def _calibration_gate(calibration: Calibration, elements: frozenset[str]) -> str | None:
    """Reason why the errors of left-out runs speak against a calibration for some elements."""
    # A run is only tested by others that share an element with it.
    known = calibration.elements | calibration.alone
    shared = {symbol for symbol, its in known.items() if its.density_left is not None}
    of_runs = ((run, elements_of_formula(run.formula) & shared) for run in calibration.runs)
    tested = [(run, symbols) for run, symbols in of_runs if symbols]
    if not tested:
        return "no run that it was fitted to shares an element with another one"
    for element in sorted(elements):
        own = [run for run, symbols in tested if element in symbols]
        if reason := _too_large(own or [run for run, _ in tested]):
            which = element if own else "any element"
            return f"errors of left-out runs with {which}: {reason}"
    return None


def _too_large(runs: Sequence[RunErrors]) -> str | None:
    before, left = (
        np.mean(
            [
                (getattr(run, f"density_{when}"), getattr(run, f"occupancies_{when}"))
                for run in runs
            ],
            axis=0,
        )
        for when in ("before", "left")
    )
    text = f"density {_percent(left[0])}, occupancies {_percent(left[1])} of the superposition's"
    if left.max() >= 1:
        return text
    if left.sum() > before.sum():
        return f"{text}, above those without calibration"
    return None
