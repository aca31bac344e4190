"""Oracle: the content of a store after any history of a terminal's log, computed by the plain rule alone.

A record is one fact: who it names (a person, or only a slot) and the wall clock it bears. Each fact has the set of
outcomes that are right: a person whose punch is stored, or None, the record waits in quarantine.

The rule for records that name only a slot, first seen in poll k: with `before`, the holder by the last user list before
poll k, and `after`, the holder by the first list read at or after it:

- `after` a person: that person, except where `before` is another one and the lists are more than an hour apart;
- `after` vacant, `before` a person: `before`;
- else no user: quarantine.

Where the rule's person is not who punched, the records of both cannot be distinguished: quarantine is right there, too,
and so is the truth. Whether a user list that a live session reads counts as a list is left open: both readings are
worked out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from zk_pipeline_tests.operations.history_terminal import HistoryTerminal, Record

FAR_APART = timedelta(hours=1)
CLOCK_BOUND = timedelta(minutes=15)
CLOCK_WAS_RESET = datetime(2001, 1, 1)  # noqa: DTZ001 - a wall clock has no zone
AHEAD = timedelta(days=1)

HISTORY_COUNTS = "log histories"  # the property of a test that counts what happened in them

Outcome = str | None  # a person, or None: the record waits in quarantine
Key = tuple[str, datetime | bytes]  # who a record names, and its wall clock, or its bytes where that is impossible
POLLS_ONLY, LIVE_TOO = 0, 1  # whose lists count: the two readings of the rule


@dataclass(frozen=True)
class StoredPunch:
    """A row of `raw_punches`; `punched_at` aware."""

    person: str
    moment: datetime
    punched_at: datetime
    punch_state: int
    verify_type: int
    is_suspect: bool


@dataclass(frozen=True)
class UserListRead:
    """A user list as it was read: the user of each slot, and when."""

    holders: Mapping[int, str]
    read_at: datetime


@dataclass(eq=False)
class Fact:
    """A record that could be read, as the oracle knows it.

    `is_required` False: only a full reading has to find it. `is_suspect`: as the row has to say, None where either is
    right. `off_by`: the wall clock less UTC, where it was measured to be wrong. `may_wait`: no list was read with it,
    and quarantine was not released since. `waits`: the readings of the rule by which it waits for a list, each with the
    list before.
    """

    record: Record
    results: set[Outcome] = field(default_factory=set)
    is_required: bool = True
    is_suspect: bool | None = False
    off_by: timedelta | None = None
    may_wait: bool = False
    raws: set[bytes] = field(default_factory=set)
    waits: dict[int, UserListRead | None] = field(default_factory=dict)

    @property
    def allowed(self) -> set[Outcome]:
        """The outcomes that are right now."""
        if self.waits:
            return {*self.results, None}
        if self.results in ({self.record.person}, {None}):
            return self.results
        return {*self.results, self.record.person, None}

    def __str__(self) -> str:
        right = " or ".join("quarantine" if one is None else one for one in sorted(self.allowed, key=str))
        return f"{self.record.person} in slot {self.record.slot} at {self.record.moment} (right: {right})"


def attributed(slot: int, before: UserListRead | None, after: UserListRead) -> Outcome:
    """The rule for one record."""
    held = None if before is None else before.holders.get(slot)
    holds = after.holders.get(slot)
    if before is None or holds is None or held is None or held == holds:
        return holds or held
    return None if after.read_at - before.read_at > FAR_APART else holds


class Oracle:
    """The facts about one device. `zone` is the registered one."""

    def __init__(self, terminal: HistoryTerminal, zone: str) -> None:
        self.terminal = terminal
        self.zone = zone
        self.facts: dict[Key, Fact] = {}
        self._lists: dict[int, UserListRead | None] = {POLLS_ONLY: None, LIVE_TOO: None}
        self._had_good_clock: bool | None = False
        self._was_off = False

    def polled(self, now: datetime, *, is_full: bool, list_is_refused: bool, zone_before: str | None = None) -> None:
        """A successful poll has read the log as it is. `zone_before`: registered when it began, where that changed."""
        drifts = [abs(self._off_by(zone)) > CLOCK_BOUND for zone in (self.zone, zone_before or self.zone)]
        is_off = drifts[0] if drifts[0] == drifts[1] else None
        is_suspect = is_off and self._had_good_clock
        if is_suspect is False and self._was_off:  # set right since: those recorded before may be in doubt as well
            is_suspect = None
        self._was_off = is_off is not False
        for index, record in enumerate(self.terminal.records):
            self._seen(record, is_full, is_suspect, now)
            record.was_read = True
            record.is_checked = index >= len(self.terminal.records) - 16
        if not list_is_refused:
            self._list_read(now, [POLLS_ONLY, LIVE_TOO])
        for fact in self.facts.values():
            fact.may_wait |= bool(fact.waits)
        if not self._had_good_clock and is_off is not True:
            self._had_good_clock = None if is_off is None else True

    def heard(self, record: Record, now: datetime, *, is_certain: bool, reads_list: bool) -> None:
        """A live session has reported this punch, and with `reads_list` has asked for the user list since.

        `is_certain` False: the session ended, so that only a poll has to find the punch.
        """
        if self._key(record) not in self.facts:
            is_suspect = abs(self._off_by(self.zone)) > CLOCK_BOUND and self._had_good_clock
            fact = self._new(record, is_suspect if is_certain else None, now)
            fact.results = {record.person} if is_certain else {record.person, None}
            fact.is_required = is_certain
        if reads_list:
            self._list_read(now, [LIVE_TOO])

    def released(self) -> None:
        """Quarantine was read again: what can be attributed is stored."""
        for fact in self.facts.values():
            fact.may_wait &= bool(fact.waits)

    @property
    def is_anything_quarantined(self) -> bool:
        """Whether a release has anything to look at."""
        return any(fact.may_wait or None in fact.allowed for fact in self.facts.values())

    def rezoned(self, zone: str) -> None:
        """The device was registered under another zone: that its clock was right was measured in the one before."""
        self.zone = zone
        self._had_good_clock = self._had_good_clock and None
        for fact in self.facts.values():
            moment = fact.record.moment
            was_reset = moment is not None and moment < CLOCK_WAS_RESET
            is_still_off = fact.off_by is not None and abs(fact.off_by - utc_offset(zone)) > CLOCK_BOUND
            if fact.is_suspect and not was_reset and not is_still_off:
                fact.is_suspect = None

    def counted(self) -> Counter[str]:
        """The facts, by what is right for them."""
        return Counter(_KINDS[len(fact.allowed - {None}), None in fact.allowed] for fact in self.facts.values())

    def _off_by(self, zone: str) -> timedelta:
        """How far the terminal's clock is ahead of those of a zone."""
        return self.terminal.now_local() - _naive(self.terminal._clock()) - utc_offset(zone)

    def _seen(self, record: Record, is_full: bool, is_suspect: bool | None, now: datetime) -> None:
        is_sure = is_full or record.is_checked or not record.was_read
        fact = self.facts.get(self._key(record))
        if fact is not None:
            fact.raws.add(record.raw)
            if is_sure and not fact.is_required:
                fact.is_required = True
                if record.moment is not None and not self.terminal.names_people:
                    fact.waits = dict(self._lists)  # it may be this poll that has seen it first
            return
        fact = self._new(record, is_suspect if is_sure else None, now)
        fact.is_required = is_sure
        if record.moment is None:
            fact.results = {None}
        elif self.terminal.names_people:
            fact.results = {record.person}
        else:
            fact.waits = dict(self._lists)

    def _new(self, record: Record, is_suspect: bool | None, now: datetime) -> Fact:
        fact = Fact(record, is_suspect=is_suspect, raws={record.raw})
        moment = record.moment
        if is_suspect:
            fact.off_by = self._off_by("UTC")
        if moment is not None and (moment < CLOCK_WAS_RESET or moment - utc_offset(self.zone) > _naive(now) + AHEAD):
            fact.is_suspect = True
        self.facts[self._key(record)] = fact
        return fact

    def _list_read(self, now: datetime, readings: Sequence[int]) -> None:
        after = UserListRead(dict(self.terminal.people), now)
        is_off = abs(self._off_by(self.zone)) > CLOCK_BOUND
        for fact in self.facts.values():
            for nth in [one for one in readings if one in fact.waits]:
                fact.results.add(attributed(fact.record.slot, fact.waits.pop(nth), after))
                if fact.may_wait and (is_off or fact.is_suspect):  # measured by the one poll, stored by the other
                    fact.is_suspect = None
        for nth in readings:
            self._lists[nth] = after

    def _key(self, record: Record) -> Key:
        who = record.person if self.terminal.names_people else str(record.slot)
        return who, record.raw if record.moment is None else record.moment

    def problems(self, punches: Iterable[StoredPunch], quarantined: Iterable[bytes]) -> list[str]:
        """All differences of the device's stored records, one line each."""
        held = list(punches)
        counted = Counter((one.person, one.moment) for one in held)
        found = [f"stored {n} times: {who} at {moment}" for (who, moment), n in counted.items() if n > 1]
        waiting = set(quarantined)
        explained: dict[tuple[str, datetime], list[Fact]] = {key: [] for key in counted}
        for fact in self.facts.values():
            rows = [explained[key] for one in fact.allowed if (key := (one, fact.record.moment)) in explained]
            for row in rows:
                row.append(fact)
            found += _outcome_problems(fact, is_stored=bool(rows), is_waiting=bool(fact.raws & waiting))
        for punch in held:
            facts = explained[punch.person, punch.moment]
            found += self._row_problems(punch, facts) if facts else [self._unexplained(punch)]
        known = {raw for fact in self.facts.values() for raw in fact.raws}
        return found + [f"never readable: {raw.hex()} is in quarantine" for raw in sorted(waiting - known)]

    def _unexplained(self, punch: StoredPunch) -> str:
        others = [str(fact) for fact in self.facts.values() if fact.record.moment == punch.moment]
        if others:
            return f"wrong person: {punch.person} at {punch.moment} is stored, read was {'; '.join(others)}"
        return f"never readable: {punch.person} at {punch.moment} is stored"

    def _row_problems(self, punch: StoredPunch, facts: Sequence[Fact]) -> list[str]:
        found, words = [], f"{punch.person} at {punch.moment}"
        stands_for = _naive(punch.punched_at) + utc_offset(self.zone)
        if stands_for != punch.moment:
            found.append(f"wrong instant: {words} is stored as {stands_for} in {self.zone}")
        suspicions = {fact.is_suspect for fact in facts}
        if None not in suspicions and punch.is_suspect not in suspicions:
            found.append(f"wrong mark: {words} is {'' if punch.is_suspect else 'not '}marked as of a wrong clock")
        record = facts[0].record
        is_plain = len({raw for fact in facts for raw in fact.raws}) == 1
        if is_plain and (punch.punch_state, punch.verify_type) != (record.punch_state, record.verify_type):
            found.append(
                f"wrong state: {words} has state {punch.punch_state} and verification {punch.verify_type}, "
                f"{record.raw.hex()} says {record.punch_state} and {record.verify_type}"
            )
        return found


_KINDS = {
    (1, False): "records of one person",
    (0, True): "records to be quarantined",
    (1, True): "records of one person, or to be quarantined",
    (2, True): "records of two people that cannot be distinguished",
    (3, True): "records of three people that cannot be distinguished",
}


def _outcome_problems(fact: Fact, *, is_stored: bool, is_waiting: bool) -> list[str]:
    may_wait = fact.may_wait or None in fact.allowed
    if is_waiting and is_stored and not may_wait:
        return [f"in quarantine though stored: {fact}"]
    if is_waiting and not may_wait:
        return [f"in quarantine, not stored: {fact}"]
    if fact.is_required and not is_stored and not is_waiting:
        return [f"missing: {fact} is neither stored nor in quarantine"]
    return []


def utc_offset(zone: str) -> timedelta:
    """Of a zone that has one offset for all dates in question."""
    offset = datetime(2026, 3, 2).replace(tzinfo=ZoneInfo(zone)).utcoffset()  # noqa: DTZ001 (replaced)
    assert offset is not None
    return offset


def _naive(moment: datetime) -> datetime:
    """The UTC wall clock of an aware moment."""
    return moment.astimezone(ZoneInfo("UTC")).replace(tzinfo=None)
