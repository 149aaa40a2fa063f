"""INCAR settings of a run, with VASP's defaults filled in."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - pydantic reads annotations at run time
from math import ceil
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from mlcharge_flows.errors import one_line
from mlcharge_flows.gpaw_vasp.errors import UnsupportedInputError
from mlcharge_flows.vasp.algorithm import algorithm, takes_rmm_diis
from mlcharge_flows.vasp.incar import default_nbands

#: Fixed-density steps where NELMDL is not given: ALGO = VeryFast begins with RMM-DIIS, which needs
#: better orbitals.
DEFAULT_DELAY = 5
DEFAULT_DELAY_VERY_FAST = 12


class IncarSettings(BaseModel):
    """Settings of a run in VASP's terms and units.

    References
    ----------
    VASP wiki, the page of each tag.

    Examples
    --------
    >>> settings = IncarSettings.from_incar({"ICHARG": 1}, enmax=400.0, n_electrons=8.0, n_ions=2)
    >>> settings.encut, settings.nelmdl, settings.nbands, settings.reads_chgcar
    (400.0, 5, 8, True)
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    encut: float = Field(alias="ENCUT", gt=0, description="Plane-wave cutoff, eV.")
    prec: str = Field("Normal", alias="PREC", description="Precision of the FFT grids.")
    algo: str = Field("Normal", alias="ALGO", description="Electronic minimization.")
    ediff: float = Field(
        1e-4, alias="EDIFF", gt=0, description="Stop rule for free energy and band energy, eV."
    )
    ismear: int = Field(1, alias="ISMEAR", description="Occupation scheme.")
    sigma: float = Field(0.2, alias="SIGMA", gt=0, description="Width of the smearing, eV.")
    icharg: int = Field(
        2,
        alias="ICHARG",
        description="0: density of the WAVECAR's orbitals; 1, 11: read the CHGCAR; 2, 12: atoms; "
        "above 10 the density stays fixed.",
    )
    nelm: int = Field(60, alias="NELM", ge=1, description="Maximum number of electronic steps.")
    nelmin: int = Field(2, alias="NELMIN", description="Minimum number of electronic steps.")
    nelmdl: int = Field(
        DEFAULT_DELAY, alias="NELMDL", description="Fixed-density steps, without sign."
    )
    lmaxmix: int = Field(2, alias="LMAXMIX", ge=0, description="Highest L of the CHGCAR.")
    lwave: bool = Field(True, alias="LWAVE", description="Whether to write the WAVECAR.")
    lcharg: bool = Field(True, alias="LCHARG", description="Whether to write the CHGCAR.")
    nbands: int = Field(alias="NBANDS", ge=1, description="Number of bands.")
    kspacing: float = Field(
        0.5, alias="KSPACING", description="Largest spacing of k-points, 1/angstrom."
    )
    kgamma: bool = Field(True, alias="KGAMMA", description="Whether that mesh holds Gamma.")
    isym: int = Field(2, alias="ISYM", description="Use of symmetry.")
    symprec: float = Field(1e-5, alias="SYMPREC", gt=0, description="Its tolerance, angstrom.")
    isif: int = Field(2, alias="ISIF", description="0: forces without the stress.")
    lorbit: int = Field(0, alias="LORBIT", description="Projected states if 10 or more.")
    nedos: int = Field(
        301, alias="NEDOS", ge=2, le=1_000_000, description="Points of the density of states."
    )
    emin: float | None = Field(None, alias="EMIN", description="Its lower end, eV.")
    emax: float | None = Field(None, alias="EMAX", description="Its upper end, eV.")
    gga: str = Field("PE", alias="GGA", description="Exchange-correlation functional.")
    ispin: int = Field(1, alias="ISPIN", ge=1, le=2, description="Number of spin channels.")
    nupdown: float = Field(
        -1.0, alias="NUPDOWN", description="Fixed total moment, Bohr magnetons; none if negative."
    )
    amix: float = Field(0.4, alias="AMIX", gt=0, description="Kerker's fraction at large |G|.")
    bmix: float = Field(1.0, alias="BMIX", ge=0, description="Kerker's wave number, 1/angstrom.")
    amin: float = Field(0.1, alias="AMIN", ge=0, description="Kerker's least fraction, of AMIX.")
    amix_mag: float = Field(1.6, alias="AMIX_MAG", gt=0, description="AMIX of the magnetization.")
    bmix_mag: float = Field(1.0, alias="BMIX_MAG", ge=0, description="BMIX of the magnetization.")

    @field_validator("gga")
    @classmethod
    def _named(cls, value: str) -> str:
        return value.upper() if value.strip("-") else "PE"

    @field_validator("nelmdl")
    @classmethod
    def _without_sign(cls, value: int) -> int:
        return abs(value)

    @property
    def fixed_density(self) -> bool:
        """Whether the density is kept as it is at first (ICHARG above 10)."""
        return self.icharg > 10

    @property
    def fixed_moment(self) -> float | None:
        """Total moment that NUPDOWN fixes, in Bohr magnetons; None if it is free."""
        return self.nupdown if self.ispin == 2 and self.nupdown >= 0 else None

    @property
    def fast(self) -> bool:
        """Whether orbitals improve less per step once the density changes (Fast, VeryFast)."""
        return takes_rmm_diis(self.algo)

    @property
    def reads_chgcar(self) -> bool:
        """Whether the initial density is that of the CHGCAR."""
        return self.icharg % 10 == 1

    @classmethod
    def from_incar(
        cls,
        incar: Mapping[str, Any],
        enmax: float,
        n_electrons: float,
        n_ions: int,
        orbitals_read: bool = False,
        total_moment: float = 0.0,
    ) -> IncarSettings:
        """Fill in VASP's defaults.

        They depend on whether the run begins with the orbitals of a WAVECAR: then ICHARG and NELMDL
        are 0 by default; else NELMDL = 0 means the default, 5, and ICHARG = 0 means 2.

        Parameters
        ----------
        incar
            Tags as read.
        enmax
            Largest ENMAX of the POTCAR, in eV: the default of ENCUT.
        n_electrons
            Valence electrons of the neutral cell. The default of NBANDS is the larger of
            ``(NELECT + 2) / 2 + max(NIONS / 2, 3)`` and ``0.6 NELECT``.
        n_ions
            Number of ions.
        orbitals_read
            Whether there is a WAVECAR to begin from.
        total_moment
            Sum of the initial moments, in Bohr magnetons; half of it is added to the default of
            NBANDS.

        Returns
        -------
        IncarSettings
            Checked settings.

        Raises
        ------
        UnsupportedInputError
            If a value is of the wrong type or out of range, NELECT differs from the sum of ZVAL,
            or NBANDS cannot hold the electrons.

        References
        ----------
        VASP wiki, NBANDS, ICHARG and NELMDL.
        """
        bands = default_nbands(n_electrons, n_ions, total_moment)
        defaults: dict[str, Any] = {"ENCUT": enmax, "NBANDS": bands, "ALGO": algorithm(incar)}
        given = {**defaults, **{tag: value for tag, value in incar.items() if value is not None}}
        if orbitals_read:
            given = {"ICHARG": 0, "NELMDL": 0} | given
        else:
            given["ICHARG"] = given.get("ICHARG") or 2
            very_fast = str(given.get("ALGO", "")).lower().startswith("v")
            delay = DEFAULT_DELAY_VERY_FAST if very_fast else DEFAULT_DELAY
            given["NELMDL"] = given.get("NELMDL") or delay
        try:
            settings = cls.model_validate(given)
        except ValidationError as error:
            first = error.errors()[0]
            tag = first["loc"][0]
            raise UnsupportedInputError(
                f"INCAR: {tag} = {one_line(given[str(tag)], 40)}: {first['msg']}"
            ) from None
        nelect = incar.get("NELECT", n_electrons)
        if not isinstance(nelect, int | float) or not abs(nelect - n_electrons) <= 1e-6:
            raise UnsupportedInputError(
                f"INCAR: NELECT = {one_line(nelect, 40)} but the POTCAR has {n_electrons:g}: "
                "charged cells are not supported, remove NELECT"
            )
        if 2 * settings.nbands < n_electrons:
            raise UnsupportedInputError(
                f"INCAR: NBANDS = {settings.nbands} cannot hold {n_electrons:g} electrons, "
                f"set at least {ceil(n_electrons / 2)}"
            )
        if settings.fixed_moment is not None:
            settings._check_fixed_moment(n_electrons)
        return settings

    def _check_fixed_moment(self, n_electrons: float) -> None:
        """Refuse a total moment that the electrons or the occupation scheme cannot have."""
        if n_electrons + self.nupdown > 2 * min(self.nbands, n_electrons):
            raise UnsupportedInputError(
                f"INCAR: NUPDOWN = {self.nupdown:g}: {n_electrons:g} electrons in "
                f"{self.nbands} bands cannot have this moment"
            )
        if self.ismear == -5:
            raise UnsupportedInputError(
                f"INCAR: NUPDOWN = {self.nupdown:g} with ISMEAR = -5 is not supported, "
                "set ISMEAR = 0"
            )
