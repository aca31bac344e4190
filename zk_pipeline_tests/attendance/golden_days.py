"""Parser of golden_days.md: the steps of each case and its expected rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Literal

PAGE = Path(__file__).with_name("golden_days.md")
STATES = {"in": 0, "out": 1, "break out": 2, "break in": 3, "overtime in": 4, "overtime out": 5, "undefined": 255}
GATES: dict[str, Literal["in", "out"]] = {"entry gate": "in", "exit gate": "out"}
# Columns of every table, in this order, and optional columns.
ALWAYS = ("person", "site", "work date", "in", "out", "punches", "worked", "codes", "reason")
SOMETIMES = (
    "in UTC", "out UTC", "revision", "shift", "day off", "minutes source", "late", "early", "status", "judged by",
    "break", "break from", "overtime", "class", "night", "directions", "leave",
)  # fmt: skip


@dataclass(frozen=True)
class Terminal:
    name: str
    zone: str
    site: str = ""
    trusted: bool = False
    direction: Literal["in", "out"] | None = None


@dataclass(frozen=True)
class Log:
    """Punches read from a terminal: person, wall-clock time, punch state."""

    terminal: str
    punches: list[tuple[str, datetime, int]]


@dataclass(frozen=True)
class Clock:
    now: datetime


@dataclass(frozen=True)
class Processed:
    pass


@dataclass(frozen=True)
class ShiftFile:
    """Content of a file for `zk-pipeline shift apply`."""

    text: str


@dataclass(frozen=True)
class ChangedSettings:
    """Settings that apply from here on, besides those of before."""

    settings: tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class ByHand:
    """Requests of manual punches at a site, and the decision on them; "requested": they wait for one."""

    decision: str
    site: str
    punches: list[tuple[str, datetime, int]]


@dataclass(frozen=True)
class OnLeave:
    person: str
    first: date
    last: date
    kind: str
    day_part: str | None


Step = Terminal | Log | Clock | Processed | ShiftFile | ChangedSettings | ByHand | OnLeave


@dataclass
class Case:
    name: str
    story: str = ""
    settings: dict[str, str] = field(default_factory=dict)
    steps: list[Step] = field(default_factory=list)
    columns: list[str] = field(default_factory=list)
    rows: list[dict[str, str]] = field(default_factory=list)


def cases(page: str) -> list[Case]:
    """Every case of the page. Raises ValueError for any line that is not understood."""
    return [_case(part) for part in re.split(r"^### ", page, flags=re.MULTILINE)[1:]]


def _case(text: str) -> Case:
    name, _, body = text.partition("\n")
    case = Case(name.strip())
    lines = iter(re.split(r"^## ", body, flags=re.MULTILINE)[0].splitlines())
    for line in lines:
        if line.startswith("```"):
            case.steps.append(ShiftFile("\n".join(_fenced(lines))))
        elif line.startswith("- Settings: "):
            case.settings |= dict(_pair(part) for part in line.removeprefix("- Settings: ").split(", "))
        elif line.startswith("- "):
            case.steps.append(_step(line[2:]))
        elif line.startswith("|"):
            _tabulate(case, [cell.strip() for cell in line.strip().strip("|").split("|")], line)
        elif line.strip():
            case.story = f"{case.story} {line.strip()}".strip()
    if tuple(case.columns[: len(ALWAYS)]) != ALWAYS or not set(case.columns[len(ALWAYS) :]) <= set(SOMETIMES):
        raise ValueError(f"{case.name}: unknown columns {case.columns}")
    return case


def _fenced(lines: Iterator[str]) -> Iterator[str]:
    for line in lines:
        if line.startswith("```"):
            return
        yield line


def _pair(text: str) -> tuple[str, str]:
    name, _, value = text.partition("=")
    return name.strip(), value.strip()


def _step(text: str) -> Step:
    what, _, rest = text.partition(": ")
    simple: dict[str, Callable[[], Step]] = {
        "Processed": Processed,
        "Changed settings": lambda: ChangedSettings(tuple(_pair(part) for part in rest.split(", "))),
        "Clock": lambda: Clock(utc(rest.removesuffix(" UTC"))),
        "Leave": lambda: _leave(rest),
    }
    if what in simple:
        return simple[what]()
    if what.startswith("Terminal "):
        zone, *more = rest.split(", ")
        sites = [one.removeprefix("site ") for one in more if one.startswith("site ")]
        trusted = "punch states trusted" in more
        directions = [direction for gate, direction in GATES.items() if gate in more]
        if len(sites) + trusted + len(directions) != len(more):
            raise ValueError(f"not understood: {text}")
        return Terminal(what.removeprefix("Terminal "), zone, "".join(sites), trusted, next(iter(directions), None))
    by_hand = re.fullmatch(r"(Requested|Approved|Rejected) by hand at (.+)", what)
    punches = list(_punches(rest))
    return ByHand(by_hand[1].lower(), by_hand[2], punches) if by_hand else Log(what, punches)


def _leave(text: str) -> OnLeave:
    """`Anna 2026-03-03 to 2026-03-04, annual leave (morning)`."""
    found = re.fullmatch(r"(\S+) (\S+)(?: to (\S+))?, ([^()]+?)(?: \((\w+)\))?", text)
    if found is None:
        raise ValueError(f"not understood: {text}")
    person, first, last, kind, part = found.groups()
    return OnLeave(person, date.fromisoformat(first), date.fromisoformat(last or first), kind, part)


def _punches(text: str) -> Iterator[tuple[str, datetime, int]]:
    """`Anna 2026-03-02 08:55 in, 18:05 out; 2026-03-03 09:00`: a date applies until the next."""
    person, _, rest = text.partition(" ")
    for day_text in rest.split("; "):
        day, _, times = day_text.partition(" ")
        for time_text in times.split(", "):
            at, _, state = time_text.partition(" ")
            yield person, datetime.fromisoformat(f"{day} {at}"), STATES[state or "in"]


def _tabulate(case: Case, cells: list[str], line: str) -> None:
    if not case.columns:
        case.columns = cells
    elif not set(line) <= set("|- "):
        # The last cells of a row may be empty: strip("|") ate them.
        cells = [cell.strip() for cell in line.strip()[1:-1].split("|")]
        case.rows.append(dict(zip(case.columns, cells, strict=True)))


def utc(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


def wall(reading: datetime | None, day: date) -> str:
    """Time as on the page: with seconds if not zero, `(+1)` for the day after the work date."""
    if reading is None:
        return ""
    later = (reading.date() - day) // timedelta(days=1)
    return f"{_short(reading)} (+{later})" if later else _short(reading)


def moment(instant: datetime | None) -> str:
    return "" if instant is None else f"{instant.astimezone(UTC):%Y-%m-%d} {_short(instant)}"


def _short(reading: datetime) -> str:
    reading = reading.astimezone(UTC) if reading.tzinfo else reading
    return f"{reading:%H:%M:%S}" if reading.second else f"{reading:%H:%M}"
