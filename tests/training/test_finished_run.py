import pytest

from mlcharge_flows.density.metrics import nmae
from mlcharge_flows.training.dataset import write_dataset
from mlcharge_flows.training.finished_run import RunError, read_finished_run
from mlcharge_flows.training.sample import Origin
from mlcharge_flows.vasp.chgcar import read_chgcar

ENCUT = {"al": 520.0, "lih": 680.0, "si2_aiida": 240.0, "si_g0w0_static": 245.3}
"""Of the runs, eV."""


@pytest.mark.parametrize("name", ENCUT)
def test_runs_without_potcar_are_packed_with_the_channels_of_outcar(vasp_samples, name, tmp_path):
    sample = read_finished_run(vasp_samples / name, Origin(name, "PBE"))
    (again,) = write_dataset(tmp_path / "vasp.h5", [sample])
    density = read_chgcar(vasp_samples / name / "CHGCAR.gz")
    assert again.superposition() is None
    assert nmae(again.density().total, density.total) < 0.01
    assert again.density().n_electrons == pytest.approx(sample.n_electrons, abs=1e-9)
    assert [len(r) for r in again.density().augmentation] == [len(r) for r in density.augmentation]
    assert again.n_total > 0
    assert again.encut == ENCUT[name]
    assert again.energy < 0


def test_a_run_without_potcar_and_outcar_is_refused(vasp_samples):
    with pytest.raises(RunError, match="nacl: neither POTCAR nor OUTCAR"):
        read_finished_run(vasp_samples / "nacl", Origin("nacl", "PBE"))


def test_a_folder_without_chgcar_is_refused(tmp_path):
    with pytest.raises(RunError, match="there is no CHGCAR"):
        read_finished_run(tmp_path, Origin("a", "PBE"))


def test_a_broken_file_is_named(tmp_path):
    (tmp_path / "CHGCAR").write_text("half a header\n1.0\n")
    with pytest.raises(RunError, match="CHGCAR"):
        read_finished_run(tmp_path, Origin("a", "PBE"))
