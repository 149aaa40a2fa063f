"""Initial densities in words."""

import json

import pytest

from mlcharge_flows.errors import note, note_renamed
from mlcharge_flows.sources import (
    Anchored,
    AtomicOrbitals,
    Carried,
    Converged,
    ElementMean,
    FromFile,
    FromWavecar,
    InitialDensity,
    Learned,
    Same,
    SourceError,
    Superposition,
    arms,
    grammar,
    load_arms,
    parse_arms,
    parse_initial_density,
)


@pytest.mark.parametrize(
    ("words", "density", "augmentation"),
    [
        ("superposition", Superposition(), None),
        ("atomic", Superposition(), None),
        ("converged", Converged(), None),
        ("converged/atomic", Converged(), Superposition()),
        ("atomic/converged", Superposition(), Converged()),
        ("learned", Learned(), None),
        (" learned/same ", Learned(), None),
        ("learned/learned", Learned(), None),
        ("learned/element-mean", Learned(), ElementMean()),
        ("learned@other", Learned("other"), None),
        ("learned@other/learned", Learned("other"), None),
        ("learned@other/element-mean", Learned("other"), ElementMean("other")),
        ("learned@bare/learned@other", Learned("bare"), Learned("other")),
        ("converged/learned", Converged(), Learned()),
        ("superposition/learned@other", Superposition(), Learned("other")),
        ("file@/runs/1/CHGCAR", FromFile("/runs/1/CHGCAR"), None),
        ("/runs/1/CHGCAR", FromFile("/runs/1/CHGCAR"), None),
        ("/runs/learned/CHGCAR.gz", FromFile("/runs/learned/CHGCAR.gz"), None),
        ("file@/runs/1/CHGCAR/atomic", FromFile("/runs/1/CHGCAR"), Superposition()),
        ("learned/file@/runs/learned/CHGCAR", Learned(), FromFile("/runs/learned/CHGCAR")),
        ("carried", Carried(), None),
        ("carried@/runs/1", Carried("/runs/1"), None),
        ("carried@/runs/learned/same", Carried("/runs/learned"), None),
        ("carried@/runs/1/atomic", Carried("/runs/1"), Superposition()),
        ("anchored", Anchored(), None),
        ("anchored@/runs/1", Anchored("/runs/1"), None),
        ("anchored@/runs/1@other", Anchored("/runs/1", "other"), None),
        ("anchored@@other", Anchored("", "other"), None),
        ("anchored@/a@b/c@/m/x.safetensors", Anchored("/a@b/c", "/m/x.safetensors"), None),
        ("anchored@/a@b/c@orbital", Anchored("/a@b/c"), None),
        ("anchored@/runs/1/atomic", Anchored("/runs/1"), Superposition()),
        ("learned/carried@/runs/1", Learned(), Carried("/runs/1")),
        ("learned/runs/CHGCAR", Learned(), "runs/CHGCAR"),
        ("/models/x.safetensors", Learned("/models/x.safetensors"), None),
        ("learned@/models/x.safetensors/atomic", Learned("/models/x.safetensors"), Superposition()),
        ("learned//models/x.safetensors", Learned(), Learned("/models/x.safetensors")),
    ],
)
def test_words(words, density, augmentation, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if isinstance(augmentation, str):
        augmentation = FromFile(str(tmp_path / augmentation))
    given = (density,) if augmentation is None else (density, augmentation)
    found = parse_initial_density(words)
    assert found == InitialDensity(*given)
    assert parse_initial_density(str(found)) == found, "and back"


def test_models_by_their_names_alone(trained):
    trained("first")
    trained("second")
    assert parse_initial_density("first") == InitialDensity(Learned("first"))
    both = InitialDensity(Learned("first"), Learned("second"))
    assert parse_initial_density("first/second") == both
    assert parse_initial_density("learned@first/second") == both
    assert parse_initial_density("learned/second", model="first") == both
    assert parse_initial_density("learned", "first", "second") == both
    assert parse_initial_density("converged/learned", "first", "second") == InitialDensity(
        Converged(), Learned("second")
    )
    assert parse_initial_density("converged", "first", "second") == InitialDensity(Converged())


def test_the_model_of_an_anchored_density_is_that_of_the_others(tmp_path):
    found = parse_initial_density("anchored@run", "second", folder=tmp_path)
    assert found == InitialDensity(Anchored(str(tmp_path / "run"), "second"))
    found = parse_initial_density("anchored@/r@first+calibration@/c.json", "second")
    assert found.density == Anchored("/r", "first", "/c.json")
    assert parse_initial_density(str(found)) == found
    assert parse_initial_density("carried@run", folder=tmp_path).density.run == f"{tmp_path}/run"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("magic", "'magic' is no source of densities; write DENSITY or DENSITY/AUG"),
        ("learned/magic", "'magic' in 'learned/magic' is no source"),
        ("", "'' is no source"),
        ("same/learned", "'same' is a source of augmentation occupancies only"),
        ("converged@x", "'converged' takes nothing behind it, not 'x'"),
        ("file", "'file' needs the path of a CHGCAR"),
    ],
)
def test_what_is_no_initial_density_is_refused_in_one_line(words, reason):
    with pytest.raises(SourceError) as error:
        parse_initial_density(words)
    assert reason in str(error.value)
    assert "\n" not in str(error.value)
    for word in ("superposition", "converged", "learned", "element-mean", "file"):
        assert "write DENSITY" not in str(error.value) or word in str(error.value)


def test_words_of_the_first_release_are_read_and_the_new_ones_told_once(capsys):
    note_renamed.cache_clear()
    for old, new in grammar.OLD_WORDS.items():
        for _ in range(2):
            assert parse_initial_density(old) == parse_initial_density(new)
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == len(grammar.OLD_WORDS)
    assert lines[0] == "mlcharge: atomic-occupancies is now converged/atomic"


def test_arms_keep_the_names_that_they_were_given():
    # A campaign that was begun with the first release finds its arms again.
    names = ["converged", "atomic-occupancies", "learned/atomic"]
    assert list(parse_arms(["default", "", *names, "converged"])) == names


@pytest.mark.parametrize(
    ("words", "initial"),
    [
        ("learned+orbitals", InitialDensity(Learned(), orbitals=AtomicOrbitals())),
        ("learned+delay=2", InitialDensity(Learned(), n_delay=2)),
        (
            "learned@other/atomic+orbitals+delay=0",
            InitialDensity(Learned("other"), Superposition(), AtomicOrbitals(), 0),
        ),
        ("learned+delay=1+orbitals", InitialDensity(Learned(), Same(), AtomicOrbitals(), 1)),
        ("converged+orbitals", InitialDensity(Converged(), orbitals=AtomicOrbitals())),
        ("atoms+orbitals", InitialDensity(Superposition(), orbitals=AtomicOrbitals())),
        ("default+delay=3", InitialDensity(Superposition(), n_delay=3)),
        ("atoms+orbitals@/run", InitialDensity(Superposition(), orbitals=FromWavecar("/run"))),
        (
            "file@/a+b/CHGCAR+orbitals",
            InitialDensity(FromFile("/a+b/CHGCAR"), Same(), AtomicOrbitals()),
        ),
    ],
)
def test_orbitals_and_delay(words, initial):
    found = parse_initial_density(words)
    assert found == initial
    assert parse_initial_density(str(found)) == initial, "and back"


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("learned+orbitals+orbitals", "gives orbitals twice"),
        ("learned+delay=1+delay=2", "gives delay twice"),
        ("learned+delay=", "is no source"),
        ("learned+delay=99999999999", "a delay of 99999999999 steps exceeds 1000"),
        ("learned+waves", r"\+orbitals\[@WAVECAR\] and \+delay=N"),
        ("+orbitals", "is no source"),
        ("magic+orbitals", "'magic' is no source"),
    ],
)
def test_orbitals_and_delay_that_cannot_be_read(words, reason):
    with pytest.raises(SourceError, match=reason):
        parse_initial_density(words)


def test_arms_with_orbitals_have_the_names_that_were_given():
    found = parse_arms("default,default+delay=3,learned+orbitals".split(","), "other")
    assert list(found) == ["default+delay=3", "learned+orbitals"]
    assert found["learned+orbitals"].density == Learned("other")
    assert arms.arm_of_model("learned+orbitals", "superres") == "learned@superres+orbitals"


def test_a_negative_delay_is_refused():
    with pytest.raises(SourceError, match="a number of steps"):
        InitialDensity(Learned(), n_delay=-2)


def test_serialized_densities_of_before_have_neither_orbitals_nor_delay():
    written = InitialDensity(Learned(), orbitals=FromWavecar("/run"), n_delay=0)
    assert InitialDensity.from_dict(json.loads(json.dumps(written.as_dict()))) == written
    before = {k: v for k, v in InitialDensity(Learned()).as_dict().items() if k != "orbitals"}
    del before["n_delay"]
    assert InitialDensity.from_dict(before) == InitialDensity(Learned())


def test_every_source_of_the_grammar_has_its_word():
    for word, kind in grammar.SOURCES.items():
        assert word in (kind.word, "atomic")


@pytest.mark.parametrize(
    "initial",
    [
        InitialDensity(Learned("superres"), Learned("orbital")),
        InitialDensity(Learned("superres"), ElementMean("orbital")),
        InitialDensity(Learned(), ElementMean("superres")),
        InitialDensity(Converged(), ElementMean("superres")),
        InitialDensity(ElementMean("superres"), Learned("superres")),
        InitialDensity(Learned("/models/x.safetensors"), ElementMean("/models/x.safetensors")),
        InitialDensity(FromFile("/runs/same")),
        InitialDensity(FromFile("/runs/orbital"), n_delay=2),
        InitialDensity(Superposition(), FromFile("/runs/converged")),
    ],
    ids=str,
)
def test_the_text_of_a_density_is_read_back(initial):
    found = parse_initial_density(str(initial))
    assert found == initial
    assert str(found) == str(initial)


def test_documents_name_no_folder_of_a_checkpoint():
    initial = InitialDensity(Learned("/models/x.safetensors"), Learned("/models/y.safetensors"))
    assert initial.short_name == "learned@x/learned@y"
    assert initial.augmentation_source == "learned@y"


@pytest.mark.parametrize(
    ("words", "kept", "line"),
    [
        (
            "orbital,learned,converged,learned/same",
            ["learned", "converged"],
            "orbital, learned and learned/same are one initial density, which runs once, as "
            "learned",
        ),
        ("atomic,superposition", ["superposition"], "as superposition"),
        ("default+delay=3,atoms+delay=3", ["default+delay=3"], "as default+delay=3"),
        ("default,atoms,learned", ["learned"], "atoms is default, the reference, which always"),
        ("atomic/same,superposition/atomic", ["atomic/same"], "as atomic/same"),
        ("learned-atomic-occupancies,learned/atomic", ["learned/atomic"], "as learned/atomic"),
        ("element-mean,atomic/element-mean", ["element-mean"], "as element-mean"),
        ("atoms+orbitals,superposition+orbitals", ["superposition+orbitals"], "runs once"),
        ("CHGCAR,file@sub/../CHGCAR", ["CHGCAR"], "as CHGCAR"),
        ("learned+orbitals@run,learned+orbitals@run/WAVECAR", ["learned+orbitals@run"], "as lea"),
        ("learned,learned/atomic,learned+orbitals,learned+delay=1", None, None),
        ("superposition/learned,learned,learned/superposition,converged/learned", None, None),
    ],
)
def test_arms_of_one_density_run_once(words, kept, line, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "run").mkdir()
    note.cache_clear()
    given = words.split(",")
    assert list(parse_arms(given)) == (given if kept is None else kept)
    lines = capsys.readouterr().err.splitlines()
    lines = [text for text in lines if " is now " not in text]  # of former words, once per process
    assert len(lines) == (line is not None)
    assert line is None or line in lines[0]


def test_a_model_and_its_file_are_one_arm(trained, capsys):
    path = trained("first")
    trained("second")
    note.cache_clear()
    words = ["learned", "learned@first", f"learned@{path}", "learned@second"]
    assert list(load_arms(words, ["first"])) == ["learned@first", "learned@second"]
    for both in (["learned", "learned@first"], ["learned@first", "learned"]):
        assert list(load_arms(both, ["first", "second"])) == ["learned@first", "learned@second"]
    assert len(capsys.readouterr().err.splitlines()) == 1
