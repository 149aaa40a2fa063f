"""How the ions move: INCAR tags of relaxations and molecular dynamics, with VASP's defaults."""

from __future__ import annotations

from collections.abc import Mapping  # noqa: TC003 - pydantic reads annotations at run time
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from mlcharge_flows.errors import one_line
from mlcharge_flows.gpaw_vasp.errors import UnsupportedInputError

#: ISIF of a relaxation -> whether positions, shape and volume of the cell relax.
DEGREES_OF_FREEDOM = {
    0: (True, False, False),
    1: (True, False, False),
    2: (True, False, False),
    3: (True, True, True),
    4: (True, True, False),
    5: (False, True, False),
    6: (False, True, True),
    7: (False, False, True),
    8: (True, False, True),
}

#: Default of SMASS: no thermostat.
NVE_SMASS = -3.0


class IonicSettings(BaseModel):
    """Settings of the ionic steps of a run in VASP's terms and units.

    References
    ----------
    VASP wiki, NSW, IBRION, ISIF, EDIFFG, POTIM, MDALGO and SMASS.

    Examples
    --------
    >>> relaxation = IonicSettings.from_incar({"NSW": 9, "IBRION": 2, "EDIFF": 1e-5})
    >>> relaxation.moves, relaxation.ediffg, relaxation.potim
    (True, 0.0001, 0.5)
    """

    model_config = ConfigDict(frozen=True, allow_inf_nan=False)

    nsw: int = Field(0, alias="NSW", description="Maximum number of ionic steps.")
    ibrion: int = Field(
        -1, alias="IBRION", description="0: dynamics, 1: quasi-Newton, 2: conjugate gradients."
    )
    ediffg: float = Field(
        alias="EDIFFG",
        description="Stop rule: energy change, eV, if positive; force, eV/angstrom, if negative.",
    )
    potim: float = Field(
        0.5, alias="POTIM", gt=0, description="Scale of the first step; time step, fs."
    )
    isif: int = Field(2, alias="ISIF", description="What relaxes.")
    mdalgo: int = Field(0, alias="MDALGO", description="Thermostat.")
    smass: float = Field(NVE_SMASS, alias="SMASS", description="-3: none; 0: Nose-Hoover.")
    tebeg: float = Field(1e-4, alias="TEBEG", ge=0, description="Temperature, K.")
    teend: float = Field(alias="TEEND", ge=0, description="Temperature at the end, K.")
    andersen_prob: float = Field(
        0.0, alias="ANDERSEN_PROB", ge=0, le=1, description="Collisions per ion and step."
    )
    langevin_gamma: tuple[float, ...] = Field(
        (), alias="LANGEVIN_GAMMA", description="Friction of each species, 1/ps."
    )
    csvr_period: float = Field(
        0.0, alias="CSVR_PERIOD", ge=0, description="Relaxation time of the rescaling, fs."
    )
    nblock: int = Field(1, alias="NBLOCK", ge=1, description="Steps per entry of XDATCAR.")
    pomass: tuple[float, ...] = Field((), alias="POMASS", description="Mass of each species, u.")

    @field_validator("langevin_gamma", "pomass", mode="before")
    @classmethod
    def _as_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, int | float) else value

    @property
    def moves(self) -> bool:
        """Whether there is more than one geometry to compute."""
        return self.nsw > 0

    @property
    def dynamics(self) -> bool:
        """Whether the ions follow Newton's equations."""
        return self.moves and self.ibrion == 0

    @property
    def degrees_of_freedom(self) -> tuple[bool, bool, bool]:
        """Whether positions, shape and volume relax."""
        return DEGREES_OF_FREEDOM[self.isif]

    @classmethod
    def from_incar(cls, incar: Mapping[str, Any]) -> IonicSettings:
        """Fill in VASP's defaults.

        Parameters
        ----------
        incar
            Tags as read.

        Returns
        -------
        IonicSettings
            Checked settings; those of a run without ionic steps say that nothing moves.

        Raises
        ------
        UnsupportedInputError
            If a value is of the wrong type or out of range, or the tags ask for something that is
            not supported.

        References
        ----------
        VASP wiki, IBRION: 0 is the default if there are ionic steps; EDIFFG: 10 EDIFF; ISIF: 0 in
        molecular dynamics; TEEND: TEBEG.
        """
        given = {tag: value for tag, value in incar.items() if value is not None}
        if not _number(given.get("NSW", 0)) > 0:
            return cls(EDIFFG=0.0, TEEND=0.0)
        given.setdefault("IBRION", 0)
        given.setdefault("EDIFFG", 10 * _number(given.get("EDIFF", 1e-4)))
        given.setdefault("ISIF", 0 if given["IBRION"] == 0 else 2)
        given.setdefault("TEEND", given.get("TEBEG", 1e-4))
        try:
            settings = cls.model_validate(given)
        except ValidationError as error:
            first = error.errors()[0]
            tag = str(first["loc"][0])
            raise UnsupportedInputError(
                f"INCAR: {tag} = {one_line(given.get(tag), 40)}: {first['msg']}"
            ) from None
        if (reason := settings._refusal(given)) is not None:
            raise UnsupportedInputError(f"INCAR: {reason}")
        return settings

    def _refusal(self, given: Mapping[str, Any]) -> str | None:
        """What the tags ask for beyond what is supported, and what to do; None if nothing."""
        relaxes, moves = not self.dynamics, self.dynamics
        nose = self.mdalgo in (0, 2)
        reasons = {
            f"IBRION = {self.ibrion} with NSW = {self.nsw}: ions move with IBRION = 0, 1 and 2 "
            "only, set one of them or NSW = 0": self.ibrion not in (0, 1, 2),
            f"NSW = {self.nsw} with a fixed density (ICHARG above 10), set NSW = 0": (
                _number(given.get("ICHARG", 2)) > 10
            ),
            f"ISIF = {self.isif}: only 0 to 8 are known": (
                relaxes and self.isif not in DEGREES_OF_FREEDOM
            ),
            "POTIM: molecular dynamics (IBRION = 0) needs a time step, set POTIM": (
                moves and "POTIM" not in given
            ),
            f"ISIF = {self.isif}: cells stay in molecular dynamics, set ISIF = 2": (
                moves and self.isif > 2
            ),
            f"MDALGO = {self.mdalgo}: only 0, 1, 2, 3 and 5 are supported": (
                moves and self.mdalgo not in (0, 1, 2, 3, 5)
            ),
            f"SMASS = {self.smass:g}: only -3 (no thermostat) and 0 (Nose-Hoover, a period of 40 "
            "steps) are supported": moves and nose and self.smass not in (NVE_SMASS, 0.0),
            "MDALGO = 3 needs LANGEVIN_GAMMA": (
                moves and self.mdalgo == 3 and not any(self.langevin_gamma)
            ),
            "LANGEVIN_GAMMA: frictions are not negative": (
                moves and min(self.langevin_gamma, default=0.0) < 0.0
            ),
            "POMASS: masses are positive": min(self.pomass, default=1.0) <= 0.0,
            "MDALGO = 5 needs CSVR_PERIOD": (moves and self.mdalgo == 5 and not self.csvr_period),
            f"TEEND = {self.teend:g}: the temperature stays that of TEBEG, remove TEEND": (
                moves and self.teend != self.tebeg and self.thermostat is not None
            ),
        }
        return next((reason for reason, refused in reasons.items() if refused), None)

    @property
    def thermostat(self) -> str | None:
        """Name of the thermostat; None for constant energy."""
        match self.mdalgo:
            case 1:
                return "Andersen" if self.andersen_prob else None
            case 3:
                return "Langevin"
            case 5:
                return "Bussi"
            case _:
                return None if self.smass == NVE_SMASS else "Nose-Hoover"

    def tags(self) -> dict[str, Any]:
        """List the tags for the output files.

        Returns
        -------
        dict
            Tag to value; of a run without ionic steps only that there are none.
        """
        if not self.moves:
            return {"NSW": 0, "IBRION": -1}
        names = ["nsw", "ibrion", "ediffg", "potim", "isif"]
        if self.dynamics:
            names += ["smass", "tebeg", "teend", "nblock", "mdalgo"]
        return self.model_dump(by_alias=True, include=set(names))


def _number(value: object) -> float:
    """A tag's value; 0 where it is no number, which is refused elsewhere."""
    return float(value) if isinstance(value, int | float) else 0.0
