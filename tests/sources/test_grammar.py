"""Initial densities in words."""

import json

import pytest

from mlcharge_flows.errors import note_renamed
from mlcharge_flows.sources import (
    AtomicOrbitals,
    Converged,
    ElementMean,
    FromFile,
    FromWavecar,
    InitialDensity,
    Learned,
    Same,
    SourceError,
    Superposition,
    grammar,
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
    assert parse_initial_density(words) == InitialDensity(*given)


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
        ("learned+waves", r"\+orbitals\[@WAVECAR\] and \+delay=N"),
        ("+orbitals", "is no source"),
        ("magic+orbitals", "'magic' is no source"),
    ],
)
def test_orbitals_and_delay_that_cannot_be_read(words, reason):
    with pytest.raises(SourceError, match=reason):
        parse_initial_density(words)


def test_arms_with_orbitals_have_the_names_that_were_given():
    arms = parse_arms("default,default+delay=3,learned+orbitals".split(","), "other")
    assert list(arms) == ["default+delay=3", "learned+orbitals"]
    assert arms["learned+orbitals"].density == Learned("other")
    assert grammar.arm_of_model("learned+orbitals", "superres") == "learned@superres+orbitals"


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
