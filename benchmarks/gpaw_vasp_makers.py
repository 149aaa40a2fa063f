"""Default Makers of atomate2 on gpaw-vasp, through jobflow and custodian: docs/gpaw_vasp.md.

    python benchmarks/gpaw_vasp_makers.py [--makers Relax,Elastic] [--crystals Si,NiO]
        [--density superposition,default] [--strain 0.01] [--rows FOLDER]
    python benchmarks/gpaw_vasp_makers.py --rows FOLDER --table

Nothing of the Makers is overridden but what ``--incar`` and ``--kpoints`` say, and the supercell of
phonons, which is twice the primitive cell. A row that fails says why. With ``--rows`` each row
is kept in a folder when it is known, and those that are there are not computed again.
"""

from __future__ import annotations

from harness import parser, print_table

# isort: split

import json
import os
import sys
import tempfile
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from atomate2.vasp.flows.core import DoubleRelaxMaker, RelaxBandStructureMaker
from atomate2.vasp.flows.elastic import ElasticMaker
from atomate2.vasp.flows.mp import MPGGADoubleRelaxStaticMaker
from atomate2.vasp.flows.phonons import PhononMaker
from atomate2.vasp.jobs.core import RelaxMaker, StaticMaker
from atomate2.vasp.jobs.mp import MPGGAStaticMaker
from atomate2.vasp.powerups import (
    update_user_incar_settings,
    update_user_kpoints_settings,
    update_vasp_input_generators,
)
from jobflow import JobStore, run_locally
from maggma.stores import MemoryStore
from pymatgen.core import Structure

from gpaw_vasp_spin import CRYSTALS
from mlcharge_flows import start_from_predicted_density
from mlcharge_flows.settings import Settings

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Callable, Mapping, Sequence

#: Largest moment of an ion that is shown, in Bohr magnetons.
MAGNETIC = 0.01

#: What atomate2 runs in the place of vasp_std and vasp_gam.
EXECUTABLE = str(Path(sys.executable).parent / "gpaw-vasp")

#: Measured lattice constant of the primitive crystal (angstrom), band gap (eV), moment of a metal
#: ion (Bohr magnetons), C11, C12, C44 (GPa), highest phonon (THz): longitudinal optical in silicon,
#: transversal in MgO, since without Born charges nothing splits them.
EXPERIMENT: dict[str, dict[str, Any]] = {
    "Si": {"a": 5.431, "C": (166, 64, 80), "phonon": 15.5, "gap": 1.17},
    "MgO": {"a": 4.212, "C": (297, 95, 156), "phonon": 12.0, "gap": 7.8},
    "Fe": {"a": 2.866, "gap": 0.0, "moment": 2.22},
    "NiO": {"a": 4.17, "gap": 4.3, "moment": 1.9},
}

MOMENTS = {"NiO": [5, -5, 0.6, 0.6]}
"""What tells the ions of an antiferromagnet apart; Makers take it from the structure."""

MAKERS: dict[str, Callable[[], Any]] = {
    "Static": StaticMaker,
    "Relax": RelaxMaker,
    "DoubleRelax": DoubleRelaxMaker,
    "RelaxBandStructure": RelaxBandStructureMaker,
    "MPGGAStatic": MPGGAStaticMaker,
    "MPGGADoubleRelaxStatic": MPGGADoubleRelaxStaticMaker,
    "Elastic": ElasticMaker,
    "Phonon": lambda: PhononMaker(born_maker=None),
}

HEADS = [
    "",
    "crystal",
    "asks for (first run)",
    "overridden",
    "runs",
    "steps (ionic)",
    "started from",
    "result",
    "experiment",
    "CPU (s)",
]

#: Tags of the first run that the table shows.
SHOWN = ("ENCUT", "ISPIN", "GGA", "ISMEAR", "EDIFF", "EDIFFG", "IBRION", "ISIF", "LDAUU")

#: Of ``--density``: no power-up, and the power-up without an argument.
NO_DENSITY, DEFAULT_DENSITY = "atoms", "default"


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    options = parser(__doc__)
    options.add_argument("--rows", type=Path, help="folder that keeps what was computed")
    options.add_argument("--table", action="store_true", help="compute nothing")
    options.add_argument("--makers", default=",".join(MAKERS), help="default: all")
    options.add_argument("--crystals", default=",".join(EXPERIMENT), help="default: all")
    options.add_argument(
        "--density",
        default=NO_DENSITY,
        help="atoms (no power-up), default (the power-up's), or one in words; default: atoms",
    )
    options.add_argument("--incar", type=json.loads, default={}, help="INCAR tags, as JSON")
    options.add_argument("--kpoints", type=json.loads, default={}, help="k-points, as JSON")
    options.add_argument("--strain", type=float, default=0.0, help="of the first cell")
    given = options.parse_args(arguments)
    if given.table:
        order = list(MAKERS)
        known = [json.loads(path.read_text()) for path in sorted(given.rows.glob("*.json"))]
        known.sort(key=lambda cells: order.index(cells[0].removesuffix("Maker")))
        print_table(HEADS, known, texts=9)
        return
    combinations = product(
        given.makers.split(","), given.crystals.split(","), given.density.split(",")
    )
    with Settings(vasp_cmd="gpaw-vasp").activated():
        print_table(HEADS, (_kept_row(given, *names) for names in combinations), texts=9)


def _kept_row(given: Namespace, maker: str, crystal: str, density: str) -> list[str]:
    """Cells of a row, computed unless they were."""
    changed = "-changed" if given.incar or given.kpoints else ""
    kept = given.rows and given.rows / f"{maker}-{crystal}-{density}{changed}.json"
    if kept and kept.exists():
        cells: list[str] = json.loads(kept.read_text())
        return cells
    cells = row(maker, crystal, density, given.incar, given.kpoints, given.strain)
    if kept:
        given.rows.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(cells))
    return cells


def row(
    name: str,
    crystal: str,
    density: str,
    incar: Mapping[str, Any],
    kpoints: Mapping[str, Any],
    strain: float,
) -> list[str]:
    """Run one Maker on one crystal; the cells of its row."""
    maker = MAKERS[name]()
    if incar:
        maker = update_user_incar_settings(maker, dict(incar))
    if kpoints:
        maker = update_user_kpoints_settings(maker, dict(kpoints))
    command = {f"run_vasp_kwargs->vasp_{kind}cmd": EXECUTABLE for kind in ("", "gamma_")}
    maker = update_vasp_input_generators(maker, command)
    if density == DEFAULT_DENSITY:
        maker = start_from_predicted_density(maker)
    elif density != NO_DENSITY:
        maker = start_from_predicted_density(maker, density)
    structure: Structure = CRYSTALS[crystal].structure.copy()
    if moments := MOMENTS.get(crystal):
        structure.add_site_property("magmom", moments)
    if strain and "Relax" in name:
        structure.apply_strain(strain)
    options: dict[str, Any] = {"supercell_matrix": 2 * np.eye(3)} if name == "Phonon" else {}
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    before = os.times()
    failure = None
    with tempfile.TemporaryDirectory() as folder:
        made = maker.make(structure, **options)
        try:
            run_locally(
                made,
                store=store,
                create_folders=True,
                root_dir=folder,
                log=False,
                raise_immediately=True,
            )
        except Exception as error:
            failure = f"{type(error).__name__}: {str(error).strip().splitlines()[-1]}"
    after = os.times()
    tasks = [
        document["output"]
        for document in sorted(
            store.query(load=True), key=lambda document: document["completed_at"]
        )
        if isinstance(document["output"], dict) and "calcs_reversed" in document["output"]
    ]
    spent = (after.children_user + after.children_system) - (
        before.children_user + before.children_system
    )
    asked = tasks[0]["orig_inputs"]["incar"] if tasks else {}
    return [
        f"{name}Maker",
        crystal,
        " ".join(f"{tag}={_value(asked[tag])}" for tag in SHOWN if tag in asked),
        ", ".join([*incar, *(["k-points"] if kpoints else [])]) or "none",
        str(len(tasks)),
        " ".join(map(_steps, tasks)),
        ", ".join(dict.fromkeys(map(_started_from, tasks))),
        failure or _result(tasks, store),
        _experiment(name, crystal),
        f"{spent:.0f}",
    ]


def _value(value: Any) -> str:
    """A tag's value, in few characters."""
    if isinstance(value, list):
        return ",".join(map(_value, value))
    return f"{value:g}" if isinstance(value, float) else str(value)


def _steps(task: Mapping[str, Any]) -> str:
    """Electronic steps of a run, and in how many ionic ones."""
    counts = [
        count
        for calculation in reversed(task["calcs_reversed"])
        for count in calculation["output"]["num_electronic_steps"]
    ]
    return f"{sum(counts)} ({len(counts)})"


def _started_from(task: Mapping[str, Any]) -> str:
    provenance = (task.get("additional_json") or {}).get("mlcharge") or {}
    return str(provenance.get("started_from", "atoms"))


def _result(tasks: Sequence[Mapping[str, Any]], store: JobStore) -> str:
    """What the flow is for: elastic constants, phonons, or structure and gap of its last run."""
    for document in store.query(load=True):
        output = document["output"]
        if not isinstance(output, dict):
            continue
        if elastic := output.get("elastic_tensor"):
            c = np.array(elastic["ieee_format"])
            return f"C11, C12, C44 = {c[0, 0]:.0f}, {c[0, 1]:.0f}, {c[3, 3]:.0f} GPa"
        if bands := output.get("phonon_bandstructure"):
            return f"highest phonon {np.max(bands['bands']):.1f} THz"
    output = tasks[-1]["output"]
    structure = output["structure"]
    if not isinstance(structure, Structure):
        structure = Structure.from_dict(structure)
    moments = [abs(moment or 0.0) for moment in structure.site_properties.get("magmom", [0.0])]
    # A fixed density has no energy to compare.
    fixed = int(tasks[-1]["orig_inputs"]["incar"].get("ICHARG", 0)) > 10
    energy = "" if fixed else f"{output['energy'] / len(structure):.4f} eV/atom, "
    magnetic = f", {max(moments):.2f} muB" if max(moments) > MAGNETIC else ""
    return (
        f"a = {lattice_constant(structure):.3f} angstrom, {energy}"
        f"gap {output['bandgap'] or 0.0:.2f} eV{magnetic}"
    )


def lattice_constant(structure: Structure) -> float:
    """Edge of the cubic cell with the crystal's volume per ion, in angstrom."""
    ions = 2 if structure.composition.is_element and len(structure) == 1 else 8
    return float((structure.volume / len(structure) * ions) ** (1 / 3))


def _experiment(name: str, crystal: str) -> str:
    known = EXPERIMENT[crystal]
    if name == "Elastic":
        return "{}, {}, {} GPa".format(*known["C"]) if "C" in known else ""
    if name == "Phonon":
        return f"{known['phonon']} THz" if "phonon" in known else ""
    moment = f", {known['moment']} muB" if "moment" in known else ""
    return f"a = {known['a']} angstrom, gap {known['gap']} eV{moment}"


if __name__ == "__main__":
    main()
