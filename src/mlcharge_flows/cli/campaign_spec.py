"""What every campaign command begins with: the SPEC.yaml, its structures and its Maker."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from mlcharge_flows.cli.exit import exit_with_error

if TYPE_CHECKING:
    from pathlib import Path

    from rich.console import Console

    from mlcharge_flows.atomate2.flows.material import MaterialFlowMaker
    from mlcharge_flows.campaign.spec import CampaignSpec
    from mlcharge_flows.structures import Material


@dataclass
class Campaign:
    """A campaign that was read and found usable.

    Parameters
    ----------
    spec
        As the user wrote it.
    maker
        Flow of one material.
    materials
        What to run.
    """

    spec: CampaignSpec
    maker: MaterialFlowMaker
    materials: list[Material]

    @property
    def reference(self) -> str:
        """Arm that the report compares with: the first, which for one start is that start."""
        return self.maker.arms[0]


def read_campaign(console: Console, path: Path) -> Campaign:
    """Read a SPEC.yaml and its structures; leave with a line per problem if they are unusable.

    Parameters
    ----------
    console
        Where to say what was left out.
    path
        The SPEC.yaml.
    """
    from mlcharge_flows.campaign.spec import SpecError, read_spec

    try:
        spec = read_spec(path)
    except SpecError as error:
        exit_with_error(*error.problems)
    from mlcharge_flows.campaign.makers import campaign_maker
    from mlcharge_flows.structures import read_structures

    try:
        maker = campaign_maker(spec)
    except SpecError as error:
        exit_with_error(*(f"{path}: {problem}" for problem in error.problems))
    materials, problems = read_structures(spec.structures)
    if problems and not spec.skip_bad:
        exit_with_error(*problems, f"{path}: correct this, or leave it out with 'skip_bad: true'")
    for problem in problems:
        console.print(f"left out: {problem}", style="yellow", markup=False)
    small = [m for m in materials if spec.max_atoms is None or len(m.structure) <= spec.max_atoms]
    if not small:
        exit_with_error(f"{path}: no structure is left")
    return Campaign(spec, maker, small[: spec.limit])
