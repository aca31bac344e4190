"""Pages of the documentation and their contents: commands, files, code in the text, table rows."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

CHECKOUT = Path(__file__).parents[2]
PAGES = {path.name: path for path in sorted((CHECKOUT / "docs").glob("*.md"))}
PAGES["docs/README.md"] = PAGES.pop("README.md")
PAGES |= {name: CHECKOUT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md")}
PAGES |= {f"decisions/{path.name}": path for path in sorted((CHECKOUT / "docs" / "decisions").glob("*.md"))}


def text_of(page: str) -> str:
    return PAGES[page].read_text(encoding="utf-8")


def lines_of(page: str) -> list[str]:
    """Lines of the `sh` blocks of a page, without comments, in order."""
    blocks = re.findall(r"^```sh\n(.*?)^```", text_of(page), re.MULTILINE | re.DOTALL)
    lines = [re.sub(r"\s{2,}#.*", "", line).strip() for block in blocks for line in block.splitlines()]
    return [line for line in lines if line]


def files_of(page: str) -> dict[str, str]:
    """Content of each file that the page shows under a `<!-- file: NAME -->`, by name."""
    shown = re.findall(r"<!-- file: (\S+) -->\n```\w+\n(.*?)^```", text_of(page), re.MULTILINE | re.DOTALL)
    return dict(shown)


def code_in_text(page: str) -> list[str]:
    """Texts between backticks outside of blocks."""
    without_blocks = re.sub(r"^```.*?^```", "", text_of(page), flags=re.MULTILINE | re.DOTALL)
    return [" ".join(code.split()) for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", without_blocks)]


def first_column(page: str, heading: str) -> Iterator[str]:
    """The code in the first column of the first table under a heading."""
    section = text_of(page).split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0]
    for row in re.findall(r"^\| (`.*?) \|", section, re.MULTILINE):
        yield from re.findall(r"`([^`]+)`", row)
