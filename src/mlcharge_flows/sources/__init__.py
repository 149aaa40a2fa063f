"""Initial densities by composition.

An :class:`InitialDensity` takes the density from one :class:`Source` and the augmentation
occupancies from the same or another one. It is evaluated for the :class:`RunInputs` of a run and
written as the CHGCAR of the run. With :class:`AtomicOrbitals` or :class:`FromWavecar` the run
begins with initial orbitals, too, in a WAVECAR. Sources: :class:`Superposition`,
:class:`Converged`, :class:`FromFile`, :class:`Carried`, :class:`Anchored`, :class:`Learned`,
:class:`ElementMean`, :class:`Same`, :class:`Fallback` and :class:`Nearest`;
:func:`parse_initial_density` and :func:`parse_arms` read them in words.
"""

from mlcharge_flows.sources.anchored import Anchored
from mlcharge_flows.sources.arms import calibrated_arms, load_arms, parse_arms
from mlcharge_flows.sources.atomic_orbitals import AtomicOrbitals
from mlcharge_flows.sources.carried import Carried
from mlcharge_flows.sources.fallback import Fallback
from mlcharge_flows.sources.from_file import Converged, FromFile
from mlcharge_flows.sources.grammar import parse_initial_density
from mlcharge_flows.sources.initial_chgcar import InitialDensityDocument, write_initial_chgcar
from mlcharge_flows.sources.initial_density import InitialDensity
from mlcharge_flows.sources.initial_wavecar import InitialOrbitalsDocument
from mlcharge_flows.sources.learned import ElementMean, Learned, known_models
from mlcharge_flows.sources.nearest import Nearest
from mlcharge_flows.sources.orbitals import FromWavecar, OrbitalSource
from mlcharge_flows.sources.run_inputs import RunInputs
from mlcharge_flows.sources.source import Evaluated, Same, Source, SourceError, Superposition

__all__ = [
    "Anchored",
    "AtomicOrbitals",
    "Carried",
    "Converged",
    "ElementMean",
    "Evaluated",
    "Fallback",
    "FromFile",
    "FromWavecar",
    "InitialDensity",
    "InitialDensityDocument",
    "InitialOrbitalsDocument",
    "Learned",
    "Nearest",
    "OrbitalSource",
    "RunInputs",
    "Same",
    "Source",
    "SourceError",
    "Superposition",
    "calibrated_arms",
    "known_models",
    "load_arms",
    "parse_arms",
    "parse_initial_density",
    "write_initial_chgcar",
]
