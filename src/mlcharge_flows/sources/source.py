"""What a source of densities and augmentation occupancies is, and the simplest two."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Self

from monty.json import MSONable
from typing_extensions import override

from mlcharge_flows.density.density import superpose
from mlcharge_flows.density.paw_dataset import NEUTRALITY_TOLERANCE
from mlcharge_flows.errors import MlchargeError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from mlcharge_flows.density.density import Density
    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.models.expected_error import ExpectedError
    from mlcharge_flows.sources.run_inputs import RunInputs


class SourceError(MlchargeError, ValueError):
    """An initial density cannot be made for a run; the message is one line that says why."""


@dataclass(frozen=True, eq=False)
class Evaluated:
    """The value of a source for one run.

    Parameters
    ----------
    density
        Density on the fine grid of the run, with augmentation occupancies if the source has them.
    warnings
        One line for each thing that was adapted or could not be checked.
    is_superposition
        Whether the density is that of free atoms, from which no model can tell more than from the
        structure.
    augmentation_issue
        Why there are no augmentation occupancies; None if there are.
    source
        The source that gave the density, where the one that was evaluated only chose it.
    augmentation_from
        The source that gave the occupancies, where they are not the density's and the one that was
        evaluated only chose it.
    reference_run
        Folder of the finished run whose density was carried over to this one; None without one.
    expected_error
        Error that the density is expected to leave, where a model tells it.
    """

    density: Density
    warnings: tuple[str, ...] = ()
    is_superposition: bool = False
    augmentation_issue: str | None = None
    source: Source | None = None
    augmentation_from: Source | None = None
    reference_run: str | None = None
    expected_error: ExpectedError | None = None


class Source(ABC, MSONable):
    """A source of initial densities and augmentation occupancies.

    Subclasses are small frozen dataclasses: equal by value, and serialized with the Makers that
    hold them. One source can have either role in an
    :class:`~mlcharge_flows.sources.initial_density.InitialDensity`. A new source is a subclass in a
    file of its own, and an entry in :mod:`mlcharge_flows.sources.grammar`.
    """

    word: ClassVar[str]
    """Name of the kind of source on the command line and in documents."""

    @classmethod
    def from_argument(cls, argument: str) -> Self:
        """Make the source that ``word@argument`` names.

        Parameters
        ----------
        argument
            What stands behind the ``@``; empty if nothing does.

        Returns
        -------
        Source
            The source.

        Raises
        ------
        SourceError
            The source takes no argument, or needs one.
        """
        if argument:
            raise SourceError(f"{cls.word!r} takes nothing behind it, not {argument!r}")
        return cls()

    @property
    def argument(self) -> str:
        """What stands behind the ``@`` in :meth:`from_argument`; empty for the default."""
        return ""

    @property
    def augmentation_word(self) -> str:
        """Name of the source where it gives augmentation occupancies."""
        return str(self)

    @property
    def can_be_misread(self) -> bool:
        """Whether the end of :attr:`argument` can be the word of another source."""
        return False

    def behind(self, density: Source) -> str:
        """Write the source as that of augmentation occupancies.

        Parameters
        ----------
        density
            Source of the density, before the slash.

        Returns
        -------
        str
            What :func:`~mlcharge_flows.sources.grammar.parse_initial_density` reads as this source.
        """
        return str(self)

    @property
    def identity(self) -> tuple[str, str]:
        """Kind, and what determines the densities: equal for one source under several names."""
        return self.word, self.argument

    @property
    def uses_model(self) -> bool:
        """Whether a trained model is behind the source."""
        return False

    @property
    def needs_reference_run(self) -> bool:
        """Whether a finished run of the same inputs is needed."""
        return False

    @property
    def model_name(self) -> str | None:
        """Name on the card of the model behind the source; None without one, or if it is lost."""
        return None

    @property
    def checkpoint(self) -> str | None:
        """SHA-256 of the checkpoint behind the source; None without a model, or if it is lost."""
        return None

    @property
    def calibration(self) -> str:
        """Path of the calibration of the model behind the source; empty without one."""
        return ""

    def calibrated(self, calibration: str) -> Source:
        """Take a calibration for the model behind the source.

        Parameters
        ----------
        calibration
            Path of the file.

        Returns
        -------
        Source
            The same for sources without a model, or with a calibration of their own.
        """
        return self

    def load_model(self) -> None:
        """Load the model behind the source, once per process; a missing one is no error here."""

    def check(self, augmentation: bool = False) -> None:
        """Load the model that the source names, and see that its files are there.

        Commands call it before anything runs.

        Parameters
        ----------
        augmentation
            Whether the source is to give augmentation occupancies.

        Raises
        ------
        ModelError
            The model behind the source cannot be loaded, or predicts no such occupancies.
        SourceError
            A file or folder is missing.
        """

    def known_datasets(self, elements: frozenset[str]) -> Mapping[str, PawDataset] | None:
        """PAW data sets for which the source is made, for runs whose POTCAR is not available.

        Parameters
        ----------
        elements
            Symbols of the elements of the run.

        Returns
        -------
        mapping of str to PawDataset, or None
            None if the source is made for no data sets, or not for all of these elements.

        Raises
        ------
        SourceError
            The source cannot be loaded.
        """
        return None

    @abstractmethod
    def evaluate(self, inputs: RunInputs, given: Evaluated | None = None) -> Evaluated:
        """Evaluate the source for a run.

        Parameters
        ----------
        inputs
            Inputs of the run.
        given
            Density for which augmentation occupancies are wanted; None if the density of the source
            itself is wanted.

        Returns
        -------
        Evaluated
            Density on the fine grid of the run. With `given`, only its augmentation occupancies are
            meant, one vector per ion.

        Raises
        ------
        SourceError
            The source has no density for this run.
        """

    def __str__(self) -> str:
        return f"{self.word}@{self.argument}" if self.argument else self.word


@dataclass(frozen=True)
class Superposition(Source):
    """Superposition of the free atoms of the PAW data sets of the run.

    A run from it must take as many steps as one without a CHGCAR: the difference is the error of
    the path through the file.
    """

    word: ClassVar[str] = "superposition"

    @property
    def augmentation_word(self) -> str:
        """``atomic``: the occupancies of the free atoms."""
        return "atomic"

    @override
    def behind(self, density: Source) -> str:
        return self.augmentation_word

    def evaluate(self, inputs: RunInputs, given: Evaluated | None = None) -> Evaluated:
        """Superpose the free atoms on the fine grid of the run.

        Parameters
        ----------
        inputs
            Inputs of the run.
        given
            Not used.

        Returns
        -------
        Evaluated
            Superposition with the augmentation occupancies of the free atoms.

        Raises
        ------
        SourceError
            The cell is charged, or the free atom of an element is not known.
        """
        try:
            density = superpose(inputs.crystal, inputs.datasets, inputs.grid)
        except ValueError as error:
            raise SourceError(str(error)) from None
        if abs(density.n_electrons - inputs.n_electrons) > NEUTRALITY_TOLERANCE:
            raise SourceError(
                f"the cell is charged (NELECT = {inputs.n_electrons:g}, the atoms have "
                f"{density.n_electrons:g} electrons): no superposition of atoms describes it"
            )
        return Evaluated(density, is_superposition=True)


@dataclass(frozen=True)
class Same(Source):
    """The augmentation occupancies that come with the density."""

    word: ClassVar[str] = "same"

    def evaluate(self, inputs: RunInputs, given: Evaluated | None = None) -> Evaluated:
        """Give the density back.

        Parameters
        ----------
        inputs
            Not used.
        given
            The density.

        Returns
        -------
        Evaluated
            The same.

        Raises
        ------
        SourceError
            There is no density.
        """
        if given is None:
            raise SourceError("'same' is a source of augmentation occupancies, not of densities")
        return given


def joined(parts: Iterable[str | None]) -> str | None:
    """Join what is known of several models, each once.

    Parameters
    ----------
    parts
        Names or hashes; None for sources without a model.

    Returns
    -------
    str or None
        With plus signs between; None if nothing is known.

    Examples
    --------
    >>> joined(["orbital", None, "superres", "orbital"])
    'orbital+superres'
    """
    return "+".join(dict.fromkeys(part for part in parts if part)) or None
