"""Electronic steps of whole flows whose runs begin from finished runs: docs/powerup.md.

    python benchmarks/neighbors.py [--flows Phonon-Si,Phonon-MgO,Elastic-Si,Elastic-MgO,Eos-Al]
        [--densities atoms,learned,carried] [--incar JSON] [--kpoints JSON] [--rows FOLDER]
        [--table]

A density with ``+orbitals`` has atomic orbitals, too. ``carried`` and ``anchored`` are
``start_from_neighbors`` without and with the model; ``learned`` is a prediction for every run;
``converged`` the density of the same run in a flow from atoms, which costs that flow. With
``--rows`` each row is kept in a folder when it is known, and those that are there are not computed
again.
"""

from __future__ import annotations

from harness import parser, print_table

# isort: split

import json
import os
import tempfile
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from atomate2.utils.path import strip_hostname
from atomate2.vasp.flows.elastic import ElasticMaker
from atomate2.vasp.flows.eos import EosMaker
from atomate2.vasp.flows.phonons import PhononMaker
from atomate2.vasp.jobs.core import RelaxMaker, TightRelaxMaker
from atomate2.vasp.powerups import (
    update_user_incar_settings,
    update_user_kpoints_settings,
    update_vasp_input_generators,
)
from atomate2.vasp.sets.core import RelaxSetGenerator
from jobflow import JobStore, run_locally
from maggma.stores import MemoryStore
from pymatgen.core import Lattice, Structure

from gpaw_vasp_makers import EXECUTABLE
from mlcharge_flows import start_from_neighbors, start_from_predicted_density
from mlcharge_flows.models.registry import DEFAULT
from mlcharge_flows.scf.count import count_run
from mlcharge_flows.settings import Settings

if TYPE_CHECKING:
    from argparse import Namespace
    from collections.abc import Mapping, Sequence

    from jobflow import Flow

ATOMS = "atoms"
#: Model of a density that is carried over.
NEIGHBORS = {"carried": None, "anchored": DEFAULT}
CONVERGED = "converged"
DENSITIES = (
    ATOMS,
    "learned",
    *NEIGHBORS,
    CONVERGED,
    *(f"{word}+orbitals" for word in (ATOMS, "anchored", CONVERGED)),
)
FLOWS = ("Phonon-Si", "Phonon-MgO", "Elastic-Si", "Elastic-MgO", "Eos-Al")

#: Of the training of the shipped model, but the cutoffs of the steps.
INCAR: dict[str, Any] = {
    "ENCUT": 350,
    "PREC": "Normal",
    "GGA": "PE",
    "ISPIN": 1,
    "ALGO": "Normal",
    "EDIFF": 1e-6,
    "ISMEAR": 0,
    "SIGMA": 0.1,
    "LREAL": False,
    **dict.fromkeys(("KSPACING", "LAECHG", "LASPH", "LELF", "LMIXTAU", "LORBIT", "MAGMOM")),
}
#: Four along each vector of the primitive cell, two along those of the supercell: the same points.
KPOINTS = {"reciprocal_density": 12}
#: A metal needs more, and a smearing whose energies do not depend on its width.
METAL = {"incar": {"ISMEAR": 1, "SIGMA": 0.1}, "kpoints": {"reciprocal_density": 250}}

HEADS = [
    "flow",
    "density",
    "runs",
    "steps of each run (ionic)",
    "first rms(c)",
    "sources",
    "steps",
    "saved",
    "result",
    "CPU (s)",
]


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table."""
    options = parser(__doc__)
    options.add_argument("--flows", default=",".join(FLOWS), help="default: all")
    options.add_argument("--densities", default=",".join(DENSITIES), help="default: all")
    options.add_argument("--incar", type=json.loads, default={}, help="INCAR tags, as JSON")
    options.add_argument("--kpoints", type=json.loads, default={}, help="k-points, as JSON")
    options.add_argument("--rows", type=Path, help="folder that keeps what was computed")
    options.add_argument("--table", action="store_true", help="compute nothing")
    given = options.parse_args(arguments)
    rows = []
    for flow, density in product(given.flows.split(","), given.densities.split(",")):
        if found := _kept_row(given, flow, density):
            before = next((r for r in rows if r["flow"] == flow and r["density"] == ATOMS), None)
            rows.append(found | {"saved": _saved(found, before)})
    print_table(HEADS, ([row[head] for head in HEADS] for row in rows), texts=10)


def _kept_row(given: Namespace, flow: str, density: str) -> dict[str, str] | None:
    """Cells of a row by their heads, computed unless they were."""
    kept = given.rows and given.rows / f"{flow}-{density}.json"
    if kept and kept.exists():
        cells: dict[str, str] = json.loads(kept.read_text())
        return cells
    if given.table:
        return None
    with Settings(vasp_cmd="gpaw-vasp").activated():
        cells = row(flow, density, given.incar, given.kpoints)
    if kept:
        given.rows.mkdir(parents=True, exist_ok=True)
        kept.write_text(json.dumps(cells))
    return cells


def _saved(cells: Mapping[str, str], before: Mapping[str, str] | None) -> str:
    if before is None:
        return ""
    return f"{100 * (1 - int(cells['steps']) / int(before['steps'])):.1f} %"


def crystal(name: str) -> Structure:
    """Primitive cell of Si, MgO or Al, with a lattice constant near that of PBE."""
    edge, symbols = {"Si": (5.45, ["Si"] * 2), "MgO": (4.25, ["Mg", "O"]), "Al": (4.04, ["Al"])}[
        name
    ]
    second = [0.5] * 3 if name == "MgO" else [0.25] * 3
    cell = Lattice(edge / 2 * (1 - np.eye(3)))
    return Structure(cell, symbols, [[0] * 3, second][: len(symbols)])


def made_flow(name: str) -> Flow:
    """Flow of a name such as Phonon-Si, with atomate2's Makers."""
    kind, _, formula = name.partition("-")
    if kind == "Phonon":
        maker = PhononMaker(born_maker=None, bulk_relax_maker=None)
        return maker.make(crystal(formula), supercell_matrix=2 * np.eye(3))
    if kind == "Eos":
        # EosMaker's own Makers copy the WAVECAR of the relaxed run, whose density VASP then takes.
        relax, deformed = RelaxMaker(), RelaxMaker(input_set_generator=_at_fixed_cell())
        eos = EosMaker(initial_relax_maker=relax, eos_relax_maker=deformed, number_of_frames=4)
        return eos.make(crystal(formula))
    elastic = ElasticMaker(
        bulk_relax_maker=TightRelaxMaker(),
        generate_elastic_deformations_kwargs={"strain_magnitudes": [0.01]},
    )
    return elastic.make(crystal(formula))


def _at_fixed_cell() -> RelaxSetGenerator:
    return RelaxSetGenerator(user_incar_settings={"ISIF": 2})


def started(flow: Flow, density: str, finished: Path | None = None) -> Flow:
    """Let the runs of a flow begin from a density in words, or from those of finished runs."""
    word, plus, _ = density.partition("+")
    if word in NEIGHBORS or finished is not None:
        changed: Flow = start_from_neighbors(
            flow,
            [finished] if finished else (),
            model=NEIGHBORS.get(word),
            orbitals=bool(plus),
            explicit_kpoints=True,
        )
        return changed
    if density == ATOMS:
        return flow
    predicted: Flow = start_from_predicted_density(flow, density, explicit_kpoints=True)
    return predicted


def row(
    name: str, density: str, incar: Mapping[str, Any], kpoints: Mapping[str, Any]
) -> dict[str, str]:
    """Run a flow; the cells of its row by their heads."""
    metal = METAL if name.endswith("-Al") else {"incar": {}, "kpoints": KPOINTS}
    tags = INCAR | metal["incar"] | dict(incar)
    points = dict(kpoints) or metal["kpoints"]

    def made() -> Flow:
        flow = update_user_incar_settings(made_flow(name), tags)
        return update_user_kpoints_settings(flow, points)

    with tempfile.TemporaryDirectory() as folder:
        finished = None
        if density.startswith(CONVERGED):
            finished = Path(folder, "finished")
            # LMAXMIX as the power-up sets it: with 2 the file has no occupancies of higher L.
            kept = update_user_incar_settings(made(), {"LCHARG": True, "LMAXMIX": 4})
            _run(kept, finished)
        outputs, spent = _run(started(made(), density, finished), Path(folder, "runs"))
        tasks = [output for output in outputs if "calcs_reversed" in output]
        folders = (strip_hostname(task["dir_name"]) for task in tasks)
        residuals = [count_run(folder).first_residual or np.nan for folder in folders]
    counts = [
        [n for c in reversed(t["calcs_reversed"]) for n in c["output"]["num_electronic_steps"]]
        for t in tasks
    ]
    return {
        "flow": name,
        "density": density,
        "runs": str(len(tasks)),
        "steps of each run (ionic)": " ".join(f"{sum(n)} ({len(n)})" for n in counts),
        "first rms(c)": " ".join(f"{residual:.3f}" for residual in residuals),
        "sources": " ".join(map(_source, tasks)),
        "steps": str(sum(map(sum, counts))),
        "result": _result(outputs),
        "CPU (s)": f"{spent:.0f}",
    }


def _run(flow: Flow, folder: Path) -> tuple[list[dict[str, Any]], float]:
    """Run a flow in a folder; its outputs in order, and the processor time of its runs in s."""
    command = {f"run_vasp_kwargs->vasp_{kind}cmd": EXECUTABLE for kind in ("", "gamma_")}
    flow = update_vasp_input_generators(flow, command)
    store = JobStore(MemoryStore(), additional_stores={"data": MemoryStore()})
    folder.mkdir()
    before = os.times()
    run_locally(
        flow, store=store, create_folders=True, root_dir=folder, log=False, raise_immediately=True
    )
    after = os.times()
    spent = after.children_user + after.children_system
    spent -= before.children_user + before.children_system
    documents = sorted(store.query(load=True), key=lambda found: found["completed_at"])
    return [d["output"] for d in documents if isinstance(d["output"], dict)], spent


def _source(task: Mapping[str, Any]) -> str:
    """Source of the density of a run, as its document tells."""
    provenance = (task.get("additional_json") or {}).get("mlcharge") or {}
    initial = provenance.get("initial_density") or {}
    return str(initial.get("density_source") or provenance.get("started_from") or ATOMS)


def _result(outputs: Sequence[Mapping[str, Any]]) -> str:
    """What the flow is for."""
    for output in outputs:
        if elastic := output.get("elastic_tensor"):
            c = np.array(elastic["ieee_format"])
            return f"C11, C12, C44 = {c[0, 0]:.1f}, {c[0, 1]:.1f}, {c[3, 3]:.1f} GPa"
        if bands := output.get("phonon_bandstructure"):
            return f"highest phonon {np.max(bands['bands']):.3f} THz"
        if fit := (output.get("relax") or {}).get("EOS"):
            best = fit.get("birch_murnaghan") or {}
            return f"B0 = {best.get('b0 GPa', np.nan):.2f} GPa"
    return ""


if __name__ == "__main__":
    main()
