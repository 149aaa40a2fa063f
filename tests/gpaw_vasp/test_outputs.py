from __future__ import annotations

import warnings
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import pytest
from pymatgen.electronic_structure.bandstructure import BandStructureSymmLine
from pymatgen.electronic_structure.core import Orbital, Spin
from pymatgen.io.vasp import Kpoints, Oszicar, Outcar, Poscar, Vasprun
from pymatgen.io.vasp.outputs import BSVasprun, Eigenval, UnconvergedVASPWarning
from synthetic_runs import finished_folder, line_mode, magnetic, metal, silicon, unconverged

from mlcharge_flows.gpaw_vasp.outputs import (
    OUTPUTS,
    clear_outputs,
    open_state_files,
    write_outputs,
)
from mlcharge_flows.vasp.outcar import read_outcar

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from mlcharge_flows.gpaw_vasp.result import Run

MAKERS: list[Callable[[], Run]] = [silicon, metal, line_mode]


@pytest.fixture(autouse=True)
def no_warnings() -> Iterator[None]:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture(params=MAKERS, ids=lambda make: make.__name__)
def run(request: pytest.FixtureRequest) -> Run:
    return request.param()


def vasprun(folder: Path, **options: bool) -> Vasprun:
    return Vasprun(folder / "vasprun.xml", parse_potcar_file=False, **options)


def test_vasprun_gives_back_the_run(tmp_path: Path, run: Run) -> None:
    read = vasprun(finished_folder(tmp_path, run))

    structure = read.final_structure
    assert [site.specie.symbol for site in structure] == list(run.crystal.symbols)
    np.testing.assert_allclose(structure.lattice.matrix, run.crystal.lattice, atol=1e-8)
    np.testing.assert_allclose(structure.frac_coords, run.crystal.positions, atol=1e-8)
    assert read.initial_structure == structure

    np.testing.assert_allclose(read.actual_kpoints, run.kpoints, atol=1e-8)
    np.testing.assert_allclose(read.actual_kpoints_weights, run.weights, atol=1e-8)
    bands = read.eigenvalues[Spin.up]
    np.testing.assert_allclose(bands[..., 0], run.eigenvalues[0], atol=1e-8)
    np.testing.assert_allclose(bands[..., 1], run.occupations[0], atol=5.1e-5)
    assert read.efermi == pytest.approx(run.fermi_level)

    assert read.final_energy == pytest.approx(run.steps[-1].energy_zero, abs=1e-8)
    (ionic,) = read.ionic_steps
    assert ionic["e_fr_energy"] == pytest.approx(run.steps[-1].free_energy, abs=1e-8)
    for theirs, step in zip(ionic["electronic_steps"], run.steps, strict=True):
        assert theirs["e_fr_energy"] == pytest.approx(step.free_energy, abs=1e-8)
        assert theirs["e_wo_entrp"] == pytest.approx(step.energy_without_entropy, abs=1e-8)
        assert theirs["e_0_energy"] == pytest.approx(step.energy_zero, abs=1e-8)
    for name, array in {"forces": run.forces, "stress": run.stress}.items():
        assert (name in ionic) == (array is not None)
        if array is not None:
            np.testing.assert_allclose(ionic[name], array, atol=1e-8)

    assert read.potcar_symbols == [dataset.titel for dataset in run.datasets]
    assert read.parameters["NELECT"] == run.electrons
    assert read.parameters["NBANDS"] == run.eigenvalues.shape[2]
    assert read.converged_electronic
    assert read.converged_ionic
    np.testing.assert_allclose(read.tdos.energies, run.dos_energies, atol=1e-8)
    np.testing.assert_allclose(read.tdos.densities[Spin.up], run.dos[0], atol=1e-8)
    np.testing.assert_allclose(read.idos.densities[Spin.up], run.integrated_dos[0], atol=1e-8)


def test_tags_come_back_with_vasps_types(tmp_path: Path) -> None:
    write_outputs(tmp_path, silicon())
    read = vasprun(tmp_path)
    expected = {
        "SYSTEM": "silicon <test> & more",
        "ENMAX": 350.0,
        "NGXF": 36,
        "LORBIT": 11,
        "LMAXMIX": 4,
        "NELMDL": -5,
        "LREAL": "Auto",
        "MAGMOM": [0.6, 0.6],
        "POMASS": [28.085],
        "LASPH": False,
        "LWAVE": False,
        "EDIFFG": 1e-3,
    }
    found = {tag: read.parameters[tag] for tag in expected}
    assert found == expected
    assert {tag: type(value) for tag, value in found.items()} == {
        tag: type(value) for tag, value in expected.items()
    }
    assert "EMIN" in read.parameters
    assert read.incar["ENCUT"] == 350.0
    assert isinstance(read.incar["ENCUT"], float)
    assert read.run_type == "PBE", "a tag left over from a hybrid INCAR must not count"


def test_the_functional_is_the_one_of_the_run(tmp_path: Path) -> None:
    run = silicon()
    write_outputs(tmp_path, replace(run, parameters={**run.parameters, "GGA": "PS"}))
    assert vasprun(tmp_path).run_type == "PBEsol"


def test_the_header_names_the_program(tmp_path: Path) -> None:
    write_outputs(tmp_path, silicon())
    generator = vasprun(tmp_path).generator
    assert generator["PROGRAM"].lower() == "gpaw-vasp"
    assert "not vasp" in generator["SUBVERSION"].lower()
    assert [int(part) for part in generator["VERSION"].split(".")] == [6, 4, 3]
    assert "gpaw-vasp" in (tmp_path / "OUTCAR").read_text().splitlines()[0]


@pytest.mark.parametrize(
    ("make", "style"),
    [(silicon, "Gamma"), (metal, "Reciprocal"), (line_mode, "Line_mode")],
)
def test_kpoint_scheme(tmp_path: Path, make: Callable[[], Run], style: str) -> None:
    run = make()
    write_outputs(tmp_path, run)
    assert vasprun(tmp_path).kpoints.style == Kpoints.supported_modes.from_str(style)
    assert (tmp_path / "IBZKPT").exists() == (style == "Gamma")


def test_monkhorst_pack_mesh(tmp_path: Path) -> None:
    run = replace(
        silicon(), kpoint_scheme="Monkhorst-Pack", divisions=(2, 2, 4), shift=(0.5, 0.0, 0.0)
    )
    write_outputs(tmp_path, run)
    kpoints = vasprun(tmp_path).kpoints
    assert kpoints.style == Kpoints.supported_modes.Monkhorst
    assert kpoints.kpts == [(2, 2, 4)]
    assert kpoints.kpts_shift == (0.5, 0.0, 0.0)


def test_ibzkpt_has_integer_weights(tmp_path: Path) -> None:
    run = silicon()
    write_outputs(tmp_path, run)
    mesh = Kpoints.from_file(tmp_path / "IBZKPT")
    np.testing.assert_allclose(mesh.kpts, run.kpoints)
    assert mesh.kpts_weights == [1, 4, 3]


def test_gap_and_projections(tmp_path: Path) -> None:
    run = silicon()
    read = vasprun(finished_folder(tmp_path, run), parse_projected_eigen=True)
    gap, cbm, vbm, direct = read.eigenvalue_band_properties
    assert (gap, cbm, vbm) == pytest.approx((0.6, 6.1, 5.5))
    assert not direct
    assert read.get_band_structure().get_band_gap()["energy"] == pytest.approx(0.6)
    np.testing.assert_allclose(read.projected_eigenvalues[Spin.up], run.projections[0], atol=1e-8)
    second = read.complete_dos.pdos[read.final_structure[1]]
    last = list(Orbital)[8]
    assert run.projected_dos is not None
    np.testing.assert_allclose(second[last][Spin.up], run.projected_dos[0, 1, 8], atol=1e-8)
    np.testing.assert_allclose(second[Orbital.py][Spin.up], run.projected_dos[0, 1, 1], atol=1e-8)


def test_files_of_two_spins(tmp_path: Path) -> None:
    run = magnetic()
    read = vasprun(finished_folder(tmp_path, run), parse_projected_eigen=True)
    assert read.is_spin
    table = Eigenval(tmp_path / "EIGENVAL")
    assert table.ispin == 2
    assert run.projections is not None
    for s, spin in enumerate((Spin.up, Spin.down)):
        np.testing.assert_allclose(read.eigenvalues[spin][..., 0], run.eigenvalues[s], atol=1e-8)
        np.testing.assert_allclose(read.tdos.densities[spin], run.dos[s], atol=1e-8)
        np.testing.assert_allclose(read.projected_eigenvalues[spin], run.projections[s], atol=1e-8)
        np.testing.assert_allclose(table.eigenvalues[spin][..., 0], run.eigenvalues[s], atol=1e-6)
        np.testing.assert_allclose(table.eigenvalues[spin][..., 1], run.occupations[s], atol=1e-6)
    lines = (tmp_path / "DOSCAR").read_text().splitlines()
    total = np.array([line.split() for line in lines[6:307]]).astype(float)
    np.testing.assert_allclose(total[:, 1:3], run.dos.T, rtol=1e-3, atol=1e-10)
    np.testing.assert_allclose(total[:, 3:], run.integrated_dos.T, rtol=1e-3)
    assert run.projected_dos is not None
    second = np.array([line.split() for line in lines[-301:]]).astype(float)
    np.testing.assert_allclose(second[:, 1::2], run.projected_dos[0, 1].T, rtol=1e-3, atol=1e-10)
    np.testing.assert_allclose(second[:, 2::2], run.projected_dos[1, 1].T, rtol=1e-3, atol=1e-10)
    outcar = Outcar(tmp_path / "OUTCAR")
    assert outcar.spin
    assert outcar.total_mag == pytest.approx(run.steps[-1].density_moment)
    assert [site["d"] for site in outcar.magnetization] == pytest.approx([1.425, 0.0])
    assert Oszicar(tmp_path / "OSZICAR").ionic_steps[0]["mag"] == pytest.approx(1.28)


def test_a_metal_is_a_metal(tmp_path: Path) -> None:
    read = vasprun(finished_folder(tmp_path, metal()))
    assert read.get_band_structure().is_metal()


def test_a_smearing_tail_does_not_close_the_gap(tmp_path: Path) -> None:
    run = silicon()
    tail = np.where(run.occupations > 0.5, 1 - 3e-6, 3e-6)
    write_outputs(tmp_path, replace(run, occupations=tail))
    assert vasprun(tmp_path).eigenvalue_band_properties[0] == pytest.approx(0.6)


def test_bands_along_lines(tmp_path: Path) -> None:
    run = line_mode()
    finished_folder(tmp_path, run)
    for reader in (vasprun(tmp_path), BSVasprun(tmp_path / "vasprun.xml")):
        bands = reader.get_band_structure(line_mode=True)
        assert isinstance(bands, BandStructureSymmLine)
        assert [branch["name"] for branch in bands.branches] == ["\\Gamma-X", "X-L"]
        np.testing.assert_allclose(bands.bands[Spin.up], run.eigenvalues[0].T, atol=1e-8)
        assert bands.efermi == pytest.approx(run.fermi_level)


def test_a_run_that_used_up_its_steps_is_unconverged(tmp_path: Path) -> None:
    finished_folder(tmp_path, unconverged())
    with pytest.warns(UnconvergedVASPWarning):
        read = vasprun(tmp_path)
    assert not read.converged_electronic
    text = (tmp_path / "OUTCAR").read_text()
    assert "aborting loop because EDIFF is reached" not in text


def test_outcar_gives_back_the_run(tmp_path: Path, run: Run) -> None:
    read = Outcar(finished_folder(tmp_path, run) / "OUTCAR")
    last = run.steps[-1]
    assert read.final_energy == pytest.approx(last.energy_zero, abs=1e-8)
    assert read.final_energy_wo_entrp == pytest.approx(last.energy_without_entropy, abs=1e-8)
    assert read.final_fr_energy == pytest.approx(last.free_energy, abs=1e-8)
    assert read.final_energy_contribs["EENTRO"] == pytest.approx(-0.002)
    assert read.efermi == pytest.approx(run.fermi_level)
    assert read.nelect == run.electrons
    assert read.data["nbands"] == run.eigenvalues.shape[2]
    assert read.data["nplwv"] == [[18**3]]
    counts = read.data["nplwvs_at_kpoints"]
    assert len(counts) == len(run.kpoints)
    # |k + G| below the cutoff fills a sphere: V k_max^3 / 6 pi^2 of them, on average.
    sphere = run.crystal.volume * (350 / 3.80998) ** 1.5 / (6 * np.pi**2)
    np.testing.assert_allclose(counts, sphere, rtol=0.1)
    assert not read.spin
    assert not read.is_stopped
    assert read.run_stats["cores"] == run.cores
    assert read.run_stats["Elapsed time (sec)"] == pytest.approx(run.seconds)
    assert read.run_stats["Maximum memory used (kb)"] > 0
    if run.forces is not None:
        np.testing.assert_allclose(read.drift, [run.forces.sum(axis=0)], atol=1e-6)
        table = read.read_table_pattern(
            r"TOTAL-FORCE \(eV/Angst\)\n\s-+\n",
            r"\s+".join([r"\s*", *[r"(-?\d+\.\d+)"] * 6]),
            r"\s-+",
            postprocess=float,
        )
        cartesian = run.crystal.positions @ run.crystal.lattice
        np.testing.assert_allclose(table, np.hstack([cartesian, run.forces]), atol=1e-5)
    if run.stress is not None:
        read.read_pattern({"stress": r"in kB" + r"\s+(-?\d+\.\d+)" * 6}, postprocess=float)
        voigt = run.stress[[0, 1, 2, 0, 1, 2], [0, 1, 2, 1, 2, 0]]
        np.testing.assert_allclose(read.data["stress"], [voigt], atol=1e-5)
        pressure = {"pressure": r"external pressure =\s+(\S+) kB"}
        read.read_pattern(pressure, postprocess=float)
        assert read.data["pressure"] == [[21.0]]
    tags = {
        name: rf"\b{name}\s*=\s*(-?\d+)"
        for name in ("ICHARG", "NELMDL", "LMAXMIX", "NIONS", "ISPIN", "NSW", "NGXF")
    }
    read.read_pattern(tags, postprocess=int)
    values = {name: read.data[name][0][0] for name in tags}
    icharg = run.parameters["ICHARG"]
    assert values == {
        "ICHARG": icharg, "NELMDL": -5, "LMAXMIX": 4, "NIONS": 2, "ISPIN": 1, "NSW": 0, "NGXF": 36
    }  # fmt: skip
    read.read_pattern({"steps": r"Iteration\s+1\(\s*(\d+)\)"}, postprocess=int)
    assert read.data["steps"] == [[step.number] for step in run.steps]
    read.read_pattern({"end": r"aborting loop because (\w+) is reached"})
    assert read.data["end"] == [["EDIFF"]]


@pytest.mark.parametrize(
    ("edge", "printed", "read"), [(99, "970299", 970299), (100, "******", None)]
)
def test_a_large_grid_has_stars_for_its_size_as_in_vasp(
    tmp_path: Path, run: Run, edge: int, printed: str, read: int | None
) -> None:
    """Seven digits without a space before them cannot be read by pymatgen."""
    large = replace(run, parameters={**run.parameters, "NGX": edge, "NGY": edge, "NGZ": edge})
    write_outputs(tmp_path, large)
    assert f"   total plane-waves  NPLWV = {printed}\n" in (tmp_path / "OUTCAR").read_text()
    assert Outcar(tmp_path / "OUTCAR").data["nplwv"] == [[read]]


def test_outcar_tells_the_channels_of_each_data_set(tmp_path: Path) -> None:
    run = metal()
    write_outputs(tmp_path, run)
    read = Outcar(tmp_path / "OUTCAR")
    read.read_pattern(
        {
            "channels": r"non local Contribution for L=\s*(\d+)",
            "count": r"number of l-projection\s+operators is LMAX\s+=\s+(\d+)",
            "functions": r"number of lm-projection operators is LMMAX =\s+(\d+)",
            "titles": r"TITEL  = (.+)",
        }
    )
    flat = [str(l) for dataset in run.datasets for l in dataset.channels]
    assert [match[0] for match in read.data["channels"]] == flat
    assert read.data["count"] == [["6"], ["6"]]
    assert read.data["functions"] == [["18"], ["18"]]
    assert [match[0] for match in read.data["titles"]] == [d.titel for d in run.datasets]
    read.read_pseudo_zval()
    assert read.zval_dict == {"Cu": 11.0, "Zn": 12.0}


@pytest.mark.parametrize(
    ("messages", "from_atoms"),
    [
        (("charge-density read from file: learned 3f2a",), False),
        (("WARNING: chargedensity file is incomplete",), True),
        ((), True),
    ],
)
def test_our_own_reader_understands_the_outcar(
    tmp_path: Path, messages: tuple[str, ...], from_atoms: bool
) -> None:
    run = replace(metal(), messages=messages)
    write_outputs(tmp_path, run)
    read = read_outcar(tmp_path / "OUTCAR")
    assert read.from_atoms is from_atoms
    assert read.channels == tuple(dataset.channels for dataset in run.datasets)
    assert read.titels == tuple(dataset.titel for dataset in run.datasets)
    assert (read.n_ions, read.n_electrons, read.lmaxmix) == (2, 23.0, 4)
    assert (read.nelm, read.nelmdl, read.converged) == (100, -5, True)
    assert read.first.energies == pytest.approx([step.free_energy for step in run.steps], abs=1e-8)
    for residual, step in zip(read.first.residuals, run.steps, strict=True):
        assert residual == (step.charge_residual and pytest.approx(step.charge_residual, rel=1e-4))
    assert (read.elapsed, read.cpu_time) == (run.seconds, 11.5)


def test_the_outcar_has_the_hubbard_corrections(tmp_path: Path) -> None:
    run = silicon()
    tags = {"LDAU": True, "LDAUL": [1], "LDAUU": [2.5], "LDAUJ": 0}
    write_outputs(tmp_path, replace(run, incar={**run.incar, **tags}))
    read = read_outcar(tmp_path / "OUTCAR")
    assert (read.ldaul, read.ldauu, read.ldauj) == ((1,), (2.5,), (0.0,))
    write_outputs(tmp_path, run)
    assert read_outcar(tmp_path / "OUTCAR").ldaul == ()


def test_outcar_charges_are_the_projected_electrons(tmp_path: Path) -> None:
    run = silicon()
    write_outputs(tmp_path, run)
    assert run.projections is not None
    for ion, charge in enumerate(Outcar(tmp_path / "OUTCAR").charge):
        weights = run.weights[:, None] * run.occupations[0] * 2
        orbitals = (weights[:, :, None] * run.projections[0, :, :, ion]).sum(axis=(0, 1))
        assert charge["s"] == pytest.approx(orbitals[0], abs=1e-3)
        assert charge["p"] == pytest.approx(orbitals[1:4].sum(), abs=1e-3)
        assert charge["d"] == pytest.approx(orbitals[4:].sum(), abs=1e-3)
        assert charge["tot"] == pytest.approx(orbitals.sum(), abs=1e-3)


def test_contcar_keeps_order_and_digits(tmp_path: Path, run: Run) -> None:
    interleaved = replace(run.crystal, symbols=("Zn", "Cu"))
    write_outputs(tmp_path, replace(run, crystal=interleaved, datasets=metal().datasets))
    poscar = Poscar.from_file(tmp_path / "CONTCAR")
    assert poscar.comment == run.comment
    assert poscar.site_symbols == ["Zn", "Cu"]
    np.testing.assert_allclose(poscar.structure.lattice.matrix, run.crystal.lattice, atol=1e-15)
    np.testing.assert_allclose(poscar.structure.frac_coords, run.crystal.positions, atol=1e-15)


def test_eigenval_gives_back_the_bands(tmp_path: Path, run: Run) -> None:
    write_outputs(tmp_path, run)
    read = Eigenval(tmp_path / "EIGENVAL")
    assert (read.nelect, read.nkpt, read.nbands) == (run.electrons, *run.eigenvalues.shape[1:])
    np.testing.assert_allclose(read.kpoints, run.kpoints, atol=1e-7)
    np.testing.assert_allclose(read.kpoints_weights, run.weights, atol=1e-7)
    np.testing.assert_allclose(read.eigenvalues[Spin.up][..., 0], run.eigenvalues[0], atol=1e-6)
    np.testing.assert_allclose(read.eigenvalues[Spin.up][..., 1], run.occupations[0], atol=1e-6)


def test_doscar_columns(tmp_path: Path) -> None:
    run = silicon()
    write_outputs(tmp_path, run)
    lines = (tmp_path / "DOSCAR").read_text().splitlines()
    top, bottom, points, fermi, _ = map(float, lines[5].split())
    assert (top, bottom, points, fermi) == (12.0, -8.0, 301, run.fermi_level)
    total = np.loadtxt(lines[6:307])
    np.testing.assert_allclose(total[:, 1], run.dos[0], rtol=1e-3)
    assert len(lines) == 6 + 301 + 2 * 302
    second = np.loadtxt(lines[6 + 301 + 302 + 1 :])
    assert run.projected_dos is not None
    np.testing.assert_allclose(second[:, 1:], run.projected_dos[0, 1].T, rtol=1e-3)


def test_no_half_written_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = silicon()
    write_outputs(tmp_path, run)
    before = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert set(OUTPUTS) - set(before) == {"XDATCAR"}  # of one geometry

    def killed(*_: object) -> str:
        raise KeyboardInterrupt

    monkeypatch.setitem(OUTPUTS, "OUTCAR", killed)
    clear_outputs(tmp_path)
    with pytest.raises(KeyboardInterrupt):
        write_outputs(tmp_path, run)
    left = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert left == {name: before[name] for name in ("CONTCAR", "EIGENVAL", "DOSCAR", "IBZKPT")}


def test_outputs_of_an_earlier_run_are_cleared(tmp_path: Path) -> None:
    finished_folder(tmp_path, silicon())
    clear_outputs(tmp_path)
    left = {path.name for path in tmp_path.iterdir()}
    assert {"POSCAR", "INCAR", "KPOINTS", "POTCAR", "vasp.out"} <= left
    assert not left & {*OUTPUTS, "OSZICAR"}


@pytest.mark.parametrize("name", ["WAVECAR", "CHGCAR"])
def test_a_folder_in_the_place_of_a_file_is_found_before_the_run(tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    with pytest.raises(IsADirectoryError):
        open_state_files(tmp_path, lcharg=True)


def test_files_of_an_earlier_run_keep_their_content(tmp_path: Path) -> None:
    (tmp_path / "CHGCAR").write_text("density")
    open_state_files(tmp_path, lcharg=False)
    found = {path.name: path.read_text() for path in tmp_path.iterdir()}
    assert found == {"WAVECAR": "", "CHGCAR": "density", "CHG": ""}
