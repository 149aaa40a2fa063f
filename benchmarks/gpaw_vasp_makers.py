"""Default Makers of atomate2 on gpaw-vasp, through jobflow and custodian: docs/gpaw_vasp.md.

    python benchmarks/gpaw_vasp_makers.py [--makers Relax,Elastic] [--density superposition]

Nothing of the Makers is overridden but what ``--incar`` and ``--kpoints`` say, and the supercell of
phonons, which is twice the primitive cell. A row that fails says why.
"""

from __future__ import annotations

from harness import parser, print_table

# isort: split

import json
import os
import sys
import tempfile
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
from pymatgen.symmetry.analyzer import SpacegroupAnalyzer

from mlcharge_flows import start_from_predicted_density
from mlcharge_flows.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

CRYSTALS = Path(__file__).parents[1] / "test_files" / "crystals"

#: What atomate2 runs in the place of vasp_std and vasp_gam.
EXECUTABLE = str(Path(sys.executable).parent / "gpaw-vasp")

#: Experiment: lattice constant (angstrom), C11, C12, C44 (GPa), highest phonon at Gamma (THz)
#: without the splitting of polar crystals, band gap (eV).
EXPERIMENT = {
    "Si": {"a": 5.431, "C": (166, 64, 80), "phonon": 15.5, "gap": 1.17},
    "MgO": {"a": 4.212, "C": (297, 95, 156), "phonon": 12.0, "gap": 7.8},
}

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
    "asks for",
    "runs",
    "steps (ionic)",
    "started from",
    "result",
    "experiment",
    "CPU (s)",
]

#: Tags of the first run that the table shows.
SHOWN = ("ENCUT", "ISPIN", "GGA", "ISMEAR", "EDIFF", "EDIFFG", "IBRION", "ISIF")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    options = parser(__doc__)
    options.add_argument("--makers", default=",".join(MAKERS), help="default: all")
    options.add_argument("--crystals", default=",".join(EXPERIMENT), help="default: Si,MgO")
    options.add_argument("--density", help="initial density of every run, such as superposition")
    options.add_argument("--incar", type=json.loads, default={}, help="INCAR tags, as JSON")
    options.add_argument("--kpoints", type=json.loads, default={}, help="k-points, as JSON")
    options.add_argument("--strain", type=float, default=0.0, help="of the first cell")
    given = options.parse_args(arguments)
    with Settings(vasp_cmd="gpaw-vasp").activated():
        print_table(
            HEADS,
            (
                row(maker, crystal, given.density, given.incar, given.kpoints, given.strain)
                for maker in given.makers.split(",")
                for crystal in given.crystals.split(",")
            ),
            texts=9,
        )


def row(
    name: str,
    crystal: str,
    density: str | None,
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
    if density:
        maker = start_from_predicted_density(maker, density)
    structure = Structure.from_file(CRYSTALS / f"{crystal}.vasp")
    if strain:
        structure.apply_strain(strain)
    options: dict[str, Any] = {"supercell_matrix": 2 * np.eye(3)} if name == "Phonon" else {}
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    before = os.times()
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
            failure = None
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
        " ".join(f"{tag}={asked[tag]}" for tag in SHOWN if tag in asked),
        str(len(tasks)),
        " ".join(map(_steps, tasks)),
        ", ".join(sorted({_started_from(task) for task in tasks})),
        failure or _result(tasks, store),
        _experiment(name, crystal),
        f"{spent:.0f}",
    ]


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
    conventional = SpacegroupAnalyzer(structure, 0.01).get_conventional_standard_structure()
    energy = output["energy"] / len(structure)
    return (
        f"a = {conventional.lattice.a:.3f} A, {energy:.4f} eV/atom, gap {output['bandgap']:.2f} eV"
    )


def _experiment(name: str, crystal: str) -> str:
    known = EXPERIMENT.get(crystal)
    if known is None:
        return ""
    if name == "Elastic":
        return "{}, {}, {} GPa".format(*known["C"])
    if name == "Phonon":
        return f"{known['phonon']} THz"
    return f"a = {known['a']} A, gap {known['gap']} eV"


if __name__ == "__main__":
    main()
