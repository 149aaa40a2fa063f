"""GPAW's components of one input: plane waves, k-points, bands, occupations, mixer, data sets.

References
----------
VASP wiki, ISMEAR, NBANDS and the page of each tag.
"""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from copy import copy
from typing import TYPE_CHECKING, Any

import numpy as np
from gpaw.dft import Parameters
from gpaw.hubbard import parse_hubbard_string
from gpaw.mpi import world
from gpaw.new.symmetry import SymmetryAnalysisBug

from mlcharge_flows.errors import one_line
from mlcharge_flows.gpaw_vasp.bz_sampling import Sampling
from mlcharge_flows.gpaw_vasp.errors import UnsupportedInputError
from mlcharge_flows.gpaw_vasp.functionals import FunctionalOnPBE, refer_to_atoms
from mlcharge_flows.gpaw_vasp.hubbard import hubbard_setups
from mlcharge_flows.gpaw_vasp.mixing import Kerker, KerkerPulay
from mlcharge_flows.gpaw_vasp.symmetry import gpaw_symmetry, symmetric_grid
from mlcharge_flows.vasp.plane_waves import count_plane_waves

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from ase import Atoms
    from gpaw.new.pw.builder import PWDFTComponentsBuilder
    from gpaw.setup import Setups
    from gpaw.setup_data import SetupData

    from mlcharge_flows.gpaw_vasp.inputs import Inputs

#: Irreducible k-points that the tetrahedron method needs at least.
CORNERS_OF_TETRAHEDRON = 4


def occupation_scheme(ismear: int, sigma: float, fixed_moment: bool = False) -> dict[str, Any]:
    """Translate ISMEAR and SIGMA to GPAW's occupation scheme.

    Parameters
    ----------
    ismear
        -5 is the tetrahedron method with Bloechl's corrections, -1 Fermi-Dirac, 0 Gaussian
        smearing (Methfessel-Paxton of order 0), 1 and 2 Methfessel-Paxton.
    sigma
        Width, in eV.
    fixed_moment
        Whether each spin keeps its number of electrons (NUPDOWN).

    Returns
    -------
    dict
        GPAW's parameter.

    References
    ----------
    VASP wiki, ISMEAR; P. E. Bloechl, O. Jepsen and O. K. Andersen, Phys. Rev. B 49, 16223 (1994);
    M. Methfessel and A. T. Paxton, Phys. Rev. B 40, 3616 (1989).

    Examples
    --------
    >>> occupation_scheme(-1, 0.1)
    {'name': 'fermi-dirac', 'width': 0.1}
    """
    if ismear == -5:
        return {"name": "improved-tetrahedron-method"}
    fixed = {"fixmagmom": True} if fixed_moment else {}
    if ismear == -1:
        return {"name": "fermi-dirac", "width": sigma, **fixed}
    return {"name": "methfessel-paxton", "order": ismear, "width": sigma, **fixed}


@contextmanager
def gpaw_errors() -> Iterator[None]:
    """Turn GPAW's errors about an input that it cannot set up into one line."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            yield
        except SymmetryAnalysisBug:
            raise UnsupportedInputError(
                "POSCAR: the rotations found within SYMPREC are no group; standardize the cell, or "
                "set ISYM = 0 or another SYMPREC in INCAR"
            ) from None
        except (ValueError, FileNotFoundError, RuntimeError, np.linalg.LinAlgError) as error:
            reason = str(error).strip().partition("\n")[0]
            if "no bounded partial waves" in reason:
                raise UnsupportedInputError(
                    "INCAR: LDAUL: a PAW data set has no bound partial wave of its l, set LDAUL = "
                    "-1 for it"
                ) from None
            raise UnsupportedInputError(
                f"GPAW refuses this input: {one_line(reason or repr(error))}"
            ) from error


def _chosen_setups(inputs: Inputs, hubbard: Mapping[int, str]) -> dict[int | str, str | SetupData]:
    """Translate data sets of other families and DFT+U to GPAW's parameter.

    Parameters
    ----------
    inputs
        What the run folder asks for.
    hubbard
        GPAW's name of the data set's type, of each ion with DFT+U.

    Returns
    -------
    dict
        Element, or index of an ion with DFT+U, to GPAW's name of its type or to the data set of
        another family.

    Raises
    ------
    UnsupportedInputError
        If GPAW cannot read a data set.
    """
    plain = {symbol: file.setup_data() for symbol, file in inputs.paw_files.items()}
    chosen: dict[int | str, str | SetupData] = dict(plain.items())
    corrected: dict[tuple[str, str], SetupData] = {}
    for ion, name in hubbard.items():
        symbol = inputs.crystal.symbols[ion]
        if symbol not in plain:
            chosen[ion] = name
        else:  # one object for ions of the same U, which makes them equivalent
            chosen[ion] = corrected.setdefault((symbol, name), copy(plain[symbol]))
    return chosen


def build(
    inputs: Inputs, atoms: Atoms, n_spins: int = 1
) -> tuple[Parameters, PWDFTComponentsBuilder]:
    """Set GPAW up, on a coarse grid that keeps the symmetry.

    Parameters
    ----------
    inputs
        What the run folder asks for.
    atoms
        Its ions.
    n_spins
        Spin channels that are computed.

    Returns
    -------
    parameters : Parameters
        GPAW's parameters.
    builder : PWDFTComponentsBuilder
        Maker of GPAW's objects.

    Raises
    ------
    UnsupportedInputError
        If GPAW cannot set the calculation up, k-points make no tetrahedron where ISMEAR = -5 needs
        one, or there are more bands than plane waves.
    """
    settings = inputs.settings
    with gpaw_errors():
        symmetry = gpaw_symmetry(
            inputs.crystal, settings.isym, settings.symprec, inputs.kpoints, inputs.kinds
        )
        hubbard = hubbard_setups(inputs.hubbard, inputs.dataset_of_ion)
        parameters = Parameters(
            mode={"name": "pw", "ecut": settings.encut},
            xc=FunctionalOnPBE(settings.gga),
            setups=_chosen_setups(inputs, hubbard),
            kpts=Sampling(inputs.kpoints),  # type: ignore[arg-type]
            gpts=symmetric_grid(inputs.grids.coarse, symmetry.rotations, symmetry.translations),
            nbands=settings.nbands,
            occupations=occupation_scheme(
                settings.ismear, settings.sigma, n_spins == 2 and settings.fixed_moment is not None
            ),
            spinpol=n_spins == 2,
            eigensolver={"name": "ppcg"},
            mixer=KerkerPulay(
                settings.encut,
                Kerker(settings.amix, settings.bmix, settings.amin),
                Kerker(settings.amix_mag, settings.bmix_mag, settings.amin),
            ),
            symmetry=symmetry,
            # Each process holds whole densities: MPI distributes k-points.
            parallel={"domain": 1, "band": 1},
        )
        builder = parameters.dft_component_builder(atoms, log=None, comm=world)
        for ion, name in hubbard.items():
            # GPAW takes it from names only, which other families have not.
            builder.setups[ion].hubbard_u = parse_hubbard_string(name)[1]
        refer_to_atoms(builder.setups, settings.gga)
    _check_tetrahedra(inputs, len(builder.ibz))
    _check_bands(inputs, builder.ibz.kpt_kc)
    return parameters, builder


def _check_tetrahedra(inputs: Inputs, n_kpoints: int) -> None:
    """Refuse the tetrahedron method where k-points make no tetrahedron, in VASP's words."""
    if inputs.settings.ismear == -5 and n_kpoints < CORNERS_OF_TETRAHEDRON:
        raise UnsupportedInputError(
            f"INCAR: ISMEAR = -5: Tetrahedron method fails for NKPT<4. NKPT = {n_kpoints}, "
            "set ISMEAR = 0 or a finer mesh"
        )


def _check_bands(inputs: Inputs, kpoints: np.ndarray) -> None:
    """Refuse more bands than there are plane waves at one of the k-points."""
    settings = inputs.settings
    fewest = min(count_plane_waves(inputs.crystal.lattice, settings.encut, kpoints))
    if settings.nbands > fewest:
        raise UnsupportedInputError(
            f"INCAR: NBANDS = {settings.nbands}, but ENCUT = {settings.encut:g} leaves only "
            f"{fewest} plane waves at one k-point"
        )


def check_data_sets(inputs: Inputs, setups: Setups) -> None:
    """Compare the POTCAR with the data sets that GPAW loaded.

    Parameters
    ----------
    inputs
        What the run folder asks for.
    setups
        GPAW's data sets of all ions.

    Raises
    ------
    UnsupportedInputError
        If channels or valence differ: a VASP POTCAR, or another gpaw-data.
    """
    for dataset, setup in zip(inputs.dataset_of_ion, setups, strict=True):
        zval = dataset.zval or 0.0
        if dataset.channels != tuple(setup.l_j) or abs(zval - setup.Nv) > 1e-6:
            raise UnsupportedInputError(
                f"POTCAR: {dataset.titel} is not the PAW data set that GPAW loaded, "
                "fill a library with 'gpaw-vasp potcar DIR' and set PMG_VASP_PSP_DIR to it"
            )
