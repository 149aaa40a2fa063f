"""A campaign on the LaunchPad under the eyes of a user: submitting it, and how far it is."""

from __future__ import annotations

from contextlib import closing
from typing import TYPE_CHECKING

from mlcharge_flows.cli.exit import exit_with_error

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from rich.console import Console

    from mlcharge_flows.cli.campaign_spec import Campaign


def submit_campaign(console: Console, campaign: Campaign, launchpad: Path | None) -> None:
    """Add what is not submitted yet, with a bar; leave with one line if that cannot be done.

    Parameters
    ----------
    console
        Where to print.
    campaign
        The campaign.
    launchpad
        A my_launchpad.yaml, or None.
    """
    from rich.progress import Progress

    from mlcharge_flows.campaign.launchpad import LaunchPadError, open_launchpad, submit

    spec, materials = campaign.spec, campaign.materials
    try:
        pad = open_launchpad(launchpad)
        with closing(pad.connection), Progress(console=console, transient=True) as progress:
            task = progress.add_task("workflows", total=len(materials))
            added = submit(
                pad,
                spec.name,
                materials,
                campaign.maker,
                spec.fireworks,
                lambda count: progress.update(task, advance=count),
            )
    except (LaunchPadError, ValueError) as error:
        exit_with_error(error)
    there = len(materials) - added
    console.print(
        f"{spec.name}: {added} workflows added"
        + (f", {there} were there already" if there else ""),
        markup=False,
    )


def show_state(console: Console, campaign: Campaign, launchpad: Path | None) -> None:
    """Print how far a submitted campaign is, and what needs a hand.

    Parameters
    ----------
    console
        Where to print.
    campaign
        The campaign.
    launchpad
        A my_launchpad.yaml, or None.
    """
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    from mlcharge_flows.campaign.documents import StoreError, finish_times, open_store
    from mlcharge_flows.campaign.launchpad import LaunchPadError, open_launchpad, state

    name, total = campaign.spec.name, len(campaign.materials)
    try:
        pad = open_launchpad(launchpad)
        with closing(pad.connection):
            found = state(pad, name)
        times = finish_times(open_store(), name)
    except (LaunchPadError, StoreError) as error:
        exit_with_error(error)
    submitted = found.workflows.total()
    if not submitted:
        exit_with_error(f"{name}: nothing is submitted yet; give mlcharge campaign submit")
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
            f"{len(found.lost)} jobs have given no sign of life for hours; "
            "give lpad detect_lostruns --rerun"
        )
    if fizzled := sum(n for (_, state), n in found.jobs.items() if state == "FIZZLED"):
        query = f'lpad get_fws -s FIZZLED -q \'{{"spec.campaign": "{name}"}}\' -d all'
        console.print(f"{fizzled} jobs failed in a way of their own; see {query}", markup=False)


def pace(times: list[datetime], left: int) -> str:
    """Rate of the last hundred materials, and the time that the rest will take.

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
