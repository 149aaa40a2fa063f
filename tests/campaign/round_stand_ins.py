"""Stand-ins of campaigns in rounds: crystals, runs and fits that take no time."""

from pathlib import Path

from pymatgen.core import Lattice, Structure

from mlcharge_flows.campaign import round_calibration
from mlcharge_flows.campaign.local import read_results
from mlcharge_flows.campaign.material_folder import MaterialFolder
from mlcharge_flows.campaign.pool import Ended
from mlcharge_flows.campaign.request import CampaignRequest, maker_of
from mlcharge_flows.campaign.round_record import ROUNDS
from mlcharge_flows.models.calibration import (
    Calibration,
    ElementCalibration,
    RunErrors,
    write_calibration,
)
from mlcharge_flows.scf.comparison import REFERENCE, Comparison
from mlcharge_flows.scf.run import ScfRun
from mlcharge_flows.structures import Material

DEFAULT = 10
ELEMENTS = ("Li", "Mg", "O", "S")


def crystals(count, metals=("Li", "Mg"), anions=("O", "S")):
    """Binary crystals, each of its own structure."""
    found = []
    for number in range(count):
        symbols = [metals[number % len(metals)], anions[number // 2 % len(anions)]]
        cell = Structure(Lattice.cubic(4 + 0.01 * number), symbols, [[0, 0, 0], [0.5, 0.5, 0.5]])
        found.append(Material(f"m{number:02d}", cell, Path("test")))
    return found


def n_steps(arm, elements):
    """The learned densities harm crystals with lithium; a calibration makes others better."""
    if arm == REFERENCE:
        return DEFAULT
    if "Li" in elements:
        return 15
    return 5 if "calibration" in arm else 7


def run(arm, elements, folder):
    if arm == REFERENCE:
        return ScfRun(folder=folder, n_total=DEFAULT, started_from="atoms", converged=True)
    read = {"started_from": "chgcar", "echoed_comment": "x", "expected_comment": "x"}
    return ScfRun(folder=folder, n_total=n_steps(arm, elements), converged=True, **read)


def run_material(material, maker, path):
    """A material in no time; arms that are there are kept."""
    own, place = maker_of(maker, material.id), MaterialFolder(path)
    before = place.read_result()
    place.begin(CampaignRequest.from_maker(own), material.structure, before)
    arms, elements = dict(before.arms) if before else {}, material.structure.symbol_set
    for arm in own.arms:
        arms.setdefault(arm, run(arm, elements, str(path / arm)))
    return Comparison(
        material_id=material.id,
        formula=material.structure.composition.reduced_formula,
        n_atoms=len(material.structure),
        protocol=own.protocol,
        arms=arms,
        models={**(before.models if before else {}), **own.models},
    )


def one_by_one(queue, run, maker, folder, workers):
    while queue:
        material = queue.popleft()
        yield Ended(material, run(material, maker, folder / material.id))


def calibration(formulas, before=0.5, left=0.05, shared=ELEMENTS, **changes):
    """Constants that are zero, with errors of a run of each formula, by name."""
    element = ElementCalibration(
        titel="PAW_PBE test",
        fingerprint="0" * 64,
        zval=1.0,
        channels=(0,),
        n_runs=2,
        form_factor=(),
        occupancies=(0.0,),
        density_left=left,
        occupancies_left=left,
    )
    alone = element.model_copy(update={"n_runs": 1, "density_left": None})
    errors = [
        RunErrors(
            name=name,
            formula=formula,
            density_before=before,
            occupancies_before=before,
            density_left=left,
            occupancies_left=left,
        )
        for name, formula in formulas.items()
    ]
    facts = {"model": "tiny", "checkpoint": "0" * 64, "encut": 520.0, "version": "test"}
    elements = {symbol: element if symbol in shared else alone for symbol in ELEMENTS}
    return Calibration(**(facts | changes), elements=elements, runs=tuple(errors))


def fit(left=0.05):
    """A fit in no time; it is of all runs that it is given."""

    def calibrate_round(folder, number, loaded, runs, tracked=iter):
        results = {result.material_id: result for result in read_results(folder)}
        formulas = {name: results[name].formula for name in tracked(list(runs))}
        fitted = calibration(formulas, left=left, model=loaded.card.name, checkpoint=loaded.sha256)
        sha256 = write_calibration(folder / ROUNDS / f"calibration-{number}.json", fitted)
        made = round_calibration.CalibrationRuns(
            number=number,
            model=loaded.card.name,
            sha256=sha256,
            runs={name: name for name in runs},
            elements=dict.fromkeys(ELEMENTS, 2),
            left_out=[],
        )
        round_calibration.atomic_write(
            round_calibration._runs_path(folder, number), made.model_dump_json() + "\n"
        )
        return made

    return calibrate_round
