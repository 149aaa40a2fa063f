"""Folders that runs on clusters leave behind, one of each kind, and what is right for each.

The folders are not part of the repository; each has a README with its situation.
"""

from __future__ import annotations

import bz2
import gzip
import lzma
import shutil

import pytest

from mlcharge_flows.scf.count import count_run
from mlcharge_flows.vasp.outcar import read_outcar

COMMENT = "mlcharge learned 0123456789abcdef"
"""Comment of the CHGCAR that most of these runs read."""


RIGHT = {
    # Lines of SDA and DMP end with the overlap of gradients: there is no rms(c).
    "O01_damped_ort": {
        "n_total": 8,
        "n_scf": None,
        "first_residual": None,
        "residuals": [None] * 8,
        "exclusion_reason": None,
    },
    # VASP 5 says that EDIFF is reached also when NELM is used up.
    "O02_nelm_said_reached": {
        "n_total": 8,
        "n_scf": 4,
        "converged": False,
        "exclusion_reason": "not converged: 8 steps, NELM = 8",
    },
    "O07_second_loop": {
        "n_total": 8,
        "n_scf": 4,
        "first_residual": 0.06,
        "exclusion_reason": None,
    },
    "O13_relax_suffixes": {"n_total": 8, "converged": True, "exclusion_reason": None},
    "O14_stale_beside_gz": {
        "n_total": None,
        "verified": False,
        "exclusion_reason": "ambiguous files: OSZICAR and OSZICAR.gz in {folder} differ; "
        "remove the one of the other run",
    },
    "O15_custodian_json_empty": {
        "n_total": 8,
        "energy": -10.808,
        "converged": True,
        "exclusion_reason": "unreadable: {folder}/custodian.json: the file is empty",
    },
    "O19_foreign_outcar": {
        "n_total": None,
        "converged": False,
        "started_from": "unknown",
        "exclusion_reason": "did not start: srun: error: Unable to create step for job 4711: "
        "More processors requested than permitted",
    },
}


@pytest.mark.parametrize("case", RIGHT)
def test_what_is_right(cases, case):
    folder = cases / case
    comment = None if case == "O19_foreign_outcar" else COMMENT
    run = count_run(folder, expected_comment=comment)
    right = dict(RIGHT[case])
    if reason := right.get("exclusion_reason"):
        right["exclusion_reason"] = reason.format(folder=folder)
    assert {key: getattr(run, key) for key in right} == right


@pytest.mark.parametrize(
    "words", ["EDIFF was not reached (unconverged)", "because EDIFF is reached"]
)
def test_outcar_alone_shows_that_nelm_was_used_up(cases, tmp_path, words):
    """Data sets are packed from OUTCAR and CHGCAR."""
    text = (cases / "O02b_dataset" / "OUTCAR").read_text()
    path = tmp_path / "OUTCAR"
    path.write_text(text.replace("EDIFF was not reached (unconverged)", words))
    outcar = read_outcar(path)
    assert (len(outcar.first.energies), outcar.nelm, outcar.converged) == (8, 8, False)


def test_one_word_of_several_identifies_no_chgcar(cases, tmp_path):
    """VASP prints the first word of the comment, which every prediction may share."""
    shutil.copytree(cases / "first_word_echo", tmp_path, dirs_exist_ok=True)
    run = count_run(tmp_path, expected_comment="mlcharge converged c3ca4f6460f13aec")
    assert (run.n_total, run.n_scf, run.started_from) == (6, 2, "chgcar")
    assert not run.verified
    assert run.provenance_issue == (
        "CHGCAR not identified: of its comment 'mlcharge converged c3ca4f6460f13aec' only "
        "'mlcharge' was printed"
    )
    one_word = "mlcharge-converged-c3ca4f6460f13aec"
    stdout = tmp_path / "vasp.out"
    stdout.write_text(stdout.read_text().replace("file: mlcharge  ", f"file: {one_word}"))
    assert count_run(tmp_path, expected_comment=one_word).verified
    assert not count_run(tmp_path, expected_comment=f"{one_word[:-1]}0").verified


def test_orbitals_are_verified_like_densities(cases, tmp_path):
    shutil.copytree(cases / "first_word_echo", tmp_path, dirs_exist_ok=True)
    one_word, stdout = "mlcharge-converged-c3ca4f6460f13aec", tmp_path / "vasp.out"
    text = stdout.read_text().replace("file: mlcharge  ", f"file: {one_word}")

    def issue(line, **given):
        stdout.write_text(text.replace(" charge-density", f"{line} charge-density"))
        run = count_run(tmp_path, expected_comment=one_word)
        return run.model_copy(update=given).provenance_issue

    read = " the WAVECAR file was read successfully\n"
    atomic = {"orbitals_source": "atomic"}
    assert issue(read, **atomic) is None
    assert issue(" WAVECAR not read\n") is None
    assert issue(" WAVECAR not read\n", **atomic).startswith("initial orbitals not read: ")
    assert issue("", **atomic).startswith("initial orbitals not read: ")
    assert issue(read) == "read a WAVECAR that it was not given"
    assert issue("", **atomic, orbitals_failure="why") == "no initial orbitals: why"


@pytest.mark.parametrize(
    ("ending", "compress"), [("gz", gzip.compress), ("bz2", bz2.compress), ("xz", lzma.compress)]
)
def test_siblings_of_the_cases_are_counted_the_same(cases, tmp_path, ending, compress):
    """Compressed files, and two versions of a file with the same content."""
    source = cases / "O07_second_loop"
    plain = count_run(source, expected_comment=COMMENT)
    for name in ("OSZICAR", "OUTCAR", "vasp.out"):
        (tmp_path / f"{name}.{ending}").write_bytes(compress((source / name).read_bytes()))
    packed = count_run(tmp_path, expected_comment=COMMENT)
    assert packed == plain.model_copy(update={"folder": str(tmp_path)})
    shutil.copy(source / "OUTCAR", tmp_path)
    assert count_run(tmp_path, expected_comment=COMMENT) == packed
