import pytest

from mlcharge_flows.density.metrics import nmae
from mlcharge_flows.training.finished_run import RunError, read_finished_run
from mlcharge_flows.training.record import Origin
from mlcharge_flows.training.store import write_store
from mlcharge_flows.vasp.chgcar import read_chgcar

ENCUT = {"al": 520.0, "lih": 680.0, "si2_aiida": 240.0, "si_g0w0_static": 245.3}
"""Of the runs, eV."""


@pytest.mark.parametrize("name", ENCUT)
def test_runs_of_vasp_are_packed_by_the_channels_of_their_outcar(vasp_samples, name, tmp_path):
    record = read_finished_run(vasp_samples / name, Origin(name, "PBE"))
    (again,) = write_store(tmp_path / "vasp.h5", [record])
    density = read_chgcar(vasp_samples / name / "CHGCAR.gz")
    assert again.start() is None
    assert nmae(again.density().total, density.total) < 0.01
    assert again.density().n_electrons == pytest.approx(record.n_electrons, abs=1e-9)
    assert [len(r) for r in again.density().augmentation] == [len(r) for r in density.augmentation]
    assert again.n_total > 0
    assert again.encut == ENCUT[name]
    assert again.energy < 0


def test_without_potcar_and_outcar_the_channels_are_not_known(vasp_samples):
    with pytest.raises(RunError, match="nacl: neither POTCAR nor OUTCAR"):
        read_finished_run(vasp_samples / "nacl", Origin("nacl", "PBE"))


def test_a_folder_without_a_density(tmp_path):
    with pytest.raises(RunError, match="there is no CHGCAR"):
        read_finished_run(tmp_path, Origin("a", "PBE"))


def test_a_broken_file_is_named(tmp_path):
    (tmp_path / "CHGCAR").write_text("half a header\n1.0\n")
    with pytest.raises(RunError, match="CHGCAR"):
        read_finished_run(tmp_path, Origin("a", "PBE"))
