"""The INCAR with VASP's defaults filled in."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - pydantic reads annotations at run time
from math import ceil
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from mlcharge_flows.gpaw_vasp.errors import UnsupportedInputError


class Settings(BaseModel):
    """What the INCAR asks for, in VASP's terms and units.

    Examples
    --------
    >>> settings = Settings.from_incar({"ICHARG": 1}, enmax=400.0, n_electrons=8.0, n_ions=2)
    >>> settings.encut, settings.nelmdl, settings.nbands, settings.reads_chgcar
    (400.0, 5, 8, True)
    """

    model_config = ConfigDict(frozen=True)

    encut: float = Field(alias="ENCUT", gt=0, description="Plane-wave cut-off, eV.")
    prec: str = Field("Normal", alias="PREC", description="As in the INCAR.")
    algo: str = Field("Normal", alias="ALGO", description="As in the INCAR.")
    ediff: float = Field(
        1e-4, alias="EDIFF", gt=0, description="Stop rule for free energy and band energy, eV."
    )
    ismear: int = Field(1, alias="ISMEAR", description="Occupation scheme.")
    sigma: float = Field(0.2, alias="SIGMA", gt=0, description="Width of the smearing, eV.")
    icharg: int = Field(
        2,
        alias="ICHARG",
        description="1, 11: read the CHGCAR; 2, 12: atoms; above 10 the density stays fixed.",
    )
    nelm: int = Field(60, alias="NELM", ge=1, description="Most electronic steps.")
    nelmin: int = Field(2, alias="NELMIN", description="Least electronic steps.")
    nelmdl: int = Field(5, alias="NELMDL", description="Fixed-density steps, without sign.")
    lmaxmix: int = Field(2, alias="LMAXMIX", ge=0, description="Highest L on the CHGCAR.")
    lcharg: bool = Field(True, alias="LCHARG", description="Whether to write the CHGCAR.")
    nbands: int = Field(alias="NBANDS", ge=1, description="Number of bands.")
    kspacing: float = Field(0.5, alias="KSPACING", description="Mesh steps, 1/angstrom.")
    kgamma: bool = Field(True, alias="KGAMMA", description="Whether that mesh holds Gamma.")
    isym: int = Field(2, alias="ISYM", description="Use of symmetry.")
    symprec: float = Field(1e-5, alias="SYMPREC", gt=0, description="Its tolerance, angstrom.")
    isif: int = Field(2, alias="ISIF", description="0: forces without the stress.")
    lorbit: int = Field(0, alias="LORBIT", description="Projected states if 10 or more.")
    nedos: int = Field(301, alias="NEDOS", ge=2, description="Points of the density of states.")
    emin: float | None = Field(None, alias="EMIN", description="Its lower end, eV.")
    emax: float | None = Field(None, alias="EMAX", description="Its upper end, eV.")
    amix: float = Field(0.4, alias="AMIX", gt=0, description="Kerker's share of short waves.")
    bmix: float = Field(1.0, alias="BMIX", ge=0, description="Kerker's wave vector, 1/angstrom.")
    amin: float = Field(0.1, alias="AMIN", ge=0, description="Kerker's least share.")

    @field_validator("nelmdl")
    @classmethod
    def _without_sign(cls, value: int) -> int:
        return abs(value)

    @field_validator("icharg")
    @classmethod
    def _without_wavecar(cls, value: int) -> int:
        return 2 if value == 0 else value

    @property
    def fixed_density(self) -> bool:
        """Whether the density is kept as it starts (ICHARG above 10)."""
        return self.icharg > 10

    @property
    def fast(self) -> bool:
        """Whether orbitals improve less per step once the density moves (ALGO = Fast, VeryFast)."""
        return self.algo[:1].lower() in ("f", "v")

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
        UnsupportedInputError
            If a value cannot be understood or is out of range, NELECT differs from the sum of
            ZVAL, or NBANDS cannot hold the electrons.
        """
        bands = max(int((n_electrons + 2) / 2 + max(n_ions // 2, 3)), int(0.6 * n_electrons))
        given = {tag: value for tag, value in incar.items() if value is not None}
        try:
            settings = cls.model_validate({"ENCUT": enmax, "NBANDS": bands, **given})
        except ValidationError as error:
            first = error.errors()[0]
            tag = first["loc"][0]
            raise UnsupportedInputError(
                f"INCAR: {tag} = {incar[str(tag)]}: {first['msg']}"
            ) from None
        nelect = incar.get("NELECT", n_electrons)
        if not isinstance(nelect, int | float) or abs(nelect - n_electrons) > 1e-6:
            raise UnsupportedInputError(
                f"INCAR: NELECT = {nelect} but the POTCAR has {n_electrons:g}: "
                "charged cells are not supported, remove NELECT"
            )
        if 2 * settings.nbands < n_electrons:
            raise UnsupportedInputError(
                f"INCAR: NBANDS = {settings.nbands} cannot hold {n_electrons:g} electrons, "
                f"set at least {ceil(n_electrons / 2)}"
            )
        return settings
