"""What one revision of a day changed from the one before it, in words."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from zk_pipeline.store.queries.explanations import Revision
from zk_pipeline.web.formatting import duration
from zk_pipeline.web.template_filters import wall_clock


@dataclass(frozen=True)
class Change:
    """One thing that was otherwise before. `before` is None in the first revision, which had nothing before it."""

    what: str
    before: str | None
    after: str


def changes(revisions: Sequence[Revision]) -> list[list[Change]]:
    """For each revision of one site, in order, what it changed."""
    earlier: Sequence[Revision | None] = [None, *revisions][: len(revisions)]
    return [_between(before, after) for before, after in zip(earlier, revisions, strict=True)]


def _between(before: Revision | None, after: Revision) -> list[Change]:
    if after.is_retracted:
        return [Change("the day", "there" if before is not None else None, "taken back: its punches are elsewhere now")]
    if before is not None and before.is_retracted:
        return [Change("the day", "taken back", "there again"), *_told(None, after)]
    return _told(before, after)


def _told(before: Revision | None, after: Revision) -> list[Change]:
    found = []
    for what, told in _FIELDS.items():
        now, was = told(after), None if before is None else told(before)
        if now != was and (was is not None or now != NOTHING):
            found.append(Change(what, was, now))
    return found


NOTHING = "–"


def hours_of(one: Revision) -> str:
    """The hours that a revision was judged by."""
    if one.shift is None or one.shift_start is None or one.shift_end is None:
        return "hours of the settings"
    return f"{one.shift}, {one.shift_start:%H:%M}–{one.shift_end:%H:%M}"


_FIELDS: dict[str, Callable[[Revision], str]] = {
    "device": lambda one: one.device,
    "clock-in": lambda one: wall_clock(one.clock_in_local),
    "clock-out": lambda one: wall_clock(one.clock_out_local),
    "punches": lambda one: str(one.punch_count),
    "worked": lambda one: duration(one.worked_minutes),
    "hours": hours_of,
    "day off": lambda one: one.day_off or NOTHING,
    "unusual": lambda one: one.outlier_reason or NOTHING,
}
