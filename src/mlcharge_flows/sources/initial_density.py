"""The initial density of a run: density and augmentation occupancies of a source, and orbitals."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from time import perf_counter, process_time
from typing import TYPE_CHECKING, Self

from monty.json import MSONable

from mlcharge_flows.sources.initial_chgcar import InitialDensityDocument, write_initial_chgcar
from mlcharge_flows.sources.source import Evaluated, Same, Source, SourceError, joined

if TYPE_CHECKING:
    from mlcharge_flows.sources.orbitals import OrbitalSource
    from mlcharge_flows.sources.run_inputs import RunInputs


_SAME = Same()
CALIBRATION = "calibration"
"""Word of a calibration behind the plus sign of an initial density."""


@dataclass(frozen=True)
class InitialDensity(MSONable):
    """A density of one source with the augmentation occupancies of the same or another one.

    With initial orbitals and the number of steps at fixed density it is all that a run begins from.

    Parameters
    ----------
    density
        Source of the density on the fine grid.
    augmentation
        Source of the augmentation occupancies. The source of the density, named again, is
        :class:`Same`.
    orbitals
        Source of the initial orbitals, which are written in the folder of the run (ISTART = 1);
        None: random ones, VASP's default.
    n_delay
        Steps at fixed density at the beginning, NELMDL without its sign; None: as the input set
        says, else VASP's default: 5, or 0 with orbitals; with orbitals and ALGO = Fast or VeryFast
        2, so that RMM-DIIS begins with better ones.

    Examples
    --------
    >>> from mlcharge_flows.sources import AtomicOrbitals, Converged, Learned, Superposition
    >>> str(InitialDensity(Learned())), str(InitialDensity(Learned(), Superposition()))
    ('learned', 'learned/atomic')
    >>> InitialDensity(Converged(), Converged()) == InitialDensity(Converged())
    True
    >>> str(InitialDensity(Learned(), orbitals=AtomicOrbitals(), n_delay=1))
    'learned+orbitals+delay=1'
    >>> str(InitialDensity(Learned("superres"), Learned()))
    'learned@superres/learned@orbital'
    """

    density: Source
    augmentation: Source = _SAME
    orbitals: OrbitalSource | None = None
    n_delay: int | None = None

    def __post_init__(self) -> None:
        if self.n_delay is not None and self.n_delay < 0:
            raise SourceError(f"a delay is a number of steps, not {self.n_delay}")
        if self.augmentation == self.density:
            object.__setattr__(self, "augmentation", Same())

    def __str__(self) -> str:
        own = ""
        if not isinstance(self.augmentation, Same):
            own = f"/{self.augmentation.behind(self.density)}"
        elif self.density.can_be_misread:
            own = f"/{Same.word}"
        calibration = f"+{CALIBRATION}@{self.calibration}" if self.calibration else ""
        return f"{self.density}{own}{calibration}{self._ending}"

    @property
    def calibration(self) -> str:
        """Path of the calibration of the model behind a source; empty without one."""
        return self.density.calibration or self.augmentation.calibration

    def calibrated(self, calibration: str | Path) -> Self:
        """Take a calibration for the models behind the sources.

        Parameters
        ----------
        calibration
            The file that ``mlcharge calibrate`` wrote.

        Returns
        -------
        InitialDensity
            Sources without a model, or with a calibration of their own, are the same.
        """
        path = str(Path(calibration).absolute())
        return replace(
            self,
            density=self.density.calibrated(path),
            augmentation=self.augmentation.calibrated(path),
        )

    @property
    def short_name(self) -> str:
        """Name without the folders of checkpoints: for documents and reports."""
        density = self.density.augmentation_word if self.density.uses_model else str(self.density)
        own = "" if isinstance(self.augmentation, Same) else f"/{self.augmentation_source}"
        calibration = f"+{CALIBRATION}" if self.calibration else ""
        return f"{density}{own}{calibration}{self._ending}"

    @property
    def _ending(self) -> str:
        orbitals = f"+{self.orbitals}" if self.orbitals else ""
        return orbitals + ("" if self.n_delay is None else f"+delay={self.n_delay}")

    @property
    def is_density_only(self) -> bool:
        """Whether orbitals and delay are left to VASP."""
        return self.orbitals is None and self.n_delay is None

    @property
    def density_source(self) -> str:
        """Kind of the source of the density, as documents name it."""
        return self.density.word

    @property
    def augmentation_source(self) -> str:
        """Source of the augmentation occupancies, as documents name it.

        With :class:`Same`, the name of the density's source without its model, which has a field of
        its own in documents.
        """
        if isinstance(self.augmentation, Same):
            return self.density.augmentation_word.partition("@")[0]
        return self.augmentation.augmentation_word

    @property
    def label(self) -> str:
        """Word for the CHGCAR's first line: the kind of both sources, or ``mixed``."""
        density, augmentation = self.density, self.augmentation
        is_pure = isinstance(augmentation, Same) or density.word == augmentation.word
        is_learned = density.uses_model and augmentation.uses_model
        return density.word if is_pure or is_learned else "mixed"

    @property
    def uses_model(self) -> bool:
        """Whether a trained model is behind a source."""
        return self.density.uses_model or self.augmentation.uses_model

    @property
    def needs_reference_run(self) -> bool:
        """Whether a finished run of the same inputs is needed."""
        return self.density.needs_reference_run or self.augmentation.needs_reference_run

    @property
    def checkpoint(self) -> str | None:
        """SHA-256 of the checkpoints of the models behind it, joined by a plus sign."""
        return joined((self.density.checkpoint, self.augmentation.checkpoint))

    @property
    def model_name(self) -> str | None:
        """Names of the models behind it, joined by a plus sign."""
        return joined((self.density.model_name, self.augmentation.model_name))

    def check(self) -> None:
        """Load the models of the sources, and see that their files are there.

        Raises
        ------
        ModelError
            A model cannot be loaded, or does not predict what is wanted of it.
        SourceError
            A file or folder is missing.
        """
        self.density.check(augmentation=isinstance(self.augmentation, Same))
        self.augmentation.check(augmentation=True)
        if self.orbitals is not None:
            self.orbitals.check()

    def complete(self, inputs: RunInputs) -> RunInputs:
        """Supply the PAW data sets of a model to a run whose POTCAR cannot be read here.

        Parameters
        ----------
        inputs
            Inputs of the run.

        Returns
        -------
        RunInputs
            The same inputs if their POTCAR can be read, or no source knows the data sets.

        Raises
        ------
        SourceError
            A model cannot be loaded.
        PotcarError
            There is a POTCAR, and it is broken.
        """
        for source in (self.density, self.augmentation):
            if (known := source.known_datasets(inputs.elements)) is not None:
                return inputs.with_datasets(known)
        return inputs

    def evaluate(self, inputs: RunInputs) -> Evaluated:
        """Evaluate both sources and join what they give.

        Parameters
        ----------
        inputs
            Inputs of the run.

        Returns
        -------
        Evaluated
            Density on the fine grid of the run with one vector of augmentation occupancies per ion.

        Raises
        ------
        SourceError
            A source refuses the run, or there are no augmentation occupancies.
        """
        inputs = self.complete(inputs)
        density = self.density.evaluate(inputs)
        augmentation = self.augmentation.evaluate(inputs, density)
        occupancies = augmentation.density.augmentation
        if occupancies is None:
            raise SourceError(
                augmentation.augmentation_issue
                or f"the density of {self} has no occupancies, VASP would drop it"
            )
        return replace(
            density,
            density=replace(density.density, augmentation=occupancies),
            warnings=tuple(dict.fromkeys((*density.warnings, *augmentation.warnings))),
            augmentation_issue=None,
            augmentation_from=None if augmentation is density else augmentation.source,
        )

    def write(self, inputs: RunInputs, folder: Path) -> InitialDensityDocument:
        """Write the CHGCAR of a run.

        Parameters
        ----------
        inputs
            Inputs of the run.
        folder
            Where to write.

        Returns
        -------
        InitialDensityDocument
            What was written.

        Raises
        ------
        SourceError
            A source refuses the run, or VASP could not use the density.
        """
        began = perf_counter()
        self.density.load_model()
        self.augmentation.load_model()
        loaded, cpu_before = perf_counter(), process_time()
        inputs = self.complete(inputs)
        evaluated = self.evaluate(inputs)
        # A chain of sources is documented as the one that it took.
        density = evaluated.source or self.density
        own = evaluated.augmentation_from or self.augmentation
        taken = replace(self, density=density, augmentation=own)
        document = write_initial_chgcar(folder, evaluated, inputs, taken.label)
        return document.model_copy(
            update={
                "density_source": taken.density_source,
                "augmentation_source": taken.augmentation_source,
                "model": taken.model_name,
                "checkpoint": taken.checkpoint,
                "reference_run": evaluated.reference_run,
                "preparation_time": perf_counter() - loaded,
                "preparation_cpu_time": process_time() - cpu_before,
                "loading_time": loaded - began if self.uses_model else None,
            }
        )

    def failed(self, error: object) -> InitialDensityDocument:
        """Document an initial density that could not be made.

        Parameters
        ----------
        error
            Why.

        Returns
        -------
        InitialDensityDocument
            With the failure in one line.
        """
        return InitialDensityDocument.of_failure(
            error, self.density_source, self.augmentation_source
        )
