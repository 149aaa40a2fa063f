"""SPEC.yaml: keys of the first release, and files that would harm."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from mlcharge_flows.campaign.fireworks_spec import FireWorksSpec
from mlcharge_flows.campaign.spec import (
    CampaignSpec,
    SpecError,
    campaign_maker,
    read_spec,
)
from mlcharge_flows.errors import note_renamed
from mlcharge_flows.sources import FromFile, InitialDensity, Superposition
from mlcharge_flows.yaml_files import YamlError, read_yaml

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def unsaid() -> None:
    note_renamed.cache_clear()


def written(folder: Path, text: str) -> Path:
    path = folder / "SPEC.yaml"
    path.write_text(text)
    return path


def test_keys_of_the_first_release(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = "structures: x\nworkflow: static\nstart: CHGCAR\nfireworks: {categories: {start: a}}\n"
    spec = read_spec(written(tmp_path, text))
    assert spec.initial_density == "CHGCAR"
    assert spec.fireworks.categories == {"density": "a", "run": "cpu", "other": "cpu"}
    assert sorted(capsys.readouterr().err.splitlines()) == [
        "mlcharge: start: is now density:",
        "mlcharge: start: is now initial_density:",
    ]
    (tmp_path / "CHGCAR").touch()
    maker = campaign_maker(spec)
    assert maker.arms == ["file"]
    assert maker.initial_density == InitialDensity(FromFile(str(tmp_path / "CHGCAR")))


def test_both_names_of_a_key_are_one_too_many() -> None:
    with pytest.raises(ValueError, match="start"):
        CampaignSpec(name="x", structures="x", initial_density="learned", start="learned")
    with pytest.raises(ValueError, match="vasp"):
        FireWorksSpec(priorities={"vasp": 1})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("structures: " + 5000 * "[" + 5000 * "]", "is nested too deeply"),
        (
            "structures: x\nincar:\n  A: &a [lol,lol,lol,lol,lol,lol,lol,lol,lol]\n"
            + "".join(
                f"  {new}: &{new.lower()} [{','.join(9 * [f'*{old.lower()}'])}]\n"
                for old, new in zip("ABCDEFG", "BCDEFGH", strict=True)
            ),
            "its aliases expand to more than 100,000 values",
        ),
        ("structures: x\nincar: &a {A: *a}", "its aliases expand"),
        ("structures: x\nkpoints: &a\n  b: *a\n", "its aliases expand"),
        ("structures: x\nname: ../x\n", "name: cannot be the name of a folder"),
        ('structures: x\nname: "a\\e[2J"\n', "name: cannot be the name of a folder"),
    ],
    ids=lambda text: text[:20],
)
def test_files_that_would_harm(tmp_path: Path, text: str, reason: str) -> None:
    path = written(tmp_path, text)
    with pytest.raises(YamlError) as error:
        read_spec(path)
    (line,) = error.value.problems
    assert line.startswith(f"{path}: ")
    assert reason in line
    assert line.isprintable()


@pytest.mark.parametrize("maker", [".foo.Bar", "..Bar", ".", "Bar", "no.such.Bar"])
def test_a_maker_that_cannot_be_imported(tmp_path: Path, maker: str) -> None:
    spec = read_spec(written(tmp_path, f"structures: x\nmaker: '{maker}'\n"))
    with pytest.raises(SpecError, match=r"maker: '.*' cannot be imported"):
        campaign_maker(spec)


def test_names_that_are_too_long_for_a_file(tmp_path: Path) -> None:
    spec = read_spec(written(tmp_path, f"structures: x\narms: learned\nmodel: {5000 * 'x'}\n"))
    with pytest.raises(SpecError) as error:
        campaign_maker(spec)
    assert "\n" not in str(error.value)


def test_paths_of_initial_densities_are_relative_to_the_spec(tmp_path, monkeypatch) -> None:
    """Of all words, wherever the command runs; names of arms stay as they are written."""
    (tmp_path / "CHGCAR").touch()
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    path = tmp_path / "SPEC.yaml"
    own = FromFile(str(tmp_path / "CHGCAR"))
    for word in ("file@CHGCAR", "CHGCAR"):
        path.write_text(f"structures: x\narms: [{word}, superposition/CHGCAR]\n")
        arms = campaign_maker(read_spec(path)).initial_densities
        assert list(arms) == [word, "superposition/CHGCAR"]
        assert list(arms.values()) == [InitialDensity(own), InitialDensity(Superposition(), own)]


@pytest.mark.parametrize(
    "text",
    [
        "structures: x\narms: [learned]\nname: y\narms: [superposition]\n",
        "structures: x\nincar:\n  ENCUT: 400\n  ENCUT: 500\narms: learned\n",
    ],
)
def test_a_key_that_stands_twice_is_refused(tmp_path: Path, text: str) -> None:
    """Of two equal keys, the last one would count."""
    with pytest.raises(YamlError, match=r"SPEC\.yaml: line 4: .*'(arms|ENCUT)' stands twice"):
        read_spec(written(tmp_path, text))


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        (
            "a: &a {x: 1, y: 2}\n"
            + "".join(
                f"{k}: &{k} {{<<: [{', '.join([f'*{before}'] * 10)}]}}\n"
                for before, k in zip("abcdefg", "bcdefgh", strict=True)
            ),
            "its keys merge",
        ),
        (f"limit: {'9' * 5000}\n", "not YAML: a number has too many digits"),
        ("name: 2026-13-45\n", "not YAML: month must be in 1..12"),
    ],
)
def test_yaml_that_python_cannot_hold_is_refused_in_one_line(tmp_path, text, reason):
    path = tmp_path / "SPEC.yaml"
    path.write_text(text)
    with pytest.raises(YamlError, match=re.escape(reason)):
        read_yaml(path, CampaignSpec)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("incar: {ENCUT: abc}", "ENCUT = abc is not a number"),
        ("incar: {ENCUTT: 150}", "ENCUTT is no tag of INCAR; is ENCUT meant?"),
        ("incar: {ENCUT: {a: 1}}", "ENCUT: values by element"),
        ("incar: {MAGMOM: [.nan, 1]}", "MAGMOM: values by element"),
        ('incar: {SYSTEM: "x\\nLSORBIT = .TRUE."}', "is not one line"),
        ("kpoints: {reciprocal_density: 1.0e+15}", "is not between 0 and 1e7"),
        ("kpoints: {length: -5}", "length = -5 is not between 0 and 1e7"),
        ("kpoints: {line_density: [1]}", "line_density = [1] is not between 0 and 1e7"),
        ("kpoints: {foo: 1}", "foo is unknown; the settings are "),
    ],
)
def test_tags_and_kpoints_are_checked_before_anything_runs(tmp_path, line, reason):
    path = tmp_path / "SPEC.yaml"
    path.write_text(f"name: a\nstructures: b\n{line}\n")
    with pytest.raises(YamlError, match=re.escape(reason)):
        read_yaml(path, CampaignSpec)


def test_numbers_that_yaml_takes_for_text_are_read(tmp_path):
    path = tmp_path / "SPEC.yaml"
    path.write_text(
        "name: a\nstructures: b\nincar: {EDIFF: 1e-6, LWAVE: false, MAGMOM: {Fe: 5}, LREAL: null,"
        " ICHAIN: 0, LDAUU: {O: {Fe: 4.0}}}\n"
    )
    assert read_yaml(path, CampaignSpec).incar == {
        "EDIFF": 1e-6,
        "LWAVE": False,
        "MAGMOM": {"Fe": 5},
        "LREAL": None,
        "ICHAIN": 0,
        "LDAUU": {"O": {"Fe": 4.0}},
    }
