"""Classes of compared materials: magnetic order, DFT+U, f elements, gap and size.

Order and gap are those in which the run of the reference ended. What it does not tell (moments of
ions without LORBIT, a gap without EIGENVAL) puts a material into no class of that kind.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
from pymatgen.core import Element

from mlcharge_flows.scf.comparison import REFERENCE
from mlcharge_flows.scf.final_state import MOMENT_TOLERANCE

if TYPE_CHECKING:
    from collections.abc import Iterable

    from mlcharge_flows.scf.comparison import Comparison
    from mlcharge_flows.scf.run import ScfRun

MAGNETIC_3D = frozenset({"V", "Cr", "Mn", "Fe", "Co", "Ni"})
"""The 3d metals whose ions keep moments in many crystals."""

OWN_MOMENT = 0.5
"""Least moment that an ion has of its own, Bohr magnetons: below that of nickel (0.6), above those
that moments of other ions induce."""

COMPENSATED = 0.1
"""Largest moment of the cell of an antiferromagnet, as a fraction of the sum of its ions' sizes."""

METALLIC_GAP = 0.1
"""Largest gap of a metal, eV: k-point meshes of a run resolve no smaller one."""

MAGNETISM = (
    "non-magnetic",
    "ferro- or ferrimagnetic 3d",
    "antiferromagnetic 3d",
    "other moments",
)
"""Exactly one for each material whose moments of ions are known."""

CONDUCTION = ("metals", "insulators")
"""Exactly one for each material whose gap is known."""

SIZES = ("up to 4 ions", "5 to 8 ions", "9 or more ions")
"""Exactly one for each material."""

CLASSES = (
    *MAGNETISM,
    *("with +U", "with f elements"),
    *CONDUCTION,
    *SIZES,
)
"""In the order of a table."""


def material_classes(comparison: Comparison, reference: str = REFERENCE) -> list[str]:
    """Name the classes of a material.

    An antiferromagnet has a moment of the cell below :data:`COMPENSATED` of the summed sizes of
    the moments of its ions. All lanthanoids and actinoids count as f elements.

    Parameters
    ----------
    comparison
        Runs of the material.
    reference
        Arm whose final state decides.

    Returns
    -------
    list of str
        Of :data:`CLASSES`, in their order.

    Examples
    --------
    >>> from mlcharge_flows.scf.comparison import Comparison
    >>> from mlcharge_flows.scf.run import ScfRun
    >>> chromium = ScfRun(
    ...     folder="", n_total=9, started_from="atoms", spin_polarized=True, band_gap=0.0,
    ...     total_moment=0.0, ion_moments=[1.5, -1.5], ion_elements=["Cr", "Cr"],
    ... )
    >>> material_classes(
    ...     Comparison(
    ...         material_id="Cr", formula="Cr", n_atoms=2, protocol="", arms={"default": chromium}
    ...     )
    ... )
    ['antiferromagnetic 3d', 'metals', 'up to 4 ions']
    """
    run = comparison.arms.get(reference)
    found = {SIZES[0 if comparison.n_atoms <= 4 else 1 if comparison.n_atoms <= 8 else 2]}
    if _has_f(comparison.formula):
        found.add("with f elements")
    if run is not None and run.exclusion_reason is None:
        if run.hubbard:
            found.add("with +U")
        found.update(filter(None, (_magnetism(run), _conduction(run))))
    return [name for name in CLASSES if name in found]


def by_class(
    comparisons: Iterable[Comparison], reference: str = REFERENCE
) -> dict[str, list[Comparison]]:
    """Sort materials into classes.

    Parameters
    ----------
    comparisons
        One per material.
    reference
        Arm whose final state decides.

    Returns
    -------
    dict
        Materials by name of the class, in the order of :data:`CLASSES`; empty classes are left
        out.
    """
    members: dict[str, list[Comparison]] = {name: [] for name in CLASSES}
    for comparison in comparisons:
        for name in material_classes(comparison, reference):
            members[name].append(comparison)
    return {name: some for name, some in members.items() if some}


def _magnetism(run: ScfRun) -> str | None:
    if not (run.spin_polarized and run.ion_moments and run.ion_elements):
        return None
    if len(run.ion_moments) != len(run.ion_elements):
        return None
    sizes = np.abs(run.ion_moments)
    none, ferro, antiferro, other = MAGNETISM
    if sizes.max() < MOMENT_TOLERANCE:
        return none
    pairs = zip(run.ion_elements, sizes, strict=True)
    if not any(element in MAGNETIC_3D and size > OWN_MOMENT for element, size in pairs):
        return other
    total = sum(run.ion_moments) if run.total_moment is None else run.total_moment
    return antiferro if abs(total) < COMPENSATED * sizes.sum() else ferro


def _conduction(run: ScfRun) -> str | None:
    if run.band_gap is None:
        return None
    return CONDUCTION[run.band_gap > METALLIC_GAP]


def _has_f(formula: str) -> bool:
    symbols = filter(Element.is_valid_symbol, re.findall("[A-Z][a-z]?", formula))
    return any(Element(symbol).is_lanthanoid or Element(symbol).is_actinoid for symbol in symbols)
