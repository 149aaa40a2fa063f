"""Progress in log files: of the commands of mlcharge, and of gpaw-vasp."""

from io import StringIO

import pytest
from rich.console import Console
from rich.progress import Progress

from mlcharge_flows.cli.terminal import tracked
from mlcharge_flows.gpaw_vasp import command


@pytest.fixture
def clock(monkeypatch):
    """Let the clock go on by so many seconds from one look at it to the next."""

    def clock(seconds):
        times = iter(range(0, 10**6, seconds))
        monkeypatch.setattr("mlcharge_flows.progress_lines.monotonic", lambda: next(times))

    return clock


def lines_of(n):
    console = Console(file=StringIO(), force_terminal=False, width=40)
    assert list(tracked(range(n), console, n, "materials")) == list(range(n))
    return console.file.getvalue().splitlines()


def test_progress_in_a_log_file_is_a_line_a_minute(clock):
    clock(1)
    assert lines_of(50) == []
    clock(25)
    lines = lines_of(10)
    assert lines[0] == "materials: 2 of 10, 0:01:15, 0:05:00 left"
    assert [line.split()[1] for line in lines] == ["2", "5", "8"]
    clock(90)
    assert lines_of(2) == ["materials: 1 of 2, 0:03:00, 0:03:00 left"]
    clock(90)
    assert len(lines_of(1000)) == 99  # of a day: not one for each


def test_progress_over_data_sets_is_told_in_a_log_file(clock, capsys):
    clock(40)
    with Progress(console=Console(file=StringIO()), transient=True) as bar:
        show = command._shown(bar)
        for done in range(1, 5):
            show("Fe", done, 46)
    assert capsys.readouterr().out.splitlines() == [
        "PAW data sets: 2 of 46, 0:01:20, 0:29:20 left",
        "PAW data sets: 4 of 46, 0:02:40, 0:28:00 left",
    ]
