"""The headline: the shipped model saves steps, and its density is proven to have been read."""

from pathlib import Path

import pytest

CRYSTALS = Path(__file__).parents[1] / "test_files" / "crystals"
LEAST_SAVED = {"Si": 2, "MgO": 2}
"""Electronic steps of ionic step 1 that the learned density saves at least."""


@pytest.mark.gpaw
@pytest.mark.slow
def test_the_shipped_model_saves_steps_and_its_density_is_read(tmp_path):
    pytest.importorskip("gpaw", reason="needs the gpaw extra")
    pytest.importorskip("torch", reason="needs the models extra")
    from typer.testing import CliRunner

    from mlcharge_flows.campaign.local import read_results
    from mlcharge_flows.cli.app import app

    files = [str(CRYSTALS / f"{name}.vasp") for name in LEAST_SAVED]
    given = ["compare", *files, "--arms", "learned", "--workers", "1", "--out", str(tmp_path)]
    result = CliRunner().invoke(app, given)
    assert result.exit_code == 0, result.output
    compared = {comparison.formula: comparison for comparison in read_results(tmp_path)}
    assert compared.keys() == LEAST_SAVED.keys()
    for formula, least in LEAST_SAVED.items():
        default, learned = (compared[formula].arms[arm] for arm in ("default", "learned"))
        assert (default.started_from, learned.started_from) == ("atoms", "chgcar")
        assert learned.verified
        assert learned.echoed_comment == learned.expected_comment
        assert default.converged
        assert learned.converged
        assert learned.n_total <= default.n_total - least
        assert abs(learned.energy - default.energy) < 1e-3 * learned.n_atoms
