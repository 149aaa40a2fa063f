"""Tags that change what is computed, each in a real run of two silicon atoms."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

pytest.importorskip("gpaw", reason="needs the gpaw extra")

from pymatgen.core import Structure
from pymatgen.io.vasp.inputs import Kpoints
from pymatgen.io.vasp.outputs import BSVasprun, Vasprun

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.density import nmae
from mlcharge_flows.gpaw_vasp.errors import UnsupportedInputError
from mlcharge_flows.gpaw_vasp.execute import execute
from mlcharge_flows.vasp.chgcar import read_chgcar
from mlcharge_flows.vasp.chgcar_writer import write_chgcar
from mlcharge_flows.vasp.irreducible_kpoints import irreducible_kpoints

pytestmark = pytest.mark.gpaw


def energy(run):
    return run.steps[-1].energy_zero


def test_smearings_agree_on_an_insulator(run_folder):
    gaussian = execute(run_folder("MgO", "gaussian"))
    for ismear in (-5, -1, 1):
        run = execute(run_folder("MgO", f"ismear{ismear}", ISMEAR=ismear))
        assert energy(run) == pytest.approx(energy(gaussian), abs=2e-3)
        assert run.converged


@pytest.mark.parametrize("name", ["Si", "MgO"])
def test_a_fast_cycle_ends_at_the_same_density(name, run_folder):
    normal, fast = run_folder(name, "normal"), run_folder(name, "fast", ALGO="Fast", NELMDL=-2)
    runs = execute(normal), execute(fast)
    assert runs[1].converged
    ediff = runs[0].parameters["EDIFF"]
    assert runs[1].steps[-1].free_energy == pytest.approx(runs[0].steps[-1].free_energy, abs=ediff)
    first, second = (read_chgcar(folder / "CHGCAR") for folder in (normal, fast))
    # The superposition of atoms is 15 and 7 % away.
    assert nmae(second.total, first.total) < 0.1
    work = [sum(step.operations for step in run.steps) for run in runs]
    assert work[1] < 0.75 * work[0]
    assert fast.joinpath("vasprun.xml").read_text().count("Fast") > 0


def test_isif_0_leaves_the_stress_out(run_folder):
    folder = run_folder("Si", ISIF=0)
    run = execute(folder)
    assert run.stress is None
    np.testing.assert_allclose(run.forces, 0.0, atol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        last = Vasprun(folder / "vasprun.xml", parse_potcar_file=False).ionic_steps[-1]
    assert np.shape(last["forces"]) == (2, 3)
    assert "stress" not in last
    assert "in kB" not in (folder / "OUTCAR").read_text()


@pytest.mark.parametrize("ismear", [0, -5])
def test_density_of_states_counts_the_electrons(ismear, run_folder):
    run = execute(run_folder("Si", ISMEAR=ismear, NEDOS=2001))
    below = np.interp(run.fermi_level, run.dos_energies, run.integrated_dos[0])
    assert below == pytest.approx(8.0, abs=0.05)
    assert run.integrated_dos[0, -1] == pytest.approx(2 * run.parameters["NBANDS"], rel=1e-2)


def test_projections_are_weights(run_folder):
    folder = run_folder("MgO", LORBIT=11)
    run = execute(folder)
    assert run.projections.min() >= 0
    # The top of the valence band at Gamma is oxygen 2p, and triply degenerate.
    gamma = np.abs(run.kpoints).sum(axis=1).argmin()
    top = run.projections[0, gamma, run.occupations[0, gamma] > 0.5][-3:].sum(axis=0)
    np.testing.assert_allclose(top[1, 1:4], top[1, 1], rtol=1e-4)
    assert top[1, 1:4].sum() > 0.7 * top.sum()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        vasprun = Vasprun(
            folder / "vasprun.xml", parse_potcar_file=False, parse_projected_eigen=True
        )
    assert vasprun.projected_eigenvalues is not None
    assert vasprun.complete_dos.get_element_dos().keys() == set(run_elements(folder))


def run_elements(folder):
    from pymatgen.io.vasp.inputs import Poscar

    return set(Poscar.from_file(folder / "POSCAR", check_for_potcar=False).structure.elements)


def test_without_symmetry_the_energy_is_the_same(run_folder):
    mesh = Kpoints.gamma_automatic((3, 3, 3))
    with_symmetry = execute(run_folder("Si", "with", mesh))
    without = execute(run_folder("Si", "without", mesh, ISYM=0))
    assert len(without.kpoints) > len(with_symmetry.kpoints)
    assert energy(without) == pytest.approx(energy(with_symmetry), abs=1e-5)


def test_an_explicit_fine_grid_is_the_grid_of_the_chgcar(run_folder):
    folder = run_folder("Si", NGXF=40, NGYF=40, NGZF=40)
    execute(folder)
    assert read_chgcar(folder / "CHGCAR").shape == (40, 40, 40)


def test_kspacing_stands_in_for_kpoints(run_folder):
    folder = run_folder("Si", KSPACING=0.6)
    (folder / "KPOINTS").unlink()
    run = execute(folder)
    assert run.divisions == (4, 4, 4)


def test_bands_along_lines_from_a_chgcar(run_folder, tmp_path):
    first = run_folder("Si", "scf")
    scf = execute(first)
    lines = tmp_path / "lines"
    lines.write_text(
        "path\n6\nLine_mode\nReciprocal\n"
        "0.5 0.5 0.5 L\n0 0 0 \\Gamma\n\n0 0 0 \\Gamma\n0.5 0 0.5 X\n"
    )
    folder = run_folder("Si", "bands", kpoints=Kpoints.from_file(lines), ICHARG=11, NBANDS=10)
    write_chgcar(folder / "CHGCAR", read_chgcar(first / "CHGCAR"))
    run = execute(folder)
    assert len(run.kpoints) == 12
    np.testing.assert_allclose(run.eigenvalues[0, 5], run.eigenvalues[0, 6], atol=1e-4)
    gamma = scf.eigenvalues[0, np.abs(scf.kpoints).sum(axis=1) == 0][0]
    np.testing.assert_allclose(run.eigenvalues[0, 5, :4], gamma[:4], atol=1e-3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        vasprun = BSVasprun(folder / "vasprun.xml")
        bands = vasprun.get_band_structure(folder / "KPOINTS", line_mode=True)
    assert {branch["name"] for branch in bands.branches} == {"L-\\Gamma", "\\Gamma-X"}


def test_harris_energy_of_atoms_needs_no_chgcar(run_folder):
    run = execute(run_folder("Si", ICHARG=12))
    assert run.converged
    assert all(step.charge_residual is None for step in run.steps)


def test_tetrahedra_need_a_mesh(run_folder, tmp_path):
    lines = tmp_path / "lines"
    lines.write_text("path\n4\nLine_mode\nReciprocal\n0 0 0 \\Gamma\n0.5 0 0 X\n")
    with pytest.raises(UnsupportedInputError, match="ISMEAR"):
        execute(run_folder("Si", kpoints=Kpoints.from_file(lines), ISMEAR=-5, ICHARG=12))


def test_a_density_follows_ions_that_moved(run_folder):
    from pymatgen.io.vasp.inputs import Poscar

    first = run_folder("Si", "first")
    execute(first)
    structure = Poscar.from_file(first / "POSCAR", check_for_potcar=False).structure
    structure.translate_sites([1], [0.01, 0.0, 0.0])
    atoms = execute(run_folder("Si", "atoms", structure=structure))
    moved = run_folder("Si", "moved", structure=structure, ICHARG=1)
    write_chgcar(moved / "CHGCAR", read_chgcar(first / "CHGCAR"))
    run = execute(moved)
    assert energy(run) == pytest.approx(energy(atoms), abs=2e-4)
    assert run.steps[4].charge_residual < atoms.steps[4].charge_residual


def test_another_lattice_keeps_the_electrons_of_the_file(run_folder):
    """VASP takes rho * V as it stands, so the lattice in the header has no influence."""
    from dataclasses import replace

    from pymatgen.io.vasp.inputs import Poscar

    from mlcharge_flows.density.crystal import Crystal

    first = run_folder("Si", "first", NGXF=36, NGYF=36, NGZF=36)
    execute(first)
    density = read_chgcar(first / "CHGCAR")
    structure = Poscar.from_file(first / "POSCAR", check_for_potcar=False).structure
    structure.scale_lattice(structure.volume * 1.1)
    stretched = Crystal(
        structure.lattice.matrix, density.crystal.symbols, density.crystal.positions
    )
    ratio = density.crystal.volume / stretched.volume
    densities = {
        "of the file": density,
        "of the run": replace(density, crystal=stretched, total=density.total * ratio),
    }
    energies = []
    for name, given in densities.items():
        tags = {"ICHARG": 1, "NELM": 6, "NGXF": 36, "NGYF": 36, "NGZF": 36}
        folder = run_folder("Si", name, structure=structure, **tags)
        write_chgcar(folder / "CHGCAR", given)
        energies.append(execute(folder).steps[4].free_energy)
    assert energies[0] == pytest.approx(energies[1], abs=1e-6)


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"NBANDS": 4000}, "plane waves"),
        ({"ENCUT": 5.0}, "plane waves"),
        ({"NGX": 4, "NGY": 4, "NGZ": 4}, "does not hold the plane waves"),
    ],
)
def test_what_gpaw_cannot_set_up_is_refused_in_one_line(tags, reason, run_folder):
    with pytest.raises(UnsupportedInputError, match=reason) as refusal:
        execute(run_folder("Si", **tags))
    assert "\n" not in str(refusal.value)


def test_a_cell_without_a_gradient_is_refused(run_folder):
    # CuGeN2: mirror images of one lattice vector, in a cell that is not reduced.
    lattice = [
        [3.00351472, 0, 0],
        [4.6720302087677545, 2.4974290803099244, 0],
        [0, 0, 6.0],
    ]
    structure = Structure(lattice, ["Mg", "O"], [[0, 0, 0], [0, 0.5, 0.5]])
    mesh = Kpoints.gamma_automatic((1, 1, 1))
    with pytest.raises(UnsupportedInputError, match=r"POSCAR: GPAW has no gradient .* ISYM = 0"):
        execute(run_folder("MgO", structure=structure, kpoints=mesh))
    reduced = structure.get_reduced_structure("niggli")
    execute(run_folder("MgO", folder="reduced", structure=reduced, kpoints=mesh, NELM=1))
    execute(run_folder("MgO", folder="any", structure=structure, kpoints=mesh, NELM=1, ISYM=0))


def test_a_poscar_without_symbols_is_refused(run_folder):
    folder = run_folder("Si")
    lines = (folder / "POSCAR").read_text().splitlines()
    ions = [" ".join(line.split()[:3]) for line in lines[8:]]
    (folder / "POSCAR").write_text("\n".join(lines[:5] + lines[6:8] + ions) + "\n")
    with pytest.raises(UnsupportedInputError, match="POSCAR: no element symbols"):
        execute(folder)


def test_a_list_of_the_irreducible_points_gives_the_energy_of_their_mesh(run_folder):
    """A molecule along x in a cubic cell: stars of the lattice fall apart, weights differ."""
    molecule = Structure(3.5 * np.eye(3), ["H"] * 2, [[0.1, 0, 0], [-0.1, 0, 0]])
    mesh = irreducible_kpoints(Crystal.from_structure(molecule), (2, 2, 2))
    options = {"structure": molecule, "ENCUT": 200, "SIGMA": 0.2, "EDIFF": 1e-6}
    runs = [
        execute(run_folder("H2", folder, kpoints=kpoints, **options))
        for folder, kpoints in (
            ("mesh", Kpoints.gamma_automatic((2, 2, 2))),
            ("list", mesh.listed()),
        )
    ]
    assert not mesh.is_certain
    assert energy(runs[1]) == pytest.approx(energy(runs[0]), abs=1e-7)
    np.testing.assert_allclose(runs[1].forces, runs[0].forces, atol=1e-5)
