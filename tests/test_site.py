"""The pages that list things of the package list all of them, as they are."""

from __future__ import annotations

import ast
import re
from importlib import import_module
from pathlib import Path

import pytest
import yaml

import mlcharge_flows
from mlcharge_flows.settings import Settings

ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
SOURCES = sorted((ROOT / "src").rglob("*.py"))


def rows(page: str) -> list[list[str]]:
    """Cells of all tables of a page."""
    lines = (DOCS / page).read_text(encoding="utf-8").splitlines()
    split = [re.split(r"(?<!\\)\|", line)[1:-1] for line in lines if line.startswith("| ")]
    return [[cell.strip() for cell in cells] for cells in split]


def texts(tree: ast.AST) -> list[str]:
    """Texts of a module; what is filled in is a null character."""
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found.append(node.value)
        if isinstance(node, ast.JoinedStr):
            parts = (v.value if isinstance(v, ast.Constant) else "\0" for v in node.values)
            found.append("".join(parts))
    return found


def test_every_message_of_the_troubleshooting_page_is_in_the_code():
    known = [t for path in SOURCES for t in texts(ast.parse(path.read_text(encoding="utf-8")))]
    listed = [m for row in rows("troubleshooting.md") for m in re.findall(r"^`(.+)`$", row[0])]
    assert len(listed) > 30
    for message in listed:
        parts = [re.escape(part.strip()) for part in message.split("..")]
        pattern = re.compile(".*".join(parts), re.DOTALL)
        assert any(pattern.search(text) for text in known), message


def test_every_variable_of_the_package_is_on_the_settings_page():
    page = (DOCS / "reference/settings.md").read_text(encoding="utf-8")
    of_settings = {f"MLCHARGE_{name.upper()}" for name in Settings.model_fields}
    in_code = {
        name
        for path in SOURCES
        for name in re.findall(r"MLCHARGE_[A-Z_]*[A-Z]", path.read_text(encoding="utf-8"))
    }
    listed = {row[0].strip("`") for row in rows("reference/settings.md") if "MLCHARGE_" in row[0]}
    of_tests = {name for name in listed if name in page.partition("## Of the tests")[2]}
    assert listed - of_tests == of_settings | in_code


def test_every_column_of_a_table_is_on_the_page_of_files():
    from mlcharge_flows.campaign.documents import outcomes_csv
    from mlcharge_flows.reports.nonscf_report import nonscf_run_table
    from mlcharge_flows.reports.scf_report import run_table

    page = (DOCS / "reference/files.md").read_text(encoding="utf-8")
    written = {
        "materials.csv": set(run_table([]).columns),
        "bands.csv": set(nonscf_run_table([]).columns),
        "outcomes.csv": set(outcomes_csv([]).strip().split(",")),
    }
    for name, columns in written.items():
        section = page.partition(f"## {name}")[2].partition("\n## ")[0]
        heads = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
        assert {column for head in heads for column in re.findall(r"`(\w+)`", head)} == columns


def test_every_public_name_is_in_the_reference():
    page = (DOCS / "reference/python.md").read_text(encoding="utf-8")
    listed = re.findall(r"^::: mlcharge_flows\.(\w+)$", page, re.MULTILINE)
    assert sorted(listed) == sorted(mlcharge_flows.__all__)


MODULES = ("jobs.core", "jobs.mp", "jobs.neb", "flows.core", "flows.mp", "flows.elastic")


def maker(name: str) -> type:
    """The Maker of atomate2 of this name."""
    for module in (*MODULES, "flows.phonons"):
        if found := getattr(import_module(f"atomate2.vasp.{module}"), name, None):
            return found
    raise AssertionError(name)


@pytest.mark.parametrize(
    "name", [n for row in rows("makers.md")[2:18] for n in re.findall(r"`(\w+Maker)`", row[0])]
)
def test_the_table_of_makers_says_which_runs_keep_their_density(name, silicon):
    from mlcharge_flows.atomate2.staging import existing_density_reason

    if name == "PhononMaker":
        pytest.importorskip("seekpath")
    (row,) = (row for row in rows("makers.md") if f"`{name}`" in row[0])
    kind = maker(name)
    if name == "NebFromImagesMaker":
        return
    made = kind()
    if not hasattr(made, "input_set_generator"):  # a flow
        return
    tags = made.input_set_generator.get_input_set(silicon, potcar_spec=True)["INCAR"]
    reason = existing_density_reason(made, tags, Path("/no/such/folder"))
    assert bool(reason) == ("VASP's own" in row[2]), reason


def test_every_page_is_in_the_navigation():
    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor("", lambda *_: None)
    nav = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), Loader)["nav"]
    listed = set(re.findall(r"[\w/*-]+\.(?:md|ipynb)", str(nav)))
    pages = {p.relative_to(DOCS).as_posix() for p in [*DOCS.rglob("*.md"), *DOCS.rglob("*.ipynb")]}
    made = {"changelog.md", "contributing.md", "reference/commands.md", "decisions/*.md"}
    decisions = {page for page in pages if page.startswith("decisions/")}
    assert listed - made == pages - decisions
