"""Initial densities in words: ``learned``, ``learned/atomic``, ``converged/learned@charge3net``.

A word is ``DENSITY`` or ``DENSITY/AUGMENTATION``. Both parts are the word of a source, with its
model or file behind an ``@``; the name of a model alone stands for ``learned@MODEL``, and the path
of a CHGCAR for ``file@PATH``.

``+orbitals`` adds atomic orbitals as initial orbitals, ``+orbitals@PATH`` those of a WAVECAR or of
the folder of its run, and ``+delay=N`` N steps at fixed density (NELMDL = -N):
``learned+orbitals+delay=1``. ``+calibration@PATH`` calibrates the model behind the density and its
occupancies. Before a plus sign, ``default`` and ``atoms`` are the superposition of
atoms: such a run reads it from a CHGCAR, which verifies it.
"""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

from mlcharge_flows.errors import note_renamed
from mlcharge_flows.io import is_file
from mlcharge_flows.models.checkpoint import SUFFIX
from mlcharge_flows.models.registry import DEFAULT
from mlcharge_flows.scf.comparison import REFERENCE
from mlcharge_flows.sources.anchored import Anchored
from mlcharge_flows.sources.atomic_orbitals import AtomicOrbitals
from mlcharge_flows.sources.carried import Carried
from mlcharge_flows.sources.from_file import Converged, FromFile
from mlcharge_flows.sources.initial_density import CALIBRATION, InitialDensity
from mlcharge_flows.sources.learned import ElementMean, Learned, known_models
from mlcharge_flows.sources.orbitals import WORD as ORBITALS
from mlcharge_flows.sources.orbitals import FromWavecar
from mlcharge_flows.sources.source import Same, Source, SourceError, Superposition

SOURCES: dict[str, type[Source]] = {
    "superposition": Superposition,
    "atomic": Superposition,
    "converged": Converged,
    "carried": Carried,
    "anchored": Anchored,
    "learned": Learned,
    "element-mean": ElementMean,
    "file": FromFile,
    "same": Same,
}
"""Source of each word."""

ATOMS = "atoms"
"""The reference run by another name."""

OLD_WORDS = {
    "atomic-occupancies": "converged/atomic",
    "converged-occupancies": "superposition/converged",
    "learned-atomic-occupancies": "learned/atomic",
    "learned-element-mean-occupancies": "learned/element-mean",
    "learned-occupancies": "superposition/learned",
    "learned-converged-occupancies": "learned/converged",
    "converged-learned-occupancies": "converged/learned",
}
"""Words of the first release, and what to write instead."""

_MAX_DELAY = 1000
"""Steps at fixed density: more are a typing error, and NELMDL is a number of 32 bits."""

_ADDED = re.compile(
    rf"\+{ORBITALS}(?:@(?P<path>[^+]+))?(?=\+|$)|\+delay=(?P<delay>\d+)(?=\+|$)"
    rf"|\+{CALIBRATION}@(?P<calibration>[^+]+)(?=\+|$)"
)
_ENDING = re.compile(rf"(?:{re.sub('[?]P<[a-z]+>', '?:', _ADDED.pattern)})+$")


def parse_initial_density(
    text: str, model: str = DEFAULT, augmentation: str = "", folder: Path | None = None
) -> InitialDensity:
    """Read an initial density.

    Parameters
    ----------
    text
        ``DENSITY`` or ``DENSITY/AUGMENTATION``, with ``+orbitals``, ``+delay=N`` and
        ``+calibration@FILE`` if wanted.
    model
        Name, or path of the checkpoint, of the model of ``learned`` and ``element-mean`` where no
        other one is named.
    augmentation
        Source of the augmentation occupancies that `text` calls ``learned``, or leaves to a learned
        density.
    folder
        Folder that paths are relative to; the working directory if not given.

    Returns
    -------
    InitialDensity
        Nothing that it names is loaded yet.

    Raises
    ------
    SourceError
        A word is unknown; the message lists what can be written.

    Examples
    --------
    >>> parse_initial_density("learned/atomic") == InitialDensity(Learned(), Superposition())
    True
    >>> parse_initial_density("converged/learned@charge3net").augmentation.model
    'charge3net'
    >>> parse_initial_density("learned+orbitals+delay=1").orbitals
    AtomicOrbitals()
    """
    text = text.strip()
    if ending := _ENDING.search(text):
        bare = text[: ending.start()]
        first = Superposition.word if bare in (REFERENCE, ATOMS) else bare
        read = parse_initial_density(first, model, augmentation, folder)
        added = _added(ending[0], text, folder)
        if calibration := added.pop(CALIBRATION, None):
            read = read.calibrated(calibration)
            if not read.calibration:
                raise SourceError(f"{text!r}: a calibration is for learned densities")
        return replace(read, **added)
    if text in OLD_WORDS:
        note_renamed(text, OLD_WORDS[text])
        text = OLD_WORDS[text]
    first, second = _parts(text)
    if folder is not None:
        first, second = (_in_folder(part, folder) for part in (first, second))
    density = _source(first, model, text)
    if isinstance(density, Same):
        raise SourceError(f"{text!r}: 'same' is a source of augmentation occupancies only")
    if isinstance(density, Learned):
        model = density.model
    if second == Learned.word or (not second and isinstance(density, Learned)):
        second = augmentation or second
    return InitialDensity(density, _source(second, model, text) if second else Same())


def _in_folder(part: str, folder: Path) -> str:
    """Word of a source with its path, if it has one, in a folder; names of models are none."""
    word, at, argument = part.partition("@")
    if word in SOURCES:
        is_path = issubclass(SOURCES[word], FromFile | Carried) or is_file(folder / argument)
        return f"{word}{at}{folder / argument}" if argument and is_path else part
    is_path = is_file(folder / part) or Path(part).name.startswith("CHGCAR")
    return str(folder / part) if part and is_path and part not in OLD_WORDS else part


def _added(ending: str, whole: str, folder: Path | None) -> dict[str, Any]:
    """Orbitals, delay and calibration, by the fields of an initial density."""
    found: dict[str, Any] = {}
    for added in _ADDED.finditer(ending):
        delay, path, calibration = added["delay"], added["path"], added["calibration"]
        key = CALIBRATION if calibration else "orbitals" if delay is None else "n_delay"
        if key in found:
            raise SourceError(f"{whole!r}: gives {key.removeprefix('n_')} twice")
        if calibration:
            found[key] = Path(folder or "", calibration).absolute()
        elif delay is not None:
            if (steps := int(delay)) > _MAX_DELAY:
                raise SourceError(f"{whole!r}: a delay of {steps} steps exceeds {_MAX_DELAY}")
            found[key] = steps
        else:
            place = Path(folder or "", path or "").absolute()
            found[key] = FromWavecar(str(place)) if path else AtomicOrbitals()
    return found


def _parts(text: str) -> tuple[str, str]:
    """Split at the slash behind which a source begins; paths have slashes, too."""
    for place in (n for n, letter in enumerate(text) if letter == "/"):
        before, after = text[:place], text[place + 1 :]
        word = after.partition("@")[0]
        if before and (word in SOURCES or after in known_models().paths()):
            return before, after
    first, _, second = text.partition("/")
    # An unknown word behind a known one is a mistake in the second part, not a path.
    return (
        (first, second) if first.partition("@")[0] in SOURCES and "@" not in first else (text, "")
    )


def _source(text: str, model: str, whole: str) -> Source:
    word, _, argument = text.partition("@")
    if (kind := SOURCES.get(word)) is not None:
        if issubclass(kind, Learned | ElementMean):
            argument = argument or model
        elif kind is Anchored and "@" not in argument:
            argument += f"@{model}"
        return kind.from_argument(argument)
    if text in known_models().paths() or text.endswith(SUFFIX):
        return Learned.from_argument(text)
    if is_file(text) or Path(text).name.startswith("CHGCAR"):
        return FromFile.from_argument(text)
    where = "" if text == whole else f" in {whole!r}"
    models = ", ".join(known_models().paths()) or "none"
    raise SourceError(
        f"{text!r}{where} is no source of densities; write DENSITY or DENSITY/AUGMENTATION of "
        f"superposition (or atomic), converged, learned[@MODEL], element-mean[@MODEL], "
        f"file@CHGCAR, carried[@RUN], anchored[@RUN[@MODEL]], then +calibration@FILE, "
        f"+orbitals[@WAVECAR] and +delay=N; known models: {models}"
    )
