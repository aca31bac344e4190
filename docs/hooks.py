"""Hooks of MkDocs: pages from outside docs/ join the site, and links to files that it has not become plain text.

The pages link to each other as files of the repository, so that the links work there; the site has the same links.
"""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

CHECKOUT = Path(__file__).parents[1]
ADDED = [
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    *(f"benchmarks/{one.name}" for one in (CHECKOUT / "benchmarks").glob("*.md")),
]
_LINK = re.compile(r"\[([^\]]+)\]\((?!https?:|#)([^)#\s]+)(#[^)\s]*)?\)")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages of ADDED under the paths that they have in the repository."""
    for path in ADDED:
        files.append(File.generated(config, path, abs_src_path=str(CHECKOUT / path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:  # noqa: ARG001 (MkDocs' names)
    """Links as the site has them."""
    source = page.file.src_uri
    in_repository = source if source in ADDED else f"docs/{source}"
    return _LINK.sub(lambda link: _link(link, in_repository, source), markdown)


def _link(link: re.Match[str], in_repository: str, source: str) -> str:
    target = posixpath.normpath(posixpath.join(posixpath.dirname(in_repository), link[2]))
    here = target.removeprefix("docs/") if target.startswith("docs/") else target
    if target.startswith("docs/") or target in ADDED:
        return f"[{link[1]}]({posixpath.relpath(here, posixpath.dirname(source) or '.')}{link[3] or ''})"
    if not (CHECKOUT / target).exists():
        return link[0]  # wrong in the repository, too: --strict names it
    return link[1] if f"`{target}`" in link[1] or target in link[1] else f"{link[1]} (`{target}` in the repository)"
