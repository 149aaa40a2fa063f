"""Laws of spin-polarized runs: swapped spins, no moments, given moments, what files hold."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("gpaw", reason="needs the gpaw extra")

from pymatgen.core import Lattice, Structure
from pymatgen.electronic_structure.core import Spin
from pymatgen.io.vasp import Chgcar, Kpoints, Oszicar, Outcar, Vasprun, Wavecar
from pymatgen.io.vasp.outputs import Eigenval

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.density import Magnetization
from mlcharge_flows.gpaw_vasp.errors import UnsupportedInputError
from mlcharge_flows.gpaw_vasp.execute import execute
from mlcharge_flows.gpaw_vasp.magnetism import initial_moments, symmetrized
from mlcharge_flows.vasp.chgcar import read_chgcar
from mlcharge_flows.vasp.chgcar_writer import write_chgcar
from mlcharge_flows.vasp.fortran import parse_floats

pytestmark = pytest.mark.gpaw

MESH = Kpoints.gamma_automatic((3, 3, 3))
QUICK = {"ENCUT": 250, "EDIFF": 1e-5, "ISPIN": 2, "LORBIT": 11}


def bcc(n_ions: int) -> Structure:
    """Iron: one ion, or two whose moments may differ."""
    if n_ions == 1:
        cell = 1.415 * (np.ones((3, 3)) - 2 * np.eye(3))
        return Structure(Lattice(cell), ["Fe"], [[0, 0, 0]])
    return Structure(Lattice.cubic(2.83), ["Fe", "Fe"], [[0, 0, 0], [0.5, 0.5, 0.5]])


@pytest.fixture
def iron(run_folder):
    """A function that computes ferromagnetic iron and returns its folder and run."""

    def compute(name="iron", n_ions=1, mesh=MESH, **tags):
        folder = run_folder(
            "Fe", name, kpoints=mesh, structure=bcc(n_ions), **(QUICK | {"MAGMOM": [2.3]} | tags)
        )
        return folder, execute(folder)

    return compute


def test_moments_have_vasps_forms_and_defaults():
    assert initial_moments({"ISPIN": 2}, 2).tolist() == [1, 1]
    assert initial_moments({"ISPIN": 2, "NUPDOWN": 4}, 2).tolist() == [2, 2]
    assert initial_moments({"ISPIN": 2, "NUPDOWN": -1}, 2).tolist() == [1, 1]
    assert initial_moments({"ISPIN": 1, "MAGMOM": [1.0]}, 2).tolist() == [0, 0]


@pytest.mark.parametrize("moments", [[1.0], [1.0] * 3, [1.0, True], [1.0, float("inf")]])
def test_moments_that_make_no_sense_are_refused(moments):
    with pytest.raises(UnsupportedInputError, match="MAGMOM"):
        initial_moments({"ISPIN": 2, "MAGMOM": moments}, 2)


def test_swapped_spins_reverse_the_moment_and_keep_the_energy(iron):
    _, up = iron("up")
    _, down = iron("down", MAGMOM=[-2.3])
    assert up.steps[-1].magnetization > 1.5
    assert down.steps[-1].magnetization == pytest.approx(-up.steps[-1].magnetization, abs=1e-6)
    assert len(down.steps) == len(up.steps)
    assert down.steps[-1].free_energy == pytest.approx(up.steps[-1].free_energy, abs=1e-7)
    np.testing.assert_allclose(down.eigenvalues, up.eigenvalues[::-1], atol=1e-5)
    np.testing.assert_allclose(down.site_moments, -up.site_moments, atol=1e-6)


def test_files_hold_both_spins(iron):
    folder, run = iron()
    moment = run.steps[-1].magnetization
    assert Oszicar(folder / "OSZICAR").ionic_steps[-1]["mag"] == pytest.approx(moment, abs=1e-4)
    outcar = Outcar(folder / "OUTCAR")
    assert outcar.spin
    # As in VASP, OSZICAR has the moment of the orbitals, OUTCAR and CHGCAR that of the density.
    of_density = run.steps[-1].density_moment
    assert of_density == pytest.approx(moment, abs=3e-3)
    assert outcar.total_mag == pytest.approx(of_density, abs=1e-6)
    site = outcar.magnetization[0]
    assert site["tot"] == pytest.approx(moment, abs=0.15)
    assert site["d"] == pytest.approx(site["tot"], abs=0.1)
    vasprun = Vasprun(folder / "vasprun.xml", parse_potcar_file=False, parse_projected_eigen=True)
    assert vasprun.is_spin
    assert list(vasprun.parameters["MAGMOM"]) == [2.3]
    for spin, values in zip((Spin.up, Spin.down), run.eigenvalues, strict=True):
        np.testing.assert_allclose(vasprun.eigenvalues[spin][..., 0], values, atol=1e-7)
        eigenvalues = Eigenval(folder / "EIGENVAL").eigenvalues[spin]
        np.testing.assert_allclose(eigenvalues[..., 0], values, atol=1e-6)
        assert vasprun.projected_eigenvalues[spin].shape == (*values.shape, 1, 9)
    dos = vasprun.tdos.densities
    assert not np.allclose(dos[Spin.up], dos[Spin.down])
    lines = (folder / "DOSCAR").read_text().splitlines()[6:307]
    table = np.array([parse_floats(line.encode())[:3] for line in lines])
    np.testing.assert_allclose(table[:, 1], dos[Spin.up], rtol=1e-3, atol=1e-6)
    np.testing.assert_allclose(table[:, 2], dos[Spin.down], rtol=1e-3, atol=1e-6)
    orbitals = Wavecar(folder / "WAVECAR")
    assert (orbitals.spin, orbitals.nk, orbitals.nb) == run.eigenvalues.shape
    chgcar = Chgcar.from_file(folder / "CHGCAR")
    assert chgcar.is_spin_polarized
    assert chgcar.data["diff"].mean() == pytest.approx(of_density, abs=1e-5)
    assert read_chgcar(folder / "CHGCAR").magnetization.moments.tolist() == [2.3]


@pytest.mark.slow
def test_own_density_ends_at_the_floor_with_its_moments(iron, run_folder):
    mesh = Kpoints.gamma_automatic((4, 4, 4))
    folder, run = iron(mesh=mesh, EDIFF=5e-5)
    again = run_folder(
        "Fe", "again", kpoints=mesh, structure=bcc(1), **(QUICK | {"ICHARG": 1, "EDIFF": 5e-5})
    )
    (again / "CHGCAR").write_bytes((folder / "CHGCAR").read_bytes())
    restarted = execute(again)
    assert "magnetization density read from file 1" in restarted.messages
    assert len(restarted.steps) <= 7
    assert restarted.steps[-1].magnetization == pytest.approx(run.steps[-1].magnetization, abs=0.01)
    assert restarted.steps[-1].free_energy == pytest.approx(run.steps[-1].free_energy, abs=1e-4)


def test_the_density_is_written_as_it_is_read(run_folder):
    """One fixed-density run writes no file, so that the conversions are compared directly."""
    from mlcharge_flows.gpaw_vasp.initial_density import initial_density
    from mlcharge_flows.gpaw_vasp.inputs import read_inputs
    from mlcharge_flows.gpaw_vasp.kohn_sham import KohnSham

    folder = run_folder(
        "Fe", kpoints=MESH, structure=bcc(2), MAGMOM=[2.0, -1.0], **(QUICK | {"ISYM": 0})
    )
    inputs = read_inputs(folder)
    density, _ = initial_density(folder, inputs)
    assert density.magnetization.grid.mean() * density.crystal.volume == pytest.approx(1.0)
    solver = KohnSham(inputs)
    solver.converter.to_gpaw(density, solver.density)
    back = solver.converter.from_gpaw(solver.density, 4, "x", inputs.moments)
    moments = back.magnetization
    np.testing.assert_allclose(
        np.concatenate(moments.augmentation),
        np.concatenate(density.magnetization.augmentation),
        atol=1e-12,
    )
    # GPAW's grid is coarser than VASP's fine one: its Fourier components come back.
    coarse = np.fft.rfftn(moments.grid - density.magnetization.grid)[:6, :6, :6]
    assert np.abs(coarse).max() < 1e-6 * np.abs(np.fft.rfftn(density.magnetization.grid)).max()


@pytest.mark.slow
def test_antiparallel_moments_stay_so_and_equivalent(iron):
    _, run = iron(n_ions=2, mesh=Kpoints.gamma_automatic((2, 2, 2)), MAGMOM=[2.0, -2.0], NELM=9)
    assert run.steps[-1].magnetization == pytest.approx(0.0, abs=1e-2)
    first, second = run.site_moments.sum(axis=1)
    assert first > 0.5
    assert second == pytest.approx(-first, abs=1e-2)


def oxide(run_folder, name, **tags):
    """FeO with antiparallel irons, the inversion of whose cell does not exchange them."""
    structure = Structure(
        Lattice(4.3 * (np.ones((3, 3)) + np.eye(3)) / 2),
        ["Fe", "Fe", "O", "O"],
        [[0.25] * 3, [0.75] * 3, [0] * 3, [0.5] * 3],
    )
    gamma = Kpoints.gamma_automatic((1, 1, 1))
    return run_folder("Fe", name, kpoints=gamma, structure=structure, **(QUICK | tags))


def test_symmetry_removes_moments_that_magmom_does_not_name(run_folder):
    first = oxide(run_folder, "first", MAGMOM=[2.0, -2.0, 0, 0], NELM=6)
    assert np.abs(execute(first).site_moments).max() > 1
    again = oxide(run_folder, "again", ICHARG=11, NELM=6)
    (again / "CHGCAR").write_bytes((first / "CHGCAR").read_bytes())
    assert np.abs(execute(again).site_moments).max() < 1e-3


@pytest.mark.slow
def test_translations_remove_moments_that_magmom_does_not_name(run_folder, capsys):
    """Ions of bcc iron are equivalent by a translation, which GPAW does not know."""
    gamma = Kpoints.gamma_automatic((1, 1, 1))
    tags = QUICK | {"NELM": 6, "NBANDS": 24}
    first = run_folder("Fe", "a", kpoints=gamma, structure=bcc(2), **tags, MAGMOM=[2.0, -2.0])
    before = execute(first)
    kept = run_folder(
        "Fe", "b", kpoints=gamma, structure=bcc(2), **tags, ICHARG=11, MAGMOM=[2.0, -2.0]
    )
    lost = run_folder("Fe", "c", kpoints=gamma, structure=bcc(2), **tags, ICHARG=11)
    for folder in (kept, lost):
        (folder / "CHGCAR").write_bytes((first / "CHGCAR").read_bytes())
    after = execute(kept)
    np.testing.assert_allclose(after.site_moments, before.site_moments, atol=5e-3)
    assert np.abs(execute(lost).site_moments).max() < 1e-3
    (lost / "INCAR").write_text((lost / "INCAR").read_text() + "\nISYM = 0\n")
    assert np.abs(execute(lost).site_moments).max() > 0.5


def test_grid_and_occupancies_turn_by_the_same_operations():
    """Ions along a three-fold screw axis, of which one has a moment: all get a third of it."""
    lattice = Lattice.hexagonal(4.0, 6.0).matrix
    sites = np.array([[0.45, 0.0, 0.0], [0.0, 0.45, 1 / 3], [0.55, 0.55, 2 / 3]])
    crystal = Crystal(np.array(lattice), ("Se",) * 3, sites)
    shape = (20, 20, 30)
    points = np.stack(np.meshgrid(*(np.arange(n) / n for n in shape), indexing="ij"), -1)
    apart = points - sites[0]
    distance = np.linalg.norm((apart - apart.round()) @ lattice, axis=-1)
    one = Magnetization(np.exp(-(distance**2)), (np.ones(1), np.zeros(1), np.zeros(1)), np.zeros(3))
    mean = symmetrized(one, crystal, [(0,)] * 3, None)
    np.testing.assert_allclose(mean.augmentation, 1 / 3, atol=1e-12)
    at_sites = [mean.grid[tuple(np.rint(site * shape).astype(int) % shape)] for site in sites]
    np.testing.assert_allclose(at_sites, 1 / 3, atol=1e-2)


def test_a_symmetric_magnetization_stays_as_it_is():
    """Two chromium ions of rutile, equivalent by a screw axis, with equal moments."""
    rutile = Crystal(
        np.diag([4.4, 4.4, 2.9]), ("Cr", "Cr"), np.array([[0.0, 0.0, 0.0], [0.5, 0.5, 0.5]])
    )
    wave = np.cos(2 * np.pi * np.arange(8) / 8)
    field = wave[:, None, None] * wave[:, None] * np.ones(8)
    magnetization = Magnetization(1 + field, (np.arange(3.0),) * 2, np.ones(2))
    mean = symmetrized(magnetization, rutile, [(0, 0)] * 2, None)
    np.testing.assert_allclose(mean.grid, magnetization.grid, atol=1e-12)
    np.testing.assert_allclose(mean.augmentation, magnetization.augmentation, atol=1e-12)
    opposite = Magnetization(field, (np.arange(3.0), -np.arange(3.0)), np.ones(2))
    np.testing.assert_allclose(
        symmetrized(opposite, rutile, [(0, 0)] * 2, None).augmentation, 0, atol=1e-12
    )
    kept = symmetrized(opposite, rutile, [(0, 0)] * 2, np.array([[1.0], [-1.0]]))
    np.testing.assert_allclose(kept.augmentation, opposite.augmentation, atol=1e-12)


@pytest.mark.slow
def test_a_density_without_spin_takes_the_moments_of_magmom(run_folder, capsys):
    plain = run_folder("Fe", "plain", kpoints=MESH, structure=bcc(1), ENCUT=250, NELM=6)
    execute(plain)
    folder = run_folder(
        "Fe", "spin", kpoints=MESH, structure=bcc(1), **(QUICK | {"ICHARG": 1, "MAGMOM": [2.3]})
    )
    (folder / "CHGCAR").write_bytes((plain / "CHGCAR").read_bytes())
    run = execute(folder)
    assert "magnetization density of overlapping atoms calculated" in capsys.readouterr().out
    assert run.steps[-1].magnetization > 1.5


@pytest.mark.parametrize("moments", [pytest.param([0.6, 0.6], marks=pytest.mark.slow), [0.0, 0.0]])
def test_silicon_with_two_spins_is_silicon(run_folder, moments, capsys):
    tags = {"ENCUT": 250, "EDIFF": 1e-6, "LORBIT": 11, "NBANDS": 8}
    mesh = Kpoints.gamma_automatic((2, 2, 2))
    one = execute(run_folder("Si", "one", kpoints=mesh, **tags))
    folder = run_folder("Si", "two", kpoints=mesh, **(tags | {"ISPIN": 2, "MAGMOM": moments}))
    two = execute(folder)
    assert two.steps[-1].magnetization == pytest.approx(0.0, abs=1e-3)
    assert two.steps[-1].free_energy == pytest.approx(one.steps[-1].free_energy, abs=2e-4)
    assert two.eigenvalues.shape == (2, *one.eigenvalues.shape[1:])
    said = "one spin is computed for both" in capsys.readouterr().out
    assert said == (moments == [0.0, 0.0])
    if said:
        assert len(two.steps) == len(one.steps)
        np.testing.assert_array_equal(two.eigenvalues[0], one.eigenvalues[0])
    assert Outcar(folder / "OUTCAR").spin
    assert two.integrated_dos[:, -1].sum() == pytest.approx(one.integrated_dos[0, -1], rel=1e-6)
    assert read_chgcar(folder / "CHGCAR").magnetization.moments.tolist() == moments


def test_the_first_mixing_moves_silicons_moment_as_in_vasp(run_folder):
    """A public run of VASP prints -0.3372302 after it (Si2, MAGMOM = 2*0.6; atomate's tests).

    Its orbitals have no moment, so that the fraction is that of the mixer, whatever ENCUT.
    """
    lattice = [[3.325489, 0, 1.919972], [1.108496, 3.135301, 1.919972], [0, 0, 3.839943]]
    silicon = Structure(Lattice(lattice), ["Si", "Si"], [[0.875] * 3, [0.125] * 3])
    tags = {"ISPIN": 2, "MAGMOM": [0.6, 0.6], "ENCUT": 250, "SIGMA": 0.02, "NELM": 5}
    mesh = Kpoints.gamma_automatic((2, 2, 2))
    folder = run_folder("Si", kpoints=mesh, structure=silicon, **tags)
    execute(folder)
    lines = (folder / "OUTCAR").read_text().splitlines()
    moments = [float(line.split()[-1]) for line in lines if "number of electron " in line]
    assert moments == pytest.approx([1.2] * 5 + [-0.3372302], abs=1e-5)


@pytest.mark.slow
def test_moments_that_are_not_there_vanish_soon(run_folder):
    """They took 28 steps where the total moment was mixed by AMIN times AMIX_MAG."""
    tags = {"ENCUT": 250, "NBANDS": 8, "ISPIN": 2, "MAGMOM": [0.6, 0.6]}
    first = run_folder("Si", "first", **tags)
    execute(first)
    density = replace(read_chgcar(first / "CHGCAR"), magnetization=None)
    again = run_folder("Si", "again", **tags, ICHARG=1)
    write_chgcar(again / "CHGCAR", density)
    run = execute(again)
    assert len(run.steps) <= 10
    assert run.steps[-1].magnetization == pytest.approx(0.0, abs=1e-3)


def test_a_fixed_moment_is_kept(iron):
    _, run = iron(NUPDOWN=3.0, NELM=7)
    assert [step.magnetization for step in run.steps] == pytest.approx([3.0] * len(run.steps))


@pytest.mark.parametrize(
    ("tags", "match"),
    [({"NUPDOWN": 40}, "NUPDOWN"), ({"NUPDOWN": 2, "ISMEAR": -5}, "NUPDOWN")],
)
def test_fixed_moments_that_cannot_be_are_refused(run_folder, tags, match):
    folder = run_folder("Fe", kpoints=MESH, structure=bcc(1), **QUICK, **tags)
    with pytest.raises(UnsupportedInputError, match=match):
        execute(folder)


def test_a_magnetization_that_vasp_cannot_use_is_refused(iron, run_folder):
    folder, _ = iron(NELM=6)
    whole = (folder / "CHGCAR").read_text()
    again = run_folder("Fe", "again", kpoints=MESH, structure=bcc(1), **(QUICK | {"ICHARG": 1}))
    (again / "CHGCAR").write_text(whole[: int(0.8 * len(whole))])
    with pytest.raises(UnsupportedInputError, match=r"CHGCAR: .* VASP can hang"):
        execute(again)
    density = read_chgcar(folder / "CHGCAR")
    short = tuple(values[:-1] for values in density.magnetization.augmentation)
    wrong = replace(density.magnetization, augmentation=short)
    write_chgcar(again / "CHGCAR", replace(density, magnetization=wrong))
    with pytest.raises(UnsupportedInputError, match=r"CHGCAR: the magnetization has"):
        execute(again)


def test_f_electrons_have_columns_of_their_own(run_folder):
    structure = Structure(Lattice(2.5 * (1 - np.eye(3))), ["Gd", "N"], [[0, 0, 0], [0.5, 0.5, 0.5]])
    gamma = Kpoints.gamma_automatic((1, 1, 1))
    tags = QUICK | {"MAGMOM": [7, 0], "LMAXMIX": 6, "NELM": 6, "NBANDS": 24}
    folder = run_folder("Fe", "gdn", kpoints=gamma, structure=structure, **tags)
    run = execute(folder)
    assert run.steps[-1].magnetization == pytest.approx(7.0, abs=0.2)
    site = Outcar(folder / "OUTCAR").magnetization[0]
    assert site["f"] > 5
    assert site["f"] == pytest.approx(run.site_moments[0, 3], abs=1e-3)
    assert run.projections.shape[-1] == 16
    vasprun = Vasprun(folder / "vasprun.xml", parse_potcar_file=False, parse_projected_eigen=True)
    assert vasprun.projected_eigenvalues[Spin.up].shape[-1] == 16
    assert len(read_chgcar(folder / "CHGCAR").magnetization.augmentation[0]) == 390
