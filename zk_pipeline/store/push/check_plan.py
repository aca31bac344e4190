"""Comparison of a pushing terminal's counts with the store: which dates to ask for, and what an answer means. Pure.

Families A and B count the punches of a span (VERIFY SUM) and upload a span again (DATA QUERY), with Stamp=0. A span
with more punches on the terminal than in the store is halved until it is small, then uploaded again. The uploads are
idempotent, so a lost punch is stored and the span is equal. A span stays unequal although all its lines were received
if a user has two records in one second, which are one punch, or a line is in quarantine: this explains the difference.

A terminal whose log has overflowed counts fewer punches than the store has: also equal, so that a loss is only found by
the date. Family C has no spans: it counts its whole log, with door events, which `device_events` has.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Literal
from zoneinfo import ZoneInfo

from zk_pipeline.devices.push.families import Family

CheckState = Literal["asked", "queried", "split", "equal", "resent", "differs", "unsupported", "unanswered"]

HISTORY_BEGINS = date(2000, 1, 1)  # clocks of terminals begin there
RECENT_DATES = 7
WHOLE_EVERY = timedelta(days=7)
UPLOADS_BEGIN_WITHIN = timedelta(minutes=15)  # after an adoption
MAX_QUERIED_PUNCHES = 2_000  # of several dates, uploaded again by one command
LINES_MAY_FOLLOW = timedelta(minutes=10)  # after the confirmation of a query
NO_DATA = (-1, -4)  # codes of families A and B: no data or wrong parameter, no match


@dataclass(frozen=True, order=True)
class Span:
    """Dates on the terminal's wall clock, both included."""

    first: date
    last: date

    @property
    def days(self) -> int:
        return (self.last - self.first).days + 1

    def halves(self) -> tuple[Span, Span]:
        """The two halves of several dates."""
        middle = self.first + timedelta(days=self.days // 2 - 1)
        return Span(self.first, middle), Span(middle + timedelta(days=1), self.last)

    def contains(self, other: Span) -> bool:
        return self.first <= other.first and other.last <= self.last


@dataclass(frozen=True, kw_only=True)
class PushCheck:
    """A row of `push_checks`. The counts are those of the last answer, also while the next one is awaited."""

    serial_number: str
    first_date: date
    last_date: date
    state: CheckState
    terminal_punches: int | None = None
    stored_punches: int | None = None
    resent_punches: int | None = None
    command_id: int | None = None
    checked_at: datetime

    @property
    def span(self) -> Span:
        return Span(self.first_date, self.last_date)

    @property
    def is_open(self) -> bool:
        return self.state in ("asked", "queried")

    @property
    def surplus(self) -> int:
        """Punches that the terminal counted and the store did not have."""
        return max(0, (self.terminal_punches or 0) - (self.stored_punches or 0))

    @property
    def is_missing(self) -> bool:
        """True if punches are missing: the terminal was asked for them and did not send as many lines as it counts."""
        return self.surplus > 0 and self.resent_punches is not None and not self.is_explained

    @property
    def is_explained(self) -> bool:
        """True if the terminal sent all lines of the span again, so that no punch is missing."""
        return self.resent_punches is not None and self.resent_punches >= (self.terminal_punches or 0)


@dataclass(frozen=True, kw_only=True)
class CheckedTerminal:
    """An adopted terminal in contact, with its checks. `begins`: first date whose punches retention has not deleted.

    `stored`: all its punches and quarantined lines in the store.
    """

    serial_number: str
    family: Family
    zone: str
    adopted_at: datetime
    begins: date
    record_count: int | None
    stored: int
    checks: Sequence[PushCheck]


@dataclass(frozen=True)
class Begun:
    """A span to count (`asked`) or to upload again (`queried`); `former`: the row that it replaces."""

    span: Span
    state: Literal["asked", "queried"]
    former: PushCheck | None = None


@dataclass(frozen=True)
class Answer:
    """Facts at the end of the command of a check. `count`: of the terminal, None without one; `stored`: in the
    store now; `resent`: lines that came with Stamp=0 since the query; `explained`: surplus that earlier checks explain;
    `may_query`: False while the terminal uploads its backlog, or the lines of another query.
    """

    command_state: Literal["done", "failed", "expired"]
    return_code: int | None
    finished_at: datetime
    count: int | None
    stored: int
    resent: int
    explained: int
    may_query: bool


@dataclass(frozen=True)
class Verdict:
    """The next state of a check, with its counts; `spans`: to count next."""

    state: CheckState
    terminal_punches: int | None
    stored_punches: int | None
    resent_punches: int | None
    spans: tuple[Span, ...] = ()


def due_checks(terminal: CheckedTerminal, now: datetime) -> list[Begun]:
    """Checks to begin at `now`, each span at most once per date of the terminal's zone.

    Once a day each of the last complete dates, and each span with missing punches; the whole history after the
    adoption, weekly, and when the terminal's record counter exceeds the store. A terminal that cannot count uploads the
    last complete date again each day.
    """
    if now - terminal.adopted_at < UPLOADS_BEGIN_WITHIN:
        return []
    today = now.astimezone(ZoneInfo(terminal.zone)).date()
    known = {one.span: one for one in terminal.checks}
    begun: dict[Span, Begun] = {}

    def begin(span: Span, former: PushCheck | None, state: Literal["asked", "queried"] = "asked") -> None:
        row = known.get(span)
        if is_due(former, terminal, today) and is_due(row, terminal, today):
            begun.setdefault(span, Begun(span, state, former))

    whole = whole_check(terminal.checks)
    if _is_whole_due(terminal, whole, now):
        begin(Span(HISTORY_BEGINS, today if terminal.family == "C" else today - timedelta(days=1)), whole)
    if terminal.family == "C":
        return list(begun.values())
    if cannot_count(terminal.checks, now):
        yesterday = Span(today - timedelta(days=1), today - timedelta(days=1))
        if yesterday.first >= terminal.begins:
            begin(yesterday, known.get(yesterday), "queried")
        return list(begun.values())
    for one in terminal.checks:
        if one.is_missing:
            begin(one.span, one)
    for number in range(1, RECENT_DATES + 1):
        day = today - timedelta(days=number)
        if day >= terminal.begins:
            begin(Span(day, day), known.get(Span(day, day)))
    return list(begun.values())


def is_due(check: PushCheck | None, terminal: CheckedTerminal, today: date) -> bool:
    """True for a span that is not waited for and was not asked for on this date."""
    if check is None:
        return True
    return not check.is_open and check.checked_at.astimezone(ZoneInfo(terminal.zone)).date() < today


def whole_check(checks: Iterable[PushCheck]) -> PushCheck | None:
    """The check of the whole history; None before the first one."""
    whole = [one for one in checks if one.first_date == HISTORY_BEGINS]
    return max(whole, key=lambda one: one.last_date, default=None)


def cannot_count(checks: Iterable[PushCheck], now: datetime) -> bool:
    """True if the terminal refused to count in the last week, and has not counted in it."""
    week = [one for one in checks if now - one.checked_at < WHOLE_EVERY]
    has_counted = any(one.terminal_punches is not None and one.state != "unsupported" for one in week)
    return not has_counted and any(one.state == "unsupported" for one in week)


def explained_surplus(checks: Iterable[PushCheck], span: Span) -> int:
    """Punches in `span` that the terminal counts, sent again on request, and that are no further rows."""
    inside = [one for one in checks if one.surplus and one.is_explained and span.contains(one.span)]
    total, after = 0, date.min
    for one in sorted(inside, key=lambda one: (one.first_date, -one.span.days)):
        if one.first_date > after:
            total, after = total + one.surplus, one.last_date
    return total


def judge(check: PushCheck, answer: Answer, family: Family, now: datetime) -> Verdict | None:
    """The next state of an open check whose command has ended; None: wait for lines or for another query."""
    return _judge_count(check, answer, family) if check.state == "asked" else _judge_query(check, answer, now)


def _judge_count(check: PushCheck, answer: Answer, family: Family) -> Verdict | None:
    kept = (check.terminal_punches, check.stored_punches, check.resent_punches)
    count = _counted(answer, family)
    if count is None:
        return Verdict("unanswered" if answer.command_state == "expired" else "unsupported", *kept)
    if answer.stored >= count:
        return Verdict("equal", count, answer.stored, None)
    if count - answer.stored <= answer.explained:
        return Verdict("resent", *(kept if check.is_explained else (count, answer.stored, None)))
    if not answer.may_query:
        return None
    if family != "C" and check.span.days > 1 and count > MAX_QUERIED_PUNCHES:
        return Verdict("split", count, answer.stored, None, check.span.halves())
    return Verdict("queried", count, answer.stored, None if check.is_explained else check.resent_punches)


def _counted(answer: Answer, family: Family) -> int | None:
    """The terminal's count; None for a terminal that did not count."""
    if answer.command_state == "done":
        return answer.count
    return 0 if family != "C" and answer.return_code in NO_DATA and not answer.stored else None


def _judge_query(check: PushCheck, answer: Answer, now: datetime) -> Verdict | None:
    count = check.terminal_punches
    if count is None:
        return Verdict("unsupported", None, answer.stored, answer.resent)
    if answer.stored >= count:
        return Verdict("equal", count, answer.stored, answer.resent)
    if answer.resent >= count:
        return Verdict("resent", count, answer.stored, answer.resent)
    if answer.command_state == "done" and now - answer.finished_at < LINES_MAY_FOLLOW:
        return None
    return Verdict("differs", count, answer.stored, answer.resent)


def _is_whole_due(terminal: CheckedTerminal, whole: PushCheck | None, now: datetime) -> bool:
    if whole is None or now - whole.checked_at >= WHOLE_EVERY:
        return True
    if terminal.record_count is None or terminal.begins > HISTORY_BEGINS or whole.state == "unsupported":
        return False
    span = Span(HISTORY_BEGINS, date.max)
    return terminal.record_count > terminal.stored + explained_surplus(terminal.checks, span)
