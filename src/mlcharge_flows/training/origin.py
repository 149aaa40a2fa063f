"""Origin of a sample: its material, its split, and the settings of its run.

Runs of different settings do not mix unasked.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Self

from pydantic import BaseModel, ConfigDict, Field

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from mlcharge_flows.vasp.outcar import Outcar

MIN_CHARGE = 1e-3
"""Charge of a cell, in electrons, below which it is neutral."""
PSEUDO_LABELED = "pseudo-labeled"
"""Split of a sample whose density a checkpoint predicted: for training, never for validation."""
_OLD_NAMES = {"recalled": PSEUDO_LABELED}
_MATERIALS_PROJECT_ID = re.compile(r"m(?:p|vc)-\d+")


@dataclass(frozen=True, eq=False)
class Origin:
    """Identity of a sample.

    Parameters
    ----------
    id
        Identifier of the material, unique in a data set.
    protocol
        Hash of the settings that all runs of a data set share.
    source
        File or folder that the material came from.
    split
        ``train``, ``validation``, ``test``, ``pseudo-labeled``, or empty.
    """

    id: str
    protocol: str
    source: str = ""
    split: str = ""


class RunSettings(BaseModel):
    """Settings of one run, or of all runs of a data set; None where they are not known.

    Examples
    --------
    >>> pbe = RunSettings(functional="PE", metagga="")
    >>> pbe.conflict(RunSettings(functional="PE", metagga="R2SCAN"))
    'METAGGA = R2SCAN instead of none'
    >>> pbe.conflict(RunSettings(functional="PE", ispin=2)) is None
    True
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    functional: str | None = Field(
        None, description="GGA tag, or LEXCH of the POTCAR where GGA is not set: PE, PS, CA, .."
    )
    metagga: str | None = Field(None, description="METAGGA in upper case; empty for none.")
    hybrid: bool | None = Field(None, description="Whether exact exchange is used (LHFCALC).")
    ispin: int | None = Field(None, description="ISPIN.")
    lmaxmix: int | None = Field(None, description="LMAXMIX.")
    charged: bool | None = Field(
        None, description="Whether NELECT differs from the valence electrons of the atoms."
    )
    hubbard: dict[str, tuple[int, float, float]] = Field(
        default_factory=dict,
        description="l, U and J (eV) of DFT+U for each element of a known run; l = -1 without.",
    )
    occupancy_lmax: dict[str, int] = Field(
        default_factory=dict,
        description="Highest L of the augmentation occupancies of each element that CHGCAR holds: "
        "LMAXMIX, or twice the highest l of the channels if that is less.",
    )

    @classmethod
    def of(
        cls, outcar: Outcar, symbols: Sequence[str], metagga: str | None, n_valence: float | None
    ) -> Self:
        """Take the settings of a run from its OUTCAR.

        Parameters
        ----------
        outcar
            OUTCAR of the run.
        symbols
            Element of each data set that it lists.
        metagga
            METAGGA of INCAR or vasprun.xml, empty for none; None if neither is there.
        n_valence
            Valence electrons of the neutral cell, if known.

        Returns
        -------
        RunSettings
            The settings.

        References
        ----------
        VASP wiki, GGA, METAGGA, LHFCALC, LDAU and LMAXMIX,
        https://www.vasp.at/wiki/index.php/LMAXMIX.
        """
        if metagga is None:
            metagga = outcar.metagga
        charged = None
        if n_valence is not None and outcar.n_electrons is not None:
            charged = abs(n_valence - outcar.n_electrons) > MIN_CHARGE
        hubbard = {}
        if outcar.titels:
            none = (-1,) * len(symbols), (0.0,) * len(symbols), (0.0,) * len(symbols)
            columns = (outcar.ldaul, outcar.ldauu, outcar.ldauj) if outcar.ldaul else none
            for symbol, l, u, j in zip(symbols, *columns, strict=True):
                hubbard[symbol] = (l, u, j) if l >= 0 else (-1, 0.0, 0.0)
        occupancy_lmax = {}
        if outcar.lmaxmix is not None:
            for symbol, channels in zip(symbols, outcar.channels, strict=True):
                occupancy_lmax[symbol] = min(outcar.lmaxmix, 2 * max(channels, default=0))
        return cls(
            functional=outcar.gga if outcar.gga not in (None, "--") else outcar.lexch,
            metagga=None if metagga is None else _canonical(metagga),
            hybrid=outcar.lhfcalc,
            ispin=outcar.ispin,
            lmaxmix=outcar.lmaxmix,
            charged=charged,
            hubbard=hubbard,
            occupancy_lmax=occupancy_lmax,
        )

    def conflict(self, other: Self) -> str | None:
        """Name the first setting in which another run differs.

        Parameters
        ----------
        other
            Settings of the other run.

        Returns
        -------
        str or None
            The setting with both values, such as ``METAGGA = R2SCAN instead of none``; None if all
            that is known of both is equal. A meta-GGA conflicts with an unknown functional, too,
            since VASP 5 does not print METAGGA.
        """
        for name, tag in (
            ("functional", "GGA"),
            ("hybrid", "LHFCALC"),
            ("ispin", "ISPIN"),
            ("charged", "charged cell"),
        ):
            mine, its = getattr(self, name), getattr(other, name)
            if None not in (mine, its) and mine != its:
                return f"{tag} = {its} instead of {mine}"
        if (self.metagga or "") != (other.metagga or ""):
            its, mine = (
                "not known" if value is None else value or "none"
                for value in (other.metagga, self.metagga)
            )
            return f"METAGGA = {its} instead of {mine}"
        for symbol in sorted(self.hubbard.keys() & other.hubbard.keys()):
            mine, its = self.hubbard[symbol], other.hubbard[symbol]
            if mine != its:
                return f"{_hubbard(its)} of {symbol} instead of {_hubbard(mine)}"
        for symbol in sorted(self.occupancy_lmax.keys() & other.occupancy_lmax.keys()):
            mine, its = self.occupancy_lmax[symbol], other.occupancy_lmax[symbol]
            if mine != its:
                return (
                    f"augmentation occupancies of {symbol} up to L = {its} instead of {mine} "
                    "(LMAXMIX)"
                )
        return None

    def joined(self, other: Self) -> Self:
        """Settings of both runs together, which do not conflict.

        Parameters
        ----------
        other
            Settings of the other run.

        Returns
        -------
        RunSettings
            What is known of either; of the first where they differ.
        """
        known = {name: value for name, value in self if value is not None}
        return type(self).model_validate(
            {
                **other.model_dump(),
                **known,
                "hubbard": {**other.hubbard, **self.hubbard},
                "occupancy_lmax": {**other.occupancy_lmax, **self.occupancy_lmax},
            }
        )

    @property
    def summary(self) -> str:
        """Functional, spin polarization and charge in a few words."""
        words = ["functional not known" if self.functional is None else self.functional]
        words += [self.metagga] if self.metagga else []
        words += ["hybrid"] if self.hybrid else []
        words += ["+U"] if any(l >= 0 for l, _, _ in self.hubbard.values()) else []
        words += [f"ISPIN = {self.ispin}"] if self.ispin is not None else []
        words += ["charged"] if self.charged else []
        return " ".join(words)


def _canonical(metagga: str) -> str:
    name = metagga.strip().upper()
    return "" if name in ("NONE", "--", "F", ".FALSE.") else name


def _hubbard(value: tuple[int, float, float]) -> str:
    l, u, j = value
    return "no U" if l < 0 else f"U = {u:g}, J = {j:g} eV on l = {l}"


def canonical_split(name: str) -> str:
    """Today's name of a split.

    Parameters
    ----------
    name
        Name in a file or on a command line; ``recalled`` in files of earlier versions.

    Returns
    -------
    str
        ``train``, ``validation``, ``test``, ``pseudo-labeled``, or empty.

    Examples
    --------
    >>> canonical_split("recalled")
    'pseudo-labeled'
    """
    return _OLD_NAMES.get(name, name)


def split_materials(
    splits: Mapping[str, str], validation_fraction: float, train_fraction: float = 1.0
) -> tuple[list[str], list[str]]:
    """Split materials by their identifiers alone.

    A material keeps its split when the data set grows, and a smaller `train_fraction` selects a
    subset of a larger one. Several samples of one crystal of the Materials Project, such as
    ``mp-13`` and its antiferromagnetic order ``mp-13-afm``, have the same split.

    Parameters
    ----------
    splits
        Split of each material as its source marks it. Those marked ``validation`` are in the
        validation set, those marked ``test`` in neither. Those that are :data:`PSEUDO_LABELED` are
        in the training set, or in neither if the hash assigns them to the validation set.
    validation_fraction
        Fraction of the other materials in the validation set.
    train_fraction
        Fraction of the rest in the training set.

    Returns
    -------
    train, validation : list of str
        Identifiers, in the order of `splits`.

    Examples
    --------
    >>> train, validation = split_materials({f"mp-{n}": "train" for n in range(100)}, 0.1)
    >>> len(train), len(validation)
    (87, 13)
    """
    held_out = {
        name
        for name, split in splits.items()
        if split in ("validation", "test") or _uniform(name, "validation") < validation_fraction
    }
    train = [
        name for name in splits if name not in held_out and _uniform(name, "train") < train_fraction
    ]
    validation = [
        name
        for name, split in splits.items()
        if name in held_out and split not in ("test", PSEUDO_LABELED)
    ]
    return train, validation


def _uniform(name: str, purpose: str) -> float:
    """Number in [0, 1) that belongs to a crystal, from the SHA-256 of its identifier."""
    material = _MATERIALS_PROJECT_ID.match(name)
    name = material.group() if material else name
    return int.from_bytes(sha256(f"{purpose} {name}".encode()).digest()[:8]) / 2.0**64
