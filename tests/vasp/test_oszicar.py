from __future__ import annotations

import gzip
from math import isnan

import pytest
from pymatgen.io.vasp import Oszicar as PymatgenOszicar

from mlcharge_flows.vasp.oszicar import read_oszicar

REAL = [
    "si_relax_pair/OSZICAR.relax1.gz",
    "si_relax_pair/OSZICAR.relax2.gz",
    "si_static_icharg0/OSZICAR.gz",
    "si_nscf11/OSZICAR.gz",
    "al/OSZICAR.gz",
    "si2_aiida/OSZICAR",
]
HEAD = (
    "       N       E                     dE             d eps       ncg     rms          rms(c)\n"
)
STEP = "DAV:   1     0.482340968417E+01    0.48234E+01   -0.28645E+03  1392   0.498E+02\n"
MIXED = (
    "RMM:   2    -0.108468766594E+02   -0.29785E-04   -0.29784E-04  1828   0.107E-01    0.180E-03\n"
)
END = "   1 F= -.10846877E+02 E0= -.10846877E+02  d E =-.108469E+02  mag=     0.0000\n"


@pytest.fixture
def written(tmp_path):
    def write(text: str):
        path = tmp_path / "OSZICAR"
        path.write_text(text)
        return read_oszicar(path)

    return write


@pytest.mark.parametrize("name", REAL)
def test_agrees_with_pymatgen_on_real_files(vasp_samples, name):
    ours = read_oszicar(vasp_samples / name)
    theirs = PymatgenOszicar(vasp_samples / name)
    assert [step.n_total for step in ours.ionic_steps] == [len(s) for s in theirs.electronic_steps]
    for step, electronic, ionic in zip(
        ours.ionic_steps, theirs.electronic_steps, theirs.ionic_steps, strict=True
    ):
        assert (ionic["F"], ionic["E0"]) == (step.F, step.E0)
        assert ionic.get("mag") == step.total_moment
        for mine, other in zip(step.steps, electronic, strict=True):
            assert mine.number == other["N"]
            assert (mine.energy, mine.change, mine.band_change) == (
                other["E"],
                other["dE"],
                other["deps"],
            )
            assert (mine.operations, mine.rms, mine.rms_c) == (
                other["ncg"],
                other["rms"],
                other.get("rms(c)"),
            )


def test_first_density_residuals_of_the_real_pair(vasp_samples):
    first = {
        name: next(
            step.rms_c
            for step in read_oszicar(vasp_samples / f"si_relax_pair/OSZICAR.{name}.gz")
            .ionic_steps[0]
            .steps
            if step.rms_c is not None
        )
        for name in ("relax1", "relax2")
    }
    assert first == {"relax1": 0.373, "relax2": 0.000180}


def test_every_cut_of_a_file_reads_as_an_unfinished_run(tmp_path):
    text = HEAD + STEP + MIXED + END
    path = tmp_path / "OSZICAR"
    counts = []
    for length in range(len(text)):
        path.write_text(text[:length])
        ionic_steps = read_oszicar(path).ionic_steps
        counts.append(sum(step.n_total for step in ionic_steps))
        if length < text.index("E0=") + 5:
            assert not any(step.finished for step in ionic_steps)
    assert counts == sorted(counts)
    assert counts[-1] == 2


def test_fused_and_overflowed_columns(written):
    line = "DAV:  12    -0.108468766594E+02   -0.29785E-04   -0.29784E-04104832   0.107E-01\n"
    stars = "DAV: ***   ********************   ************   -0.29784E-04******   *********\n"
    fused, overflowed = written(HEAD + line + stars + END).ionic_steps[0].steps
    assert (fused.band_change, fused.operations) == (-0.29784e-4, 104832)
    assert isnan(overflowed.energy)
    assert isnan(overflowed.rms)
    assert overflowed.operations is None
    assert overflowed.number == 13


def test_compressed_and_plain_read_alike(tmp_path):
    text = HEAD + STEP + MIXED + END
    plain, packed = tmp_path / "OSZICAR", tmp_path / "OSZICAR.gz"
    plain.write_text(text)
    packed.write_bytes(gzip.compress(text.encode()))
    assert read_oszicar(plain) == read_oszicar(packed)


def test_algorithms_other_than_davidson_and_molecular_dynamics_lines(written):
    dynamics = "   1 T=   300. E= -.10E+02 F= -.10846877E+02 E0= -.10846870E+02  EK= 0.1E+00\n"
    text = HEAD + STEP.replace("DAV:", "CG :") + MIXED.replace("RMM:", "SDA:") + dynamics
    (step,) = written(text).ionic_steps
    assert [s.label for s in step.steps] == ["CG", "SDA"]
    assert step.E0 == -10.84687


@pytest.mark.parametrize("label", ["SDA", "CGA", "DMP"])
def test_overlaps_of_gradients_are_no_residuals(written, label):
    line = label + ":   5    -0.107000000000E+02   -0.30000E+00   -0.20000E+00   360   0.177E+01"
    zero, fused = f"{line} 0.000E+00\n", f"{line}-0.260E-02\n".replace("5", "6", 1)
    steps = written(HEAD + zero + fused + END).ionic_steps[0].steps
    assert [(step.rms, step.rms_c) for step in steps] == [(1.77, None), (1.77, None)]


def test_a_further_loop_within_an_ionic_step_is_left_out(written):
    second = END.replace("   1 F=", "   2 F=")
    run = written(HEAD + STEP + MIXED + HEAD + STEP + MIXED + END + STEP + second)
    assert [step.n_total for step in run.ionic_steps] == [2, 1]


def test_damage_inside_the_file_is_an_error_that_names_it(written):
    with pytest.raises(ValueError, match=r"OSZICAR: line 2 is not an electronic step"):
        written(HEAD + STEP[:40] + "\n" + MIXED + END)


@pytest.mark.parametrize("text", [HEAD + STEP + MIXED + END, STEP + END, HEAD + MIXED + END])
def test_steps_of_several_runs_are_refused(written, text):
    with pytest.raises(ValueError, match="is of ionic step 1 again: the file holds the steps of"):
        written(text + text)


@pytest.mark.parametrize("text", ["\0\1\2\n" * 9, "<html>\n", "OUTCAR\n1 F= x\n"])
def test_a_file_of_another_kind_is_refused(written, text):
    with pytest.raises(ValueError, match="holds no electronic step; is it an OSZICAR"):
        written(text)


def test_an_empty_file_has_no_steps(written):
    assert written("").ionic_steps == ()


@pytest.mark.parametrize(
    ("end", "moment"),
    [
        ("  mag=     2.2341", 2.2341),
        ("  mag=    -2.2341", -2.2341),
        ("", None),
        ("  mag=     0.0000     0.0000     1.9000", None),  # non-collinear
    ],
)
def test_the_total_moment_is_read(written, end, moment):
    (step,) = written(HEAD + STEP + END.partition("  mag=")[0] + end + "\n").ionic_steps
    assert (step.E0, step.total_moment) == (-10.846877, moment)
