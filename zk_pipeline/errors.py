"""Base exceptions for user-facing errors. Domain packages define subclasses."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping


class ZkPipelineError(Exception):
    """The work failed. The message is one line: what was attempted, on which object, what to do. Exit code 1."""


class UsageError(ZkPipelineError):
    """The request is invalid (a name, an address, a date, a setting). Exit code 2, HTTP 400 or 404."""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> str:
    """Message about an unknown name, with similar ones, else all."""
    names = list(known)
    near = difflib.get_close_matches(name, names, n=3)
    hint = f"did you mean {' or '.join(near)}?" if near else f"there are: {', '.join(names) or 'none'}"
    return f"no {kind} {name!r}; {hint}"


class RowsRefused(UsageError):
    """A table with invalid rows. `rows` has a line for each, up to a limit; the CLI prints them as lines.

    `number`: noun of the keys of `rows`.
    """

    def __init__(self, head: str, rows: Mapping[int, str], *, number: str = "line") -> None:
        named = [f"{number} {row}: {text}" for row, text in sorted(rows.items())]
        more = len(named) - _MAX_ROWS
        self.head, self.rows = head, named if more <= 0 else [*named[:_MAX_ROWS], f"and {more} more"]
        super().__init__(f"{head}: {'; '.join(self.rows)}")


class FieldsRefused(UsageError):
    """Invalid fields of one object. `problems` has the message of each by its name."""

    def __init__(self, problems: Mapping[str, str]) -> None:
        self.problems = dict(problems)
        super().__init__("; ".join(self.problems.values()))


_MAX_ROWS = 50
