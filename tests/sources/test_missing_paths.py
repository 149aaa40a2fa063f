"""Files and folders that initial densities name are looked for before anything runs."""

import re

import pytest

from mlcharge_flows.campaign.spec import SpecError, campaign_maker, read_spec
from mlcharge_flows.sources import SourceError, load_arms, parse_initial_density

MISSING = {
    "file@{}/CHGCAR": "file@{}/CHGCAR: there is no such file",
    "file@{}": "file@{}: is a folder; name the file in it",
    "superposition/file@{}/CHGCAR": "file@{}/CHGCAR: there is no such file",
    "carried@{}/none": "carried@{}/none: there is no such folder",
    "carried@{}": "carried@{}: has no CHGCAR",
    "superposition/carried@{}": "carried@{}: has no CHGCAR",
    "anchored@{}/none": "anchored@{}/none: there is no such folder",
    "anchored@{}@none": "anchored@{}: has no CHGCAR",
    "atoms+orbitals@{}/WAVECAR": "orbitals@{}/WAVECAR: there is no such file",
    "carried+orbitals@{}": "orbitals@{}: has no WAVECAR",
}


@pytest.mark.parametrize(("word", "line"), MISSING.items())
def test_missing_paths_are_found_when_words_are_read(tmp_path, word, line):
    (tmp_path / "SPEC.yaml").write_text(f"structures: x\narms: ['{word.format('.')}']\n")
    word, line = word.format(tmp_path), line.format(tmp_path)
    with pytest.raises(SourceError, match=re.escape(line)):
        load_arms([word], ["orbital"])
    spec = read_spec(tmp_path / "SPEC.yaml")
    with pytest.raises(SpecError, match=rf"^arms: {re.escape(line)}"):
        campaign_maker(spec)


def test_reports_need_no_files_of_initial_densities(tmp_path):
    (tmp_path / "SPEC.yaml").write_text("structures: x\narms: [file@CHGCAR, carried@run]\n")
    maker = campaign_maker(read_spec(tmp_path / "SPEC.yaml"), to_run=False)
    assert maker.arms == ["default", "file@CHGCAR", "carried@run"]


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_paths_that_are_there_are_taken(tmp_path, ending):
    for name in ("CHGCAR", "WAVECAR"):
        (tmp_path / f"{name}{ending}").touch()
    for word in ("carried@{}", f"file@{{}}/CHGCAR{ending}", "carried", "atoms+orbitals@{}"):
        parse_initial_density(word.format(tmp_path)).check()
