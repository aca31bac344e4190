"""Navigation of the web admin: its entries in groups, and the numbers of what waits for an operator."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, field, replace

from zk_pipeline.store.api_tokens import Scope
from zk_pipeline.store.errors import StoreBusy
from zk_pipeline.store.queries.waiting import MAX_COUNTED, Waiting

_CACHED_SECONDS = 10.0


@dataclass(frozen=True)
class Entry:
    """A link. `waiting`: the field of Waiting that is shown with it, to users with one of `scopes`, who can act."""

    path: str
    title: str
    waiting: str | None = None
    scopes: tuple[Scope, ...] = ()


@dataclass(frozen=True)
class Group:
    title: str
    entries: tuple[Entry, ...]


GROUPS = (
    Group("Today", (Entry("/", "Overview"), Entry("/presence", "Who is in"), Entry("/report", "Daily report"))),
    Group(
        "Attendance",
        (
            Entry("/attendance", "Attendance"),
            Entry("/outliers", "To review", "outliers", ("approve", "operate")),
            Entry("/punch-requests", "Punch requests", "punch_requests", ("approve",)),
            Entry("/people", "People"),
            Entry("/month", "Month"),
        ),
    ),
    Group(
        "Delivery",
        (
            Entry("/deliveries", "Deliveries", "dead_letters", ("operate",)),
            Entry("/payroll", "Payroll"),
            Entry("/exports", "Exports"),
        ),
    ),
    Group(
        "Terminals",
        (
            Entry("/devices", "Devices", "pending_terminals", ("admin",)),
            Entry("/sites", "Sites"),
            Entry("/punches", "Punches"),
            Entry("/quarantine", "Quarantine"),
        ),
    ),
    Group("Setup", (Entry("/shifts", "Shifts"), Entry("/holidays", "Holidays"), Entry("/leaves", "Leaves"))),
    Group("System", (Entry("/runs", "Runs"), Entry("/api/docs", "REST API"))),
)


def served_groups(served: Collection[str]) -> list[Group]:
    """The groups without entries whose page is not mounted."""
    groups = (replace(group, entries=tuple(one for one in group.entries if one.path in served)) for group in GROUPS)
    return [group for group in groups if group.entries]


def shown_count(number: int) -> str:
    """A number of Waiting, which is not counted above MAX_COUNTED: `99+`."""
    return str(number) if number < MAX_COUNTED else f"{MAX_COUNTED - 1}+"


@dataclass
class WaitingCache:
    """The numbers of what waits, read again when they are older than `seconds`."""

    monotonic: Callable[[], float] = time.monotonic
    seconds: float = _CACHED_SECONDS
    latest: Waiting = field(default_factory=Waiting)
    _read_at: float | None = None
    _reading: threading.Lock = field(default_factory=threading.Lock)

    def current(self, read: Callable[[], Waiting]) -> Waiting:
        """The numbers. The latest ones while another thread reads them, or while the store is busy."""
        is_old = self._read_at is None or self.monotonic() - self._read_at >= self.seconds
        if is_old and self._reading.acquire(blocking=False):
            try:
                self._read_at = self.monotonic()
                self.latest = read()
            except StoreBusy:
                return self.latest  # a page is not refused for its navigation
            finally:
                self._reading.release()
        return self.latest

    def forget(self) -> None:
        """Read again for the next page: a form has changed something."""
        self._read_at = None
