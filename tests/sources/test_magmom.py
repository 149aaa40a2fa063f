from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
from typer.testing import CliRunner

from mlcharge_flows.cli.app import app
from mlcharge_flows.density.magnetization import SpinDensity, superpose_moments
from mlcharge_flows.models.calibration import read_calibration, write_calibration
from mlcharge_flows.models.registry import Registry
from mlcharge_flows.sources import InitialDensity, Learned, SourceError, Superposition
from mlcharge_flows.sources.magmom import magmom_of
from mlcharge_flows.training.calibrate import Calibrator
from mlcharge_flows.training.origin import Origin, RunSettings
from mlcharge_flows.training.packed_magnetization import PackedMagnetization
from mlcharge_flows.training.sample import DensitySample
from mlcharge_flows.vasp.chgcar import read_chgcar

SUPERPOSED = (
    "the file holds no magnetization: with ISPIN = 2, VASP superposes the moments of MAGMOM"
)
SPIN = {"ISPIN": 2, "MAGMOM": [3.0, -0.6]}


@pytest.fixture
def model(trained, tmp_path):
    trained()
    return Registry(tmp_path / "models").load("tiny")


@pytest.fixture
def sample(model, inputs, atoms):
    """A spin-polarized run with moments of 2 and 0.5 Bohr magnetons."""

    def sample(scale=1.0, ispin=2, hubbard=None):
        crystal = replace(inputs.crystal, lattice=scale * inputs.crystal.lattice)
        spins = {symbol: SpinDensity.of_free_atom(atom) for symbol, atom in atoms.items()}
        moments = np.array([2.0, -0.5])
        converged = superpose_moments(crystal, moments, spins, inputs.grid)
        density = model.model.predict(crystal, inputs.grid)
        packed = DensitySample.pack(density, atoms, Origin(f"MgO-{scale}", "p"), encut=350.0)
        settings = RunSettings(functional="PE", charged=False, ispin=ispin, hubbard=hubbard or {})
        if ispin == 2:
            whole = replace(converged, moments=2 * moments)
            packed = replace(
                packed, packed_magnetization=PackedMagnetization.pack(whole, crystal.volume)
            )
        return replace(packed, settings=settings)

    return sample


@pytest.fixture
def calibration(model, sample, tmp_path):
    calibrator = Calibrator(model)
    for scale in (1.0, 1.02):
        calibrator.add(sample(scale))
    path = tmp_path / "calibration.json"
    write_calibration(path, calibrator.fit())
    return path


def changed(inputs, **tags):
    return replace(inputs, incar={**inputs.incar, **tags})


def test_a_run_with_moments_gets_a_magnetization(inputs, calibration, tmp_path):
    density = InitialDensity(Learned("tiny", str(calibration)))
    document = density.write(changed(inputs, **SPIN), tmp_path)
    assert document.has_magnetization
    assert document.warnings == []
    written = read_chgcar(tmp_path / "CHGCAR")
    moments = written.magnetization.moments
    assert moments == pytest.approx([2.0, -0.5], rel=0.2)
    total = written.magnetization.grid.mean() * written.crystal.volume
    assert total == pytest.approx(moments.sum(), abs=1e-5)
    plain = density.evaluate(inputs).density
    assert plain.magnetization is None
    assert written.total == pytest.approx(plain.total, abs=1e-5)
    reversed_ = density.evaluate(changed(inputs, ISPIN=2, MAGMOM=[-3.0, 0.6])).density
    assert reversed_.magnetization.grid == pytest.approx(-written.magnetization.grid, abs=1e-5)
    assert np.array_equal(reversed_.total, plain.total)


def test_without_moments_or_a_calibration_there_is_none(inputs, calibration, model, tmp_path):
    density = InitialDensity(Learned("tiny", str(calibration)))
    none = density.write(changed(inputs, ISPIN=2, MAGMOM=[0, 0]), tmp_path)
    assert (none.has_magnetization, none.warnings) == (False, [])
    for source in (Learned("tiny"), Superposition()):
        document = InitialDensity(source).write(changed(inputs, **SPIN), tmp_path)
        assert not document.has_magnetization
        assert document.warnings == [SUPERPOSED]
    short = InitialDensity(Learned("tiny")).write(changed(inputs, ISPIN=2, MAGMOM=[1]), tmp_path)
    assert short.warnings == ["MAGMOM is not one number for each of the 2 ions"]


def test_a_fixed_density_needs_a_magnetization(inputs, calibration, tmp_path):
    run = changed(inputs, ICHARG=11, **SPIN)
    with pytest.raises(SourceError, match="would keep the moments of MAGMOM"):
        InitialDensity(Learned("tiny")).write(run, tmp_path)
    assert InitialDensity(Learned("tiny", str(calibration))).write(run, tmp_path).has_magnetization


def test_a_disagreement_on_the_state_is_said(inputs, calibration, tmp_path):
    density = InitialDensity(Learned("tiny", str(calibration)))
    document = density.write(changed(inputs, ISPIN=2, MAGMOM=[0.6, -0.6]), tmp_path)
    (line,) = document.warnings
    assert "VASP's superposition for the moments of Mg: MAGMOM asks for a lower spin state" in line
    moments = read_chgcar(tmp_path / "CHGCAR").magnetization.moments
    assert moments == pytest.approx([0.6, -0.5], rel=0.2)
    document = density.write(changed(inputs, ISPIN=2, MAGMOM=[0.6, 0.0]), tmp_path)
    assert not document.has_magnetization
    assert (document.warnings[0], document.warnings[-1]) == (line, SUPERPOSED)


def test_files_of_before_are_read(calibration):
    content = calibration.read_text()
    known = read_calibration(calibration)
    assert sorted(known.magnetization) == ["Mg", "O"]
    start, end = content.index('"magnetization"'), content.index('"runs": [')
    calibration.write_text(content[:start] + content[end:])
    assert read_calibration(calibration) == known.model_copy(update={"magnetization": {}})


def test_runs_of_other_settings_give_their_magnetization(model, sample):
    calibrator = Calibrator(model)
    calibrator.add(sample(1.0, ispin=1))
    calibrator.add(sample(1.01, ispin=1))
    calibrator.add(sample(1.02, hubbard={"Mg": (2, 4.0, 0.0)}))
    calibrator.add(sample(1.03))
    found = calibrator.fit()
    assert found.elements["Mg"].n_runs == 2
    assert found.magnetization["Mg"].all_moments.n_runs == 2
    assert calibrator.problems == []
    assert sum("only its magnetization is taken" in note for note in calibrator.notes) == 2


def test_a_model_with_spin_is_calibrated_with_both_kinds_of_runs(model, sample, monkeypatch):
    told = []

    def predict_spin(self, crystal, shape, magmom):
        told.append(magmom.tolist())
        return SimpleNamespace(deformation=self.deformation(crystal, shape))

    monkeypatch.setattr(type(model.model), "predicts_magnetization", True)
    monkeypatch.setattr(type(model.model), "predict_spin", predict_spin, raising=False)
    calibrator = Calibrator(model)
    for run in (sample(1.0, ispin=1), sample(1.01), sample(1.02)):
        calibrator.add(run)
    calibrator.add(replace(sample(1.03), packed_magnetization=None))
    found = calibrator.fit()
    assert told == 2 * [[4.0, -1.0]]
    assert found.elements["Mg"].n_runs == 3
    assert found.magnetization["Mg"].all_moments.n_runs == 2
    (problem,) = calibrator.problems
    assert "has other settings (ENCUT = 350 eV, PE ISPIN = 2)" in problem


def test_magmom_is_that_of_vasp(inputs):
    assert magmom_of(inputs) is None
    assert magmom_of(changed(inputs, ISPIN=2)).tolist() == [1.0, 1.0]
    assert magmom_of(changed(inputs, **SPIN)).tolist() == [3.0, -0.6]
    assert magmom_of(changed(inputs, LSORBIT=True, **SPIN)) is None
    for bad in ([1.0], ["a", "b"], [1.0, float("nan")]):
        assert magmom_of(changed(inputs, ISPIN=2, MAGMOM=bad)) is None
    structure = inputs.structure.copy(site_properties={"magmom": [2.0, None]})
    assert magmom_of(replace(changed(inputs, ISPIN=2), structure=structure)).tolist() == [2.0, 0.0]


def test_inspect_shows_the_moments(inputs, calibration, tmp_path):
    InitialDensity(Learned("tiny", str(calibration))).write(changed(inputs, **SPIN), tmp_path)
    shown = CliRunner().invoke(app, ["inspect", str(tmp_path / "CHGCAR")]).output
    (line,) = (line for line in shown.splitlines() if line.startswith("spin"))
    assert "Bohr magnetons; of the ions " in line
