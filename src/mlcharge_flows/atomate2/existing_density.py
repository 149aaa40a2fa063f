"""Why a run is better left to the start that it has of its own."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from atomate2.vasp.jobs.base import BaseVaspMaker

_INHERITED = ("WAVECAR", "vaspwave.h5", "CHGCAR")


def own_start(maker: BaseVaspMaker, incar: Mapping[str, Any], folder: Path) -> str | None:
    """Give the reason; None if the run would start from atoms, and can start from a CHGCAR.

    Parameters
    ----------
    maker
        The VASP Maker.
    incar
        Its final INCAR.
    folder
        Run folder, after the outputs of an earlier run were copied and before VASP starts.

    Examples
    --------
    >>> from pathlib import Path
    >>> from atomate2.vasp.jobs.core import StaticMaker
    >>> own_start(StaticMaker(), {"ICHARG": 2}, Path("/no/such/folder"))
    'the input set fixes ICHARG = 2'
    >>> own_start(StaticMaker(), {"ENCUT": 520}, Path("/no/such/folder")) is None
    True
    """
    brought = maker.write_input_set_kwargs.get("files_to_transfer") or {}
    for name in _INHERITED:
        if name in brought or (folder / name).exists():
            return f"{name} inherited"
    # With 1 and 11 the input set asks for a CHGCAR, and there is none.
    if incar.get("ICHARG") not in (None, 1, 11):
        return f"the input set fixes ICHARG = {incar['ICHARG']}"
    if str(incar.get("METAGGA", "None")).strip("- ").lower() not in ("", "none"):
        return (
            f"METAGGA = {incar['METAGGA']}: VASP also reads the kinetic-energy density (TAUCAR), "
            "without which a density is no complete start"
        )
    if incar.get("LNONCOLLINEAR") or incar.get("LSORBIT"):
        return "noncollinear: a start has no direction of magnetization"
    kind = maker.run_vasp_kwargs.get("job_type") or "normal"
    if (kind := str(getattr(kind, "value", kind))) != "normal":
        # Only after a single run under custodian is the start sure to be told from the result.
        return f"job type {kind!r} is not one run under custodian"
    return None
