"""Spin-polarized runs as Materials Project makes them, and settings that a sample tells itself."""

from __future__ import annotations

from copy import deepcopy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp.sets import MPRelaxSet

from mlcharge_flows.sources.run_inputs import RunInputs

if TYPE_CHECKING:
    from pymatgen.io.vasp.sets import VaspInputSet

_HUBBARD = ("LDAU", "LDAUTYPE", "LDAUL", "LDAUU", "LDAUJ", "LDAUPRINT")
_OF_A_SAMPLE = frozenset({"ISPIN", "MAGMOM", *_HUBBARD})


def spin_polarized(generator: VaspInputSet) -> VaspInputSet:
    """Make runs of an input set spin-polarized, unless its user's settings say otherwise.

    ISPIN = 2; sites without a ``magmom`` have the moment of Materials Project (0.6 Bohr magnetons
    for elements without one); its DFT+U of 3d metals, Mo and W in oxides and fluorides.

    Parameters
    ----------
    generator
        Input set generator.

    Returns
    -------
    VaspInputSet
        The same with these settings.

    References
    ----------
    A. Jain et al., Phys. Rev. B 84, 045115 (2011).

    Examples
    --------
    >>> from mlcharge_flows.atomate2.sets.comparison import ComparisonSetGenerator
    >>> settings = spin_polarized(ComparisonSetGenerator())
    >>> tags = settings.config_dict["INCAR"]
    >>> tags["ISPIN"], tags["MAGMOM"]["Fe"], tags["LDAUU"]["O"]["Ni"]
    (2, 5, 6.2)
    """
    table: dict[str, Any] = MPRelaxSet.CONFIG["INCAR"]
    tags = {tag: table[tag] for tag in ("MAGMOM", *_HUBBARD) if tag in table}
    # Not tags of the user: these would win over the moments of the sites, and leave LDAU without U.
    incar = {**deepcopy(tags), **generator.config_dict["INCAR"], "ISPIN": 2}
    return replace(generator, config_dict={**generator.config_dict, "INCAR": incar})


def with_ion_moments(generator: VaspInputSet) -> VaspInputSet:
    """Let runs write the moments of their ions, unless settings say otherwise.

    LORBIT = 11 changes neither steps nor energies. Without the moments of ions, a comparison cannot
    tell an antiferromagnet from a crystal without moments.

    Parameters
    ----------
    generator
        Input set generator.

    Returns
    -------
    VaspInputSet
        The same with LORBIT.

    Examples
    --------
    >>> from mlcharge_flows.atomate2.sets.comparison import ComparisonSetGenerator
    >>> with_ion_moments(ComparisonSetGenerator()).config_dict["INCAR"]["LORBIT"]
    11
    """
    incar = {"LORBIT": 11, **generator.config_dict["INCAR"]}
    return replace(generator, config_dict={**generator.config_dict, "INCAR": incar})


def is_spin_polarized(generator: VaspInputSet) -> bool:
    """Whether the runs of an input set have ISPIN = 2, whatever sets the tag.

    Parameters
    ----------
    generator
        Input set generator; it is not changed.

    Returns
    -------
    bool
        Of a run of iron; atomate2's own settings (VASP_INCAR_UPDATES) count, too.

    Examples
    --------
    >>> from mlcharge_flows.atomate2.sets.comparison import ComparisonSetGenerator
    >>> generator = ComparisonSetGenerator(user_incar_settings={"ISPIN": 1})
    >>> is_spin_polarized(spin_polarized(generator))
    False
    """
    iron = Structure(Lattice.cubic(2.8), ["Fe"], [[0, 0, 0]])
    return RunInputs.from_generator(iron, generator).incar.get("ISPIN") == 2


def without_spin(generator: VaspInputSet) -> None:
    """Drop the settings of spin and DFT+U, which the samples of a data set tell themselves.

    Parameters
    ----------
    generator
        Input set generator; it is changed.
    """
    config, own = generator.config_dict["INCAR"], generator.user_incar_settings or {}
    for tags in (config, own):
        for tag in _OF_A_SAMPLE & tags.keys():
            del tags[tag]
    config["ISPIN"] = 1
