"""WAVECAR and ISTART: what a run writes, and what a run that begins from it does and prints."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("gpaw", reason="needs the gpaw extra")

from pymatgen.io.vasp.inputs import Kpoints, Poscar
from pymatgen.io.vasp.outputs import Wavecar

from mlcharge_flows.gpaw_vasp.errors import UnsupportedInputError
from mlcharge_flows.gpaw_vasp.execute import execute
from mlcharge_flows.gpaw_vasp.stored_orbitals import from_gpaw, to_gpaw
from mlcharge_flows.vasp.plane_waves import plane_waves
from mlcharge_flows.vasp.wavecar import WavecarHeader, WavecarReader
from mlcharge_flows.vasp.wavecar_writer import WavecarWriter

#: A run of a few seconds; it ends between steps 8 and 11 from random orbitals.
QUICK = {"ENCUT": 200, "kpoints": Kpoints.gamma_automatic((2, 2, 2))}
GAMMA = {"ENCUT": 200, "kpoints": Kpoints.gamma_automatic((1, 1, 1))}


@pytest.fixture
def finished(run_folder):
    """A function: the folder of a finished run, and what it computed."""

    def make(folder="first", **changes):
        path = run_folder("Si", folder, **(QUICK | changes))
        return path, execute(path)

    return make


def continued(run_folder, first, *files, folder="second", **changes):
    """Folder of a run that begins from files of another one."""
    path = run_folder("Si", folder, **(QUICK | {"ISTART": 1} | changes))
    for name in files:
        (path / name).write_bytes((first / name).read_bytes())
    return path


def rewritten(path, change, **header):
    """Write a WAVECAR again with other k-points' orbitals and another header."""
    with WavecarReader(path) as file:
        old = file.header
        stored = [change(file.read(k)) for k in range(old.n_kpoints)]
    new = replace(old, record_length=None, **header)
    with WavecarWriter(path, new, [orbitals.kpoint for orbitals in stored]) as file:
        for _ in range(new.n_spins):
            for orbitals in stored:
                file.write(orbitals)


def final(run):
    return run.steps[-1].free_energy


@pytest.mark.parametrize("real", [False, True])
def test_coefficients_come_back(real):
    from gpaw.core import PWDesc

    cell = np.array([[6.0, 0.3, 0.0], [0.0, 5.0, -0.4], [0.5, 0.0, 7.0]])
    kpoint = np.zeros(3) if real else np.array([0.25, -0.5, 0.1])
    desc = PWDesc(ecut=4.0, cell=cell, kpt=kpoint, dtype=float if real else complex)
    orbitals = desc.empty(3)
    orbitals.randomize(seed=1)
    lattice, encut = cell * 0.529177249, 4.0 * 27.211652
    for half in (None, "x", "z") if real else (None,):
        header = WavecarHeader(lattice, encut, 1, 3, half=half)
        whole = plane_waves(lattice, encut, kpoint)
        there = from_gpaw(orbitals, whole)
        # Norms are those of the orbitals, without the PAW correction.
        norms = orbitals.norm2()
        assert (abs(there) ** 2).sum(axis=1) == pytest.approx(norms, rel=1e-12)
        waves = header.plane_waves(kpoint)
        if half:
            zero = np.all(waves == 0, axis=1)
            there = from_gpaw(orbitals, waves) * np.where(zero, 1, np.sqrt(2))
        phases = np.exp(1j * np.array([[0.3], [2.0], [0.0]])) if real and half is None else 1
        back = to_gpaw(there * phases, waves, desc, header)
        # A real orbital may come back with the other sign.
        signs = np.sign((back * orbitals.data.conj()).sum(axis=1).real)[:, None]
        np.testing.assert_allclose(back * signs, orbitals.data, atol=1e-12)


@pytest.mark.gpaw
def test_a_run_continues_where_another_ended(finished, run_folder, capsys):
    first, run = finished()
    out = capsys.readouterr().out
    assert " WAVECAR not read\n" in out
    assert "found WAVECAR" not in out
    second = continued(run_folder, first, "WAVECAR", "CHGCAR", ICHARG=1)
    again = execute(second)
    assert 2 <= len(again.steps) <= 4 < len(run.steps)
    assert again.converged
    assert final(again) == pytest.approx(final(run), abs=1e-5)
    assert again.steps[0].free_energy == pytest.approx(final(run), abs=1e-3)
    assert again.steps[0].charge_residual is not None
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    expected = [
        "found WAVECAR, reading the header",
        "POSCAR, INCAR and KPOINTS ok, starting setup",
        "reading WAVECAR",
        "the WAVECAR file was read successfully",
        f"charge-density read from file: {'Si':40}".strip(),
        "entering main loop",
    ]
    assert [line for line in lines if line in expected] == expected


@pytest.mark.gpaw
def test_pymatgen_reads_ours_and_the_outcar_has_its_counts(finished):
    folder, run = finished()
    theirs = Wavecar(str(folder / "WAVECAR"))
    assert (theirs.nk, theirs.nb, theirs.vasp_type) == (*run.eigenvalues.shape[1:], "std")
    assert theirs.encut == 200
    assert theirs.efermi == pytest.approx(run.fermi_level)
    np.testing.assert_allclose(theirs.kpoints, run.kpoints)
    np.testing.assert_allclose(np.array(theirs.band_energy)[..., 0], run.eigenvalues[0])
    np.testing.assert_allclose(np.array(theirs.band_energy)[..., 2], run.occupations[0])
    outcar = (folder / "OUTCAR").read_text()
    for k, coefficients in enumerate(theirs.coeffs):
        assert f"plane waves: {len(theirs.Gpoints[k]):7d}" in outcar
        norms = (abs(np.array(coefficients)) ** 2).sum(axis=1)
        # Orthonormal with the PAW overlap; real ones of VASP are within 0.96 to 1.32.
        assert 0.5 < norms.min() < norms.max() < 1.6


@pytest.mark.gpaw
def test_without_a_density_it_is_that_of_the_orbitals(finished, run_folder, capsys):
    """ICHARG = 0 is VASP's default where a WAVECAR is read."""
    first, run = finished()
    capsys.readouterr()
    again = execute(continued(run_folder, first, "WAVECAR"))
    assert again.parameters["ICHARG"] == 0
    assert again.parameters["NELMDL"] == 0
    assert " initial charge from wavefunction\n" in capsys.readouterr().out
    assert 2 <= len(again.steps) <= 5
    assert again.converged
    assert final(again) == pytest.approx(final(run), abs=1e-4)


@pytest.mark.gpaw
def test_other_cutoff_cell_and_bands(finished, run_folder, capsys):
    first, run = finished()
    structure = Poscar.from_file(first / "POSCAR", check_for_potcar=False).structure
    structure.scale_lattice(structure.volume * 1.02)
    changes = {"ENCUT": 240, "NBANDS": 11, "structure": structure}
    capsys.readouterr()
    again = execute(continued(run_folder, first, "WAVECAR", ICHARG=2, **changes))
    assert f"random initialization beyond band{8:13d}" in capsys.readouterr().out
    random = execute(run_folder("Si", "random", **(QUICK | changes)))
    assert again.converged
    assert final(again) == pytest.approx(final(random), abs=2e-4)
    # Both begin with the density of atoms, and the orbitals of the file are nearly the run's.
    assert again.steps[0].free_energy - final(again) < 1.0
    assert random.steps[0].free_energy - final(random) > 5.0
    fewer = continued(run_folder, first, "WAVECAR", folder="fewer", NBANDS=6, ICHARG=2)
    assert final(execute(fewer)) == pytest.approx(final(run), abs=2e-4)
    assert "random initialization" not in capsys.readouterr().out


@pytest.mark.gpaw
def test_another_number_of_kpoints(finished, run_folder, capsys):
    first, run = finished()
    capsys.readouterr()
    mesh = Kpoints.gamma_automatic((3, 3, 3))
    again = execute(continued(run_folder, first, "WAVECAR", kpoints=mesh, ICHARG=2))
    out = capsys.readouterr().out
    numbers = f"file: {len(run.kpoints):5d} present: {len(again.kpoints):5d}"
    assert len(again.kpoints) != len(run.kpoints)
    assert f" number of k-points has changed, {numbers}\n" in out
    assert " trying to continue reading WAVECAR, but it might fail\n" in out
    assert again.converged


@pytest.mark.gpaw
def test_gamma_alone_is_written_whole_and_read_in_both_forms(finished, run_folder):
    first, run = finished(**GAMMA)
    assert Wavecar(str(first / "WAVECAR")).vasp_type == "std"
    whole = continued(run_folder, first, "WAVECAR", "CHGCAR", ICHARG=1, **GAMMA)
    half = continued(
        run_folder, first, "WAVECAR", "CHGCAR", folder="half", ICHARG=1, NBANDS=8, **GAMMA
    )
    with WavecarReader(half / "WAVECAR") as file:
        full = file.header.plane_waves(np.zeros(3))
        upper = replace(file.header, half="x").plane_waves(np.zeros(3))
    kept = [np.flatnonzero((full == wave).all(axis=1))[0] for wave in upper]

    def halved(orbitals):
        coefficients = orbitals.coefficients[:, kept] * np.sqrt(2)
        coefficients[:, 0] /= np.sqrt(2)
        return replace(orbitals, coefficients=coefficients)

    rewritten(half / "WAVECAR", halved, half="x")
    assert Wavecar(str(half / "WAVECAR")).vasp_type == "gam"
    runs = execute(whole), execute(half)
    for again in runs:
        assert len(again.steps) <= 4
        assert final(again) == pytest.approx(final(run), abs=1e-5)
    assert runs[0].steps[0].free_energy == pytest.approx(runs[1].steps[0].free_energy, abs=1e-6)
    # vasp_std stops at such a file, and so does a run with more k-points.
    several = continued(run_folder, half, folder="several")
    with WavecarReader(half / "WAVECAR"):
        (several / "WAVECAR").write_bytes((first / "WAVECAR").read_bytes())
    rewritten(several / "WAVECAR", halved, half="x")
    with pytest.raises(UnsupportedInputError, match="plane wave coefficients changed"):
        execute(several)


@pytest.mark.gpaw
def test_a_spin_polarized_file_gives_its_first_spin(finished, run_folder):
    first, run = finished()
    second = continued(run_folder, first, "WAVECAR", "CHGCAR", ICHARG=1)
    rewritten(second / "WAVECAR", lambda orbitals: orbitals, n_spins=2)
    again = execute(second)
    assert len(again.steps) <= 4
    assert final(again) == pytest.approx(final(run), abs=1e-5)


@pytest.mark.gpaw
def test_files_that_are_not_read(finished, run_folder, capsys):
    first, run = finished(NELM=2)
    for name, content, changes in (
        ("empty", b"", {}),
        ("nonsense", b"no WAVECAR at all, but more than three numbers of eight bytes", {}),
        ("ignored", (first / "WAVECAR").read_bytes(), {"ISTART": 0}),
    ):
        folder = run_folder("Si", name, **(QUICK | {"ISTART": 1, "NELM": 2} | changes))
        (folder / "WAVECAR").write_bytes(content)
        capsys.readouterr()
        again = execute(folder)
        out = capsys.readouterr().out
        assert " WAVECAR not read\n" in out
        assert ("found WAVECAR" in out) == (name != "ignored")
        assert again.parameters["NELMDL"] == -5
        assert again.parameters["ICHARG"] == 2
        assert final(again) == pytest.approx(final(run), abs=1e-8)


@pytest.mark.gpaw
def test_files_at_which_vasp_stops(finished, run_folder):
    first, _ = finished(NELM=2)
    truncated = continued(run_folder, first, "WAVECAR", folder="truncated")
    content = (truncated / "WAVECAR").read_bytes()
    (truncated / "WAVECAR").write_bytes(content[:-1000])
    with pytest.raises(UnsupportedInputError, match=r"while reading WAVECAR.*truncated"):
        execute(truncated)
    length = int(np.frombuffer(content[:8])[0])
    n_bands = int(np.frombuffer(content[length : length + 16])[1])
    for record, reason in ((2 + 1 + n_bands, "0 plane waves at k-point 2"), (4, "is not finite")):
        damaged = bytearray(content)
        value = np.array([0.0 if record > 4 else np.nan])
        damaged[record * length : record * length + 8] = value.tobytes()
        (truncated / "WAVECAR").write_bytes(damaged)
        with pytest.raises(UnsupportedInputError, match=rf"{reason}; remove WAVECAR$"):
            execute(truncated)
    # As many k-points of other coordinates, and so other numbers of plane waves.
    shifted = Kpoints.monkhorst_automatic((2, 2, 2), shift=(0.3, 0.2, 0.1))
    other = continued(run_folder, first, "WAVECAR", folder="other", kpoints=shifted, ISYM=-1)
    gamma = run_folder("Si", "gamma", **(QUICK | {"ISYM": -1, "NELM": 1}))
    execute(gamma)
    (other / "WAVECAR").write_bytes((gamma / "WAVECAR").read_bytes())
    with pytest.raises(UnsupportedInputError, match="plane wave coefficients changed: "):
        execute(other)
    constant_basis = continued(run_folder, first, "WAVECAR", folder="basis", ISTART=2)
    with pytest.raises(UnsupportedInputError, match="ISTART = 2"):
        execute(constant_basis)


@pytest.mark.gpaw
def test_nothing_is_written_without_lwave(finished):
    folder, _ = finished(LWAVE=False, NELM=1)
    assert (folder / "WAVECAR").read_bytes() == b""
    kept = b"of another run"
    (folder / "WAVECAR").write_bytes(kept)
    execute(folder)
    assert (folder / "WAVECAR").read_bytes() == kept


@pytest.mark.gpaw
def test_files_without_content_are_left_as_vasp_leaves_them_and_are_no_restart(finished, capsys):
    folder, run = finished(LWAVE=False, LCHARG=False, NELM=1)
    assert {name: (folder / name).stat().st_size for name in ("WAVECAR", "CHGCAR", "CHG")} == {
        "WAVECAR": 0,
        "CHGCAR": 0,
        "CHG": 0,
    }
    capsys.readouterr()
    again = execute(folder)
    assert " WAVECAR not read\n" in capsys.readouterr().out
    assert final(again) == pytest.approx(final(run), abs=1e-8)


@pytest.mark.parametrize(("name", "per_band"), [("TiO2", 4), ("Cu", 3)])
def test_slow_crystals_get_the_same_solver_however_they_begin(run_folder, name, per_band):
    """Applications of the Hamiltonian per band: three in a step, four where orbitals are slow."""
    options = GAMMA | {"NELM": 4, "NELMDL": -4}
    first = run_folder(name, "random", **options)
    runs = [execute(first), execute(run_folder(name, "short", **options | {"NELMDL": -3}))]
    stored = run_folder(name, "stored", **options | {"ISTART": 1, "ICHARG": 2})
    (stored / "WAVECAR").write_bytes((first / "WAVECAR").read_bytes())
    runs.append(execute(stored))
    for run in runs:
        assert run.steps[0].operations == 3 * run.eigenvalues.size
        assert run.steps[-1].operations == per_band * run.eigenvalues.size
