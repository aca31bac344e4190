"""Parser of pages: tables, links, forms and alerts."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from html.parser import HTMLParser

import httpx

_VOID = {"input", "link", "meta", "br", "img", "hr"}


@dataclass
class Drawn(HTMLParser):
    """A parsed page. `rows`: the texts of the cells of all tables."""

    text: str = ""
    rows: list[list[str]] = field(default_factory=list)
    links: dict[str, str] = field(default_factory=dict)  # text to address
    alerts: list[str] = field(default_factory=list)
    fields: dict[str, str] = field(default_factory=dict)  # hidden fields, the last of each name
    tags: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        super().__init__()
        self._stack: list[tuple[str, dict[str, str | None]]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.tags.add(tag)
        assert not any(name.startswith("on") or name == "style" for name in given), given
        if tag == "input" and given.get("type") == "hidden":
            self.fields[given.get("name") or ""] = given.get("value") or ""
        if tag == "tr":
            self.rows.append([])
        if tag in ("td", "th") and self.rows:
            self.rows[-1].append("")
        if given.get("role") == "alert":
            self.alerts.append("")
        if tag not in _VOID:
            self._stack.append((tag, given))

    def handle_endtag(self, tag: str) -> None:
        while self._stack and self._stack.pop()[0] != tag:
            pass

    def handle_data(self, data: str) -> None:
        self.text += data
        tags = [tag for tag, _ in self._stack]
        if ("td" in tags or "th" in tags) and self.rows:
            self.rows[-1][-1] += data
        if any(given.get("role") == "alert" for _, given in self._stack):
            self.alerts[-1] += data
        for tag, given in self._stack:
            if tag == "a":
                self.links[data.strip()] = given.get("href") or ""

    @property
    def cells(self) -> list[list[str]]:
        return [[" ".join(cell.split()) for cell in row] for row in self.rows]


def drawn(answer: httpx.Response) -> Drawn:
    page = Drawn()
    page.feed(answer.text)
    return page


def walk(client: httpx.Client, address: str) -> Iterator[Drawn]:
    """Every page that the links to the next one lead to."""
    path = address.partition("?")[0]
    while address:
        answer = client.get(address)
        assert answer.status_code == 200, answer.text
        page = drawn(answer)
        yield page
        following = page.links.get("Next page →")
        address = f"{path}{following}" if following else ""
