"""Run folders for gpaw-vasp, made from the crystals in test_files."""

from __future__ import annotations

from pathlib import Path

import pytest

CRYSTALS = Path(__file__).parents[2] / "test_files" / "crystals"

#: Gamma-centered meshes that converge these crystals well enough for laws to hold.
MESHES = {
    "Si": (4, 4, 4),
    "MgO": (4, 4, 4),
    "Cu": (8, 8, 8),
    "GaAs": (4, 4, 4),
    "TiO2": (3, 3, 4),
    "CaF2": (4, 4, 4),
}


@pytest.fixture
def run_folder(tmp_path):
    """A function that writes the inputs of one crystal, and returns the folder."""
    pytest.importorskip("gpaw", reason="needs the gpaw extra")
    from pymatgen.io.vasp.inputs import Incar, Kpoints, Poscar

    from mlcharge_flows.gpaw_vasp.potcar import potcar_text

    def make(name: str, folder: str = "run", kpoints=None, structure=None, **tags) -> Path:
        path = tmp_path / folder
        path.mkdir()
        poscar = Poscar(structure) if structure else Poscar.from_file(CRYSTALS / f"{name}.vasp")
        n_ions = len(poscar.structure)
        incar = {
            "SYSTEM": name,
            "ENCUT": 350,
            "PREC": "Normal",
            "EDIFF": 5e-5 * n_ions,
            "ISMEAR": 0,
            "SIGMA": 0.1,
            "ISTART": 0,
            "LMAXMIX": 4,
            "ISPIN": 1,
        } | tags
        Incar(incar).write_file(path / "INCAR")
        poscar.write_file(path / "POSCAR", significant_figures=16)
        (kpoints or Kpoints.gamma_automatic(MESHES[name])).write_file(path / "KPOINTS")
        text = "".join(potcar_text(symbol) for symbol in poscar.site_symbols)
        (path / "POTCAR").write_text(text)
        return path

    return make


@pytest.fixture
def gpaw_vasp(monkeypatch):
    """A function that runs the executable in a folder, within this process."""
    pytest.importorskip("gpaw", reason="needs the gpaw extra")
    from scipy import fft
    from typer.testing import CliRunner

    from mlcharge_flows.gpaw_vasp.command import app

    def run(folder: Path, *arguments: str):
        monkeypatch.chdir(folder)
        return CliRunner().invoke(app, arguments, catch_exceptions=False)

    yield run
    fft.set_global_backend("scipy")  # the executable may have chosen another


@pytest.fixture
def first_potential():
    """A function: the equations of a run folder, and the potential of its superposition."""
    pytest.importorskip("gpaw", reason="needs the gpaw extra")
    from mlcharge_flows.gpaw_vasp.inputs import read_inputs
    from mlcharge_flows.gpaw_vasp.kohn_sham import KohnSham

    def make(folder: Path):
        equations = KohnSham(read_inputs(folder))
        calculator = equations.builder.create_potential_calculator()
        equations.density.normalize(calculator.charge)
        potential, *_ = calculator.calculate(equations.density)
        return equations, equations.builder.create_scf_loop().hamiltonian, potential

    return make
