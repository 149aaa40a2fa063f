"""What VASP would say to a CHGCAR."""

import re
from dataclasses import replace

import numpy as np
import pytest

from mlcharge_flows.density.crystal import Crystal
from mlcharge_flows.density.density import Density, Magnetization
from mlcharge_flows.vasp.chgcar_writer import write_chgcar
from mlcharge_flows.vasp.density_messages import chgcar_acceptance

CRYSTAL = Crystal(3 * np.eye(3), ("Li", "Li"), np.array([[0, 0, 0], [0.5, 0.5, 0.5]]))
CHANNELS = [(0, 0, 1)] * 2
MISSING = "WARNING: PAW occupancies are missing on CHGCAR"


@pytest.fixture
def density():
    total = np.full((4, 5, 6), 2 / 27)
    return Density(CRYSTAL, total, (np.ones(15), np.ones(15)), comment="superposition 3f2a")


@pytest.fixture
def acceptance(tmp_path, density):
    """VASP's reaction to a file: a density to write, or a change of the text of a good one."""

    def accepted(content, **expected):
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

    return accepted


def test_good_file_is_used_and_echoes_its_comment(acceptance, density):
    found = acceptance(density)
    assert found.density is not None
    assert found.read_by_vasp
    assert found.messages == ("charge-density read from file: superposition",)
    assert found.warnings == ()


def test_missing_file(tmp_path):
    found = chgcar_acceptance(tmp_path / "CHGCAR")
    assert found.density is None
    assert not found.read_by_vasp
    assert found.messages == ("WARNING: chargedensity file is incomplete",)


def test_truncated_grid(acceptance):
    found = acceptance(lambda text: text[:800])
    assert (found.density is not None, found.read_by_vasp) == (False, False)
    assert found.messages == ("WARNING: chargedensity file is incomplete",)
    assert "CHGCAR" in found.warnings[0]


def test_other_grid(acceptance, density):
    found = acceptance(density, shape=(4, 5, 8))
    assert (found.density is not None, found.read_by_vasp) == (True, False)
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
def test_bad_occupancies_drop_the_whole_density(acceptance, change, ion):
    found = acceptance(change)
    assert (found.density is not None, found.read_by_vasp) == (True, False)
    assert found.messages == (f"RD_RHO_PAW: ion  {ion} data corrupt", MISSING)
    assert found.density.n_electrons == pytest.approx(2.0)


def test_occupancies_of_other_data_sets(acceptance, density):
    found = acceptance(density, channels=[(0, 0, 1), (0, 0, 1, 1)])
    assert not found.read_by_vasp
    assert found.messages == ("RD_RHO_PAW: ion  2 data corrupt", MISSING)
    assert "needs 33" in found.warnings[0]


def test_other_number_of_ions(acceptance, density):
    one = Crystal(CRYSTAL.lattice, ("Li",), np.zeros((1, 3)))
    found = acceptance(density, crystal=one, channels=CHANNELS[:1])
    assert not found.read_by_vasp
    assert "2 ions" in found.warnings[0]


def test_what_vasp_does_not_say_is_noted(acceptance, density):
    shifted = Crystal(4 * np.eye(3), ("Li", "H"), CRYSTAL.positions + 0.01)
    found = acceptance(density, crystal=shifted, n_electrons=3.0)
    assert found.read_by_vasp
    notes = " ".join(found.warnings)
    for word in ("elements", "lattice", "moved", "electrons"):
        assert word in notes


def test_positions_equal_up_to_the_headers_digits_and_lattice_vectors(acceptance, density):
    same = Crystal(CRYSTAL.lattice, CRYSTAL.symbols, CRYSTAL.positions - 1 + 3e-7)
    assert acceptance(density, crystal=same).warnings == ()


def test_magnetization_messages(acceptance, density):
    spin = Magnetization(density.total / 2, density.augmentation, np.zeros(2))
    read = acceptance(replace(density, magnetization=spin), spin_polarized=True)
    assert read.messages[1] == "magnetization density read from file 1"
    atoms = acceptance(density, spin_polarized=True)
    assert atoms.read_by_vasp
    assert atoms.messages[1] == "magnetization density of overlapping atoms calculated"
    assert len(acceptance(density).messages) == 1


def test_vasp_does_not_unpack(tmp_path, density):
    write_chgcar(tmp_path / "x.gz", density)
    packed = chgcar_acceptance(tmp_path / "x.gz")
    assert packed.read_by_vasp
    (note,) = packed.warnings
    assert "unpack it for VASP" in note
    (tmp_path / "x.gz").rename(tmp_path / "CHGCAR")
    plain = chgcar_acceptance(tmp_path / "CHGCAR")
    assert (plain.read_by_vasp, plain.warnings) == (False, packed.warnings)
    assert plain.messages == ("WARNING: chargedensity file is incomplete",)
    assert plain.density.n_electrons == pytest.approx(2.0)


def test_vasp_can_hang_on_a_cut_magnetization(acceptance, density, tmp_path):
    spin = Magnetization(density.total / 2, density.augmentation, np.zeros(2))
    whole = replace(density, magnetization=spin)
    write_chgcar(tmp_path / "whole", whole)
    lines = (tmp_path / "whole").read_text().splitlines(keepends=True)
    second = max(n for n, line in enumerate(lines) if line.split() == ["4", "5", "6"])

    def hangs(text):
        return any("VASP can hang" in line for line in acceptance(lambda _: text).warnings)

    for end in range(second + 1, len(lines)):
        assert hangs("".join(lines[:end]))
        assert hangs("".join(lines[:end]) + lines[end][:12])
    assert not hangs("".join(lines))
    assert not hangs("".join(lines) + lines[second])


def test_unknown_expectations_are_not_checked(tmp_path, density):
    write_chgcar(tmp_path / "CHGCAR", density)
    assert chgcar_acceptance(tmp_path / "CHGCAR").read_by_vasp


def test_a_non_collinear_file_does_not_fit_a_collinear_run(vasp_samples):
    found = chgcar_acceptance(vasp_samples / "co_noncollinear_layout/CHGCAR.gz")
    assert found.density is not None
    assert not found.read_by_vasp
    assert found.messages == ()
    (warning,) = found.warnings
    assert "the density is non-collinear; a collinear run cannot start from it" in warning
    assert len(found.density.augmentation[0]) == 138


def test_four_blocks_are_non_collinear(tmp_path, density):
    spin = Magnetization(density.total / 2, density.augmentation, np.zeros(2))
    write_chgcar(tmp_path / "CHGCAR", replace(density, magnetization=spin))
    lines = (tmp_path / "CHGCAR").read_text().splitlines(keepends=True)
    second = max(n for n, line in enumerate(lines) if line.split() == ["4", "5", "6"])
    (tmp_path / "CHGCAR").write_text("".join(lines + 2 * lines[second:]))
    found = chgcar_acceptance(tmp_path / "CHGCAR")
    assert (found.density is not None, found.read_by_vasp) == (True, False)
    assert "a third block: the density is non-collinear" in found.warnings[0]


def test_a_file_without_final_line_end_is_read(acceptance, density):
    assert acceptance(lambda text: text[:-1]).read_by_vasp
    assert not acceptance(lambda text: text[:-2]).read_by_vasp
