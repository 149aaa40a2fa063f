"""Pages of the site that are made from other files, and links that lead out of the site."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path
from typing import TYPE_CHECKING

from mkdocs.structure.files import File

if TYPE_CHECKING:
    from mkdocs.config.defaults import MkDocsConfig
    from mkdocs.structure.files import Files
    from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[1]
COPIED = {"changelog.md": "CHANGELOG.md", "contributing.md": "CONTRIBUTING.md"}
"""Pages that are files of the repository's root."""

_LINK = re.compile(r"(?<!!)\[([^\]]*)\]\(((?!https?:|#|mailto:)[^)\s]+)\)")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """List the records of decisions in the navigation.

    Parameters
    ----------
    config
        As mkdocs.yml has it.

    Returns
    -------
    MkDocsConfig
        With one entry for each record.
    """
    records = [f"decisions/{path.name}" for path in sorted(ROOT.glob("docs/decisions/*.md"))]
    for section in config.nav:
        pages = section.get("Decisions")
        if isinstance(pages, list):
            place = pages.index("decisions/*.md")
            pages[place : place + 1] = records
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made from other files.

    Parameters
    ----------
    files
        Of the folder of documents.
    config
        Of the site.

    Returns
    -------
    Files
        With changelog, contributing and the reference of the commands.
    """
    for name, source in COPIED.items():
        text = (ROOT / source).read_text(encoding="utf-8")
        files.append(File.generated(config, name, content=text))
    files.append(File.generated(config, "reference/commands.md", content=_commands()))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Write links to what is not on the site as the names of files.

    Parameters
    ----------
    markdown
        Text of a page.
    page
        The page.
    config
        Of the site.
    files
        Of the site.

    Returns
    -------
    str
        Text whose links stay within the site.
    """
    copied = page.file.src_uri in COPIED
    folder = "" if copied else posixpath.join("docs", posixpath.dirname(page.file.src_uri))

    def within(match: re.Match[str]) -> str:
        text, target, path = match[1], match[2], posixpath.join(folder, match[2].partition("#")[0])
        path = posixpath.normpath(path)
        if not path.startswith("docs/"):
            return text if "`" in text else f"{text} (`{path}`)"
        return f"[{text}]({target.removeprefix('docs/')})" if copied else match[0]

    return _LINK.sub(within, markdown)


def _commands() -> str:
    """Help texts of all commands, in Markdown."""
    import typer
    from typer.cli import get_docs_for_click

    from mlcharge_flows.cli.app import app

    command = typer.main.get_command(app)
    context = typer.Context(command, info_name="mlcharge")
    text = get_docs_for_click(obj=command, ctx=context, name="mlcharge", title="Commands")
    for markup, mark in (("bold", "**"), ("cyan", "`")):
        text = re.sub(rf"\[/?{markup}\]", mark, text)
    return text
