"""Arms of a comparison: initial densities by the names that their user gives them."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from mlcharge_flows.errors import note
from mlcharge_flows.models.checkpoint import SUFFIX
from mlcharge_flows.models.registry import DEFAULT
from mlcharge_flows.scf.comparison import REFERENCE
from mlcharge_flows.sources.grammar import ATOMS, OLD_WORDS, parse_initial_density
from mlcharge_flows.sources.learned import ElementMean
from mlcharge_flows.sources.source import Same, Source, SourceError, Superposition

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from mlcharge_flows.sources.initial_density import InitialDensity


def parse_arms(
    words: Iterable[str], model: str = DEFAULT, augmentation: str = "", folder: Path | None = None
) -> dict[str, InitialDensity]:
    """Read the arms of a comparison.

    Words of the same density, such as ``learned``, ``learned/same`` and ``orbital``, are one arm; a
    line on standard error names them.

    Parameters
    ----------
    words
        Initial densities; ``default`` or ``atoms``, the reference, which always runs, and blanks
        are left out.
    model
        Model of learned densities, as for
        :func:`~mlcharge_flows.sources.grammar.parse_initial_density`.
    augmentation
        Source of their augmentation occupancies, as there.
    folder
        Folder that paths are relative to, as there.

    Returns
    -------
    dict of str to InitialDensity
        By the words as they were given.

    Raises
    ------
    SourceError
        A word is unknown, the message lists what can be written; or `augmentation` is of a kind
        that has to show in the name of the arm.

    Examples
    --------
    >>> list(parse_arms(["default", "learned", "learned/atomic"]))
    ['learned', 'learned/atomic']
    """
    return _merged(_parsed(words, model, augmentation, folder))


def load_arms(
    words: Iterable[str], models: Sequence[str], augmentation: str = ""
) -> dict[str, InitialDensity]:
    """Read the arms of a comparison of models, and load these.

    Parameters
    ----------
    words
        Initial densities, as for :func:`parse_arms`.
    models
        Names or paths of models; of several, each has its own arms, such as ``learned@superres``.
    augmentation
        Source of the augmentation occupancies of learned densities.

    Returns
    -------
    dict of str to InitialDensity
        By name of the arm.

    Raises
    ------
    SourceError
        A word is unknown, there is no model, or two have one name.
    ModelError
        A model cannot be loaded.
    """
    if not models:
        raise SourceError("a comparison of models needs one, such as orbital")
    words = list(words)
    found: dict[str, InitialDensity] = {}
    parsed = [_parsed(words, name, augmentation) for name in models]
    for name, densities in zip(models, parsed, strict=True):
        for arm, density in densities.items():
            density.check()
            if all(other[arm] == density for other in parsed):
                found[arm] = density
                continue
            label = Path(name).name.removesuffix(SUFFIX)
            own = arm_of_model(arm, label)
            if found.setdefault(own, density) != density:
                raise SourceError(f"of the models, two are called {label}; rename a file")
    return _merged(found)


def calibrated_arms(
    densities: Mapping[str, InitialDensity], calibration: str | Path
) -> dict[str, InitialDensity]:
    """Take a calibration for all learned densities that have none.

    Parameters
    ----------
    densities
        By name of the arm.
    calibration
        File of ``mlcharge calibrate``.

    Returns
    -------
    dict of str to InitialDensity
        By name of the arm.

    Raises
    ------
    SourceError
        None is a learned density.
    """
    found = {arm: density.calibrated(calibration) for arm, density in densities.items()}
    if not any(density.calibration for density in found.values()):
        raise SourceError(f"none of {', '.join(densities)} is learned")
    return found


def arm_of_model(arm: str, model: str) -> str:
    """Name an arm by its model, where several models have the same arms.

    Parameters
    ----------
    arm
        Word of an initial density.
    model
        Name of the model of its first part that names none.

    Returns
    -------
    str
        The word with the model.

    Examples
    --------
    >>> arm_of_model("learned/atomic", "superres"), arm_of_model("converged/learned", "superres")
    ('learned@superres/atomic', 'converged/learned@superres')
    """
    if arm in OLD_WORDS:
        return f"{arm}@{model}"
    return re.sub(r"(?<![\w@-])(learned|element-mean)(?![\w@-])", rf"\1@{model}", arm, count=1)


def _parsed(
    words: Iterable[str], model: str, augmentation: str, folder: Path | None = None
) -> dict[str, InitialDensity]:
    """Initial density of each word but those of the reference."""
    if augmentation in ("atomic", "converged"):
        arm = f"learned/{augmentation}"
        raise SourceError(f"{augmentation} occupancies have an arm of their own, {arm}")
    names = dict.fromkeys(word.strip() for word in words)
    if ATOMS in names:
        note(f"{ATOMS} is {REFERENCE}, the reference, which always runs, once")
    return {
        name: parse_initial_density(name, model, augmentation, folder)
        for name in names
        if name not in ("", REFERENCE, ATOMS)
    }


def _merged(named: Mapping[str, InitialDensity]) -> dict[str, InitialDensity]:
    """Leave one name of each density: the canonical one if it was given, else the first."""
    groups: dict[object, list[str]] = {}
    for name, density in named.items():
        groups.setdefault(_identity(density), []).append(name)
    found = {}
    for names in groups.values():
        kept = next((name for name in names if str(named[name]) == name), names[0])
        found[kept] = named[kept]
        if len(names) > 1:
            listed = f"{', '.join(names[:-1])} and {names[-1]}"
            note(f"{listed} are one initial density, which runs once, as {kept}")
    return found


def _identity(initial: InitialDensity) -> object:
    """What determines an initial density: equal for one density under several names."""
    density: Source = initial.density
    augmentation: Source = initial.augmentation
    if isinstance(density, ElementMean):  # means of elements on the superposition
        augmentation = density if isinstance(augmentation, Same) else augmentation
        density = Superposition()
    first, second = density.identity, augmentation.identity
    orbitals = initial.orbitals.identity if initial.orbitals else None
    return first, None if second in (first, Same().identity) else second, orbitals, initial.n_delay
