"""What atomate2 and custodian make of a folder that gpaw-vasp leaves."""

from __future__ import annotations

import shutil
import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from atomate2.vasp.files import copy_vasp_outputs
from atomate2.vasp.run import DEFAULT_HANDLERS
from custodian.vasp.validators import VaspFilesValidator, VasprunXMLValidator
from emmet.core.tasks import TaskDoc
from emmet.core.types.enums import TaskState
from monty.shutil import gzip_dir
from pymatgen.io.vasp.outputs import UnconvergedVASPWarning
from synthetic_runs import finished_folder, line_mode, magnetic, metal, silicon, unconverged

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from mlcharge_flows.gpaw_vasp.result import Run


def task_document(folder: Path, run: Run) -> TaskDoc:
    with warnings.catch_warnings():
        # The POTCARs here are not VASP's, and pymatgen says so.
        warnings.filterwarnings("ignore", message=".*(POTCAR|UnknownPotcar).*")
        return TaskDoc.from_directory(folder, parse_dos=run.projections is not None)


@pytest.mark.parametrize("zipped", [False, True], ids=["plain", "gzipped"])
def test_task_document(tmp_path: Path, zipped: bool) -> None:
    run = silicon()
    finished_folder(tmp_path, run)
    if zipped:
        gzip_dir(tmp_path)
    doc = task_document(tmp_path, run)

    assert doc.state == TaskState.SUCCESS
    assert str(doc.task_type) == "Static"
    assert str(doc.run_type) == "PBE"
    assert str(doc.calc_type) == "PBE Static"
    assert doc.vasp_version == "6.4.3"
    assert doc.output.energy == pytest.approx(run.steps[-1].energy_zero, abs=1e-8)
    assert doc.output.bandgap == pytest.approx(0.6)
    np.testing.assert_allclose(doc.output.forces, run.forces)
    np.testing.assert_allclose(doc.output.stress, run.stress)
    np.testing.assert_allclose(doc.structure.frac_coords, run.crystal.positions, atol=1e-15)

    calculation = doc.calcs_reversed[0]
    assert calculation.has_vasp_completed == TaskState.SUCCESS
    output = calculation.output
    assert output.num_electronic_steps == [len(run.steps)]
    assert (output.vbm, output.cbm) == pytest.approx((5.5, 6.1))
    assert output.is_metal is False
    assert output.is_gap_direct is False
    assert output.outcar["nelect"] == run.electrons
    assert len(output.outcar["charge"]) == 2
    assert set(output.dos_properties["Si"]) == {"s", "p"}
    assert output.run_stats.elapsed_time == run.seconds
    assert output.run_stats.cores == run.cores

    assert calculation.input.incar["ICHARG"] == 1
    assert calculation.input.parameters["NGXF"] == 36
    assert calculation.input.nkpoints == 3
    assert calculation.input.potcar == ["Si"]
    assert [spec.titel for spec in calculation.input.potcar_spec] == ["PAW_PBE Si GPAW-1.0"]
    assert calculation.input.potcar_type == ["PAW_PBE"]
    assert doc.orig_inputs.incar["ENCUT"] == 350
    assert [spec.titel for spec in doc.orig_inputs.potcar_spec] == ["PAW_PBE Si GPAW-1.0"]
    assert doc.entry.energy == pytest.approx(doc.output.energy)
    stored = doc.model_dump_json(exclude={"vasp_objects"})
    assert TaskDoc.model_validate_json(stored).output.energy == doc.output.energy


def test_task_document_of_a_magnet(tmp_path: Path) -> None:
    run = magnetic()
    doc = task_document(finished_folder(tmp_path, run), run)
    assert doc.state == TaskState.SUCCESS
    assert doc.input.is_lasph is False
    assert doc.calcs_reversed[0].input.parameters["ISPIN"] == 2
    assert list(doc.calcs_reversed[0].input.parameters["MAGMOM"]) == [2.0, -0.5]
    outcar = doc.calcs_reversed[0].output.outcar
    assert outcar["total_magnetization"] == pytest.approx(1.3)
    assert [site["tot"] for site in outcar["magnetization"]] == pytest.approx([1.8, -0.6])
    assert doc.calcs_reversed[0].output.mag_density == pytest.approx(1.3 / run.crystal.volume)
    assert doc.output.structure.site_properties["magmom"] == pytest.approx([1.8, -0.6])
    assert doc.output.bandgap == pytest.approx(0.475)


def test_task_document_of_a_metal_without_forces(tmp_path: Path) -> None:
    run = metal()
    doc = task_document(finished_folder(tmp_path, run), run)
    assert doc.state == TaskState.SUCCESS
    assert doc.output.bandgap == 0
    assert doc.calcs_reversed[0].output.is_metal is True
    assert doc.calcs_reversed[0].input.potcar == ["Cu", "Zn"]
    assert doc.calcs_reversed[0].output.efermi == pytest.approx(run.fermi_level)


def test_task_document_of_bands(tmp_path: Path) -> None:
    run = line_mode()
    finished_folder(tmp_path, run)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*POTCAR.*")
        doc = TaskDoc.from_directory(tmp_path, parse_bandstructure="line")
    assert doc.state == TaskState.SUCCESS
    assert str(doc.task_type).startswith("NSCF")
    assert doc.output.bandgap == pytest.approx(run.eigenvalues[0, :, 4].min() - 5.5)
    assert doc.calcs_reversed[0].output.num_electronic_steps == [6]
    bands = next(iter(doc.vasp_objects.values()))
    assert "X" in bands.labels_dict


def test_a_fixed_density_run_on_an_explicit_list_is_a_line_run(tmp_path: Path) -> None:
    run = replace(line_mode(), kpoint_scheme="explicit", divisions=None, line_ends=None)
    doc = task_document(finished_folder(tmp_path, run), run)
    assert str(doc.task_type) == "NSCF Line"


def test_an_unconverged_run_is_a_failed_task(tmp_path: Path) -> None:
    run = unconverged()
    finished_folder(tmp_path, run)
    with pytest.warns(UnconvergedVASPWarning):
        doc = task_document(tmp_path, run)
    assert doc.state == TaskState.FAILED
    assert doc.calcs_reversed[0].output.num_electronic_steps == [8]


@pytest.mark.parametrize("make", [silicon, metal, line_mode], ids=lambda make: make.__name__)
def test_custodian_finds_nothing_wrong(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Callable[[], Run]
) -> None:
    finished_folder(tmp_path, make())
    (tmp_path / "std_err.txt").touch()
    monkeypatch.chdir(tmp_path)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*POTCAR.*")
        for check in (VasprunXMLValidator(), VaspFilesValidator(), *DEFAULT_HANDLERS):
            assert not check.check(str(tmp_path)), check


def test_custodian_sees_a_missing_file_and_a_large_entropy(tmp_path: Path) -> None:
    run = silicon()
    hot = [
        replace(step, energy_without_entropy=step.free_energy + 0.5, energy_zero=step.free_energy)
        for step in run.steps
    ]
    finished_folder(tmp_path, replace(run, steps=hot))
    sigma = next(h for h in DEFAULT_HANDLERS if type(h).__name__ == "LargeSigmaHandler")
    assert sigma.check(str(tmp_path))
    (tmp_path / "OUTCAR").unlink()
    assert VaspFilesValidator().check(str(tmp_path))


def test_atomate2_can_start_the_next_job_from_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    previous, following = tmp_path / "previous", tmp_path / "following"
    previous.mkdir()
    following.mkdir()
    finished_folder(previous, silicon())
    for path in previous.glob("*.orig"):
        path.unlink()
    gzip_dir(previous)
    monkeypatch.chdir(following)
    copy_vasp_outputs(previous)
    names = {path.name for path in following.iterdir()}
    assert {"INCAR", "OUTCAR", "POSCAR", "POTCAR", "vasprun.xml"} <= names
    shutil.rmtree(previous)
