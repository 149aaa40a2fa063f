import pytest
from pydantic import BaseModel, ConfigDict

from mlcharge_flows.errors import one_line
from mlcharge_flows.io import file_sha256
from mlcharge_flows.yaml_files import YamlError, read_yaml


def test_control_characters_never_reach_the_terminal():
    assert one_line("\x1b[2Jboom\x07 \u202e") == "?[2Jboom? ?"


def test_long_texts_are_cut():
    assert len(one_line("x" * 1000)) == 300


class Inner(BaseModel):
    model_config = ConfigDict(extra="forbid")
    depth: int = 1


class Spec(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str
    inner: Inner = Inner()


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("", "holds no keys; write at least name"),
        ("name: [", "line 1: not YAML"),
        ("inner: {}", "name: is missing; add it"),
        ("name: a\ninner: {deep: 2}", "inner.deep: unknown key; the keys are depth"),
        ("name: a\nnames: b", "names: unknown key; the keys are name, inner"),
        ("name: a\ninner: {depth: x}", "inner.depth: "),
    ],
)
def test_a_yaml_file_that_says_what_cannot_be(tmp_path, text, problem):
    path = tmp_path / "SPEC.yaml"
    path.write_text(text)
    with pytest.raises(YamlError) as caught:
        read_yaml(path, Spec)
    (line,) = caught.value.problems
    assert line.startswith(f"{path}: ")
    assert problem in line
    assert "\n" not in line


def test_defaults_stand_where_the_file_says_nothing(tmp_path):
    path = tmp_path / "SPEC.yaml"
    path.write_text("inner: {depth: 3}")
    assert read_yaml(path, Spec, {"name": "folder"}) == Spec(name="folder", inner=Inner(depth=3))


def test_the_hash_of_a_file_is_that_of_its_content(tmp_path):
    import hashlib

    content = bytes(range(256)) * 8193
    (tmp_path / "file").write_bytes(content)
    assert file_sha256(tmp_path / "file") == hashlib.sha256(content).hexdigest()
