"""Contents of a data set, and errors of predictions by material and class of materials."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from time import perf_counter
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
from pymatgen.core.periodic_table import Element

from mlcharge_flows.density.density import error_removed, nmae
from mlcharge_flows.density.magnetization import SpinDensity, superpose_moments
from mlcharge_flows.io import file_sha256
from mlcharge_flows.models.deformation import predict_on_atoms, predict_spin_on_atoms
from mlcharge_flows.models.expected_error import ExpectedError
from mlcharge_flows.training.error_fit import Reliability

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from mlcharge_flows.density.density import Density, Magnetization
    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.models.model import DensityModel
    from mlcharge_flows.training.dataset import DensityDataset
    from mlcharge_flows.training.sample import DensitySample


RARE_ELEMENTS = 0.25
"""Fraction of the elements, those with the fewest training materials, that count as rare."""


@dataclass(frozen=True)
class MaterialErrors:
    """Errors of a prediction for one material.

    Parameters
    ----------
    id, symbols
        Identifier and elements of the ions.
    baseline_nmae, nmae
        NMAE of the superposition and of the prediction, percent.
    density_removed, occupancies_removed
        Fractions of the superposition's error that the prediction removes; the second is NaN for a
        model without augmentation occupancies.
    seconds
        Wall time of the prediction on its grid, without output.
    magnetization_removed, spin_occupancies_removed
        Fractions of the error of the magnetization that VASP superposes for MAGMOM that the
        prediction removes: on the grid, and of its occupancies; NaN without a magnetization.
    closed_form_removed, closed_form_occupancies_removed
        The same for the spin densities of the elements alone, without the network.
    expected_left, expected_spread
        Median, and standard deviation of the logarithm, of the largest of the fractions that are
        left, as the model expects it; NaN if it does not.
    """

    id: str
    symbols: tuple[str, ...]
    baseline_nmae: float
    nmae: float
    density_removed: float
    occupancies_removed: float
    seconds: float
    magnetization_removed: float = float("nan")
    spin_occupancies_removed: float = float("nan")
    closed_form_removed: float = float("nan")
    closed_form_occupancies_removed: float = float("nan")
    expected_left: float = float("nan")
    expected_spread: float = float("nan")

    @property
    def left(self) -> float:
        """Largest of the fractions that are left in density, occupancies and magnetization."""
        removed = (
            self.density_removed,
            self.occupancies_removed,
            self.magnetization_removed,
            self.spin_occupancies_removed,
        )
        return 1.0 - float(np.nanmin(removed))


def evaluate(model: DensityModel, sample: DensitySample) -> MaterialErrors:
    """Predict a material of a data set and compare with the converged density.

    Parameters
    ----------
    model
        The model.
    sample
        The material.

    Returns
    -------
    MaterialErrors
        Errors of the prediction.

    Raises
    ------
    ValueError
        The free atoms of the sample are not known, so there is no superposition as baseline.
    """
    superposition, reference = sample.superposition(), sample.density()
    if superposition is None:
        raise ValueError(f"{sample.id}: its free atoms are not known")
    magnetization, spin = reference.magnetization, None
    began = perf_counter()
    if magnetization is not None and model.predicts_magnetization:
        spin = model.predict_spin(sample.crystal, sample.shape, magnetization.moments)
        predicted, _ = predict_spin_on_atoms(spin, model.card.paw, sample.paw)
    else:
        predicted = predict_on_atoms(model, sample.crystal, sample.shape, sample.paw)
    seconds = perf_counter() - began
    density, occupancies = error_removed(predicted, superposition, reference)
    removed: tuple[float, ...] = ()
    if magnetization is not None and magnetization.moments.any() and spin is not None:
        alone, _ = predict_spin_on_atoms(spin.closed_form(), model.card.paw, sample.paw)
        removed = (
            *_magnetization_removed(predicted, magnetization, sample.paw),
            *_magnetization_removed(alone, magnetization, sample.paw),
        )
    moments = None if spin is None or magnetization is None else magnetization.moments
    expected = model.expected_error(sample.crystal, moments)
    found = MaterialErrors(
        sample.id,
        sample.crystal.symbols,
        nmae(superposition.total, reference.total),
        nmae(predicted.total, reference.total),
        density,
        occupancies,
        seconds,
        *removed,
    )
    if expected is None:
        return found
    return replace(found, expected_left=expected.median, expected_spread=expected.spread)


def _magnetization_removed(
    predicted: Density, reference: Magnetization, paw: Mapping[str, PawDataset]
) -> tuple[float, float]:
    """Fractions of the error of what VASP superposes for MAGMOM: grid and occupancies."""
    atoms = {symbol: SpinDensity.of_free_atom(dataset) for symbol, dataset in paw.items()}
    crystal, shape = predicted.crystal, predicted.shape
    superposed = superpose_moments(crystal, reference.moments, atoms, shape)
    found = predicted.magnetization or superposed

    def errors(one: Magnetization) -> np.ndarray:
        pairs = zip(one.augmentation or (), reference.augmentation or (), strict=True)
        occupancies = sum(float(np.abs(a - b).sum()) for a, b in pairs)
        return np.array([np.abs(one.grid - reference.grid).sum(), occupancies])

    grid, occupancies = 1.0 - errors(found) / errors(superposed)
    return float(grid), float(occupancies)


class HasSymbols(Protocol):
    """Anything about a material whose elements are known."""

    @property
    def symbols(self) -> Sequence[str]:
        """Elements, each once or once per ion."""


Row = TypeVar("Row", bound=HasSymbols)


def classes(
    rows: Iterable[Row], materials_per_element: Mapping[str, int] | None = None
) -> dict[str, list[Row]]:
    """Sort materials into overlapping classes.

    Parameters
    ----------
    rows
        One per material, such as :class:`MaterialErrors`.
    materials_per_element
        Training materials with each element, if known.

    Returns
    -------
    dict
        Rows by name of the class; empty classes are left out.
    """
    rules: dict[str, Callable[[set[str]], bool]] = {
        "all": lambda _: True,
        "with non-metals": lambda elements: not all(Element(e).is_metal for e in elements),
        "metals only": lambda elements: all(Element(e).is_metal for e in elements),
        "1 element": lambda elements: len(elements) == 1,
        "2 elements": lambda elements: len(elements) == 2,
        "3 elements": lambda elements: len(elements) == 3,
        "4 or more elements": lambda elements: len(elements) > 3,
    }
    if materials_per_element:
        counts = materials_per_element
        few = int(np.quantile(list(counts.values()), RARE_ELEMENTS))
        name = f"an element with at most {few} samples"
        rules[name] = lambda elements: min(counts.get(e, 0) for e in elements) <= few
    rows = list(rows)
    members = {
        name: [row for row in rows if rule(set(row.symbols))] for name, rule in rules.items()
    }
    return {name: some for name, some in members.items() if some}


def summary(rows: Sequence[MaterialErrors]) -> dict[str, float]:
    """Medians of the errors of a class, and the mean NMAE.

    Parameters
    ----------
    rows
        Errors of its materials.

    Returns
    -------
    dict
        By name of the quantity; NMAE in percent, fractions, seconds.
    """
    return {
        "materials": len(rows),
        "baseline_nmae_median": float(np.median([row.baseline_nmae for row in rows])),
        "nmae_median": float(np.median([row.nmae for row in rows])),
        "nmae_mean": float(np.mean([row.nmae for row in rows])),
        "density_removed": float(np.median([row.density_removed for row in rows])),
        "occupancies_removed": float(np.median([row.occupancies_removed for row in rows])),
        "seconds_median": float(np.median([row.seconds for row in rows])),
        **_spin_summary(rows),
        **_reliability_summary(rows),
    }


def _spin_summary(rows: Sequence[MaterialErrors]) -> dict[str, float]:
    """Medians over the materials with a magnetization; empty without any."""
    magnetic = [row for row in rows if np.isfinite(row.magnetization_removed)]
    if not magnetic:
        return {}
    names = ("magnetization", "spin_occupancies", "closed_form", "closed_form_occupancies")
    medians = {
        f"{name}_removed": float(np.median([getattr(row, f"{name}_removed") for row in magnetic]))
        for name in names
    }
    return {"magnetic": len(magnetic), **medians}


def reliability(rows: Iterable[MaterialErrors]) -> Reliability | None:
    """Expected errors beside those that were found.

    Parameters
    ----------
    rows
        Errors of materials.

    Returns
    -------
    Reliability or None
        None if the model expects no errors.
    """
    known = [row for row in rows if np.isfinite(row.expected_left)]
    if not known:
        return None
    expected = [ExpectedError(row.expected_left, row.expected_spread) for row in known]
    return Reliability(expected, np.array([row.left for row in known]))


def _reliability_summary(rows: Sequence[MaterialErrors]) -> dict[str, float]:
    """Coverage of the expected errors; empty if the model expects none."""
    found = reliability(rows)
    if found is None:
        return {}
    return {
        "expected_left_median": float(np.median([one.median for one in found.expected])),
        "left_median": float(np.median(found.found)),
        "expected_correlation": found.correlation,
        "coverage_50": found.coverage(0.5),
        "coverage_90": found.coverage(0.9),
        "above_high": found.fraction_above,
    }


def summarize(dataset: DensityDataset) -> dict[str, str]:
    """Counts, medians, size and checksum of a data set.

    Parameters
    ----------
    dataset
        All its samples are read.

    Returns
    -------
    dict
        Text by name of the quantity.
    """
    size = dataset.path.stat().st_size
    elements: Counter[str] = Counter()
    splits: Counter[str] = Counter()
    cutoffs: Counter[str] = Counter()
    settings: Counter[str] = Counter()
    spin: Counter[str] = Counter()
    rows = []
    for sample in dataset:
        cutoffs["not known" if sample.encut is None else f"{sample.encut:g} eV"] += 1
        settings[sample.settings.summary] += 1
        if (magnetization := sample.packed_magnetization) is not None:
            spin["spin-polarized"] += 1
            spin["with moments"] += not magnetization.is_zero
            spin["antiferromagnetic"] += magnetization.is_antiferromagnetic(sample.shape)
        elements.update(set(sample.crystal.symbols))
        splits[sample.origin.split or "none"] += 1
        rows.append(
            (
                len(sample.crystal),
                sample.crystal.volume,
                np.prod(sample.shape),
                sample.n_total or np.nan,
                sample.baseline_nmae,
            )
        )
    columns = np.array(rows, dtype=float).T
    atoms, volume, points, error = np.median(columns[[0, 1, 2, 4]], axis=1)
    steps = columns[3][np.isfinite(columns[3])]
    return {
        "materials": str(len(dataset)),
        "splits": _counts(splits),
        "protocol": dataset.protocol,
        "settings": _counts(settings),
        "magnetization": _counts(spin) or "none",
        "ENCUT": _counts(cutoffs),
        "elements": f"{len(elements)}: {_counts(elements)}",
        "PAW data sets": ", ".join(paw_dataset.titel for paw_dataset in dataset.paw.values()),
        "median atoms": f"{atoms:g}",
        "median volume": f"{volume:.1f} angstrom^3",
        "median grid points": f"{points:.0f}",
        "median steps from atoms": f"{np.median(steps):g}" if steps.size else "not known",
        "median baseline": "atoms not known" if np.isnan(error) else f"{error:.2f} % NMAE",
        "size": f"{size / 1e6:.2f} MB, {size / len(dataset) / 1e3:.1f} kB per material",
        "sha256": file_sha256(dataset.path),
    }


def _counts(counter: Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counter.items()))
