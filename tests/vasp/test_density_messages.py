from __future__ import annotations

import gzip
import re

import pytest

from mlcharge_flows.vasp.chgcar_writer import echoed_comment
from mlcharge_flows.vasp.density_messages import read_density_messages

ECHO = " charge-density read from file: learned 3f2a                            \n"
MAIN = " entering main loop\n"
STEPS = "       N       E                     dE\nDAV:   1     0.482340968417E+01\n"


@pytest.fixture
def start(tmp_path):
    def write(text: str):
        path = tmp_path / "vasp.out"
        path.write_text(text)
        return read_density_messages(path)

    return write


@pytest.mark.parametrize(
    ("name", "provenance", "comment", "magnetization"),
    [
        ("si_relax_pair/vasp.out.relax1.gz", "atoms", None, None),
        ("si_relax_pair/vasp.out.relax2.gz", "chgcar", "unknown", "chgcar"),
        ("si_nscf11/vasp.out.gz", "chgcar", "unknown", None),
        ("al/vasp.out.gz", "chgcar", "unknown", None),
        ("si_static_icharg0/vasp.out.gz", "atoms", None, None),
    ],
)
def test_real_runs(vasp_samples, name, provenance, comment, magnetization):
    messages = read_density_messages(vasp_samples / name)
    assert messages.provenance == provenance
    assert messages.comment == comment
    assert messages.magnetization == magnetization
    assert messages.entered
    assert not messages.errors


REAL_ECHOES = [
    "al/vasp.out.gz",
    "si_nscf11/vasp.out.gz",
    "si_relax_pair/vasp.out.relax2.gz",
    "si_relax_relax12/vasp.out.relax2.gz",
    "si_spin_nscf_atomate/vasp.out.gz",
]


@pytest.mark.parametrize("name", REAL_ECHOES)
def test_the_first_word_that_vasp_echoes_proves_a_comment(vasp_samples, name, tmp_path):
    text = gzip.decompress((vasp_samples / name).read_bytes()).decode()
    echoed = re.findall(r"charge-density read from file: ?(.*)", text)
    assert echoed
    assert [line.strip() for line in echoed] == [echoed_comment("unknown system")] * len(echoed)
    token = "mlcharge-learned-0123456789abcdef"
    (tmp_path / "vasp.out").write_text(text.replace("unknown", f"{echoed_comment(token):<7}"))
    messages = read_density_messages(tmp_path / "vasp.out")
    assert (messages.provenance, messages.comment) == ("chgcar", token)


def test_an_echoed_comment_is_the_proof(start):
    messages = start(ECHO + MAIN + STEPS)
    assert (messages.provenance, messages.comment) == ("chgcar", "learned 3f2a")


@pytest.mark.parametrize(
    "complaint",
    [
        " WARNING: chargedensity file is incomplete",
        " WARNING: dimensions on CHGCAR file are different",
        " WARNING: number of atoms are different on CHGCAR file",
        " RD_RHO_PAW: ion           1 data corrupt",
        " WARNING: PAW occupancies are missing on CHGCAR ",
        "|     WARNING: PAW occupancies are missing on CHGCAR                          |",
    ],
)
@pytest.mark.parametrize("echo", ["", ECHO])
def test_any_complaint_about_the_file_means_atoms(start, complaint, echo):
    messages = start(echo + complaint + "\n" + MAIN + STEPS)
    assert messages.provenance == "atoms"
    assert len(messages.warnings) == 1
    assert messages.warnings[0] in complaint


def test_a_stopped_run_started_from_nothing(start):
    messages = start(
        " WARNING: dimensions on CHGCAR file are different\n"
        " ERROR: charge density could not be read from file CHGCAR for ICHARG>10\n"
    )
    assert messages.provenance == "unknown"
    assert messages.errors == (
        "ERROR: charge density could not be read from file CHGCAR for ICHARG>10",
    )


def test_a_superposition_says_nothing_and_is_atoms(start):
    assert start(" WAVECAR not read\n" + MAIN + STEPS).provenance == "atoms"


def test_a_run_that_never_entered_the_main_loop_is_unknown(start):
    assert start(" POSCAR, INCAR and KPOINTS ok, starting setup\n").provenance == "unknown"


def test_moments_from_magmom_do_not_spoil_the_density(start):
    text = ECHO + " magnetization density of overlapping atoms calculated\n" + MAIN + STEPS
    messages = start(text)
    assert (messages.provenance, messages.magnetization) == ("chgcar", "atoms")


def test_what_is_said_after_the_first_step_is_of_no_account(start):
    later = " charge-density read from file: another one\n"
    assert start(MAIN + STEPS + later).provenance == "atoms"


@pytest.mark.parametrize("word", ["successfully", "sucessfully"])
@pytest.mark.parametrize("density", ["charge-density", "charge density"])
def test_orbitals_and_density_that_were_read(start, word, density):
    found = start(
        f" found WAVECAR, reading the header\n reading WAVECAR\n"
        f" random initialization beyond band           13\n the WAVECAR file was read {word}\n"
        f" {density} read from file: mlcharge-learned-3f2a            \n" + MAIN + STEPS
    )
    assert found.orbitals_read
    assert found.orbital_warnings == ()
    assert (found.provenance, found.comment) == ("chgcar", "mlcharge-learned-3f2a")


def test_orbitals_that_were_not_read(start):
    assert start(MAIN + STEPS).orbitals_read is None
    found = start(" WAVECAR not read\n" + MAIN + STEPS)
    assert found.orbitals_read is False
    assert found.orbital_warnings == ("WAVECAR not read",)
    changed = start(" number of k-points has changed, file:    20 present:     8\n")
    assert changed.orbital_warnings[0].startswith("number of k-points has changed")
    error = start(" ERROR: while reading WAVECAR, plane wave coefficients changed\n")
    assert (error.orbitals_read, error.provenance) == (None, "unknown")


def test_a_sentence_about_the_message_is_no_echo(tmp_path):
    path = tmp_path / "vasp.out"
    path.write_text("note: charge-density read from file: learned 3f2a\n entering main loop\n")
    assert read_density_messages(path).provenance == "atoms"
