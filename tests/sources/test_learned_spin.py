"""Initial densities of spin-polarized runs from a model that was trained with spin."""

from dataclasses import replace

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="needs the models extra")

from mlcharge_flows.density.augmentation import spherical  # noqa: E402
from mlcharge_flows.models.calibration import read_calibration, write_calibration  # noqa: E402
from mlcharge_flows.models.checkpoint import Checkpoint, write_checkpoint  # noqa: E402
from mlcharge_flows.models.magnetization import ElementMagnetization  # noqa: E402
from mlcharge_flows.models.moment_sizes import Moments  # noqa: E402
from mlcharge_flows.models.orbital.config import OrbitalConfig  # noqa: E402
from mlcharge_flows.models.orbital.network import OrbitalNetwork  # noqa: E402
from mlcharge_flows.models.orbital.spin import SPIN_BASIS  # noqa: E402
from mlcharge_flows.models.registry import Registry  # noqa: E402
from mlcharge_flows.sources import InitialDensity, Learned  # noqa: E402
from mlcharge_flows.testing import tiny_model  # noqa: E402
from mlcharge_flows.training.calibrate import Calibrator  # noqa: E402
from mlcharge_flows.training.origin import Origin, RunSettings  # noqa: E402
from mlcharge_flows.training.sample import DensitySample  # noqa: E402
from mlcharge_flows.vasp.chgcar import read_chgcar  # noqa: E402

SPIN = {"ISPIN": 2, "MAGMOM": [3.0, -0.6]}


@pytest.fixture
def model(atoms, inputs, tmp_path):
    """Magnesium with a moment of about two; oxygen has what that induces."""
    channels = {symbol: list(atom.channels) for symbol, atom in atoms.items()}
    config = OrbitalConfig(
        elements=sorted(atoms),
        channels=channels,
        spin=True,
        n_channels=4,
        n_hidden=8,
        n_embedding=4,
        n_exponents=4,
        g_max=8.0,
        lmax=2,
    )
    torch.manual_seed(0)
    network = OrbitalNetwork(config)
    known = {
        symbol: ElementMagnetization(
            titel=atom.titel,
            fingerprint=atom.fingerprint,
            channels=atom.channels,
            moments=(Moments(elements=("Mg", "O"), n_runs=3, mean=mean, spread=0.1),),
            form_factor=(0.0,) * (SPIN_BASIS.size - 1),
            occupancies=(0.1,) * len(spherical(atom.channels)),
        )
        for (symbol, atom), mean in zip(sorted(atoms.items()), (2.0, 0.1), strict=True)
    }
    network.spin.fit(known, dict.fromkeys(known, 1.0))
    torch.nn.init.normal_(network.spin.readout, std=0.1)
    torch.nn.init.normal_(network.readout, std=0.1)
    for index in range(len(atoms)):
        network.augmentation.get_buffer(f"largest_{index}").fill_(1e9)
        torch.nn.init.normal_(network.spin.augmentation.get_buffer(f"response_{index}")[:-1])
        network.spin.augmentation.get_buffer(f"largest_{index}").fill_(1e9)
        network.spin.get_buffer(f"responds_{index}").fill_(True)
    card = tiny_model.checkpoint(
        atoms, [inputs.crystal], architecture="orbital", config=config.model_dump(), name="spin"
    ).card
    path = tmp_path / "spin.safetensors"
    write_checkpoint(path, Checkpoint(card, network.state_dict()))
    return str(path)


def changed(inputs, **tags):
    return replace(inputs, incar={**inputs.incar, **tags})


def test_a_run_with_moments_gets_a_magnetization(inputs, model, tmp_path):
    density = InitialDensity(Learned(model))
    document = density.write(changed(inputs, **SPIN), tmp_path)
    assert document.has_magnetization
    assert document.warnings == []
    written = read_chgcar(tmp_path / "CHGCAR")
    moments = written.magnetization.moments
    assert moments[0] == pytest.approx(2.0, abs=0.01)
    total = written.magnetization.grid.mean() * written.crystal.volume
    assert total == pytest.approx(moments.sum(), abs=1e-4)
    assert any(values.any() for values in written.magnetization.augmentation)
    reversed_ = density.evaluate(changed(inputs, ISPIN=2, MAGMOM=[-3.0, 0.6])).density
    own = density.evaluate(changed(inputs, **SPIN)).density
    assert np.array_equal(reversed_.magnetization.grid, -own.magnetization.grid)
    assert np.array_equal(reversed_.total, own.total)


def test_without_spin_nothing_changes(inputs, model, tmp_path):
    density = InitialDensity(Learned(model))
    plain = density.evaluate(inputs).density
    assert plain.magnetization is None
    for tags in ({"ISPIN": 1, "MAGMOM": [3.0, -0.6]}, {"ISPIN": 2, "MAGMOM": [0.0, 0.0]}):
        found = density.evaluate(changed(inputs, **tags)).density
        assert found.magnetization is None
        assert np.array_equal(found.total, plain.total)


def test_a_disagreement_on_the_state_is_said(inputs, model, tmp_path):
    document = InitialDensity(Learned(model)).write(
        changed(inputs, ISPIN=2, MAGMOM=[0.6, 0.0]), tmp_path
    )
    assert not document.has_magnetization
    assert "MAGMOM asks for a lower spin state" in document.warnings[0]


def test_a_fixed_density_has_a_magnetization(inputs, model, tmp_path):
    run = changed(inputs, ICHARG=11, **SPIN)
    assert InitialDensity(Learned(model)).write(run, tmp_path).has_magnetization


def test_a_calibration_replaces_the_closed_form(inputs, atoms, model, tmp_path):
    loaded = Registry(tmp_path).load(model)
    calibrator = Calibrator(loaded)
    for scale in (1.0, 1.02):
        crystal = replace(inputs.crystal, lattice=scale * inputs.crystal.lattice)
        density = loaded.model.predict(crystal, inputs.grid)
        packed = DensitySample.pack(density, atoms, Origin(f"MgO-{scale}", "p"), encut=350.0)
        calibrator.add(replace(packed, settings=RunSettings(functional="PE", charged=False)))
    path = tmp_path / "calibration.json"
    write_calibration(path, calibrator.fit())
    density = InitialDensity(Learned(model, str(path)))
    own = density.evaluate(changed(inputs, **SPIN)).density
    plain = InitialDensity(Learned(model)).evaluate(changed(inputs, **SPIN)).density
    np.testing.assert_allclose(own.magnetization.grid, plain.magnetization.grid, atol=1e-6)
    known = read_calibration(path)
    magnesium = loaded.model.network.spin.element("Mg", atoms["Mg"])
    wider = magnesium.model_copy(update={"form_factor": (0.2,) + (0.0,) * (SPIN_BASIS.size - 2)})
    write_calibration(path, known.model_copy(update={"magnetization": {"Mg": wider}}))
    changed_ = density.evaluate(changed(inputs, **SPIN)).density
    assert np.abs(changed_.magnetization.grid - own.magnetization.grid).max() > 1e-3
    total = changed_.magnetization.grid.mean() * inputs.crystal.volume
    assert total == pytest.approx(changed_.magnetization.moments.sum(), abs=1e-6)
