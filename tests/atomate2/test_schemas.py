"""The provenance of a run: VASP's output against the comment that was written."""

import json
import shutil

import pytest

from mlcharge_flows.atomate2.jobs.comparison import count
from mlcharge_flows.atomate2.schemas import ProvenanceError, RunProvenance
from mlcharge_flows.atomate2.staging import finalize_run
from mlcharge_flows.sources import InitialDensityDocument

COMMENT = "mlcharge-learned-3f2a0123456789ab"
GIVEN = InitialDensityDocument(density_source="learned", path="/elsewhere/CHGCAR", comment=COMMENT)


def ended(folder, echoed, given=GIVEN, **fields):
    """Provenance of a run whose VASP printed a comment, or none."""
    read = f" charge-density read from file: {echoed}\n" if echoed else ""
    (folder / "vasp.out").write_text(f"{read} entering main loop\n")
    RunProvenance(icharg=1, initial_density=given, **fields).write(folder)
    return finalize_run(folder)


@pytest.mark.parametrize(
    ("echoed", "is_read"),
    [
        (COMMENT, True),
        (f"{COMMENT}      ", True),
        ("mlcharge-learned-3f2a0123456789ac", False),
        ("mlcharge", False),
        ("unknown", False),
        (None, False),
    ],
)
def test_a_density_is_read_only_if_vasp_prints_its_very_comment(tmp_path, echoed, is_read):
    provenance = ended(tmp_path, echoed)
    assert provenance.read_by_vasp is is_read
    assert provenance.started_from == ("atoms" if echoed is None else "chgcar")
    assert RunProvenance.read(tmp_path) == provenance
    run = count.original(str(tmp_path))
    assert run.expected_comment == COMMENT
    assert run.verified is is_read


def test_a_density_with_another_first_line_is_no_proof_without_one(tmp_path):
    nameless = GIVEN.model_copy(update={"comment": None})
    assert ended(tmp_path, "unknown", nameless).read_by_vasp is False


def test_nothing_was_given_or_it_failed(tmp_path):
    assert ended(tmp_path, COMMENT, None).read_by_vasp is None
    failed = InitialDensityDocument.of_failure(ValueError("no model"), "learned", "learned")
    assert ended(tmp_path, None, failed).read_by_vasp is None
    assert count.original(str(tmp_path)).failure == "no initial density: no model"


def test_orbitals_that_were_inherited(tmp_path):
    reason = "WAVECAR inherited"
    (tmp_path / "vasp.out").write_text(" entering main loop\n")
    RunProvenance(icharg=None, existing_density_reason=reason).write(tmp_path)
    assert finalize_run(tmp_path).started_from == "orbitals"


def test_documents_of_the_first_release_are_read(tmp_path):
    old = {
        "icharg": 1,
        "start": {"kind": "learned", "comment": COMMENT, "seconds": 2.0, "messages": ["adapted"]},
        "skipped": None,
        "started_from": "chgcar",
        "used": True,
        "warnings": [],
        "restarted": "BRMIX",
        "failure": None,
    }
    (tmp_path / "mlcharge.json").write_text(json.dumps(old))
    provenance = RunProvenance.read(tmp_path)
    assert provenance.read_by_vasp is True
    assert provenance.restart_reason == "BRMIX"
    assert provenance.initial_density.density_source == "learned"
    assert provenance.initial_density.preparation_time == 2.0
    assert provenance.initial_density.warnings == ["adapted"]
    skipped = RunProvenance.model_validate({"icharg": None, "skipped": "CHGCAR inherited"})
    assert skipped.existing_density_reason == "CHGCAR inherited"
    provenance.write(tmp_path)
    written = json.loads((tmp_path / "mlcharge.json").read_text())
    assert not written.keys() & {"start", "skipped", "used", "restarted"}
    assert RunProvenance.read(tmp_path) == provenance


@pytest.mark.parametrize(
    "content", [b"", b'{"icharg": 1, "initial_den', b"[]", b"null", b"\xff\xfe{", b"[" * 100_000]
)
def test_a_damaged_document_is_named_and_the_run_is_counted(vasp_samples, tmp_path, content):
    for name in ("OUTCAR.gz", "OSZICAR"):
        shutil.copyfile(vasp_samples / "si2_aiida" / name, tmp_path / name)
    counted = count.original(str(tmp_path))
    assert counted.failure is None
    (tmp_path / "mlcharge.json").write_bytes(content)
    with pytest.raises(ProvenanceError, match=r"mlcharge\.json: is no provenance of a run \(.+\)$"):
        RunProvenance.read(tmp_path)
    run = count.original(str(tmp_path))
    assert (run.n_total, run.energy) == (counted.n_total, counted.energy)
    assert run.failure.startswith(f"unreadable: {tmp_path / 'mlcharge.json'}: is no provenance")


def test_there_may_be_no_document(tmp_path):
    assert RunProvenance.read(tmp_path) is None
    assert finalize_run(tmp_path) is None
