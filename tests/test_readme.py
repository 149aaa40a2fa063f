"""The README's Python code runs as it stands."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

README = Path(__file__).parents[1] / "README.md"


def python_block() -> str:
    (block,) = re.findall(r"```python\n(.*?)```", README.read_text(encoding="utf-8"), re.DOTALL)
    return block


def test_the_example_stays_short():
    code = [line for line in python_block().splitlines() if line and not line.startswith("#")]
    assert len(code) <= 25


@pytest.mark.parametrize(
    "path", [README, *sorted(README.parent.glob("docs/**/*.md"))], ids=lambda path: path.name
)
def test_no_table_is_left_to_be_filled_in(path):
    text = path.read_text(encoding="utf-8")
    assert not re.findall(r"^\{\w+\}$|\{n_\w+\}", text, re.MULTILINE)


@pytest.mark.parametrize(
    "path", [README, *sorted(README.parent.glob("docs/**/*.md"))], ids=lambda path: path.name
)
def test_links_between_documents_hold(path):
    for target in re.findall(r"\]\((?!https?:|#)([^)#]+)", path.read_text(encoding="utf-8")):
        assert (path.parent / target).exists(), target


@pytest.mark.gpaw
def test_the_example_runs(tmp_path, monkeypatch, capsys):
    pytest.importorskip("gpaw", reason="needs the gpaw extra")
    monkeypatch.chdir(tmp_path)
    exec(compile(python_block(), str(README), "exec"), {})
    printed = capsys.readouterr().out
    assert "converged: 6 steps, started from chgcar, verified: True" in printed
