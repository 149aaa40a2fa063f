"""Progress of a campaign that was submitted to FireWorks."""

from __future__ import annotations

import json
from contextlib import closing
from typing import TYPE_CHECKING

import typer

from mlcharge_flows.cli.terminal import exit_with_error

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from rich.console import Console


def show_launchpad(
    console: Console, name: str, total: int, launchpad: Path | None, *, as_json: bool = False
) -> None:
    """Print the progress of a submitted campaign, and which jobs need an intervention.

    Parameters
    ----------
    console
        Where to print.
    name
        Of the campaign.
    total
        Number of its materials.
    launchpad
        A my_launchpad.yaml instead of FireWorks' own choice.
    as_json
        Whether the numbers are printed as JSON on standard output.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from mlcharge_flows.campaign.documents import finish_times, open_store
    from mlcharge_flows.campaign.launchpad import campaign_state, open_launchpad

    pad = open_launchpad(launchpad)
    with closing(pad.connection):
        found = campaign_state(pad, name)
    times = finish_times(open_store(), name)
    submitted = found.workflows.total()
    if not submitted:
        exit_with_error(f"{name}: nothing is submitted yet; give mlcharge campaign submit")
    if as_json:
        jobs: dict[str, dict[str, int]] = {}
        for (category, state), number in found.jobs.items():
            jobs.setdefault(category, {})[state] = number
        counts = {"materials": total, "submitted": submitted, "finished": len(times)}
        typer.echo(json.dumps({"name": name, **counts, "lost": len(found.lost), "jobs": jobs}))
        return
    console.print(
        f"{name}: {submitted} of {total} materials submitted, {len(times)} finished"
        + pace(times, submitted - len(times)),
        markup=False,
    )
    states = sorted({state for _, state in found.jobs})
    table = Table("jobs", *states, box=SIMPLE_HEAD, pad_edge=False)
    for category in sorted({category for category, _ in found.jobs}):
        table.add_row(category, *(str(found.jobs[category, state] or "") for state in states))
    console.print(table)
    if found.lost:
        console.print(
            f"the workers of {len(found.lost)} jobs have sent no ping for hours; "
            "give mlcharge campaign submit again"
        )
    if fizzled := sum(n for (_, state), n in found.jobs.items() if state == "FIZZLED"):
        query = f'lpad get_fws -s FIZZLED -q \'{{"spec.campaign": "{name}"}}\' -d all'
        console.print(f"{fizzled} jobs failed themselves; see {query}", markup=False)


def pace(times: list[datetime], left: int) -> str:
    """Rate of the last hundred materials, and the time that the rest will take.

    Parameters
    ----------
    times
        When materials were finished.
    left
        Number of materials that are not.

    Returns
    -------
    str
        Empty if it cannot be told yet.

    Examples
    --------
    >>> from datetime import datetime, timedelta
    >>> began = datetime(2026, 1, 1)
    >>> pace([began + timedelta(minutes=n) for n in range(11)], 30)
    ', 1.0/min, about 30 min left'
    """
    recent = sorted(times)[-100:]
    span = (recent[-1] - recent[0]).total_seconds() / 60 if recent else 0.0
    if not span:
        return ""
    rate = (len(recent) - 1) / span
    minutes = left / rate
    if not left:
        return f", {rate:.1f}/min"
    time = f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.0f} h"
    return f", {rate:.1f}/min, about {time} left"
