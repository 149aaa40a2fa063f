"""Time and memory of a prediction by the number of ions, from the start of Python to a CHGCAR.

    python benchmarks/large_cells.py [--ions 8 64 216 512 1000] [--encut 350 520] [--repeats 3]
        [--crystals salt alloy] [--direct 216] [--figure docs/figures/large_cells.png]

Rattled NaCl and a rattled random alloy of Ag and Cu on the fine grid of PREC = Normal, each size in
a process of its own on one core: processor time, the least of the repeats after a first call, which
has a column of its own (memory that is new to the process is slow), and peak memory of the process.
``sums`` are what a prediction takes beside superposition, graph and network: all sums over
ions and G vectors. Up to ``--direct`` ions, direct sums over all pairs of ions and G vectors, and
messages to all ions at once, are timed in the same process; its memory is read before.
"""

from __future__ import annotations

from harness import parser, print_table

# isort: split

import json
import resource
import subprocess
import sys
import tempfile
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.figure import Figure

from mlcharge_flows.density.crystal import Crystal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

CELLS = {"salt": (5.64, (1, 1, 1)), "alloy": (3.9, (1, 1, 2))}
"""Edge of the cubic cell in angstrom, and cells along each axis of the smallest supercell."""
RATTLE = 0.05
"""Standard deviation of the displacements along each axis, angstrom."""
FACE_CENTERED = np.array([[0, 0, 0], [0, 0.5, 0.5], [0.5, 0, 0.5], [0.5, 0.5, 0]])


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the table, and draw the figure."""
    options = parser(__doc__, repeats=3)
    options.add_argument("--ions", type=int, nargs="+", default=[8, 64, 216, 512, 1000])
    options.add_argument("--encut", type=float, nargs="+", default=[350.0, 520.0])
    options.add_argument("--crystals", nargs="+", choices=list(CELLS), default=list(CELLS))
    options.add_argument("--direct", type=int, default=216, help="ions; 0 for no direct sums")
    options.add_argument("--figure", help="file of a plot")
    options.add_argument("--one", nargs=3, help="measure one crystal, number of ions and ENCUT")
    given = options.parse_args(arguments)
    if given.one:
        name, n_ions, encut = given.one
        direct = int(n_ions) <= given.direct
        print(json.dumps(measure(name, int(n_ions), float(encut), given.repeats, direct)))
        return
    points: dict[tuple[str, float], list[dict[str, Any]]] = {}

    def rows() -> Any:
        for name in given.crystals:
            for encut in given.encut:
                for n_ions in given.ions:
                    command = [sys.executable, __file__, "--repeats", str(given.repeats)]
                    command += ["--direct", str(given.direct), "--one"]
                    command += [name, str(n_ions), str(encut)]
                    found = subprocess.run(command, check=True, capture_output=True, text=True)
                    point = json.loads(found.stdout.splitlines()[-1])
                    points.setdefault((name, encut), []).append(point)
                    yield cells(name, encut, point)

    heads = ["crystal", "ENCUT, eV", "ions", "grid", "superposition, s", "network, s", "sums, s"]
    heads += ["prediction, s", "ms / ion", "direct, s", "ratio", "first call, s"]
    print_table([*heads, "peak, GB", "CHGCAR, s", "start, s"], rows())
    if given.figure:
        draw(points, given.figure)


def cells(name: str, encut: float, point: dict[str, Any]) -> list[str]:
    """Row of a measured size."""
    seconds, direct = point["predict"], point["direct"]
    parts = [f"{point[part]:.2f}" for part in ("superpose", "network", "sums", "predict")]
    compared = ["", ""] if direct is None else [f"{direct:.1f}", f"{direct / seconds:.1f}"]
    return [
        *(name, f"{encut:g}", str(point["ions"]), " x ".join(map(str, point["grid"])), *parts),
        *(f"{1e3 * seconds / point['ions']:.1f}", *compared, f"{point['first']:.2f}"),
        *(f"{point['peak']:.2f}", f"{point['write']:.2f}", f"{point['start']:.1f}"),
    ]


def rattled(name: str, n_ions: int) -> Crystal:
    """Supercell with displaced ions; the same for the same arguments."""
    edge, smallest = CELLS[name]
    n = round((n_ions / 8) ** (1 / 3))
    counts = n * np.array(smallest)
    steps = np.stack(np.meshgrid(*map(np.arange, counts), indexing="ij"), -1).reshape(-1, 1, 3)
    random = np.random.default_rng(0)
    sites = (steps + FACE_CENTERED).reshape(-1, 3)
    if name == "salt":
        sites = np.concatenate([sites, sites + np.array([0.5, 0, 0])])
        symbols = ["Na"] * (len(sites) // 2) + ["Cl"] * (len(sites) // 2)
    else:
        symbols = ["Ag"] * (len(sites) // 2) + ["Cu"] * (len(sites) // 2)
        random.shuffle(sites)
    positions = sites + random.normal(scale=RATTLE / edge, size=sites.shape)
    return Crystal(edge * np.diag(counts), tuple(symbols), positions / counts)


def measure(name: str, n_ions: int, encut: float, repeats: int, direct: bool) -> dict[str, Any]:
    """Time all parts of one prediction in this process."""
    import torch

    from mlcharge_flows.density.density import superpose
    from mlcharge_flows.models.orbital import interaction, site_sums
    from mlcharge_flows.models.registry import DEFAULT
    from mlcharge_flows.sources import known_models
    from mlcharge_flows.vasp.chgcar_writer import write_chgcar
    from mlcharge_flows.vasp.incar import fft_grids

    torch.set_num_threads(1)
    loaded = known_models().load(DEFAULT)
    started = process_time()  # of the process: what imports and the checkpoint took
    model, crystal = loaded.model, rattled(name, n_ions)
    grid = fft_grids(crystal.lattice, {"ENCUT": encut, "PREC": "Normal"}).fine
    loaded.domain.check(crystal, grid)
    densities = []

    def predict() -> object:
        densities[:] = [model.predict(crystal, grid)]
        return densities

    def coefficients() -> object:
        with torch.inference_mode():
            return model.network(model.network.graph(crystal))

    times = {
        "first": least(predict, 1),
        "predict": least(predict, repeats),
        "superpose": least(lambda: superpose(crystal, model.atoms, grid), repeats),
        "network": least(coefficients, repeats),
    }
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "CHGCAR"
        times["write"] = least(lambda: write_chgcar(path, densities[0]), repeats)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2
    before = None
    if direct:
        site_sums.MAX_DIRECT_SITES = interaction.MAX_SITES_AT_ONCE = sys.maxsize
        before = least(predict, repeats if n_ions < 100 else 1)
    times["sums"] = times["predict"] - times["superpose"] - times["network"]
    found = {"ions": len(crystal), "grid": grid, "peak": peak, "direct": before}
    return {**found, "start": started, **times}


def least(action: Callable[[], object], repeats: int) -> float:
    """Least processor time of some calls, seconds."""
    times = []
    for _ in range(repeats):
        begin = process_time()
        action()
        times.append(process_time() - begin)
    return min(times)


def draw(points: dict[tuple[str, float], list[dict[str, Any]]], path: str) -> None:
    """Plot the time of a prediction against the number of ions, beside both powers of it."""
    figure = Figure(figsize=(5.5, 4.2), layout="constrained")
    axes = figure.subplots()
    for (name, encut), measured in points.items():
        ions = [point["ions"] for point in measured]
        label = f"{name}, {encut:g} eV"
        (line,) = axes.loglog(ions, [point["predict"] for point in measured], "o-", label=label)
        old = [(point["ions"], point["direct"]) for point in measured if point["direct"]]
        if old:
            axes.loglog(*zip(*old, strict=True), "x:", color=line.get_color())
    some = next(iter(points.values()))
    middle = some[min(1, len(some) - 1)]
    ions = np.array([point["ions"] for point in some], dtype=float)
    for power, style in ((1, "--"), (2, "-.")):
        line = middle["predict"] * (ions / middle["ions"]) ** power
        axes.loglog(ions, line, style, color="gray", label=f"N^{power}")
    axes.plot([], [], "x:", color="black", label="direct sums")
    axes.set(xlabel="ions", ylabel="processor time of a prediction, s")
    axes.legend(fontsize=8)
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
