"""Layout of tables and pairs as lines of text, for pipes and terminals. Pure functions.

In a pipe a table has its full width. On a terminal it fits the width: columns without a value go first, then long texts
are truncated (…), then columns are left out, the last one first. The first one always stays, those of `keep` unless
they have no value.
"""

from __future__ import annotations

import textwrap
import unicodedata
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass

NOTHING = "–"  # cell without a value
_GAP = "  "
_MIN_WIDTHS = (32, 20, 12)  # to which texts are truncated before a column is left out, after, and at last
_STYLES = {
    **dict.fromkeys(("success", "delivered", "ok", "sent", "approved", "good", "alive"), "green"),
    **dict.fromkeys(("retry", "pending", "warning", "unsent", "skipped"), "yellow"),
    **dict.fromkeys(("failed", "error", "rejected", "revoked", "misconfigured", "critical", "absent"), "red"),
}
_MEANINGFUL = {"status", "state", "severity", "result", "decision", "delivery"}
_COLUMN_STYLES = {"error": "red", "warnings": "yellow"}


@dataclass(frozen=True)
class Layout:
    """Lines of a table, the columns that it leaves out, and whether it truncates a text."""

    lines: list[str]
    left_out: list[str]
    is_truncated: bool = False


def lay_out(
    rows: Sequence[Mapping[str, str]],
    columns: Sequence[str],
    *,
    width: int | None = None,
    keep: Set[str] = frozenset(),
    colored: bool = False,
) -> Layout:
    """A header and one line per row, in `width` cells of a terminal; None: in full width.

    `colored`: with ANSI styles, of states by their meaning.
    """
    cells = {name: [plain(row[name]) for row in rows] for name in columns}
    widths = {name: max(map(text_width, [name, *cells[name]])) for name in columns}
    shown = dict(widths) if width is None else _fit(cells, widths, width, keep)
    table = {name: [_truncate(text, shown[name]) for text in cells[name]] for name in shown}
    lines = [_line([(_truncate(name, size), size, "bold") for name, size in shown.items()], colored)]
    for number in range(len(rows)):
        styled = ((table[name][number], size, style_of(name, cells[name][number])) for name, size in shown.items())
        lines.append(_line(styled, colored))
    is_truncated = any(shown[name] < widths[name] for name in shown)
    return Layout(lines, [name for name in columns if name not in shown], is_truncated)


def lay_out_pairs(values: Sequence[tuple[str, str]], *, width: int | None = None) -> list[str]:
    """Names and values; values longer than a terminal of `width` continue below their beginning."""
    indent = max((text_width(name) for name, _ in values), default=0) + len(_GAP)
    lines = []
    for name, value in values:
        room = None if width is None else max(width - indent, 20)
        first, *others = [plain(value)] if room is None else _wrap(plain(value), room)
        lines += [_pad(name, indent) + first, *(" " * indent + line for line in others)]
    return [line.rstrip() for line in lines]


def style_of(column: str, text: str) -> str | None:
    """Color of a cell by its meaning; None without one."""
    if text == NOTHING:
        return None
    if column in _COLUMN_STYLES:
        return _COLUMN_STYLES[column]
    if column == "ok":
        return {"yes": "green", "no": "red"}.get(text)
    return _STYLES.get(text) if column in _MEANINGFUL else None


def plain(text: str) -> str:
    """The text in one line, control characters as escapes: names come from terminals."""
    if text.isprintable():
        return text
    spaced = " ".join(text.split()) if any(character in text for character in "\n\t") else text
    return "".join(repr(one)[1:-1] if unicodedata.category(one) == "Cc" else one for one in spaced)


def text_width(text: str) -> int:
    """Cells that a text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(
        0 if unicodedata.combining(one) else 2 if unicodedata.east_asian_width(one) in "WF" else 1 for one in text
    )


def _fit(cells: Mapping[str, Sequence[str]], widths: Mapping[str, int], width: int, keep: Set[str]) -> dict[str, int]:
    """Width of each shown column."""
    shown = dict(widths)
    others = list(widths)[1:]
    empty = [name for name in others if all(text == NOTHING for text in cells[name])]
    for name in sorted(empty, key=lambda name: name in keep):
        if _total(shown) > width:
            del shown[name]
    before, after, last = _MIN_WIDTHS
    _shrink(shown, width, before)
    for name in reversed(others):
        if _total(shown) > width and name not in keep:
            shown.pop(name, None)
    _shrink(shown, width, after)
    _shrink(shown, width, last)
    _grow(shown, widths, width)
    return shown


def _shrink(shown: dict[str, int], width: int, least: int) -> None:
    """Truncate the widest columns to `least` cells until the table fits."""
    while (excess := _total(shown) - width) > 0:
        widest = max(shown, key=lambda name: shown[name])
        if shown[widest] <= least:
            return
        shown[widest] = max(least, shown[widest] - excess)


def _grow(shown: dict[str, int], widths: Mapping[str, int], width: int) -> None:
    """Give the rest of the line to truncated columns."""
    for name, size in shown.items():
        shown[name] += min(widths[name] - size, max(width - _total(shown), 0))


def _total(shown: Mapping[str, int]) -> int:
    return sum(shown.values()) + len(_GAP) * (len(shown) - 1)


def _truncate(text: str, width: int) -> str:
    if text_width(text) <= width:
        return text
    kept = ""
    for one in text:
        if text_width(kept + one) > width - 1:
            break
        kept += one
    return f"{kept.rstrip()}…"


def _pad(text: str, width: int) -> str:
    return text + " " * (width - text_width(text))


def _wrap(text: str, width: int) -> list[str]:
    return textwrap.wrap(text, width, break_long_words=False, break_on_hyphens=False) or [""]


def _line(cells: Iterable[tuple[str, int, str | None]], colored: bool) -> str:
    """One line of texts, each with its width and style."""
    codes = {"bold": "1", "red": "31", "green": "32", "yellow": "33"}
    parts = [
        (f"\x1b[{codes[style]}m{text}\x1b[0m" if colored and style else text) + " " * (size - text_width(text))
        for text, size, style in cells
    ]
    return _GAP.join(parts).rstrip()
