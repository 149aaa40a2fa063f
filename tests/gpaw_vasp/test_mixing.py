"""VASP's mixing: Kerker's preconditioner, conserved charge, Pulay's weights, the metric."""

import gzip
import re

import numpy as np
import pytest
from pymatgen.core import Lattice, Structure
from pymatgen.io.vasp.inputs import Kpoints

gpaw = pytest.importorskip("gpaw", reason="needs the gpaw extra")

from ase.units import Bohr  # noqa: E402
from gpaw.core import UGDesc  # noqa: E402

from mlcharge_flows.gpaw_vasp.execute import execute  # noqa: E402
from mlcharge_flows.gpaw_vasp.inputs import read_inputs  # noqa: E402
from mlcharge_flows.gpaw_vasp.kohn_sham import KohnSham  # noqa: E402
from mlcharge_flows.gpaw_vasp.mixing import (  # noqa: E402
    FRACTION_BEYOND_MESH,
    kerker_preconditioner,
    metric_weights,
    mixing_mesh,
    pulay_weights,
)

AMIX, BMIX, AMIN = 0.4, 1.0, 0.1

#: VASP's fraction of the residual beyond the mixing mesh; written out, so that a change is seen.
BEYOND = 0.8

#: rms(total) and rms(broyden) of the first steps of a public run (Si2, ICHARG = 0; atomate,
#: modified BSD licence): the mesh holds the second, so that the rest lies beyond it.
REAL_RESIDUALS = [
    (0.20751e1, 0.20675e1),
    (0.12379e1, 0.12374e1),
    (0.91041e-1, 0.90764e-1),
    (0.57022e-1, 0.57004e-1),
]


@pytest.fixture
def salt(run_folder):
    """MgO with its superposition of atoms, and a mixer that has just seen it."""
    solver = KohnSham(read_inputs(run_folder("MgO")))
    solver.density.normalize(0.0)
    mixer = solver.builder.create_mixer()
    assert mixer.mix(solver.density) == np.inf
    return solver, mixer


def charge(solver, mixer):
    """Charge density with its compensation charges, shape (nx, ny, nz), electrons/bohr^3."""
    density = solver.density
    return mixer.add_compensation_charge(density.nt_sR, density.D_asii, density).data[0].copy()


def disturb(density, rng, size):
    """Change smooth density and density matrices, as the output of a step does."""
    density.nt_sR.data += size * rng.normal(size=density.nt_sR.data.shape)
    for matrix in density.D_asii.values():
        change = size * rng.normal(size=matrix.shape)
        matrix += change + change.transpose(0, 2, 1)


def test_large_g_takes_amix_and_small_g_a_tenth_of_it():
    fraction = kerker_preconditioner(np.array([0.0, 0.1, BMIX, 100.0]), AMIX, BMIX, AMIN)
    assert fraction == pytest.approx([0.04, 0.04, 0.2, 0.4], abs=1e-4)
    assert kerker_preconditioner(np.array([0.0, 0.1]), AMIX, 0.0, AMIN) == pytest.approx(
        [0.04, 0.4]
    )


def test_the_first_step_preconditions_the_residual(salt):
    solver, mixer = salt
    before, matrices = charge(solver, mixer), solver.density.D_asii.data.copy()
    smooth = solver.density.nt_sR.data[0].copy()
    disturb(solver.density, np.random.default_rng(0), 0.01)
    output, moved = charge(solver, mixer), solver.density.D_asii.data.copy()
    smooth_output = solver.density.nt_sR.data[0].copy()
    mixer.mix(solver.density)
    step = np.fft.fftn(charge(solver, mixer) - before)
    residual = np.fft.fftn(output - before)
    smooth_step = np.fft.fftn(solver.density.nt_sR.data[0] - smooth)
    smooth_residual = np.fft.fftn(smooth_output - smooth)
    reciprocal = solver.inputs.crystal.reciprocal
    for g in [(0, 0, 0), (1, 0, 0), (0, -1, 1), (2, 3, -1), (-4, 4, 0), (4, 4, 4)]:
        length = np.linalg.norm(np.array(g) @ reciprocal)
        fraction = AMIX * max(length**2 / (length**2 + BMIX**2), AMIN)
        assert step[g] == pytest.approx(fraction * residual[g], abs=1e-9)
    for g in [(5, 0, 0), (-5, 4, 0), (0, 0, -6), (5, 5, 5)]:
        assert smooth_step[g] == pytest.approx(BEYOND * smooth_residual[g], abs=1e-9)
    assert solver.density.D_asii.data == pytest.approx(matrices + AMIX * (moved - matrices))


def test_the_magnetization_has_its_own_preconditioner(run_folder):
    solver = KohnSham(read_inputs(run_folder("MgO", ISPIN=2, MAGMOM=[0.5, 0.5])))
    solver.density.normalize(0.0)
    mixer = solver.builder.create_mixer()
    mixer.mix(solver.density)

    def parts():
        charges = mixer.add_compensation_charge(
            solver.density.nt_sR, solver.density.D_asii, solver.density
        ).data
        return [np.fft.fftn(part) for part in (charges[0] + charges[1], charges[0] - charges[1])]

    before = parts()
    disturb(solver.density, np.random.default_rng(0), 0.01)
    output = parts()
    mixer.mix(solver.density)
    reciprocal = solver.inputs.crystal.reciprocal
    for part, amix in enumerate((AMIX, 1.6)):
        step, residual = (values[part] - before[part] for values in (parts(), output))
        for g in [(0, 0, 0), (1, 0, 0), (2, 3, -1), (4, 4, 4)]:
            length = np.linalg.norm(np.array(g) @ reciprocal)
            fraction = amix * max(length**2 / (length**2 + BMIX**2), AMIN)
            if part and g == (0, 0, 0):  # as the shortest other G, which is (1, 1, 1) here
                shortest = np.linalg.norm([1, 1, 1] @ reciprocal) ** 2
                fraction = amix * shortest / (shortest + BMIX**2)
                assert fraction > 5 * amix * AMIN
            assert step[g] == pytest.approx(fraction * residual[g], abs=1e-9)
    assert mixer.weights[1].max() == mixer.weights[1][0, 0, 0] == 1


def test_beyond_the_mesh_mixing_is_linear_whatever_the_history(salt):
    solver, mixer = salt
    rng = np.random.default_rng(3)
    for _ in range(3):
        smooth = solver.density.nt_sR.data[0].copy()
        disturb(solver.density, rng, 0.01)
        residual = np.fft.fftn(solver.density.nt_sR.data[0] - smooth)
        mixer.mix(solver.density)
        step = np.fft.fftn(solver.density.nt_sR.data[0] - smooth)
        assert step[5, 1, 2] == pytest.approx(BEYOND * residual[5, 1, 2], abs=1e-9)
        assert step[1, 2, -5] == pytest.approx(BEYOND * residual[1, 2, -5], abs=1e-9)


def test_the_smallest_g_weighs_twenty_times_the_largest():
    weights = metric_weights(np.array([0.0, 0.7, 1.4, 9.0]))
    assert weights[0] == 0
    assert weights[[1, 3]] == pytest.approx([20, 1])
    inverse_squares = np.array([0.7, 1.4, 9.0]) ** -2  # 1 + q1^2 / G^2: on a line over 1 / G^2
    slopes = np.diff(weights[1:]) / np.diff(inverse_squares)
    assert slopes[0] == pytest.approx(slopes[1])
    few = metric_weights(np.array([2.0, 4.0]))  # cannot be as steep: 1 / G^2
    assert few == pytest.approx([4, 1])


def outcar(path):
    """A public OUTCAR of the samples, as text."""
    return gzip.decompress(path.read_bytes()).decode()


def outcar_lattice(text):
    """Lattice vectors of the first geometry, in angstrom."""
    rows = text[text.index("direct lattice vectors") :].splitlines()[1:4]
    return np.array([[float(x) for x in row.split()[:3]] for row in rows])


@pytest.mark.parametrize(
    "name", ["si2_aiida", "si_static_icharg0", "si_g0w0_static", "lih"], ids=lambda name: name
)
def test_the_mesh_is_as_large_as_in_real_runs(vasp_samples, name):
    text = outcar(vasp_samples / f"{name}/OUTCAR.gz")
    mesh = re.search(r"mesh for mixing.*\n\s+NGX =\s*(\d+)\s+NGY =\s*(\d+)\s+NGZ =\s*(\d+)", text)
    fine = re.search(r"\(NGX  =\s*(\d+)\s+NGY  =\s*(\d+)\s+NGZ  =\s*(\d+)\)", text)
    encut = float(re.search(r"ENCUT  =\s*(\S+) eV", text).group(1))
    grid = UGDesc.from_cell_and_grid_spacing(outcar_lattice(text) / Bohr, 1.0).new(
        size=[int(n) for n in fine.groups()]
    )
    inside = mixing_mesh(grid, encut)
    nx, ny, nz = (int(n) for n in mesh.groups())
    assert inside.sum() == nx * ny * (nz + 1) // 2
    assert inside[:, 0, 0].sum() == nx


def decay_beyond_the_mesh(pairs):
    """Ratios of successive residuals beyond the mesh, from rms(total) and rms(broyden)."""
    beyond = [np.sqrt(total**2 - mixed**2) for total, mixed in pairs]
    return np.array(beyond[1:]) / beyond[:-1]


def test_components_beyond_the_mesh_decay_as_in_a_real_run():
    """They fall fivefold per step; AMIX is 0.4 there, and Pulay's steps differ in size."""
    assert decay_beyond_the_mesh(REAL_RESIDUALS) == pytest.approx(
        1 - FRACTION_BEYOND_MESH, abs=0.01
    )


def test_the_residuals_are_those_of_the_real_run(vasp_samples):
    text = outcar(vasp_samples / "si_static_icharg0/OUTCAR.gz")
    pairs = re.findall(r"rms\(total\) = (\S+)\s+rms\(broyden\)= (\S+)", text)[:4]
    assert [(float(total), float(mixed)) for total, mixed in pairs] == REAL_RESIDUALS


@pytest.mark.parametrize(
    ("path", "steps", "output"),
    [("si_relax_pair/OUTCAR.relax1.gz", 5, 0.0), ("no_spin_relax/OUTCAR.gz", 5, 1.0)],
    ids=["Si2", "NO"],
)
def test_the_total_moment_is_mixed_as_in_real_runs(vasp_samples, path, steps, output):
    """It takes the fraction of the shortest G: silicon's orbitals have no moment, those of NO one.

    The number behind the electrons is the moment of the density after mixing: it stays at that of
    MAGMOM in steps of fixed density, and in the last step, which does not mix.
    """
    text = outcar(vasp_samples / path)
    moments = [float(m) for m in re.findall(r"number of electron .*magnetization\s+(\S+)", text)]
    assert set(moments[:steps]) == {moments[0]}
    lattice = outcar_lattice(text)
    indices = np.array([g for g in np.ndindex(3, 3, 3) if any(g)]) - 1
    lengths = np.linalg.norm(indices @ (2 * np.pi * np.linalg.inv(lattice).T), axis=1)
    shortest = lengths[lengths > 0].min(keepdims=True)
    (fraction,) = kerker_preconditioner(shortest, 1.6, BMIX, AMIN)
    assert moments[steps] == pytest.approx(moments[0] + fraction * (output - moments[0]), abs=1e-6)


def test_the_number_of_electrons_stays(salt):
    solver, mixer = salt
    rng = np.random.default_rng(1)
    electrons = charge(solver, mixer).sum()
    for size in (0.02, 0.01, 0.005):
        disturb(solver.density, rng, size)
        excess = charge(solver, mixer).sum() - electrons
        solver.density.nt_sR.data -= excess / solver.density.nt_sR.data.size  # outputs are neutral
        mixer.mix(solver.density)
        assert charge(solver, mixer).sum() == pytest.approx(electrons, rel=1e-10)


def test_a_solution_stays_where_it_is(salt):
    solver, mixer = salt
    before = solver.density.nt_sR.data.copy()
    assert mixer.mix(solver.density) == 0
    assert solver.density.nt_sR.data == pytest.approx(before, abs=1e-14)


def test_pulay_weights_are_the_shortest_sum():
    rng = np.random.default_rng(2)
    residuals = list(rng.normal(size=(4, 30)))
    weights = pulay_weights(residuals, residuals)
    assert weights.sum() == pytest.approx(1)
    shortest = np.linalg.norm(weights @ residuals)
    for _ in range(50):
        other = rng.normal(scale=0.1, size=4)
        assert np.linalg.norm((weights + other - other.mean()) @ residuals) > shortest


@pytest.mark.gpaw
@pytest.mark.slow
def test_silicon_converges_as_with_vasp(run_folder):
    """A public run of VASP: ten steps, the first mixing leaves 0.61 of the residual.

    Two atoms off their sites, ENCUT 240 eV, EDIFF 1e-4 eV (aiida-vasp's test data, MIT).
    """
    half = 2.75
    lattice = Lattice([[0, half, half], [half, 0, half], [half, half, 0]])
    silicon = Structure(lattice, ["Si", "Si"], [[0.875] * 3, [0.13, 0.13, 0.12]])
    folder = run_folder(
        "Si", kpoints=Kpoints.gamma_automatic((6, 6, 6)), structure=silicon, ENCUT=240, EDIFF=1e-4
    )
    execute(folder)
    steps = [line for line in (folder / "OSZICAR").read_text().splitlines() if "DAV:" in line]
    assert len(steps) == 10
    numbers = [[float(x) for x in re.findall(r"-?\d\.\d+E[+-]\d+", line)] for line in steps]
    residuals = [row[-1] for row in numbers[4:6]]
    assert residuals[1] / residuals[0] == pytest.approx(0.317 / 0.519, abs=0.05)
    # dE of steps 6 to 8 and 10: VASP's are 0.109, 0.051, -0.00104, -0.000024 eV.
    changes = [numbers[i][1] for i in (5, 6, 7, 9)]
    assert changes == pytest.approx([0.109, 0.051, -0.00104, -0.000024], rel=0.5)
