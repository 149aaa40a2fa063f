"""What a run says of its initial density: verified by the comment that VASP printed."""

from __future__ import annotations

import json

import pytest

from mlcharge_flows.atomate2.schemas import FILE_NAME, RunProvenance
from mlcharge_flows.scf.count import count_run
from mlcharge_flows.vasp.density_messages import read_density_messages

GIVEN = "mlcharge-learned-0123456789abcdef"
STDOUT = " charge-density read from file: {}\n entering main loop\n"


@pytest.fixture
def messages(tmp_path):
    def read(text: str):
        (tmp_path / "vasp.out").write_text(text)
        return read_density_messages(tmp_path / "vasp.out")

    return read


@pytest.mark.parametrize(
    ("stdout", "started_from", "read_by_vasp"),
    [
        (STDOUT.format(GIVEN), "chgcar", True),
        # The CHGCAR of another run, and one that shares all but the hash.
        (STDOUT.format("unknown"), "chgcar", False),
        (STDOUT.format("mlcharge-learned-0123456789abcdee"), "chgcar", False),
        (STDOUT.format(""), "chgcar", False),
        (" WARNING: chargedensity file is incomplete\n" + STDOUT.format(GIVEN), "atoms", False),
        (" entering main loop\n", "atoms", False),
        ("", "unknown", False),
    ],
)
def test_only_the_printed_comment_shows_that_a_density_was_read(
    messages, tmp_path, stdout, started_from, read_by_vasp
):
    provenance = RunProvenance.model_validate(
        {"icharg": 1, "initial_density": {"density_source": "learned", "comment": GIVEN}}
    )
    provenance.add_messages(messages(stdout))
    assert (provenance.started_from, provenance.read_by_vasp) == (started_from, read_by_vasp)
    # Counting agrees: one rule for what a run writes of itself and for what is counted.
    assert count_run(tmp_path, expected_comment=GIVEN).verified is read_by_vasp


def test_a_run_without_a_density_of_ours_has_read_none(messages):
    provenance = RunProvenance(icharg=2)
    provenance.add_messages(messages(" entering main loop\n"))
    assert (provenance.started_from, provenance.read_by_vasp) == ("atoms", None)


def test_provenance_of_version_0_1_is_read(tmp_path):
    start = {"kind": "learned", "comment": GIVEN, "seconds": 1.5, "occupancies": "learned"}
    old = {"icharg": 1, "start": start, "skipped": None, "started_from": "chgcar", "used": True}
    (tmp_path / FILE_NAME).write_text(json.dumps(old))
    provenance = RunProvenance.read(tmp_path)
    assert provenance.read_by_vasp is True
    assert provenance.initial_density.preparation_time == 1.5
    assert provenance.initial_density.comment == GIVEN
