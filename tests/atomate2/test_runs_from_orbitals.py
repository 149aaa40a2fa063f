"""Initial orbitals through custodian: used, refused, left behind; with a stand-in for VASP."""

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from atomate2.vasp.flows.core import BandStructureMaker
from atomate2.vasp.jobs.core import StaticMaker
from atomate2.vasp.powerups import (
    update_user_incar_settings,
    update_user_kpoints_settings,
    update_vasp_input_generators,
)
from cheap_runs import CHEAP, POLLING
from pymatgen.io.vasp import Incar, Kpoints

from mlcharge_flows.atomate2.execution import takes_gamma_executable
from mlcharge_flows.atomate2.jobs.comparison import count
from mlcharge_flows.atomate2.jobs.run import RunFromDensityMaker
from mlcharge_flows.atomate2.powerups import start_from_predicted_density
from mlcharge_flows.atomate2.schemas import RunProvenance
from mlcharge_flows.atomate2.sets.comparison import ComparisonSetGenerator
from mlcharge_flows.atomate2.staging import finalize_run, remove_stale
from mlcharge_flows.sources import (
    AtomicOrbitals,
    FromWavecar,
    InitialDensity,
    InitialDensityDocument,
    InitialOrbitalsDocument,
    RunInputs,
    Superposition,
)
from mlcharge_flows.sources.initial_wavecar import MARK
from mlcharge_flows.vasp.wavecar import KPointOrbitals, WavecarHeader
from mlcharge_flows.vasp.wavecar_writer import WavecarWriter


def wavecars(folder):
    """WAVECARs with orbitals; with LWAVE = F VASP leaves an empty one."""
    paths = Path(folder).glob("WAVECAR*")
    return [path for path in paths if gzip.decompress(path.read_bytes())]


def generator(**incar):
    tags = {"EDIFF": 1e-3, "ENCUT": 200, "NELM": 11, "LCHARG": False, **incar}
    return ComparisonSetGenerator(user_incar_settings=tags)


def static(**incar):
    options = {"custodian_kwargs": POLLING}
    return StaticMaker(input_set_generator=generator(**incar), run_vasp_kwargs=options)


def write_orbitals(path, crystal, points, mark=b"", energy=-1.0, n_bands=4):
    """A WAVECAR of plane waves; the eigenvalues of a result are not zero."""
    header = WavecarHeader(crystal.lattice, 60.0, len(points), n_bands)
    with WavecarWriter(path, header, points, mark) as file:
        for point in points:
            coefficients = np.eye(n_bands, len(header.plane_waves(point)))
            energies, occupations = np.full(n_bands, energy), np.ones(n_bands)
            file.write(KPointOrbitals(point, energies, occupations, coefficients))


@pytest.fixture
def initial(silicon, tmp_path):
    """Superposition with the orbitals of a file, and a delay of one step."""
    inputs = RunInputs.from_generator(silicon, generator())
    path = tmp_path / "earlier" / "WAVECAR"
    path.parent.mkdir()
    write_orbitals(path, inputs.crystal, inputs.irreducible_kpoints.points)
    return InitialDensity(Superposition(), orbitals=FromWavecar(str(path)), n_delay=1)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    folder = tmp_path / "run"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


def started(initial, structure, **incar):
    run = start_from_predicted_density(static(**incar), initial)
    return run.make.original(run, structure).output


def attempts():
    return Path("attempts").read_text().split()


@pytest.mark.gpaw
@pytest.mark.parametrize("lwave", [False, True])
def test_a_run_begins_from_orbitals_and_leaves_no_file_of_ours(
    vasp, folder, silicon, initial, lwave
):
    vasp("")
    document = started(initial, silicon, LWAVE=lwave)
    assert attempts() == ["1+WAVECAR"]
    provenance = RunProvenance.model_validate(document.additional_json["mlcharge"])
    assert provenance.initial_orbitals.source == "wavecar"
    assert provenance.initial_orbitals.n_bands == 4
    assert provenance.initial_orbitals.failure is None
    assert (provenance.read_by_vasp, provenance.orbitals_read_by_vasp) == (True, True)
    assert provenance.added_tags["ISTART"] == 1
    assert provenance.added_tags["NELMDL"] == -1
    assert len(wavecars(folder)) == lwave, "only the result of VASP"
    assert [*folder.glob("WAVECAR*")], "Makers copy it, be it empty"

    counted = count.original(str(folder))
    assert (counted.orbitals_source, counted.orbitals_read_by_vasp) == ("wavecar", True)
    assert counted.preparation_time > provenance.initial_density.preparation_time


@pytest.mark.gpaw
@pytest.mark.parametrize(
    ("incar", "delay"),
    [
        ({"ALGO": "Normal"}, None),
        ({"ALGO": "Fast"}, -2),
        ({"ALGO": "fast", "NELMDL": -4}, -4),
        ({"ALGO": "VeryFast"}, -2),
    ],
)
def test_orbitals_meet_rmm_diis_after_two_steps_at_fixed_density(
    vasp, folder, silicon, initial, incar, delay
):
    vasp("")
    document = started(replace(initial, n_delay=None), silicon, **incar)
    assert attempts() == ["1+WAVECAR"]
    assert Incar.from_file("INCAR.gz").get("NELMDL") == delay
    provenance = RunProvenance.model_validate(document.additional_json["mlcharge"])
    assert ("NELMDL" in provenance.added_tags) == (delay == -2)


@pytest.mark.gpaw
@pytest.mark.parametrize(
    ("fault", "told"),
    [
        ("wavecar-changed", "ERROR: while reading WAVECAR, plane wave coefficients changed"),
        ("wavecar-crash", "VASP stopped while reading the WAVECAR"),
        ("wavecar-diverges", "Error EDDDAV: Call to ZHEGV failed"),
        ("wavecar-unread", "WAVECAR not read"),
    ],
)
def test_bad_orbitals_lead_to_one_run_from_the_density_alone(
    vasp, folder, silicon, initial, fault, told
):
    vasp(fault)
    document = started(initial, silicon)
    assert attempts() == ["1+WAVECAR", "1"]
    provenance = RunProvenance.model_validate(document.additional_json["mlcharge"])
    assert provenance.orbitals_restart_reason == told
    assert provenance.restart_reason is None
    assert (provenance.read_by_vasp, provenance.orbitals_read_by_vasp) == (True, False)
    assert "NELMDL" not in provenance.added_tags
    before, after = (dict(Incar.from_file(f"INCAR{end}.gz")) for end in (".orig", ""))
    assert before.pop("NELMDL") == -1
    assert before | {"ISTART": 0} == after, "nothing else changes"
    assert not wavecars(folder)
    assert count.original(str(folder)).exclusion_reason == "corrected by custodian"


@pytest.mark.gpaw
def test_a_density_that_diverges_as_well_leads_to_atoms(vasp, folder, silicon, initial):
    vasp("crash")
    document = started(initial, silicon)
    assert attempts() == ["1+WAVECAR", "1", "2"]
    provenance = RunProvenance.model_validate(document.additional_json["mlcharge"])
    assert provenance.orbitals_restart_reason == "VASP stopped in ionic step 1"
    assert provenance.restart_reason == "VASP stopped in ionic step 1"
    assert provenance.started_from == "atoms"


@pytest.mark.gpaw
def test_orbitals_that_cannot_be_made_leave_the_density(
    vasp, folder, silicon, initial, monkeypatch
):
    monkeypatch.setenv("MLCHARGE_MAX_WAVECAR_SIZE", "1e-6")
    vasp("")
    document = started(initial, silicon)
    assert attempts() == ["1"]
    provenance = RunProvenance.model_validate(document.additional_json["mlcharge"])
    assert "MAX_WAVECAR_SIZE" in provenance.initial_orbitals.failure
    assert provenance.orbitals_read_by_vasp is None
    assert "NELMDL" not in provenance.added_tags, "too short for random orbitals"
    assert provenance.read_by_vasp
    counted = count.original(str(folder))
    assert "MAX_WAVECAR_SIZE" in counted.orbitals_failure
    assert counted.orbitals_read_by_vasp is None


@pytest.mark.gpaw
@pytest.mark.parametrize("explicit", [False, True])
def test_kpoints_are_listed_only_where_that_is_wanted(vasp, folder, silicon, explicit):
    vasp("")
    # Without the crystal's rotations VASP 6 lists the points in an order of its own.
    maker = static(ISYM=0)
    run = start_from_predicted_density(maker, "atoms+orbitals", explicit_kpoints=explicit)
    provenance = run.make.original(run, silicon).output.additional_json["mlcharge"]
    found = provenance["initial_orbitals"]
    assert attempts() == ["1+WAVECAR" if explicit else "1"]
    assert found["explicit_kpoints"] is explicit
    assert (found["failure"] is None) is explicit
    kpoints = Kpoints.from_file("KPOINTS.gz")
    assert (kpoints.style is Kpoints.supported_modes.Reciprocal) is explicit


@pytest.mark.gpaw
def test_an_inherited_wavecar_wins(vasp, folder, silicon, initial):
    vasp("")
    (folder / "WAVECAR").write_bytes(b"of the run before")
    document = started(initial, silicon)
    provenance = RunProvenance.model_validate(document.additional_json["mlcharge"])
    assert provenance.existing_density_reason == "WAVECAR inherited"
    assert provenance.initial_orbitals is None


@pytest.mark.gpaw
def test_a_run_at_an_inherited_density_gets_orbitals(vasp, folder, silicon, initial):
    vasp("wavecar-crash")
    InitialDensity(Superposition()).write(RunInputs.from_generator(silicon, generator()), folder)
    text = (folder / "CHGCAR").read_text().partition("\n")[2]
    (folder / "CHGCAR").write_text(f"a result\n{text}")
    started(initial, silicon, ICHARG=11)
    assert attempts() == ["11+WAVECAR", "11"]
    provenance = RunProvenance.read(folder)
    assert provenance.existing_density_reason == "CHGCAR inherited"
    assert provenance.initial_density is None
    assert provenance.orbitals_restart_reason == "VASP stopped while reading the WAVECAR"
    assert not wavecars(folder)


@pytest.mark.gpaw
def test_an_order_with_a_document_takes_orbitals_and_delay(vasp, folder, silicon, initial):
    vasp("")
    elsewhere = folder.parent / "elsewhere"
    elsewhere.mkdir()
    maker = static()
    inputs = RunInputs.from_generator(silicon, maker.input_set_generator)
    document = initial.write(inputs, elsewhere)
    assert not (elsewhere / "WAVECAR").exists(), "orbitals are made where they are needed"
    run = RunFromDensityMaker(maker=maker, initial_density=initial)
    run.make.original(run, silicon, document=document)
    assert attempts() == ["1+WAVECAR"]
    assert RunProvenance.read(folder).initial_density.path == document.path


def cheap_bands(silicon):
    flow = BandStructureMaker(bandstructure_type="line").make(silicon)
    flow = start_from_predicted_density(flow, "atoms+orbitals+delay=1")
    flow = update_user_incar_settings(flow, CHEAP)
    flow = update_user_kpoints_settings(flow, {"reciprocal_density": 4}, name_filter="static")
    flow = update_user_kpoints_settings(flow, {"line_density": 2}, name_filter="line")
    return update_vasp_input_generators(flow, {"run_vasp_kwargs->custodian_kwargs": POLLING})


@pytest.mark.gpaw
def test_gpaw_vasp_runs_a_static_and_bands_from_atomic_orbitals(silicon, run, monkeypatch):
    monkeypatch.setenv("MLCHARGE_VASP_CMD", "gpaw-vasp")
    documents = run(cheap_bands(silicon))
    assert len(documents) == 2
    for name, document in documents.items():
        provenance = RunProvenance.model_validate(document["additional_json"]["mlcharge"])
        assert provenance.initial_orbitals.failure is None, name
        assert provenance.initial_orbitals.source == "atomic"
        assert provenance.orbitals_read_by_vasp, name
        assert not wavecars(provenance.run_folder)


@pytest.mark.gpaw
def test_gpaw_vasp_reads_the_orbitals_of_the_gamma_only_version(silicon, folder, monkeypatch):
    monkeypatch.setenv("MLCHARGE_VASP_CMD", "gpaw-vasp")
    halves = []
    write = AtomicOrbitals.write
    monkeypatch.setattr(
        AtomicOrbitals,
        "write",
        lambda own, inputs, place: (halves.append(inputs.gamma_only), write(own, inputs, place))[1],
    )
    maker = static()
    maker.run_vasp_kwargs["handlers"] = ()  # at Gamma alone the energy is positive
    maker.input_set_generator.user_kpoints_settings = Kpoints()
    initial = InitialDensity(Superposition(), orbitals=AtomicOrbitals(), n_delay=1)
    run = RunFromDensityMaker(maker=maker, initial_density=initial)
    run.make.original(run, silicon)
    counted = count.original(str(folder))
    assert halves == [True]
    assert (counted.exclusion_reason, counted.n_delay) == (None, 1)
    assert counted.orbitals_read_by_vasp


GIVEN = InitialDensityDocument(density_source="file", path="x", comment="mlcharge-file-3f2a")
ORBITALS = InitialOrbitalsDocument(source="atomic")


def test_a_killed_run_leaves_nothing_to_inherit(tmp_path, inputs):
    path = tmp_path / "WAVECAR"
    write_orbitals(path, inputs.crystal, np.zeros((1, 3)), MARK, energy=0.0)
    remove_stale(tmp_path)
    assert not path.exists()
    write_orbitals(path, inputs.crystal, np.zeros((1, 3)))
    remove_stale(tmp_path)
    assert path.exists(), "a result"


def test_no_file_of_ours_stays_in_the_folder_that_a_scratch_directory_was_copied_from(
    tmp_path, inputs
):
    folders = run, scratch = tmp_path / "run", tmp_path / "scratch"
    for folder in folders:
        folder.mkdir()
        write_orbitals(folder / "WAVECAR", inputs.crystal, np.zeros((1, 3)), MARK, energy=0.0)
    provenance = RunProvenance(
        icharg=1, run_folder=str(run), initial_density=GIVEN, initial_orbitals=ORBITALS
    )
    provenance.write(scratch)
    finalize_run(scratch)
    assert not any(map(wavecars, folders))


@pytest.mark.parametrize(
    ("mesh", "tags", "gamma", "expected"),
    [
        ((1, 1, 1), {}, "vasp_gam", True),
        ((1, 1, 1), {}, "no_such_vasp", False),
        ((1, 1, 1), {"LEPSILON": True}, "vasp_gam", False),
        ((2, 1, 1), {}, "vasp_gam", False),
    ],
)
def test_the_executable_of_runs_at_gamma_alone(
    tmp_path, monkeypatch, salt, mesh, tags, gamma, expected
):
    command = tmp_path / "vasp_gam"
    command.write_text("#!/bin/sh\n")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    kpoints = Kpoints.gamma_automatic(mesh)
    settings = replace(generator(**tags), user_kpoints_settings=kpoints)
    made = settings.get_input_set(salt, potcar_spec=True)
    options = {"vasp_cmd": "vasp_std", "vasp_gamma_cmd": gamma}
    assert takes_gamma_executable(made, options) is expected
    assert not takes_gamma_executable(made, {**options, "vasp_job_kwargs": {"auto_gamma": False}})
