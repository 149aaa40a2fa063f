"""Calibration of a model with the finished runs of an archive, and its leave-one-out errors."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from pymatgen.core import Composition

from mlcharge_flows import __version__
from mlcharge_flows.density.augmentation import spherical
from mlcharge_flows.density.dataset_difference import dataset_difference
from mlcharge_flows.density.density import superpose
from mlcharge_flows.density.magnetization import SpinSines
from mlcharge_flows.density.neutral_form_factor import NeutralSines
from mlcharge_flows.density.partial_wave_transfer import transfer_matrix
from mlcharge_flows.models.calibration import Calibration, CalibrationError
from mlcharge_flows.models.deformation import deformed_superposition
from mlcharge_flows.models.model import ModelError
from mlcharge_flows.training.calibration_elements import element_calibration, fit_elements
from mlcharge_flows.training.calibration_run import CalibrationRun, Constants
from mlcharge_flows.training.magnetic_run import MagneticRun
from mlcharge_flows.training.magnetization_fit import fit_magnetization, like
from mlcharge_flows.vasp.incar import fft_grids
from mlcharge_flows.vasp.potcar import PotcarSearch

if TYPE_CHECKING:
    from collections.abc import Mapping

    from mlcharge_flows.density.density import Density
    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.models.element_calibration import ElementCalibration
    from mlcharge_flows.models.registry import LoadedModel
    from mlcharge_flows.training.sample import DensitySample

_PRECISIONS = ("Accurate", "Normal", "Single")


@dataclass(frozen=True, eq=False)
class _Prepared:
    """A sample of the archive: what it contributes, and what it has to share with the others."""

    with_model: CalibrationRun | None
    alone: CalibrationRun
    magnetic: MagneticRun | None
    settings: tuple[float | None, str | None, str]
    prec: str | None
    paw: Mapping[str, PawDataset]
    source: str


class Calibrator:
    """Collects finished runs, one at a time, and fits a calibration to them.

    Parameters
    ----------
    loaded
        The model.
    potcars
        POTCARs of the model's data sets, and of those of packed runs: occupancies of runs with
        other data sets than the model's are converted by their partial waves.

    Attributes
    ----------
    problems
        A line for each run that cannot be used.
    notes
        A line for each thing that the user should know.
    """

    def __init__(self, loaded: LoadedModel, potcars: PotcarSearch | None = None) -> None:
        self.loaded, self.potcars, self.basis = loaded, potcars or PotcarSearch([]), NeutralSines()
        self.spin_basis = SpinSines(self.basis.radius, self.basis.q_max)
        self.problems: list[str] = []
        self.notes: dict[str, None] = {}
        self._runs: list[_Prepared] = []
        self._transfers: dict[tuple[str, str], np.ndarray | None] = {}

    def add(self, sample: DensitySample) -> None:
        """Predict a run and compare; a line of :attr:`problems` if it cannot be used.

        Parameters
        ----------
        sample
            The run.
        """
        try:
            self._runs.append(self._prepared(sample))
        except ModelError as error:
            self.problems.append(f"{sample.origin.source or sample.id}: {error}")

    def _prepared(self, sample: DensitySample) -> _Prepared:
        if not sample.has_free_atoms:
            raise CalibrationError("its free atoms are not known: a POTCAR is needed")
        if sample.settings.charged:
            raise CalibrationError("the cell is charged")
        crystal, paw = sample.crystal, sample.paw
        superposition = superpose(crystal, paw, sample.shape)
        converged = sample.density()
        formula = Composition("".join(crystal.symbols)).reduced_formula
        channels = {symbol: dataset.channels for symbol, dataset in paw.items()}
        with_model = None
        if paw.keys() <= self.loaded.card.paw.keys():
            if violation := self.loaded.card.geometry.violation(crystal, sample.shape):
                raise ModelError(f"outside what the model was trained on: {violation}")
            transfers = {s: t for s, d in paw.items() if (t := self.transfer(s, d)) is not None}
            predicted = deformed_superposition(
                self._deformation(converged),
                self.loaded.card.paw,
                paw,
                transfers,
            )
            with_model = CalibrationRun.of(
                sample.id, formula, predicted, superposition, converged, channels, self.basis
            )
        alone = CalibrationRun.of(
            sample.id, formula, superposition, superposition, converged, channels, self.basis
        )
        settings, magnetic = sample.settings, None
        if self.loaded.model.predicts_magnetization and not (
            settings.ispin == 2 and converged.magnetization is None
        ):
            # The model is told the moments, so that both kinds of runs leave the same errors.
            settings = settings.model_copy(update={"ispin": None})
        key = (sample.encut, settings.functional, settings.summary)
        if converged.magnetization is not None:
            magnetic = MagneticRun.of(
                sample.id,
                formula,
                key[:2],
                converged,
                converged.magnetization,
                paw,
                self.spin_basis,
            )
        return _Prepared(with_model, alone, magnetic, key, _prec(sample), paw, sample.origin.source)

    def _deformation(self, converged: Density) -> Density:
        """Predicted change of a run; with the order of its moments, if the model knows of them."""
        model, crystal, own = self.loaded.model, converged.crystal, converged.magnetization
        if own is None or not model.predicts_magnetization:
            return model.deformation(crystal, converged.shape)
        return model.predict_spin(crystal, converged.shape, np.array(own.moments)).deformation

    def transfer(self, symbol: str, dataset: PawDataset) -> np.ndarray | None:
        """Expansion of the partial waves of the model's data set in those of a run.

        Parameters
        ----------
        symbol
            Element.
        dataset
            PAW data set of the run.

        Returns
        -------
        numpy.ndarray or None
            None if it is the model's, the partial waves of one of them are not known, or the model
            predicts no occupancies.
        """
        known = self.loaded.card.paw[symbol]
        if self.loaded.card.occupancies == "none":
            return None
        both = known.fingerprint or "", dataset.fingerprint or ""
        if dataset.has_fingerprint(known.fingerprint) or (
            known.has_free_atom and known.matches(dataset)
        ):
            return None
        if both not in self._transfers:
            own, other = (
                one if one.partial_waves else self.potcars.find(one) or one
                for one in (known, dataset)
            )
            if own.partial_waves is None or other.partial_waves is None:
                which = known.titel if own.partial_waves is None else dataset.titel
                same = "are taken as they are" if known.channels == dataset.channels else "are lost"
                self.notes[
                    f"{symbol}: the partial waves of {which} are not known, the predicted changes "
                    f"of its occupancies {same}; give --potcars"
                ] = None
                self._transfers[both] = None
            else:
                self._transfers[both] = transfer_matrix(own, other)
        return self._transfers[both]

    def _known_transfer(self, symbol: str, dataset: PawDataset) -> np.ndarray | None:
        return self.transfer(symbol, dataset) if symbol in self.loaded.card.paw else None

    def fit(self, encut: float | None = None) -> Calibration:
        """Fit the constants, and estimate what they leave in crystals that they have not seen.

        Of runs with different settings, or data sets of an element, the most frequent are taken;
        the others get a line in :attr:`problems`.

        Parameters
        ----------
        encut
            Plane-wave cutoff of the runs to take, eV; by default the most frequent one.

        Returns
        -------
        Calibration
            Ready to be written.

        Raises
        ------
        CalibrationError
            No run can be used.
        """
        runs = self._of_one_kind(encut)
        if not runs:
            raise CalibrationError(
                "there is no run to calibrate with; give folders of finished runs with CHGCAR, "
                "OUTCAR and POTCAR"
            )
        paw = {symbol: dataset for run in runs for symbol, dataset in run.paw.items()}
        known = [run.with_model for run in runs if run.with_model is not None]
        unknown = sorted(paw.keys() - self.loaded.card.paw.keys())
        elements, errors, ridge = fit_elements(known, paw, self.basis, self._known_transfer)
        alone: dict[str, ElementCalibration] = {}
        if unknown:
            alone, errors_alone, _ = fit_elements(
                [run.alone for run in runs], paw, self.basis, self._known_transfer
            )
            names = {error.name for error in errors}
            errors += [error for error in errors_alone if error.name not in names]
        precs = {run.prec for run in runs}
        return Calibration(
            model=self.loaded.card.name,
            checkpoint=self.loaded.sha256,
            encut=runs[0].settings[0],
            prec=precs.pop() if len(precs) == 1 else None,
            functional=runs[0].settings[1],
            radius=self.basis.radius,
            q_max=self.basis.q_max,
            ridge=ridge,
            elements=elements,
            alone=alone,
            magnetization=fit_magnetization(
                like([run.magnetic for run in self._runs], runs[0].settings[:2], paw),
                self.spin_basis,
            ),
            runs=tuple(errors),
            version=__version__,
        )

    def _of_one_kind(self, encut: float | None) -> list[_Prepared]:
        """Runs of the most frequent settings, and of the most frequent data set of an element."""
        candidates = [run for run in self._runs if encut is None or run.settings[0] == encut]
        kinds = Counter(run.settings for run in candidates)
        kind = kinds.most_common(1)[0][0] if kinds else None
        found: dict[str, list[PawDataset]] = {}
        for run in candidates:
            if run.settings == kind:
                for symbol, dataset in run.paw.items():
                    found.setdefault(symbol, []).append(dataset)
        usual = {symbol: _most_frequent(datasets) for symbol, datasets in found.items()}
        taken = []
        for run in self._runs:
            name = run.source or run.alone.name
            if run.settings != kind:
                line = f"{name}: has other settings ({_told(run.settings)})"
                if run.magnetic and kind and run.settings[:2] == kind[:2]:
                    self.notes[f"{line}, only its magnetization is taken"] = None
                else:
                    self.problems.append(line)
                continue
            others = [s for s, its in run.paw.items() if its.fingerprint != usual[s].fingerprint]
            if others:
                symbol = others[0]
                difference = dataset_difference(usual[symbol], run.paw[symbol], "its own")
                self.problems.append(
                    f"{name}: most runs have another data set of {symbol}: "
                    f"{difference or 'its free atom differs'}"
                )
            else:
                taken.append(run)
        return taken


def carried_only(
    loaded: LoadedModel, datasets: Mapping[str, PawDataset], potcars: PotcarSearch
) -> Calibration:
    """Calibration without any run: occupancies are converted to other PAW data sets.

    Parameters
    ----------
    loaded
        The model.
    datasets
        PAW data set of each element, with its free atom and partial waves.
    potcars
        POTCARs of the model's data sets.

    Returns
    -------
    Calibration
        Of these elements, for any cutoff.

    Raises
    ------
    CalibrationError
        The model does not know an element or predicts no occupancies, or the partial waves of a
        data set are not known.
    """
    if loaded.card.occupancies == "none":
        raise CalibrationError(
            f"the model {loaded.card.name} predicts no occupancies that could be converted: "
            "calibrate it with finished runs"
        )
    if unknown := sorted(datasets.keys() - loaded.card.paw.keys()):
        raise CalibrationError(
            f"the model {loaded.card.name} does not know {', '.join(unknown)}: runs of them are "
            "needed"
        )
    calibrator = Calibrator(loaded, potcars)
    zero = np.zeros(calibrator.basis.size)
    elements = {}
    for symbol in sorted(datasets):
        constants = Constants(zero, np.zeros(len(spherical(datasets[symbol].channels))))
        transfer = calibrator.transfer(symbol, datasets[symbol])
        elements[symbol] = element_calibration(
            datasets[symbol], 0, transfer, constants, (None, None)
        )
    if calibrator.notes:
        raise CalibrationError("; ".join(calibrator.notes))
    return Calibration(
        model=loaded.card.name,
        checkpoint=loaded.sha256,
        encut=None,
        radius=calibrator.basis.radius,
        q_max=calibrator.basis.q_max,
        elements=elements,
        version=__version__,
    )


def _most_frequent(datasets: list[PawDataset]) -> PawDataset:
    """Data set whose fingerprint most of them have."""
    counts = Counter(dataset.fingerprint for dataset in datasets)
    return max(datasets, key=lambda dataset: counts[dataset.fingerprint])


def _prec(sample: DensitySample) -> str | None:
    """PREC whose fine grid is that of a sample."""
    if sample.encut is None:
        return None
    for prec in _PRECISIONS:
        tags = {"ENCUT": sample.encut, "PREC": prec}
        if fft_grids(sample.crystal.lattice, tags).fine == sample.shape:
            return prec
    return None


def _told(settings: tuple[float | None, str | None, str]) -> str:
    encut = "ENCUT not known" if settings[0] is None else f"ENCUT = {settings[0]:g} eV"
    return f"{encut}, {settings[2]}"
