"""The INCAR with VASP's defaults filled in."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from mlcharge_flows.gpaw_vasp.refusal import Refusal

if TYPE_CHECKING:
    from collections.abc import Mapping

#: VASP's default of EDIFF, eV.
EDIFF = 1e-4


@dataclass(frozen=True)
class Settings:
    """What the INCAR asks for, in VASP's terms and units.

    Parameters
    ----------
    encut
        Plane-wave cut-off, eV.
    prec
        PREC, spelled as in the INCAR.
    ediff
        Stop rule for free energy and band-structure energy, eV.
    ismear, sigma
        Occupation scheme, and width in eV.
    icharg
        1 and 11 read the CHGCAR; 2 and 12 superpose atoms; above 10 the density stays fixed.
    nelm, nelmin, nelmdl
        Most, least and fixed-density electronic steps (``nelmdl`` as a positive number).
    lmaxmix
        Highest L of the occupancies on the CHGCAR.
    lcharg
        Whether to write the CHGCAR.
    nbands
        Number of bands.
    isym, symprec
        Use of symmetry, and tolerance in angstrom.
    lorbit
        Projected density of states if 10 or more.
    nedos, emin, emax
        Mesh of the density of states; the range in eV, or None for all bands.
    amix, bmix, amin
        Kerker's parameters of the density mixing; ``bmix`` in 1/angstrom.
    """

    encut: float
    prec: str
    ediff: float
    ismear: int
    sigma: float
    icharg: int
    nelm: int
    nelmin: int
    nelmdl: int
    lmaxmix: int
    lcharg: bool
    nbands: int
    isym: int
    symprec: float
    lorbit: int
    nedos: int
    emin: float | None
    emax: float | None
    amix: float
    bmix: float
    amin: float

    @property
    def fixed_density(self) -> bool:
        """Whether the density is kept as it starts (ICHARG above 10)."""
        return self.icharg > 10

    @property
    def reads_chgcar(self) -> bool:
        """Whether the start is asked from the CHGCAR."""
        return self.icharg % 10 == 1

    @classmethod
    def from_incar(
        cls, incar: Mapping[str, Any], enmax: float, n_electrons: float, n_ions: int
    ) -> Settings:
        """Resolve VASP's defaults.

        Parameters
        ----------
        incar
            Tags as read.
        enmax
            Largest ENMAX of the POTCAR, eV: the default of ENCUT.
        n_electrons
            NELECT, for the default of NBANDS: the larger of ``(NELECT + 2) / 2 + max(NIONS / 2,
            3)`` and ``0.6 NELECT`` (VASP wiki, NBANDS).
        n_ions
            Number of ions.

        Raises
        ------
        Refusal
            If NELECT differs from the sum of ZVAL, or NBANDS cannot hold the electrons.
        """
        nelect = incar.get("NELECT", n_electrons)
        if abs(nelect - n_electrons) > 1e-6:
            raise Refusal(
                f"INCAR: NELECT = {nelect:g} but the POTCAR has {n_electrons:g}: "
                "charged cells are not supported, remove NELECT"
            )
        default_bands = max(
            int((n_electrons + 2) / 2 + max(n_ions // 2, 3)), int(0.6 * n_electrons)
        )
        nbands = int(incar.get("NBANDS", default_bands))
        if 2 * nbands < n_electrons:
            raise Refusal(
                f"INCAR: NBANDS = {nbands} cannot hold {n_electrons:g} electrons, "
                f"set at least {int(n_electrons / 2) + 1}"
            )
        icharg = int(incar.get("ICHARG", 2))
        return cls(
            encut=float(incar.get("ENCUT", enmax)),
            prec=str(incar.get("PREC", "Normal")),
            ediff=float(incar.get("EDIFF", EDIFF)),
            ismear=int(incar.get("ISMEAR", 1)),
            sigma=float(incar.get("SIGMA", 0.2)),
            icharg=2 if icharg == 0 else icharg,
            nelm=int(incar.get("NELM", 60)),
            nelmin=int(incar.get("NELMIN", 2)),
            nelmdl=abs(int(incar.get("NELMDL", -5))),
            lmaxmix=int(incar.get("LMAXMIX", 2)),
            lcharg=bool(incar.get("LCHARG", True)),
            nbands=nbands,
            isym=int(incar.get("ISYM", 2)),
            symprec=float(incar.get("SYMPREC", 1e-5)),
            lorbit=int(incar.get("LORBIT", 0) or 0),
            nedos=int(incar.get("NEDOS", 301)),
            emin=float(incar["EMIN"]) if "EMIN" in incar else None,
            emax=float(incar["EMAX"]) if "EMAX" in incar else None,
            amix=float(incar.get("AMIX", 0.4)),
            bmix=float(incar.get("BMIX", 1.0)),
            amin=float(incar.get("AMIN", 0.1)),
        )
