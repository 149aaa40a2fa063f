"""Every structure is served or refused for one reason, the one of which a prediction fails."""

import json
from pathlib import Path

import pytest
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from mlcharge_flows.cli.app import app
from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.paw_dataset import PawDataset
from mlcharge_flows.models.domain import Domain, GeometryBounds, OutOfDomainError
from mlcharge_flows.sources.coverage import Coverage
from mlcharge_flows.structures import Material


def salt(edge, cation="Na", charge=0):
    sites = [[0, 0, 0], [0.5, 0.5, 0.5]]
    return Structure(Lattice.cubic(edge), [cation, "Cl"], sites, charge=charge)


@pytest.fixture
def domain():
    paw = {s: PawDataset(symbol=s, titel=s, zval=1.0, channels=(0,)) for s in ("Na", "Cl")}
    bounds = GeometryBounds.of([Crystal.from_structure(salt(3.4))])
    return Domain("tiny", paw, "none", bounds)


def test_each_structure_counts_once_and_as_the_domain_decides(domain):
    crystals = {
        "known": salt(3.4),
        "strained": salt(3.5),
        "unknown": salt(3.4, "Ag", charge=1),
        "unknown-too": salt(9.0, "K"),
        "charged": salt(9.0, charge=1),
        "dilute": salt(9.0),
    }
    materials = [Material(name, s, Path("list.json")) for name, s in crystals.items()]
    found = Coverage.of(domain, materials)
    assert (found.n_structures, found.n_served) == (6, 2)
    assert (found.n_unknown, found.unknown_elements) == (2, {"Ag": 1, "K": 1})
    assert found.n_charged == 1
    assert list(found.geometry) == ["dilute"]
    for material in materials:
        crystal = Crystal.from_structure(material.structure)
        n_electrons = 2.0 - material.charge
        if material.id in ("known", "strained"):
            domain.check(crystal, None, n_electrons)
        else:
            with pytest.raises(OutOfDomainError):
                domain.check(crystal, None, n_electrons)


def test_the_command_counts_and_names_what_it_cannot_read(tmp_path):
    pytest.importorskip("torch", reason="needs the models extra")
    pytest.importorskip("safetensors", reason="needs the models extra")
    entries = [
        {"material_id": "salt", "structure": salt(3.5).as_dict()},
        {"material_id": "uranium", "structure": salt(3.5, "U").as_dict()},
    ]
    file = tmp_path / "list.json"
    file.write_text(json.dumps({"structures": entries}))
    words = ["models", "coverage", str(file)]
    shown = CliRunner().invoke(app, words)
    assert shown.exit_code == 0, shown.output
    assert shown.output.startswith("orbital serves 1 of 2 structures (50.0 %)\n")
    assert "U 1" in shown.output
    read = json.loads(CliRunner().invoke(app, [*words, "--json"]).output)
    assert Coverage.model_validate(read).unknown_elements == {"U": 1}
    (tmp_path / "bad.cif").write_text("no crystal")
    refused = CliRunner().invoke(app, [*words, str(tmp_path / "bad.cif")])
    assert refused.exit_code == 2
    assert "bad.cif" in refused.stderr
    assert CliRunner().invoke(app, [*words, str(tmp_path / "bad.cif"), "--skip-bad"]).exit_code == 0
