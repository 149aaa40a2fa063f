"""Running materials under the eyes of a user: progress, interruption, what is left."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

from mlcharge_flows.cli.exit import INTERRUPTED, exit_with_error

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from mlcharge_flows.atomate2.flows.material import MaterialFlowMaker
    from mlcharge_flows.scf.comparison import Comparison
    from mlcharge_flows.structures import Material


def run_watched(
    console: Console, materials: list[Material], maker: MaterialFlowMaker, out: Path, workers: int
) -> list[Comparison]:
    """Run what is not finished, with a progress bar; leave with one line if that cannot go on.

    Parameters
    ----------
    console
        Where the bar goes.
    materials
        What to run.
    maker
        Flow of one material.
    out
        Campaign folder.
    workers
        Materials at a time.

    Returns
    -------
    list of Comparison
        Of all materials, finished now or before.
    """
    from mlcharge_flows.campaign.local import FolderError, finished, run_locally
    from mlcharge_flows.cli.progress import campaign_progress

    before = finished(materials, maker, out)
    if before:
        console.print(f"{len(before)} of {len(materials)} materials are finished already")
    # The end of a batch job is handled as Ctrl-C is.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with campaign_progress(console, len(materials) - len(before)) as (begin, advance):
            return run_locally(materials, maker, out, workers, advance, begin)
    except FolderError as error:
        exit_with_error(error)
    except OSError as error:  # a full disk, for one
        exit_with_error(
            f"{error.filename or out}: {error.strerror or error}; what is finished stays"
        )
    except KeyboardInterrupt:
        left = len(materials) - len(finished(materials, maker, out))
        exit_with_error(
            f"interrupted; {left} of {len(materials)} materials are left: give the same command",
            status=INTERRUPTED,
        )
