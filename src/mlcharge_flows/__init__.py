"""Initial densities for VASP: predict them, run any atomate2 workflow from them, count the savings.

The names below are the public API. Each is imported when it is first used, so that ``import
mlcharge_flows`` takes milliseconds, and none of them needs torch or GPAW before a model predicts or
``gpaw-vasp`` runs.

>>> from mlcharge_flows import InitialDensity, Learned, Superposition
>>> str(InitialDensity(density=Learned(), augmentation=Superposition()))
'learned/atomic'
"""

from importlib import import_module
from importlib.metadata import version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mlcharge_flows.atomate2.flows.compare import CompareDensitiesMaker
    from mlcharge_flows.atomate2.flows.nonscf import CompareNonSCFMaker
    from mlcharge_flows.atomate2.jobs.initial_density import InitialDensityMaker
    from mlcharge_flows.atomate2.jobs.run import RunFromDensityMaker
    from mlcharge_flows.atomate2.neighbors import start_from_neighbors
    from mlcharge_flows.atomate2.powerups import start_from_predicted_density
    from mlcharge_flows.atomate2.schemas import RunProvenance
    from mlcharge_flows.atomate2.sets.comparison import ComparisonSetGenerator
    from mlcharge_flows.campaign.local import read_results
    from mlcharge_flows.density.density import Density
    from mlcharge_flows.density.paw_dataset import PawDataset
    from mlcharge_flows.errors import MlchargeError
    from mlcharge_flows.reports.nonscf_report import write_nonscf_report
    from mlcharge_flows.reports.scf_report import write_report
    from mlcharge_flows.scf.comparison import Comparison
    from mlcharge_flows.scf.nonscf import summarize_nonscf
    from mlcharge_flows.scf.statistics import summarize
    from mlcharge_flows.settings import Settings
    from mlcharge_flows.sources import (
        Anchored,
        AtomicOrbitals,
        Carried,
        Converged,
        ElementMean,
        Fallback,
        FromFile,
        FromWavecar,
        InitialDensity,
        Learned,
        Nearest,
        Superposition,
        parse_arms,
        parse_initial_density,
    )
    from mlcharge_flows.structures import read_structures
    from mlcharge_flows.training.dataset import DensityDataset
    from mlcharge_flows.vasp.chgcar import read_chgcar
    from mlcharge_flows.vasp.chgcar_writer import write_chgcar

__version__ = version("mlcharge-flows")

__all__ = [
    "Anchored",
    "AtomicOrbitals",
    "Carried",
    "CompareDensitiesMaker",
    "CompareNonSCFMaker",
    "Comparison",
    "ComparisonSetGenerator",
    "Converged",
    "Density",
    "DensityDataset",
    "ElementMean",
    "Fallback",
    "FromFile",
    "FromWavecar",
    "InitialDensity",
    "InitialDensityMaker",
    "Learned",
    "MlchargeError",
    "Nearest",
    "PawDataset",
    "RunFromDensityMaker",
    "RunProvenance",
    "Settings",
    "Superposition",
    "parse_arms",
    "parse_initial_density",
    "read_chgcar",
    "read_results",
    "read_structures",
    "start_from_neighbors",
    "start_from_predicted_density",
    "summarize",
    "summarize_nonscf",
    "write_chgcar",
    "write_nonscf_report",
    "write_report",
]

_MODULES = {
    "Anchored": "sources",
    "AtomicOrbitals": "sources",
    "Carried": "sources",
    "CompareDensitiesMaker": "atomate2.flows.compare",
    "CompareNonSCFMaker": "atomate2.flows.nonscf",
    "Comparison": "scf.comparison",
    "ComparisonSetGenerator": "atomate2.sets.comparison",
    "Converged": "sources",
    "Density": "density.density",
    "DensityDataset": "training.dataset",
    "ElementMean": "sources",
    "Fallback": "sources",
    "FromFile": "sources",
    "FromWavecar": "sources",
    "InitialDensity": "sources",
    "InitialDensityMaker": "atomate2.jobs.initial_density",
    "Learned": "sources",
    "MlchargeError": "errors",
    "Nearest": "sources",
    "PawDataset": "density.paw_dataset",
    "RunFromDensityMaker": "atomate2.jobs.run",
    "RunProvenance": "atomate2.schemas",
    "Settings": "settings",
    "Superposition": "sources",
    "parse_arms": "sources",
    "parse_initial_density": "sources",
    "read_chgcar": "vasp.chgcar",
    "read_results": "campaign.local",
    "read_structures": "structures",
    "start_from_neighbors": "atomate2.neighbors",
    "start_from_predicted_density": "atomate2.powerups",
    "summarize": "scf.statistics",
    "summarize_nonscf": "scf.nonscf",
    "write_chgcar": "vasp.chgcar_writer",
    "write_nonscf_report": "reports.nonscf_report",
    "write_report": "reports.scf_report",
}

_EXTRAS = {"h5py": "train"}
"""Packages that public names need beside those of the installation without extras."""

if not TYPE_CHECKING:

    def __getattr__(name):
        """Import a public name at its first use."""
        if name not in _MODULES:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            value = getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)
        except ModuleNotFoundError as error:
            if error.name not in _EXTRAS:
                raise
            needs = f"pip install 'mlcharge-flows[{_EXTRAS[error.name]}]'"
            raise ModuleNotFoundError(
                f"{name} needs {error.name}: {needs}", name=error.name
            ) from None
        globals()[name] = value
        return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
