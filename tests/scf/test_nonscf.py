import numpy as np
import pytest

from mlcharge_flows.scf.electronic_structure import ElectronicStructure, ElectronicStructureError
from mlcharge_flows.scf.nonscf import (
    FixedDensityErrors,
    NonSCFComparison,
    fixed_density_errors,
    summarize_nonscf,
)
from mlcharge_flows.scf.run import ScfRun

READ = {"started_from": "chgcar", "echoed_comment": "ml", "expected_comment": "ml"}


def states(levels, forces=None, **given):
    levels = np.asarray(levels, float)
    n = len(levels)
    points = np.linspace(0, 0.5, n)[:, None] * np.ones(3)
    given = {"weights": np.full(n, 1 / n), "n_electrons": 2.0, "kpoints": points} | given
    return ElectronicStructure(eigenvalues=levels, fermi_level=0.0, forces=forces, **given)


LEVELS = np.array([[-1.0, 0.5, 4.0], [-2.0, 1.5, 5.0]])


def test_the_same_states_have_no_error():
    forces = np.array([[0.0, 0.0, 0.5]])
    errors = fixed_density_errors(states(LEVELS, forces), states(LEVELS, forces))
    assert (errors.fraction_bands_within, errors.mean_abs_band_meV) == (1.0, 0.0)
    assert (errors.direct_gap_error, errors.max_force_error) == (0.0, 0.0)
    assert errors.forces_vanish is False


def test_band_energies_count_with_the_weight_of_their_k_point():
    wrong = LEVELS + np.array([[0.1], [0.0]])
    weights = {"weights": np.array([0.25, 0.75])}
    errors = fixed_density_errors(states(wrong, **weights), states(LEVELS, **weights))
    assert errors.fraction_bands_within == pytest.approx(0.75)
    assert errors.band_shift_meV == pytest.approx(25)


def test_the_last_bands_are_not_compared():
    levels = np.hstack([LEVELS, LEVELS[:, 2:] + 1])
    wrong = levels.copy()
    wrong[:, 3] += 9
    assert fixed_density_errors(states(wrong), states(levels)).mean_abs_band_meV == 0


def test_forces_are_compared_as_vectors():
    wrong = np.array([[0.02, 0.02, 0.0], [0.02, 0.02, 0.02]])
    errors = fixed_density_errors(states(LEVELS, wrong), states(LEVELS, np.zeros((2, 3))))
    assert errors.fraction_forces_within == 0.5
    assert errors.forces_vanish is True
    errors = fixed_density_errors(states(LEVELS), states(LEVELS, wrong))
    assert errors.fraction_forces_within is None


def test_other_k_points_or_electrons_are_refused():
    for other in ({"kpoints": np.ones((2, 3))}, {"n_electrons": 4.0}):
        with pytest.raises(ElectronicStructureError, match="other k-points or electrons"):
            fixed_density_errors(states(LEVELS, **other), states(LEVELS))


def material(name, dE, gap=(1.0, 1.0), failure=None, reference_failure=None, wall=2.0):
    lost = failure or reference_failure
    errors = FixedDensityErrors(
        dE_meV_per_atom=dE,
        direct_gap=gap[0],
        direct_gap_reference=gap[1],
        fraction_bands_within=0.5,
    )
    steps = {"n_total": 6, "wall_time": wall}
    arms = {
        "default": ScfRun(
            folder="", n_total=10, wall_time=8.0, started_from="atoms", failure=reference_failure
        ),
        "learned": ScfRun(folder="", preparation_time=1.0, failure=failure, **steps, **READ),
    }
    lines = {
        "default": ScfRun(folder="", n_total=6, wall_time=4.0, **READ),
        "learned": ScfRun(folder="", n_total=6, wall_time=4.0, preparation_time=1.0, **READ),
    }
    compared = {} if lost else {"learned": errors}
    return NonSCFComparison(
        material_id=name,
        formula="Si",
        n_atoms=2,
        protocol="p",
        arms=arms,
        band_paths=lines,
        errors=compared,
        band_path_errors=compared,
    )


def test_the_published_statistics():
    campaign = [
        material("a", 0.2),
        material("b", -1.8, gap=(1.05, 1.0)),
        material("c", 7.0, gap=(0.0, 0.0)),
        material("d", 0.0, failure="not converged: 100 steps"),
        material("e", 0.0, reference_failure="did not finish: killed"),
    ]
    learned = summarize_nonscf(campaign).arms["learned"]
    assert (learned.n_attempted, learned.n_materials) == (5, 3)
    assert (learned.n_failed, learned.n_unpaired) == (1, 1)
    assert learned.failures == {"not converged": 1}
    assert learned.median_abs_dE == 1.8
    assert learned.fraction_energy_within == pytest.approx(1 / 3)
    assert learned.fraction_direct_gaps_within == pytest.approx(2 / 3)
    assert (learned.n_gaps, learned.n_metals) == (3, 1)
    assert learned.fraction_bands_within == 0.5


def test_costs_include_the_preparation():
    learned = summarize_nonscf([material("a", 0.2), material("b", 0.1)]).arms["learned"]
    assert learned.wall_ratio == pytest.approx(3 / 8)
    assert learned.band_path_wall_ratio == pytest.approx(5 / 12)
    assert learned.preparation_time == 2.0


def test_nothing_counts():
    learned = summarize_nonscf([material("a", 0.2, failure="stopped: x")]).arms["learned"]
    assert learned.median_abs_dE is None
    assert learned.wall_ratio is None
