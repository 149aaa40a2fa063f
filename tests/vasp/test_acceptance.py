"""What VASP would say to a CHGCAR."""

import re
from dataclasses import replace

import numpy as np
import pytest

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.density import Density, Magnetization
from mlcharge_flows.vasp.acceptance import chgcar_acceptance
from mlcharge_flows.vasp.chgcar import write_chgcar

CRYSTAL = Crystal(3 * np.eye(3), ("Li", "Li"), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]))
CHANNELS = [(0, 0, 1)] * 2
MISSING = "WARNING: PAW occupancies are missing on CHGCAR"


@pytest.fixture
def density():
    total = np.full((4, 5, 6), 2 / 27)
    return Density(CRYSTAL, total, (np.ones(15), np.ones(15)), comment="superposition 3f2a")


@pytest.fixture
def verdict(tmp_path, density):
    """Judge a file: a density to write, or a change of the text of a good one."""

    def judge(content, **expected):
        path = tmp_path / "CHGCAR"
        write_chgcar(path, content if isinstance(content, Density) else density)
        if callable(content):
            path.write_text(content(path.read_text()))
        defaults = {
            "crystal": CRYSTAL,
            "shape": (4, 5, 6),
            "n_electrons": 2.0,
            "channels": CHANNELS,
        }
        return chgcar_acceptance(path, **(defaults | expected))

    return judge


def test_good_file_is_used_and_echoes_its_comment(verdict, density):
    found = verdict(density)
    assert found.readable
    assert found.used
    assert found.messages == ("charge-density read from file: superposition",)
    assert found.notes == ()


def test_missing_file(tmp_path):
    found = chgcar_acceptance(tmp_path / "CHGCAR")
    assert not found.readable
    assert not found.used
    assert found.messages == ("WARNING: chargedensity file is incomplete",)


def test_truncated_grid(verdict):
    found = verdict(lambda text: text[:800])
    assert (found.readable, found.used) == (False, False)
    assert found.messages == ("WARNING: chargedensity file is incomplete",)
    assert "CHGCAR" in found.notes[0]


def test_other_grid(verdict, density):
    found = verdict(density, shape=(4, 5, 8))
    assert (found.readable, found.used) == (True, False)
    assert found.messages == ("WARNING: dimensions on CHGCAR file are different",)


@pytest.mark.parametrize(
    ("change", "ion"),
    [
        (lambda t: t[: t.index("augmentation")], 1),
        (lambda t: t.replace("augmentation", "\naugmentation", 1), 1),
        (lambda t: t[: t.rindex("augmentation")], 2),
        (lambda t: t[:-16] + "\n", 2),
        (lambda t: re.sub(r"\naug(.*  2 )", r"\n\naug\1", t), 2),
    ],
)
def test_bad_records_drop_the_whole_density(verdict, change, ion):
    found = verdict(change)
    assert (found.readable, found.used) == (True, False)
    assert found.messages == (f"RD_RHO_PAW: ion  {ion} data corrupt", MISSING)
    assert found.density.n_electrons == pytest.approx(2.0)


def test_records_of_other_data_sets(verdict, density):
    found = verdict(density, channels=[(0, 0, 1), (0, 0, 1, 1)])
    assert not found.used
    assert found.messages == ("RD_RHO_PAW: ion  2 data corrupt", MISSING)
    assert "needs 33" in found.notes[0]


def test_other_number_of_ions(verdict, density):
    one = Crystal(CRYSTAL.lattice, ("Li",), np.zeros((1, 3)))
    found = verdict(density, crystal=one, channels=CHANNELS[:1])
    assert not found.used
    assert "2 ions" in found.notes[0]


def test_what_vasp_does_not_say_is_noted(verdict, density):
    shifted = Crystal(4 * np.eye(3), ("Li", "H"), CRYSTAL.positions + 0.01)
    found = verdict(density, crystal=shifted, n_electrons=3.0)
    assert found.used
    notes = " ".join(found.notes)
    for word in ("elements", "lattice", "moved", "electrons"):
        assert word in notes


def test_positions_equal_up_to_the_headers_digits_and_lattice_vectors(verdict, density):
    same = Crystal(CRYSTAL.lattice, CRYSTAL.symbols, CRYSTAL.positions - 1 + 3e-7)
    assert verdict(density, crystal=same).notes == ()


def test_magnetization_messages(verdict, density):
    spin = Magnetization(density.total / 2, density.augmentation, np.zeros(2))
    read = verdict(replace(density, magnetization=spin), spin_polarized=True)
    assert read.messages[1] == "magnetization density read from file 1"
    atoms = verdict(density, spin_polarized=True)
    assert atoms.used
    assert atoms.messages[1] == "magnetization density of overlapping atoms calculated"
    assert len(verdict(density).messages) == 1


def test_vasp_does_not_unpack(tmp_path, density):
    write_chgcar(tmp_path / "x.gz", density)
    packed = chgcar_acceptance(tmp_path / "x.gz")
    assert packed.used
    (note,) = packed.notes
    assert "unpack it for VASP" in note
    (tmp_path / "x.gz").rename(tmp_path / "CHGCAR")
    plain = chgcar_acceptance(tmp_path / "CHGCAR")
    assert (plain.used, plain.notes) == (False, packed.notes)
    assert plain.messages == ("WARNING: chargedensity file is incomplete",)
    assert plain.density.n_electrons == pytest.approx(2.0)


def test_vasp_can_hang_on_a_cut_magnetization(verdict, density, tmp_path):
    spin = Magnetization(density.total / 2, density.augmentation, np.zeros(2))
    whole = replace(density, magnetization=spin)
    write_chgcar(tmp_path / "whole", whole)
    lines = (tmp_path / "whole").read_text().splitlines(keepends=True)
    second = max(n for n, line in enumerate(lines) if line.split() == ["4", "5", "6"])

    def hangs(text):
        return any("VASP can hang" in note for note in verdict(lambda _: text).notes)

    for end in range(second + 1, len(lines)):
        assert hangs("".join(lines[:end]))
        assert hangs("".join(lines[:end]) + lines[end][:12])
    assert not hangs("".join(lines))
    assert not hangs("".join(lines) + lines[second])


def test_unknown_expectations_are_not_checked(tmp_path, density):
    write_chgcar(tmp_path / "CHGCAR", density)
    assert chgcar_acceptance(tmp_path / "CHGCAR").used
