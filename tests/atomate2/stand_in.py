"""Reads CHGCAR as VASP does, fails as it is told to, else leaves outputs made before."""

import gzip
import os
import pathlib
import shutil
import sys
import time

OUTPUTS = ("CONTCAR", "DOSCAR", "EIGENVAL", "IBZKPT", "OSZICAR", "OUTCAR", "vasprun.xml")
STEP = "DAV:{n:4d}     {energy}    {change}   -0.286E+03  1392   0.498E+02\n"
WRONG = {
    "brmix": " BRMIX: very serious problems\n the old and the new charge density differ\n",
    "subspace": " WARNING: Sub-Space-Matrix is not hermitian in DAV            1\n",
    "zhegv": " Error EDDDAV: Call to ZHEGV failed. Returncode =  11 2  23\n",
    "posmap": " POSMAP internal error: symmetry equivalent atom not found\n",
    "nan": "",
    "nelm": "",
}


def say(text):
    sys.stdout.write(text)
    sys.stdout.flush()


def steps(number, energy="0.482E+01", change="0.482E+01"):
    return "".join(STEP.format(n=n, energy=energy, change=change) for n in range(1, number + 1))


def main():
    fault = os.environ.get("STAND_IN_FAULT", "")
    incar = dict(
        map(str.strip, line.split("=", 1))
        for line in pathlib.Path("INCAR").read_text().splitlines()
        if "=" in line
    )
    icharg = incar.get("ICHARG", "2")
    chgcar = pathlib.Path("CHGCAR")
    with pathlib.Path("attempts").open("a") as file:
        file.write(icharg + "\n")
    say(" running on    1 total cores\n")
    if icharg in ("1", "11"):
        if fault == "forrtl":
            sys.exit("forrtl: severe (64): input conversion error, unit 18, file CHGCAR")
        if fault == "unread" or not chgcar.exists():
            say(" WARNING: chargedensity file is incomplete\n")
            if icharg == "11":
                say(" ERROR: charge density could not be read from file CHGCAR for ICHARG>10\n")
                sys.exit(1)
            fault = ""
        else:
            with chgcar.open() as file:
                say(f" charge-density read from file: {file.readline().split()[0]}\n")
    else:
        fault = ""
    if fault == "posmap" and pathlib.Path("attempts").read_text().count("\n") > 1:
        fault = ""
    say(" entering main loop\n")
    if fault:
        oszicar = pathlib.Path("OSZICAR")
        say(steps(2) + WRONG.get(fault, ""))
        if fault == "nan":
            oszicar.write_text(steps(3, energy="NaN", change="NaN"))
        elif fault == "nelm":
            oszicar.write_text(steps(int(incar["NELM"])) + "   1 F= -.1E+02 E0= -.1E+02  d E =0\n")
        else:
            oszicar.write_text(steps(2))
        if fault == "crash":
            sys.exit(139)
        time.sleep(60)  # until custodian's monitor stops it
    reference = pathlib.Path(os.environ["STAND_IN_OUTPUTS"])
    for name in OUTPUTS:
        with gzip.open(reference / f"{name}.gz") as source, pathlib.Path(name).open("wb") as target:
            shutil.copyfileobj(source, target)
    for name, tag in (("CHGCAR", "LCHARG"), ("WAVECAR", "LWAVE")):
        if incar.get(tag, "True").startswith(("T", ".T")):
            pathlib.Path(name).write_text("converged\n")


if __name__ == "__main__":
    main()
