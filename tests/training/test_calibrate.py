from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("torch", reason="needs the models extra")
pytest.importorskip("h5py", reason="needs the train extra")

from mlcharge_flows.density.augmentation import spherical
from mlcharge_flows.density.density import Density, superpose
from mlcharge_flows.density.neutral_form_factor import NeutralSines
from mlcharge_flows.models.calibration import CalibrationError
from mlcharge_flows.models.deformation import deformed_superposition
from mlcharge_flows.models.registry import Registry
from mlcharge_flows.testing.crystals import random_crystal
from mlcharge_flows.training.archive import Archive
from mlcharge_flows.training.calibrate import Calibrator, carried_only
from mlcharge_flows.training.calibration_fit import fit_constants, leave_one_out
from mlcharge_flows.training.calibration_run import CalibrationRun, NormalEquations
from mlcharge_flows.training.dataset import write_dataset
from mlcharge_flows.training.origin import Origin, RunSettings
from mlcharge_flows.training.sample import DensitySample
from mlcharge_flows.vasp.potcar import PotcarSearch

BASIS = NeutralSines(radius=1.5, q_max=12.0)
SHAPE = (20, 21, 22)
FORMULAS = (("Mg", "O"), ("Mg", "O", "O"), ("Mg", "Mg", "O"), ("Mg",))


def constants(seed=0, size=0.3):
    """Some form factor and occupancies of each element."""
    rng = np.random.default_rng(seed)
    return {
        symbol: (size * rng.standard_normal(BASIS.size), size * rng.standard_normal(6))
        for symbol in ("Mg", "O")
    }


def add(density, known, atoms, noise=0.0, seed=0):
    """Change a density by constants of its elements, and by noise."""
    from mlcharge_flows.density.density import sum_of_form_factors

    rng = np.random.default_rng(seed)
    factors = {s: BASIS.form_factor(c) for s, (c, _) in known.items()}
    total = density.total + sum_of_form_factors(density.crystal, factors, density.shape)
    total += noise * (lambda x: x - x.mean())(rng.standard_normal(total.shape))
    augmentation = []
    for symbol, values in zip(density.crystal.symbols, density.augmentation, strict=True):
        changed = values + noise * rng.standard_normal(len(values))
        changed[spherical(atoms[symbol].channels)] += known[symbol][1]
        augmentation.append(changed)
    return replace(density, total=total, augmentation=tuple(augmentation))


@pytest.fixture
def crystals():
    rng = np.random.default_rng(4)
    return [random_crystal(rng, symbols) for symbols in FORMULAS]


@pytest.fixture
def runs(atoms, crystals):
    """Runs whose densities differ from the prediction by constants, and noise."""

    def runs(known, noise=0.0):
        channels = {symbol: atom.channels for symbol, atom in atoms.items()}
        found = []
        for number, crystal in enumerate(crystals):
            predicted = superpose(crystal, atoms, SHAPE)
            far = replace(predicted, total=predicted.total * 1.1)
            converged = add(predicted, known, atoms, noise, number)
            formula = "".join(crystal.symbols)
            found.append(
                CalibrationRun.of(str(number), formula, predicted, far, converged, channels, BASIS)
            )
        return found

    return runs


def test_a_model_that_fits_exactly_gets_zeros(runs):
    zero = {symbol: (0 * c, 0 * o) for symbol, (c, o) in constants().items()}
    for fit in fit_constants(runs(zero)).values():
        assert fit.form_factor == pytest.approx(0.0, abs=1e-9)
        assert fit.occupancies == pytest.approx(0.0, abs=1e-9)


def test_a_synthetic_form_factor_is_recovered(runs):
    known = constants()
    fit = fit_constants(runs(known), ridge=1e-9)
    for symbol, (form_factor, occupancies) in known.items():
        assert fit[symbol].form_factor == pytest.approx(form_factor, abs=1e-4)
        assert fit[symbol].occupancies == pytest.approx(occupancies, abs=1e-9)
    for run in runs(known):
        assert run.density_left(fit) < 1e-4
        assert run.occupancies_left(fit) == pytest.approx(0.0, abs=1e-9)


def test_the_fit_equals_the_slow_least_squares(runs, atoms, crystals):
    """Every function of every element on the grid, a row per point, weighted and damped."""
    from mlcharge_flows.density.density import sum_of_form_factors

    noise, ridge, known = 0.01, 1e-2, constants()
    columns, target = [], []
    symbols = ("Mg", "O")
    for number, crystal in enumerate(crystals):
        weight = np.sqrt(crystal.volume / (len(crystal) * np.prod(SHAPE)))
        residual = (
            add((before := superpose(crystal, atoms, SHAPE)), known, atoms, noise, number).total
            - before.total
        )
        size = np.eye(BASIS.size)
        block = [
            weight * sum_of_form_factors(crystal, {s: BASIS.form_factor(c)}, SHAPE).ravel()
            for s in symbols
            for c in size
        ]
        columns.append(np.array(block).T)
        target.append(weight * residual.ravel())
    matrix, b = np.vstack(columns), np.concatenate(target)
    damping = np.sqrt(ridge * np.sum(matrix**2, axis=0))
    slow = np.linalg.lstsq(
        np.vstack([matrix, np.diag(damping)]), np.concatenate([b, 0 * damping]), rcond=None
    )[0].reshape(2, -1)
    fit = NormalEquations.sum(run.equations for run in runs(known, noise)).solve(ridge)
    for symbol, expected in zip(symbols, slow, strict=True):
        assert fit[symbol].form_factor == pytest.approx(expected, abs=1e-5)


def test_errors_are_those_of_the_corrected_density(runs, atoms, crystals):
    """Parseval: the norm of the equations is the mean square on the grid."""
    from mlcharge_flows.density.density import sum_of_form_factors

    known, noise = constants(), 0.02
    run, crystal = runs(known, noise)[1], crystals[1]
    fit = NormalEquations.sum([run.equations]).solve()
    predicted = superpose(crystal, atoms, SHAPE)
    converged = add(predicted, known, atoms, noise, 1)
    factors = {symbol: BASIS.form_factor(mine.form_factor) for symbol, mine in fit.items()}
    corrected = predicted.total + sum_of_form_factors(crystal, factors, SHAPE)
    far = 1.1 * predicted.total - converged.total

    def rms(grid):
        waves = np.fft.fftn(grid)
        waves[0, 0, 0] = 0.0
        waves[10], waves[:, :, 11] = 0.0, 0.0  # Nyquist frequencies of the even axes
        return np.linalg.norm(waves)

    slow = rms(corrected - converged.total) / rms(far)
    assert run.density_left(fit) == pytest.approx(slow, rel=1e-3)
    left = np.concatenate(converged.augmentation) - np.concatenate(
        [
            values + np.bincount(spherical(atoms[s].channels), fit[s].occupancies, len(values))
            for s, values in zip(crystal.symbols, predicted.augmentation, strict=True)
        ]
    )
    before = np.concatenate(converged.augmentation) - np.concatenate(predicted.augmentation)
    assert run.occupancies_left(fit) == pytest.approx(np.abs(left).sum() / np.abs(before).sum())


def test_leaving_out_equals_brute_force(runs):
    everything = runs(constants(), noise=0.05)
    everything.append(replace(everything[0], name="again"))  # the same formula
    for run, fit in leave_one_out(everything):
        others = [other for other in everything if other.formula != run.formula]
        slow = fit_constants(others)
        assert fit.keys() == slow.keys()
        for symbol in fit:
            assert fit[symbol].form_factor == pytest.approx(slow[symbol].form_factor, abs=1e-8)
            assert fit[symbol].significance == pytest.approx(slow[symbol].significance)


def test_what_is_not_significant_shrinks_to_zero(runs):
    """Constants of alternating sign are noise; those that all runs share are kept."""
    first, second = runs(constants()), runs({s: (-c, -o) for s, (c, o) in constants().items()})
    mixed = [first[0], second[1], first[2], second[3]]
    shared, noise = fit_constants(first), fit_constants(mixed)
    assert min(shared["Mg"].significance) > 0.95
    assert max(noise["Mg"].significance) < 0.7
    assert max(noise["O"].significance) < 0.7


@pytest.fixture
def model(trained):
    return Registry(Path("/no/such")).load(trained())


@pytest.fixture
def sample(atoms, inputs, model):
    """A run whose converged density is the prediction plus constants."""

    def sample(name="Mg-O", scale=1.0, encut=520.0, change=None, paw=None):
        paw = paw or atoms
        crystal = inputs.crystal
        crystal = replace(crystal, lattice=crystal.lattice * scale)
        shape = (28, 28, 28)
        known = model.model.deformation(crystal, shape)
        predicted = deformed_superposition(known, model.card.paw, paw)
        if change:
            predicted = add(predicted, change, paw)
        settings = RunSettings(functional="PE", charged=False)
        packed = DensitySample.pack(predicted, paw, Origin(name, "p"), encut=encut)
        return replace(packed, settings=settings)

    return sample


def calibrated(model, samples, **options):
    calibrator = Calibrator(model, options.pop("potcars", None))
    for one in samples:
        calibrator.add(one)
    return calibrator, calibrator.fit(**options)


def test_a_calibration_names_what_it_is_for(model, sample, atoms):
    change = {s: (np.resize(c, BASIS.size), o) for s, (c, o) in constants(size=0.05).items()}
    samples = [sample(change=change), sample("second", 1.02, change=change)]
    _, found = calibrated(model, samples)
    assert (found.model, found.checkpoint) == (model.card.name, model.sha256)
    assert (found.encut, found.functional, found.alone) == (520.0, "PE", {})
    assert {s: e.fingerprint for s, e in found.elements.items()} == {
        symbol: atom.fingerprint for symbol, atom in atoms.items()
    }
    assert [e.n_runs for e in found.elements.values()] == [2, 2]
    assert [e.density_left for e in found.elements.values()] == [None, None]  # one formula
    # What a crystal leaves undetermined of its two elements, it does not need.
    shown = found.correct(samples[0].superposition())
    moved = samples[0].density().augmentation
    own = model.model.deformation(shown.crystal, shown.shape).augmentation
    for values, change, target in zip(shown.augmentation, own, moved, strict=True):
        assert values + change == pytest.approx(target, abs=0.01)


def test_runs_that_the_model_fits_calibrate_to_nothing(model, sample):
    _, found = calibrated(model, [sample(), sample("second", 1.02)])
    for mine in found.elements.values():
        assert np.abs(mine.form_factor).max() < 0.02  # samples are packed
        assert np.abs(mine.occupancies).max() < 2e-3


def test_the_most_frequent_settings_are_taken_and_others_told(model, sample, atoms):
    other = {**atoms, "O": replace(atoms["O"], titel="PAW_PBE O_s")}
    samples = [sample(str(n), 1 + 0.01 * n) for n in range(3)]
    samples += [sample("low", encut=350.0), sample("soft", paw=other)]
    calibrator, found = calibrated(model, samples)
    assert (found.encut, found.elements["O"].n_runs) == (520.0, 3)
    assert calibrator.problems == [
        "low: has other settings (ENCUT = 350 eV, PE)",
        "soft: most runs have another data set of O: TITEL is PAW_PBE O test, "
        "its own is PAW_PBE O_s",
    ]
    calibrator, found = calibrated(model, samples, encut=350.0)
    assert (found.encut, found.elements["O"].n_runs) == (350.0, 1)


def test_charged_cells_and_cells_outside_of_the_domain_are_left_out(model, sample):
    charged = replace(sample("ion"), settings=RunSettings(charged=True))
    calibrator = Calibrator(model)
    for one in (charged, sample("dense", 0.5)):
        calibrator.add(one)
    assert calibrator.problems[0] == "ion: the cell is charged"
    assert calibrator.problems[1].startswith("dense: outside what the model was trained on")
    with pytest.raises(CalibrationError, match="there is no run to calibrate with"):
        calibrator.fit()


def test_an_unknown_element_gets_constants_alone(model, sample, tiny, atoms):
    boron = tiny.atom("B", 3.0)
    both = {**atoms, "B": boron}
    samples = [sample()]
    for number, crystal in enumerate(
        random_crystal(np.random.default_rng(n), symbols)
        for n, symbols in enumerate((("B", "O"), ("B", "B", "O"), ("B", "Mg")))
    ):
        density = superpose(crystal, both, SHAPE)
        shifted = tuple(values + 0.1 for values in density.augmentation)
        converged = replace(density, total=density.total, augmentation=shifted)
        noisy = converged.total + 0.01 * np.random.default_rng(number).standard_normal(SHAPE)
        converged = Density(crystal, noisy - noisy.mean() + converged.total.mean(), shifted)
        settings = RunSettings(functional="PE", charged=False)
        packed = DensitySample.pack(converged, both, Origin(f"B{number}", "p"), encut=520.0)
        samples.append(replace(packed, settings=settings))
    _, found = calibrated(model, samples)
    assert set(found.elements) == {"Mg", "O"}
    assert set(found.alone) == {"B", "Mg", "O"}
    assert found.alone["B"].n_runs == 3
    assert found.alone["B"].occupancies == pytest.approx([0.1] * 6, abs=0.02)
    assert found.alone["B"].occupancies_left is not None
    assert len(found.runs) == 4


def test_without_an_archive_partial_waves_are_needed(model, atoms):
    zero = carried_only(model, atoms, PotcarSearch([]))
    assert zero.encut is None
    assert not any(any(mine.form_factor) for mine in zero.elements.values())
    other = {"O": replace(atoms["O"], titel="PAW_PBE O_s")}
    with pytest.raises(CalibrationError, match="partial waves of PAW_PBE O test are not known"):
        carried_only(model, other, PotcarSearch([]))


def test_an_archive_is_read_from_data_sets_each_crystal_once(sample, tmp_path):
    write_dataset(tmp_path / "one.h5", [sample("a"), sample("b", 1.02)])
    write_dataset(tmp_path / "two.h5", [sample("c")])
    archive = Archive([tmp_path / "one.h5", tmp_path / "two.h5", tmp_path / "two.h5"])
    found = [one.id for one in archive if one is not None]
    assert (len(archive), found) == (4, ["a", "b"])
    assert len(archive.problems) == 2
    assert archive.problems[0] == (
        f"{tmp_path}/two.h5: c: is the same crystal as {tmp_path}/one.h5: a"
    )
