"""Response of the occupancies to the density, fitted to a few runs."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the models extra")

from mlcharge_flows.density.augmentation import blocks, n_occupancies, rotate
from mlcharge_flows.density.density import superpose
from mlcharge_flows.density.neutral_form_factor import NeutralSines
from mlcharge_flows.models.orbital.augmentation_response import (
    LMAX,
    MAX_RELATIVE_CHANGE,
    N_EXPONENTS,
    AugmentationResponse,
    ModelError,
    damped_solutions,
)
from mlcharge_flows.testing import tiny_model
from mlcharge_flows.testing.crystals import random_crystal, random_rotation, rotated
from mlcharge_flows.training import response_fit
from mlcharge_flows.training.calibration_elements import fit_elements
from mlcharge_flows.training.calibration_run import CalibrationRun
from mlcharge_flows.training.response_fit import fit_responses, responses_without
from mlcharge_flows.training.response_run import Response, ResponseRun, left_over, overlaps_on_ions

ATOMS = {"Mg": tiny_model.atom("Mg", 2.0), "O": tiny_model.atom("O", 6.0)}
CHANNELS = {symbol: atom.channels for symbol, atom in ATOMS.items()}
N_BLOCKS = len(blocks(CHANNELS["O"]))
SHAPE = (24, 24, 24)
FORMULAS = (("Mg", "O"), ("Mg", "O", "O"), ("Mg", "Mg", "O"), ("Mg", "O", "O", "O"))
EXACT = 1e-11


def teacher(seed=3, size=0.1):
    """Responses of both elements."""
    rng = np.random.default_rng(seed)
    return {
        symbol: Response(size * rng.standard_normal((N_BLOCKS, N_EXPONENTS)), 1.0)
        for symbol in ATOMS
    }


def module(responses):
    return AugmentationResponse.of(
        {symbol: (CHANNELS[symbol], r.coefficients, r.largest) for symbol, r in responses.items()}
    )


def deformed(crystal):
    """A density that differs from the superposition: all atoms are wider."""
    wider = {
        s: replace(a, form_factor=a.form_factor * np.exp(-(a.q**2) / 60)) for s, a in ATOMS.items()
    }
    return superpose(crystal, wider, SHAPE)


def run(number, responses, noise=0.0):
    """A run whose occupancies follow from the density by some responses, and noise."""
    rng = np.random.default_rng(number)
    crystal = random_crystal(rng, FORMULAS[number % len(FORMULAS)])
    atomic, density = superpose(crystal, ATOMS, SHAPE), deformed(crystal)
    completed = module(responses).complete(density, atomic, "teacher")
    noisy = tuple(v + noise * rng.standard_normal(len(v)) for v in completed.augmentation)
    converged = replace(completed, augmentation=noisy)
    return ResponseRun.of(str(number), str(number), density, atomic, converged, CHANNELS)


@pytest.mark.parametrize("proper", [True, False])
def test_turning_the_crystal_turns_the_occupancies(proper):
    rng = np.random.default_rng(0)
    crystal, rotation = random_crystal(rng, ("Mg", "O", "O")), random_rotation(rng, proper=proper)
    found = []
    for one in (crystal, rotated(crystal, rotation)):
        completed = module(teacher()).complete(deformed(one), superpose(one, ATOMS, SHAPE), "any")
        found.append(completed.augmentation)
    for symbol, before, after in zip(crystal.symbols, *found, strict=True):
        turned = rotate(before, CHANNELS[symbol], rotation)
        assert np.abs(turned - before).max() > 1e-2
        assert after == pytest.approx(turned, abs=1e-4)


def test_a_linear_truth_is_recovered(monkeypatch):
    monkeypatch.setattr(response_fit, "RIDGES", (EXACT, 1.0))
    known = teacher()
    fit = fit_responses([run(n, known) for n in range(16)])
    assert fit.ridge == EXACT
    unseen = run(16, known)
    assert left_over(unseen.left(fit.responses).values()) < 1e-2
    assert left_over(unseen.left({}).values()) == pytest.approx(1.0)


def test_fit_and_left_out_errors_are_those_of_the_slow_regression():
    """A row for every component of every ion; every damping is tried on every formula."""
    runs = [run(n, teacher(), noise=0.02) for n in range(len(FORMULAS))]

    def rows(some, symbol, place):
        degree, offset = blocks(CHANNELS[symbol])[place].L, blocks(CHANNELS[symbol])[place].offset
        pairs = [
            (around[degree**2 + m], change[offset + m])
            for one in some
            for s, around, change in zip(
                one.crystal.symbols, one.overlaps, one.changes, strict=True
            )
            if s == symbol
            for m in range(2 * degree + 1)
        ]
        return (np.array(column) for column in zip(*pairs, strict=True))

    def solved(some, symbol, place, ridge):
        x, y = rows(some, symbol, place)
        damping = np.sqrt(ridge * np.sum(x**2) / N_EXPONENTS)
        matrix = np.vstack([x, damping * np.eye(N_EXPONENTS)])
        return np.linalg.lstsq(matrix, np.concatenate([y, np.zeros(N_EXPONENTS)]), rcond=None)[0]

    def best(some):
        errors = []
        for ridge in response_fit.RIDGES:
            error = 0.0
            for symbol in ATOMS:
                for place in range(N_BLOCKS):
                    for one in some:
                        others = [other for other in some if other is not one]
                        x, y = rows([one], symbol, place)
                        error += np.sum((y - x @ solved(others, symbol, place, ridge)) ** 2)
            errors.append(error)
        return response_fit.RIDGES[int(np.argmin(errors))]

    fit, ridge = fit_responses(runs), best(runs)
    assert fit.ridge == ridge
    without, others = responses_without(runs)[runs[1].formula], [runs[0], *runs[2:]]
    other_ridge = best(others)
    for symbol in ATOMS:
        for place in range(N_BLOCKS):
            slow = solved(runs, symbol, place, ridge)
            assert fit.responses[symbol].coefficients[place] == pytest.approx(slow, abs=1e-6)
            slow = solved(others, symbol, place, other_ridge)
            assert without[symbol].coefficients[place] == pytest.approx(slow, abs=1e-6)


def test_noise_is_no_response():
    """Occupancies that have nothing to do with the density stay those of the free atom."""
    zero = {symbol: Response(0 * r.coefficients, 1.0) for symbol, r in teacher().items()}
    fit = fit_responses([run(n, zero, noise=1.0) for n in range(len(FORMULAS))])
    assert not fit.responses["Mg"].coefficients.any()
    assert fit.responses["Mg"].largest > 1.0


def test_one_run_is_damped_as_there_is_no_other():
    one = run(1, teacher())
    fit = fit_responses([one])
    assert fit.ridge == response_fit.DEFAULT_RIDGE
    assert 0.0 < left_over(one.left(fit.responses).values()) < 0.6


def test_every_ion_of_a_cell_counts():
    once = run(1, teacher(), noise=0.3)
    ions = [*range(3), *range(3)]
    crystal = replace(
        once.crystal,
        symbols=tuple(once.crystal.symbols[n] for n in ions),
        positions=once.crystal.positions[ions],
    )
    twice = replace(
        once,
        crystal=crystal,
        overlaps=once.overlaps[ions],
        changes=tuple(once.changes[n] for n in ions),
    )
    for key, sums in once.sums.items():
        assert twice.sums[key].gram == pytest.approx(2 * sums.gram)
        assert twice.sums[key].rhs == pytest.approx(2 * sums.rhs)


def test_overlaps_of_the_corrected_density_are_those_of_the_sum():
    basis = NeutralSines(radius=1.5, q_max=12.0)
    one, factor = run(1, teacher()), basis.form_factor(np.full(basis.size, 0.2).tolist())
    crystal = one.crystal
    from mlcharge_flows.density.density import sum_of_form_factors

    total = deformed(crystal).total - superpose(crystal, ATOMS, SHAPE).total
    total = total + sum_of_form_factors(crystal, {"O": factor}, SHAPE)
    moved = replace(one, overlaps=overlaps_on_ions(crystal, total))
    slow, fast = moved.left(teacher(4)), one.left(teacher(4), {"O": factor})
    for symbol in ATOMS:
        assert fast[symbol] == pytest.approx(slow[symbol], rel=1e-4)


def test_elements_of_a_calibration_have_responses_and_errors():
    basis = NeutralSines(radius=1.5, q_max=12.0)
    runs = []
    for number in range(3):
        crystal = random_crystal(np.random.default_rng(number), FORMULAS[number])
        atomic, density = superpose(crystal, ATOMS, SHAPE), deformed(crystal)
        converged = module(teacher()).complete(density, atomic, "teacher")
        bare = replace(density, augmentation=None)
        formula = "".join(FORMULAS[number])
        runs.append(CalibrationRun.of(formula, formula, bare, atomic, converged, CHANNELS, basis))
    elements, errors, ridge = fit_elements(runs, ATOMS, basis, lambda symbol, dataset: None)
    assert ridge in response_fit.RIDGES
    responses = [run.response for run in runs]
    without = responses_without(responses)
    for error, one in zip(errors, responses, strict=True):
        assert error.occupancies_before == pytest.approx(1.0)
        expected = left_over(one.left(without[one.formula]).values())
        assert error.response_left == pytest.approx(expected)
        # The model's density is the converged one here, and needs no correction.
        assert error.occupancies_left == pytest.approx(expected, abs=1e-3)
    for its in elements.values():
        assert not any(its.occupancies)
        assert np.shape(its.response) == (N_BLOCKS, N_EXPONENTS)
        assert 0.0 < its.response_left < 1.0


def test_occupancies_that_change_too_much_are_refused():
    small = {s: Response(r.coefficients, 1e-3) for s, r in teacher().items()}
    crystal = random_crystal(np.random.default_rng(0), ("Mg", "O"))
    with pytest.raises(ModelError, match=r"any: the density around ion 1 \(Mg\) is unlike any"):
        module(small).complete(deformed(crystal), superpose(crystal, ATOMS, SHAPE), "any")
    assert MAX_RELATIVE_CHANGE == 2.0


def test_several_dampings_at_once_are_those_one_by_one():
    rng = np.random.default_rng(0)
    x, y = rng.standard_normal((9, 5)), rng.standard_normal((9, 3))
    ridges = (1e-3, 0.5)
    for ridge, found in zip(ridges, damped_solutions(x.T @ x, x.T @ y, ridges), strict=True):
        gram = x.T @ x + ridge * np.trace(x.T @ x) / 5 * np.eye(5)
        assert found == pytest.approx(np.linalg.solve(gram, x.T @ y))
    assert not damped_solutions(np.zeros((5, 5)), np.zeros((5, 3)), ridges).any()
    assert LMAX == 4
    assert n_occupancies(CHANNELS["O"]) == 33
