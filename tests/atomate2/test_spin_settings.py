"""Settings of spin-polarized runs."""

import pytest
import typer
from pymatgen.core import Lattice, Structure
from typer.testing import CliRunner

from mlcharge_flows.atomate2.flows.compare import comparison_static
from mlcharge_flows.atomate2.flows.dataset import DensitySampleMaker
from mlcharge_flows.atomate2.sets.spin import with_ion_moments
from mlcharge_flows.cli.app import app
from mlcharge_flows.cli.options import chosen_static

NIO = Structure.from_spacegroup("Fm-3m", Lattice.cubic(4.2), ["Ni", "O"], [[0] * 3, [0.5] * 3])
IRON = Structure(Lattice.cubic(2.87), ["Fe", "Fe"], [[0] * 3, [0.5] * 3])


def maker(spin=True, incar=None, encut=None):
    return chosen_static(None, incar, None, encut, gamma=False, spin=spin)


def incar(structure, **kwargs):
    inputs = maker(**kwargs).input_set_generator.get_input_set(structure, potcar_spec=True)
    return inputs["INCAR"]


def test_moments_and_hubbard_u_of_materials_project():
    tags = incar(NIO)
    assert tags["ISPIN"] == 2
    assert tags["MAGMOM"] == [5.0] * 4 + [0.6] * 4
    assert tags["LDAUU"] == [6.2, 0]
    assert tags["LDAUL"] == [2, 0]
    assert not any(tag.startswith("LDAU") for tag in incar(IRON))


def test_moments_of_the_sites_come_first():
    structure = IRON.copy(site_properties={"magmom": [2.0, -2.0]})
    assert incar(structure)["MAGMOM"] == [2.0, -2.0]
    assert "MAGMOM" not in incar(structure, spin=False)


def test_tags_of_the_user_win():
    assert incar(NIO, incar="LDAU = .FALSE.")["ISPIN"] == 2
    assert "LDAUU" not in incar(NIO, incar="LDAU = .FALSE.")


@pytest.mark.parametrize("name", ["tags.yaml", "tags.json"])
def test_tags_of_a_file_by_element(tmp_path, name):
    (tmp_path / name).write_text('{"ISPIN": 2, "MAGMOM": {"Fe": 3}}')
    assert incar(IRON, spin=False, incar=str(tmp_path / name))["MAGMOM"] == [3, 3]


def test_samples_with_and_without_spin_share_a_protocol_but_their_runs_do_not():
    plain, spin = DensitySampleMaker(), DensitySampleMaker(static_maker=maker())
    assert spin.protocol != plain.protocol
    assert spin.sample_protocol == plain.sample_protocol == plain.protocol
    other = DensitySampleMaker(static_maker=maker(encut=400.0))
    assert other.sample_protocol != plain.sample_protocol
    assert plain.static_maker == comparison_static()


def test_moments_of_the_ions_are_written_unless_a_tag_says_otherwise():
    def lorbit(**kwargs):
        generator = with_ion_moments(maker(**kwargs).input_set_generator)
        return generator.get_input_set(IRON, potcar_spec=True)["INCAR"].get("LORBIT")

    assert "LORBIT" not in incar(IRON)
    assert lorbit() == 11
    assert lorbit(incar="LORBIT = 0") == 0


@pytest.mark.parametrize("words", [[], ["--spin"]])
def test_compare_asks_spin_polarized_runs_for_the_moments_of_their_ions(monkeypatch, words):
    built = []

    def prepare(*given, **_):
        built.extend(build() for build in given if callable(build))
        raise typer.Exit(0)

    monkeypatch.setattr("mlcharge_flows.cli.compare.prepare", prepare)
    result = CliRunner().invoke(app, ["compare", "Fe.cif", "--arms", "superposition", *words])
    assert result.exit_code == 0, result.output
    tags = built[0].static_maker.input_set_generator.config_dict["INCAR"]
    assert tags.get("LORBIT") == (11 if words else None)
