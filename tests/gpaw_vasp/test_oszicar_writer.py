from __future__ import annotations

import gzip
import re
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pymatgen.io.vasp import Oszicar
from synthetic_runs import electronic_steps

from mlcharge_flows.gpaw_vasp.oszicar import (
    OSZICAR_HEADER,
    OszicarWriter,
    format_final,
    format_step,
)
from mlcharge_flows.gpaw_vasp.result import ElectronicStep
from mlcharge_flows.vasp.oszicar import read_oszicar

if TYPE_CHECKING:
    from pathlib import Path

REAL = [
    "si2_aiida/OSZICAR",
    "si_relax_pair/OSZICAR.relax1.gz",
    "al/OSZICAR.gz",
    "si_nscf11/OSZICAR.gz",
]


def write(path: Path, steps: tuple[ElectronicStep, ...]) -> Path:
    with OszicarWriter(path) as oszicar:
        for step in steps:
            oszicar.write(step)
        oszicar.finish(steps[-1])
    return path


@pytest.mark.parametrize("name", REAL)
def test_columns_of_real_files_are_reproduced_to_the_byte(vasp_samples: Path, name: str) -> None:
    path = vasp_samples / name
    text = (
        gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
    ).decode()
    lines = text.splitlines()
    assert lines[0] == OSZICAR_HEADER
    checked = 0
    for line in lines:
        if not line.startswith("DAV:"):
            continue
        number, energy, change, band, operations, rms, *rms_c = line.removeprefix("DAV:").split()
        step = ElectronicStep(
            int(number),
            float(energy),
            float(energy),
            float(energy),
            float(change),
            float(band),
            int(operations),
            float(rms),
            float(rms_c[0]) if rms_c else None,
            0.0,
        )
        assert format_step(step) == line
        checked += 1
    assert checked


def test_the_closing_line_has_vasps_columns() -> None:
    energies = (-3.7445907, -3.7445903, -3.7445905)
    step = ElectronicStep(6, *energies, -5e-9, -5e-9, 22913, 1e-4, None, 1.0)
    real = "   1 F= -.37445907E+01 E0= -.37445905E+01  d E =-.400647E-06"
    assert re.sub(r"\d", "0", format_final(step)) == re.sub(r"\d", "0", real)
    assert format_final(step).startswith(real[:43])


def test_readers_get_back_what_went_in(tmp_path: Path) -> None:
    steps = electronic_steps()
    path = write(tmp_path / "OSZICAR", steps)

    theirs = Oszicar(path)
    assert [len(block) for block in theirs.electronic_steps] == [len(steps)]
    for read, step in zip(theirs.electronic_steps[0], steps, strict=True):
        assert read["N"] == step.number
        assert read["ncg"] == step.operations
        assert read["E"] == pytest.approx(step.free_energy, rel=1e-11)
        assert read["dE"] == pytest.approx(step.change, rel=1e-4)
        assert read["deps"] == pytest.approx(step.band_change, rel=1e-4)
        assert read["rms"] == pytest.approx(step.residual, rel=1e-2)
        assert ("rms(c)" in read) == (step.charge_residual is not None)
    assert theirs.final_energy == pytest.approx(steps[-1].energy_zero, rel=1e-7)
    assert theirs.ionic_steps[0]["F"] == pytest.approx(steps[-1].free_energy, rel=1e-7)
    assert theirs.ionic_steps[0]["dE"] == pytest.approx(-0.002, rel=1e-4)

    ours = read_oszicar(path).ionic_steps[0]
    assert ours.finished
    residuals = [step.rms_c for step in ours.steps]
    assert [r is None for r in residuals] == [step.charge_residual is None for step in steps]
    np.testing.assert_allclose([step.energy for step in ours.steps], [s.free_energy for s in steps])


def test_every_line_is_on_disk_as_soon_as_it_is_written(tmp_path: Path) -> None:
    path = tmp_path / "OSZICAR"
    with OszicarWriter(path) as oszicar:
        assert path.read_text() == OSZICAR_HEADER + "\n"
        for step in electronic_steps(2):
            oszicar.write(step)
            assert path.read_text().endswith(format_step(step) + "\n")


def test_a_count_beyond_its_column_stays_apart_from_its_neighbor(tmp_path: Path) -> None:
    step = ElectronicStep(1, -1.0, -1.0, -1.0, -1.0, -1.0, 1234567, 0.1, None, 0.1)
    assert Oszicar(write(tmp_path / "OSZICAR", (step,))).electronic_steps[0][0]["ncg"] == 1234567
