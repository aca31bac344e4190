"""Worked minutes, breaks, overtime and night minutes of evaluated days, by the rules of their shifts (`shift_rules`).

Vectorized; no I/O. A row with a clock-out has spans at work, in microseconds since the epoch (int64): one from the
first to the last punch, or one per pair of an in and an out punch. Windows of the wall clock are subtracted as
instants, so a night with a clock change has its true length.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from functools import reduce
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from zk_pipeline.attendance.day_bounds import DayBounds
from zk_pipeline.attendance.rules import WorkRules, offset
from zk_pipeline.attendance.shift_rules import Mode, Window
from zk_pipeline.attendance.zones import to_instants

Mask = npt.NDArray[np.bool_]
Micros = npt.NDArray[np.int64]
_MINUTE = 60_000_000
_DAY = timedelta(days=1)
# Break sources per combination of bits: punches, windows, automatic.
_SOURCES = ("punches", "windows", "automatic")
_SOURCE_TEXTS = np.empty(8, dtype=object)
_SOURCE_TEXTS[1:] = [", ".join(one for n, one in enumerate(_SOURCES) if bits >> n & 1) for bits in range(1, 8)]
_NOTHING = np.array(None, dtype=object)
_CLASSES = np.array(["weekday", "rest_day", "holiday"], dtype=object)
_WORKED_SOURCES = np.array([None, "unmatched", "alternation", "punch_states"], dtype=object)


@dataclass(frozen=True)
class Spans:
    """Spans at work: row number, begin and end of each, ascending within a row."""

    row: npt.NDArray[np.intp]
    begin: Micros
    end: Micros

    def clipped(self, begin: Micros, end: Micros) -> Spans:
        """Parts of the spans from `begin` to `end` of their rows (one value per row)."""
        return Spans(self.row, np.maximum(self.begin, begin[self.row]), np.minimum(self.end, end[self.row]))._real()

    def without(self, window: _Instants) -> Spans:
        """Spans without the window of their rows."""
        begin, end = window.begin[self.row], window.end[self.row]
        return Spans(
            np.concatenate([self.row, self.row]),
            np.concatenate([self.begin, np.maximum(self.begin, end)]),
            np.concatenate([np.minimum(self.end, begin), self.end]),
        )._real()

    def gaps(self) -> Spans:
        """Times between the spans of a row."""
        follows = np.flatnonzero(self.row[1:] == self.row[:-1])
        return Spans(self.row[follows], self.end[follows], self.begin[follows + 1])

    def with_spans(self, others: Spans) -> Spans:
        return Spans(*(np.concatenate(pair) for pair in zip(self._parts, others._parts, strict=True)))

    def total(self, rows: int) -> Micros:
        """Microseconds per row."""
        return np.bincount(self.row, self.end - self.begin, minlength=rows).astype(np.int64)

    @property
    def _parts(self) -> tuple[npt.NDArray[np.intp], Micros, Micros]:
        return self.row, self.begin, self.end

    def _real(self) -> Spans:
        is_real = self.end > self.begin
        return self if is_real.all() else Spans(*(part[is_real] for part in self._parts))


@dataclass(frozen=True)
class _Instants:
    """One window per row; rows without one have an empty one, far in the past."""

    begin: Micros
    end: Micros


@dataclass(frozen=True)
class WorkingTime:
    """Columns of `frames.EVALUATED_DAYS` about worked time; `late` and `early`: minutes to add for the second part of a
    split shift that began late, and its first part that ended early.
    """

    columns: dict[str, Any]
    late: npt.NDArray[np.int32]
    early: npt.NDArray[np.int32]


def working_time(summaries: pd.DataFrame, clock_out: pd.Series[pd.Timestamp], by: DayBounds) -> WorkingTime:
    """Working time of the rows of `summaries`; null without a clock-out."""
    rules, is_out = _Rules(summaries, by), clock_out.notna().to_numpy()
    first, last = (_micros(one) for one in (summaries["first_punch"], clock_out.fillna(summaries["first_punch"])))
    rows = len(summaries)
    at_work, source = _at_work(summaries, first, last, by, is_out)
    late, early = _split_shift(at_work, rules, by)
    if rules.has(lambda kind: kind.rounding.punches):
        at_work, first, last = _rounded_punches(summaries, at_work, first, last, by)
    paired = at_work.total(rows)
    net = reduce(Spans.without, rules.windows(lambda kind: kind.breaks.unpaid), at_work)
    after_windows = net.total(rows)
    if rules.has(lambda kind: kind.breaks.paid):
        gaps = at_work.gaps()
        for one in rules.windows(lambda kind: kind.breaks.paid):
            net, gaps = net.with_spans(gaps.clipped(one.begin, one.end)), gaps.without(one)
    at_last = net.total(rows)
    automatic = _automatic(at_last, last - first, by)
    worked = (at_last - automatic) // _MINUTE
    whole = (last - first) // _MINUTE
    breaks = whole - worked
    is_taken = [
        (paired + at_last - after_windows) // _MINUTE < whole,
        after_windows // _MINUTE < paired // _MINUTE,
        automatic > 0,
    ]
    bits = sum(one.astype(np.int8) << n for n, one in enumerate(is_taken)) * (breaks > 0)
    worked = _rounded_days(worked, by)
    columns: dict[str, Any] = {"worked_minutes": _nullable(worked, is_out)}
    if "is_trusted" in summaries or source.any():
        columns["worked_minutes_source"] = _WORKED_SOURCES[source]
    columns["break_minutes"] = _nullable(breaks, is_out)
    if np.any(bits):
        columns["break_source"] = np.where(is_out, _SOURCE_TEXTS[bits], _NOTHING)
    columns |= _overtime(net, worked, by, is_out, summaries)
    night = reduce(
        lambda total, one: total + net.clipped(one.begin, one.end).total(rows),
        rules.windows(lambda kind: (kind.night_hours,) if kind.night_hours else (), by_clock=True),
        np.zeros(rows, dtype=np.int64),
    )
    columns["night_minutes"] = _nullable(np.minimum(night // _MINUTE, worked), is_out)
    return WorkingTime(columns, late, early)


class _Rules:
    """Windows of the rules as instants of each row."""

    def __init__(self, summaries: pd.DataFrame, by: DayBounds) -> None:
        self._by = by
        self._summaries = summaries

    def has(self, rule: Callable[[WorkRules], object]) -> bool:
        return any(rule(kind) for kind in self._by.kinds)

    def windows(self, of: Callable[[WorkRules], Sequence[Window]], *, by_clock: bool = False) -> Iterator[_Instants]:
        """The windows of each row's rules, on the date before its work date, on it and on the next: a work date begins
        and ends within two calendar dates.

        On the date of a clock change a window lasts as long as on any other, or with `by_clock` until the wall clock
        shows its end.
        """
        most = max(len(of(kind)) for kind in self._by.kinds)
        for number in range(most):
            for days in (-1, 0, 1):
                yield self._instants(of, number, days, by_clock=by_clock)

    def _instants(
        self, of: Callable[[WorkRules], Sequence[Window]], number: int, days: int, *, by_clock: bool
    ) -> _Instants:
        rows = len(self._summaries)
        begin, end = np.zeros(rows, dtype=np.int64), np.zeros(rows, dtype=np.int64)
        dates = self._summaries["work_date"].to_numpy("datetime64[us]")
        zones = self._summaries["timezone"]
        for code, kind in enumerate(self._by.kinds):
            if number >= len(of(kind)):
                continue
            window = of(kind)[number]
            is_kind = self._by.codes == code
            for zone in zones[is_kind].unique():
                chosen = np.flatnonzero(is_kind & (zones == zone).to_numpy())
                distinct, date_of = np.unique(dates[chosen], return_inverse=True)
                starts = distinct + np.timedelta64(days * _DAY) + offset(window.start)
                lasts = (offset(window.end) - offset(window.start)) % np.timedelta64(_DAY)
                begins = _micros(to_instants(pd.Series(starts), str(zone)))
                ends = begins + lasts.astype(np.int64)
                if by_clock:
                    ends = np.maximum(_micros(to_instants(pd.Series(starts + lasts), str(zone))), begins)
                begin[chosen], end[chosen] = begins[date_of], ends[date_of]
        return _Instants(begin, end)


def _at_work(
    summaries: pd.DataFrame, first: Micros, last: Micros, by: DayBounds, is_out: Mask
) -> tuple[Spans, npt.NDArray[np.int8]]:
    """Spans from pairs of punches where the punch states are trusted or the breaks are those of the punches, else from
    first to last punch; and per row the index of the source in `_WORKED_SOURCES`.
    """
    rows = np.flatnonzero(is_out)
    source = np.zeros(len(first), dtype=np.int8)
    if "spans" not in summaries:
        return Spans(rows, first[rows], last[rows]), source
    is_trusted = summaries["is_trusted"].to_numpy()
    alternates = np.array([kind.breaks.from_punches for kind in by.kinds])[by.codes]
    is_wanted = is_out & (is_trusted | alternates)
    is_paired = is_wanted & summaries["spans"].notna().to_numpy()
    source[is_wanted] = 1
    source[is_paired] = np.where(is_trusted[is_paired], 3, 2)
    plain = np.flatnonzero(is_out & ~is_paired)
    pairs = np.flatnonzero(is_paired)
    lists = summaries["spans"].to_numpy()[pairs]
    moments = np.concatenate([*lists, np.empty(0)]).astype(np.int64)
    owner = np.repeat(pairs, [len(one) // 2 for one in lists])
    spans = Spans(
        np.concatenate([plain, owner]),
        np.concatenate([first[plain], moments[0::2]]),
        np.concatenate([last[plain], moments[1::2]]),
    )
    order = np.lexsort((spans.begin, spans.row))
    return Spans(spans.row[order], spans.begin[order], spans.end[order]), source


def _rounded_punches(
    summaries: pd.DataFrame, at_work: Spans, first: Micros, last: Micros, by: DayBounds
) -> tuple[Spans, Micros, Micros]:
    """Spans, first and last punches with the wall-clock times of the punches rounded."""
    local = _micros(summaries["first_punch_local"])
    shift = local - _micros(summaries["first_punch"])  # offset of the wall clock
    for code, kind in enumerate(by.kinds):
        if kind.rounding.punches is None:
            continue
        mode, unit = kind.rounding.punches
        rows = by.codes == code
        first = np.where(rows, _rounded(first + shift, mode, unit * _MINUTE) - shift, first)
        last = np.where(rows, _rounded(last + shift, mode, unit * _MINUTE) - shift, last)
        own = rows[at_work.row]
        begin, end = (
            np.where(own, _rounded(at + shift[at_work.row], mode, unit * _MINUTE) - shift[at_work.row], at)
            for at in (at_work.begin, at_work.end)
        )
        at_work = Spans(at_work.row, begin, end)
    return at_work, first, last


def _split_shift(at_work: Spans, rules: _Rules, by: DayBounds) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int32]]:
    """Minutes that the first part of a split shift ended early, and that its second part began late: ends of the gap in
    the spans that meets the pause, to the minute, beyond the grace.
    """
    late, early = (np.zeros(len(by.codes), dtype=np.int32) for _ in range(2))
    if not rules.has(lambda kind: kind.breaks.split):
        return late, early
    gaps = at_work.gaps()
    for pause in rules.windows(lambda kind: kind.breaks.split):
        begin, end = pause.begin[gaps.row], pause.end[gaps.row]
        meets = (gaps.begin < end) & (gaps.end > begin) & by.is_bound[gaps.row]
        for into, minutes, grace in (
            (late, (gaps.end // _MINUTE * _MINUTE - end) // _MINUTE, "late_grace_minutes"),
            (early, (begin - gaps.begin // _MINUTE * _MINUTE) // _MINUTE, "early_leave_grace_minutes"),
        ):
            allowed = np.broadcast_to(by.per_row(grace), len(by.codes))[gaps.row]
            counts = meets & (minutes > allowed)
            np.add.at(into, gaps.row[counts], minutes[counts].astype(np.int32))
    return late, early


def _automatic(at_work: Micros, whole: Micros, by: DayBounds) -> Micros:
    """Microseconds that are deducted automatically, less the breaks that were taken."""
    due = np.zeros(len(at_work), dtype=np.int64)
    for code, kind in enumerate(by.kinds):
        for after, minutes in kind.breaks.automatic:  # ascending
            due[(by.codes == code) & (at_work > after * _MINUTE)] = minutes * _MINUTE
    return np.where(due, np.minimum(np.maximum(due - (whole - at_work), 0), at_work), 0)


def _rounded_days(worked: Micros, by: DayBounds) -> Micros:
    for code, kind in enumerate(by.kinds):
        if kind.rounding.day is not None:
            worked = np.where(by.codes == code, _rounded(worked, *kind.rounding.day), worked)
    return worked


def _overtime(net: Spans, worked: Micros, by: DayBounds, is_out: Mask, summaries: pd.DataFrame) -> dict[str, Any]:
    """Overtime minutes, their class, and the weekly threshold of each row."""
    rows = len(worked)
    overtime = np.zeros(rows, dtype=np.int64)
    starts, ends = (_micros(one) for one in (by.starts, by.ends))
    for code, kind in enumerate(by.kinds):
        rule = kind.overtime
        if not rule.counts_days:
            continue
        own = by.codes == code
        outside = np.zeros(rows, dtype=np.int64)
        never, always = np.full(rows, np.iinfo(np.int64).min), np.full(rows, np.iinfo(np.int64).max)
        for is_counted, begin, end in ((rule.before_shift, never, starts), (rule.after_shift, ends, always)):
            if is_counted:
                minutes = net.clipped(begin, end).total(rows) // _MINUTE
                outside += np.where(minutes >= rule.at_least, minutes, 0)
        excess = np.zeros(rows, dtype=np.int64)
        if rule.daily_after is not None:
            excess = np.maximum(worked - rule.daily_after, 0)
            excess[excess < rule.at_least] = 0
        found = np.where(by.is_bound, np.maximum(outside, excess), worked)
        if kind.rounding.day is not None:
            found = _rounded(found, *kind.rounding.day)
        overtime[own] = np.minimum(found // rule.step * rule.step, worked)[own]
    columns: dict[str, Any] = {"overtime_minutes": _nullable(overtime, is_out)}
    has_any = is_out & (overtime > 0)
    if has_any.any():
        is_holiday = summaries["holiday"].notna().to_numpy() if "holiday" in summaries else np.zeros(rows, dtype=bool)
        kind_of_day = np.where(by.is_bound, 0, np.where(is_holiday, 2, 1))
        columns["overtime_class"] = np.where(has_any, _CLASSES[kind_of_day], _NOTHING)
    weekly = [kind.overtime.weekly_after for kind in by.kinds]
    if any(after is not None for after in weekly):
        values = np.array([after or 0 for after in weekly])[by.codes]
        columns["weekly_overtime_after_minutes"] = _nullable(
            values, np.array([after is not None for after in weekly])[by.codes]
        )
    return columns


def _rounded(values: Micros, mode: Mode, unit: int) -> Micros:
    add = {"down": 0, "nearest": unit // 2, "up": unit - 1}[mode]
    return (values + add) // unit * unit


def _micros(moments: pd.Series[pd.Timestamp]) -> Micros:
    return moments.to_numpy("datetime64[us]").astype(np.int64)


def _nullable(values: Micros, is_known: Mask) -> pd.arrays.IntegerArray:
    return pd.arrays.IntegerArray(np.where(is_known, values, 0).astype(np.int32), ~is_known)
