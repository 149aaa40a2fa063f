"""The initial density of a run: density and augmentation occupancies of a source, and orbitals."""

from __future__ import annotations

from dataclasses import dataclass, replace
from time import perf_counter, process_time
from typing import TYPE_CHECKING, ClassVar

from monty.json import MSONable

from mlcharge_flows.sources.initial_chgcar import InitialDensityDocument, write_initial_chgcar
from mlcharge_flows.sources.source import Evaluated, Same, Source, SourceError, joined
from mlcharge_flows.vasp.potcar import PotcarError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.sources.orbitals import OrbitalSource
    from mlcharge_flows.sources.run_inputs import RunInputs


_SAME = Same()


@dataclass(frozen=True)
class Fallback(Source):
    """The first of several sources that does not refuse a run.

    For production runs: an arm of a comparison has to be of one kind for all materials.

    Parameters
    ----------
    sources
        In the order in which they are tried.

    """

    sources: tuple[Source, ...]
    word: ClassVar[str] = "fallback"

    def __post_init__(self) -> None:
        if not self.sources:
            raise ValueError("a fallback chain needs a source")
        object.__setattr__(self, "sources", tuple(self.sources))  # JSON knows lists only

    @property
    def uses_model(self) -> bool:
        """Whether a trained model is behind one of the sources."""
        return any(source.uses_model for source in self.sources)

    @property
    def needs_reference_run(self) -> bool:
        """Whether one of the sources needs a finished run."""
        return any(source.needs_reference_run for source in self.sources)

    @property
    def model_name(self) -> str | None:
        """Names of the models behind the sources, joined by a plus sign."""
        return joined(source.model_name for source in self.sources)

    @property
    def checkpoint(self) -> str | None:
        """SHA-256 of the checkpoints behind the sources, joined by a plus sign."""
        return joined(source.checkpoint for source in self.sources)

    def load_model(self) -> None:
        """Load the models behind the sources, once per process."""
        for source in self.sources:
            source.load_model()

    def check(self, augmentation: bool = False) -> None:
        """Load what the sources name.

        Parameters
        ----------
        augmentation
            Whether augmentation occupancies are wanted.

        Raises
        ------
        ModelError
            A model cannot be loaded, or predicts no augmentation occupancies.
        """
        for source in self.sources:
            source.check(augmentation)

    def known_datasets(self, elements: frozenset[str]) -> Mapping[str, PawDataset] | None:
        """PAW data sets of the first source that knows those of all elements.

        Parameters
        ----------
        elements
            Symbols.

        Returns
        -------
        mapping of str to PawDataset, or None
            None if no source knows all of them.
        """
        for source in self.sources:
            try:
                known = source.known_datasets(elements)
            except SourceError:
                continue
            if known is not None:
                return known
        return None

    def evaluate(self, inputs: RunInputs, given: Evaluated | None = None) -> Evaluated:
        """Evaluate the sources in turn.

        Parameters
        ----------
        inputs
            Inputs of the run.
        given
            Density that augmentation occupancies are wanted for.

        Returns
        -------
        Evaluated
            Of the first source that does not refuse, which is named; the warnings begin with the
            refusals.

        Raises
        ------
        SourceError
            All sources refuse the run.
        """
        refusals: list[str] = []
        for source in self.sources:
            try:
                found = source.evaluate(inputs, given)
            except (SourceError, PotcarError) as error:
                refusals.append(str(error))
            else:
                warnings = (*refusals, *found.warnings)
                return replace(found, warnings=warnings, source=found.source or source)
        raise SourceError("; ".join(refusals))


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
        says, else VASP's default: 5, or 0 with orbitals.

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
        return f"{self.density}{own}{self._ending}"

    @property
    def short_name(self) -> str:
        """Name without the folders of checkpoints: for documents and reports."""
        density = self.density.augmentation_word if self.density.uses_model else str(self.density)
        own = "" if isinstance(self.augmentation, Same) else f"/{self.augmentation_source}"
        return f"{density}{own}{self._ending}"

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
        """Load what the sources name, before anything runs.

        Raises
        ------
        ModelError
            A model cannot be loaded, or does not predict what is wanted of it.
        """
        self.density.check(augmentation=isinstance(self.augmentation, Same))
        self.augmentation.check(augmentation=True)

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
