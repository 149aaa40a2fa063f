"""An executable in VASP's place: it finds CHGCAR and WAVECAR as VASP does, and leaves outputs.

:func:`install` writes it into a folder. What it does is set in its environment:

- ``FAKE_VASP_OUTPUTS``: folder of a finished run, whose compressed outputs become its own;
- ``FAKE_VASP_FAULT``: how a run from a CHGCAR ends, one of :data:`FAULTS`; empty for none.

INCAR's ICHARG, ISTART, NELM, LCHARG and LWAVE are followed; each run appends its ICHARG to the
file ``attempts``, with ``+WAVECAR`` if it begins from one. The standard library is all that it
needs, so that it starts in milliseconds.
"""

from __future__ import annotations

import gzip
import os
import re
import stat
import sys
import time
from pathlib import Path

OUTPUTS = ("CONTCAR", "DOSCAR", "EIGENVAL", "OSZICAR", "OUTCAR", "vasprun.xml")
"""Files that are taken from the finished run."""

FAULTS = {
    "brmix": " BRMIX: very serious problems\n the old and the new charge density differ\n",
    "crash": "",
    "forrtl": "forrtl: severe (64): input conversion error, unit 18, file CHGCAR",
    "nan": "",
    "nelm": "",
    "posmap": " POSMAP internal error: symmetry equivalent atom not found\n",
    "subspace": " WARNING: Sub-Space-Matrix is not hermitian in DAV            1\n",
    "unread": "",
    "wavecar-changed": " ERROR: while reading WAVECAR, plane wave coefficients changed\n",
    "wavecar-crash": "forrtl: severe (36): attempt to access non-existent record, file WAVECAR",
    "wavecar-diverges": " Error EDDDAV: Call to ZHEGV failed. Returncode =  11 2  23\n",
    "wavecar-unread": " WAVECAR not read\n",
    "zhegv": " Error EDDDAV: Call to ZHEGV failed. Returncode =  11 2  23\n",
}
"""Faults of a run from a CHGCAR, and the message that VASP prints at each.

``crash`` ends with a signal's exit status, ``nan`` and ``nelm`` with steps that are no numbers or
that reach NELM, ``unread`` goes on from atoms, ``posmap`` happens at the first attempt only. Those
of the WAVECAR happen to runs that begin from one: it stops the run with a message or without,
spoils the first steps, or is not read.
"""

_STEP = "DAV:{number:4d}     {energy}    {change}   -0.286E+03  1392   0.498E+02\n"
_STALLED = 60.0
"""Seconds that a spoilt run goes on: until custodian's monitor stops it."""
_UNREAD = 5.0
"""Seconds of a run that random orbitals do not spoil."""


def install(folder: Path) -> Path:
    """Write the executable, which needs no package, into a folder.

    Parameters
    ----------
    folder
        Where to write it; the folder exists.

    Returns
    -------
    Path
        The executable, named ``vasp_std``.
    """
    command = folder / "vasp_std"
    text = Path(__file__).read_text(encoding="utf-8")
    command.write_text(f"#!{sys.executable} -I\n{text}", encoding="utf-8")
    command.chmod(command.stat().st_mode | stat.S_IXUSR)
    return command


def main() -> None:
    """Run in the current folder, as VASP would."""
    incar = _read_incar()
    icharg = incar.get("ICHARG", "2")
    has_orbitals = incar.get("ISTART", "1") == "1" and Path("WAVECAR").exists()
    with Path("attempts").open("a", encoding="utf-8") as file:
        file.write(f"{icharg}{'+WAVECAR' if has_orbitals else ''}\n")
    _print(" running on    1 total cores\n")
    fault = os.environ.get("FAKE_VASP_FAULT", "")
    if has_orbitals:
        _read_wavecar(fault)
    elif fault.startswith("wavecar"):
        fault = ""
    fault = _read_chgcar(icharg, fault)
    _print(" entering main loop\n")
    if fault == "posmap" and Path("attempts").read_text(encoding="utf-8").count("\n") > 1:
        fault = ""
    if fault == "wavecar-unread":
        time.sleep(_UNREAD)
    elif fault:
        _fail(fault, incar)
    _leave_outputs(incar)


def _print(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()


def _read_incar() -> dict[str, str]:
    lines = Path("INCAR").read_text(encoding="utf-8").splitlines()
    pairs = (line.split("=", 1) for line in lines if "=" in line)
    return {tag.strip(): value.strip() for tag, value in pairs}


def _read_wavecar(fault: str) -> None:
    _print(" found WAVECAR, reading the header\n reading WAVECAR\n")
    if fault == "wavecar-changed":
        _print(FAULTS[fault])
        sys.exit(1)
    if fault == "wavecar-crash":
        sys.exit(FAULTS[fault])
    unread = fault == "wavecar-unread"
    _print(FAULTS[fault] if unread else " the WAVECAR file was read successfully\n")


def _read_chgcar(icharg: str, fault: str) -> str:
    """Echo what was read; the fault that is left to happen."""
    if icharg not in ("1", "11"):
        return ""
    if fault == "forrtl":
        sys.exit(FAULTS[fault])
    if fault == "unread" or not Path("CHGCAR").exists():
        _print(" WARNING: chargedensity file is incomplete\n")
        if icharg == "11":
            _print(" ERROR: charge density could not be read from file CHGCAR for ICHARG>10\n")
            sys.exit(1)
        return ""
    with Path("CHGCAR").open(encoding="utf-8") as file:
        _print(f" charge-density read from file: {file.readline().split()[0]}\n")
    return fault


def _steps(count: int, energy: str = "0.482E+01") -> str:
    numbers = range(1, count + 1)
    return "".join(_STEP.format(number=n, energy=energy, change=energy) for n in numbers)


def _fail(fault: str, incar: dict[str, str]) -> None:
    oszicar = Path("OSZICAR")
    _print(_steps(2) + FAULTS[fault])
    if fault == "nan":
        text = _steps(3, energy="NaN")
    elif fault == "nelm":
        text = _steps(int(incar["NELM"])) + "   1 F= -.1E+02 E0= -.1E+02  d E =0\n"
    else:
        text = _steps(2)
    oszicar.write_text(text, encoding="utf-8")
    if fault == "crash":
        sys.exit(139)
    time.sleep(_STALLED)


def _leave_outputs(incar: dict[str, str]) -> None:
    finished = Path(os.environ["FAKE_VASP_OUTPUTS"])
    for name in OUTPUTS:
        text = gzip.decompress((finished / f"{name}.gz").read_bytes()).decode()
        # The k-points of the finished run are not those of every KPOINTS.
        text = re.sub(r"<generation.*?</generation>", "", text, flags=re.DOTALL)
        text = text.replace("k-points in reciprocal lattice and weights", "k-points")
        for tag in {"NELM", "ICHARG"} & incar.keys():  # as a run of this INCAR would repeat them
            text = re.sub(rf'(\b{tag} *=|name="{tag}">) *\d+', rf"\1 {incar[tag]}", text)
        Path(name).write_text(text, encoding="utf-8")
    for name, tag in (("CHGCAR", "LCHARG"), ("WAVECAR", "LWAVE")):
        if incar.get(tag, "True").startswith(("T", ".T")):
            Path(name).write_text("converged\n", encoding="utf-8")
        else:  # opened all the same
            Path(name).touch()


if __name__ == "__main__":
    main()
