"""Reconciliation: punches that a terminal counts and the store does not have are requested again, never in a loop."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta

import pytest

from zk_pipeline.store.push.check_plan import RECENT_DATES, Span
from zk_pipeline.store.push.commands import Confirmation, QueuedCommand
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.push.push_fixtures import adopt, contact, push
from zk_pipeline_tests.store.store_fixtures import ALL, LONG_AFTER, SERIAL, StoppedClock, execute, rows

TODAY = LONG_AFTER.date()
YESTERDAY = TODAY - timedelta(days=1)
WHOLE = (date(2000, 1, 1), YESTERDAY)
Record = tuple[str, str]


@dataclass
class Scripted:
    """A terminal that answers commands from its log. `cannot`: kinds of commands that its firmware does not have."""

    store: Store
    clock: StoppedClock
    log: list[Record]
    serial: str = SERIAL
    name: str = "Gate"
    family: str = "A"
    cannot: Sequence[str] = ()
    drops: int = 0  # lines that it leaves out of an answer
    stamp: str = "0"  # of an answer to a query; the firmware of 2013 sends its current one
    interim: Sequence[Record] = ()  # uploaded as they are recorded, before such an answer
    asked: list[tuple[str, date, date]] = field(default_factory=list)

    def answer(self) -> None:
        """Connect, and carry out all open commands."""
        contact(self.store, self.serial, record_count=len(self.log), info_at=self.clock.now)
        if commands := self.store.push.state().commands.get(self.serial, []):
            self.store.push.record_sent([one.id for one in commands])
            self.store.push.confirm(self.serial, [self._carry_out(one) for one in commands])

    def turn(self, *, minutes: float = 1) -> bool:
        """A minute of the receiver: the terminal answers, and the store is compared. False if nothing changed."""
        self.clock.go(minutes=minutes)
        self.answer()
        return bool(self.store.push.reconcile(begin=True))

    def day(self) -> None:
        """Minutes until nothing changes, also after the time for late lines."""
        for _ in range(40):
            if not self.turn() and not self.turn(minutes=11):
                return
        raise AssertionError("the comparison does not end")

    def next_day(self) -> None:
        self.clock.go(days=1)
        self.day()

    def _carry_out(self, one: QueuedCommand) -> Confirmation:
        command = one.command
        first = command.start_local.date() if command.start_local else date.min
        last = command.end_local.date() if command.end_local else date.max
        self.asked.append((command.kind, first, last))
        if command.kind in self.cannot:
            return Confirmation(one.id, False, -1002)
        found = [record for record in self.log if first <= datetime.fromisoformat(record[1]).date() <= last]
        if command.kind == "count_punches":
            return Confirmation(one.id, True, 0, str(len(found)))
        sent = found[self.drops :]
        if self.interim:
            push(self.store, *self.interim, name=self.name, serial=self.serial, stamp="9999")
        if sent:
            table = "TABLEDATA:transaction" if self.family == "C" else "ATTLOG"
            push(self.store, *sent, name=self.name, serial=self.serial, table=table, stamp=self.stamp)
        return Confirmation(one.id, True, 0)

    def states(self) -> dict[tuple[date, date], str]:
        return {(one.first_date, one.last_date): one.state for one in self.store.push.checks(self.serial, 1000)}


def times(day: date, count: int, user_id: str = "1") -> list[Record]:
    """`count` records of one user, a second apart."""
    return [(user_id, f"{day} {8 + n // 3600:02}:{n // 60 % 60:02}:{n % 60:02}") for n in range(count)]


def terminal(store: Store, clock: StoppedClock, log: list[Record], **values: object) -> Scripted:
    """A terminal that was adopted an hour ago and has uploaded nothing yet."""
    adopt(store)
    contact(store, family=values.get("family", "A"))
    clock.go(hours=1)
    return Scripted(store, clock, log, **values)  # type: ignore[arg-type]


def stored(store: Store) -> int:
    return int(rows(store, "SELECT count(*) FROM raw_punches")[0][0])


def missing(store: Store) -> int:
    return sum(one.missing for one in store.quality.freshness(**ALL).pushing)


@pytest.mark.both_engines("matrix")
def test_a_punch_that_was_lost_is_requested_by_its_date_and_stored(store: Store, clock: StoppedClock) -> None:
    log = [*times(YESTERDAY - timedelta(days=1), 3), *times(YESTERDAY, 4)]
    gate = terminal(store, clock, log)
    push(store, *log[:5], *log[6:])
    gate.turn()
    assert sorted(store.push.state().commands) == [SERIAL], "counts are requested"
    gate.turn()
    gate.turn()
    gate.turn()
    assert stored(store) == 7
    states = gate.states()
    assert set(states.values()) == {"equal"}
    assert len(states) == RECENT_DATES + 1
    assert WHOLE in states
    queried = [(first, last) for kind, first, last in gate.asked if kind == "query_punches"]
    assert queried[0] in {WHOLE, (YESTERDAY, YESTERDAY)}
    assert missing(store) == 0


def test_a_store_that_has_all_is_never_asked_to_load_again(store: Store, clock: StoppedClock) -> None:
    log = times(YESTERDAY, 5)
    gate = terminal(store, clock, log)
    push(store, *log)
    gate.day()
    assert {kind for kind, *_ in gate.asked} == {"count_punches"}
    assert len(gate.asked) == RECENT_DATES + 1
    gate.next_day()
    assert len(gate.asked) == 2 * RECENT_DATES + 1, "the whole history is due again in a week"


def test_a_history_that_differs_is_halved_down_to_the_lost_punches(store: Store, clock: StoppedClock) -> None:
    days = [date(2025, 1, 1) + timedelta(days=30 * n) for n in range(12)]
    log = [record for day in days for record in times(day, 300)]
    gate = terminal(store, clock, log)
    push(store, *(one for one in log if one not in times(days[5], 2)), stamp="0")
    gate.day()
    assert stored(store) == len(log)
    queried = [Span(first, last) for kind, first, last in gate.asked if kind == "query_punches"]
    assert len(queried) == 1
    assert queried[0].contains(Span(days[5], days[5]))
    assert gate.states()[WHOLE] == "split"
    assert len(gate.asked) == len(set(gate.asked)), "no span is asked for twice"


def test_a_terminal_whose_ring_log_has_overflowed_is_equal(store: Store, clock: StoppedClock) -> None:
    log = [*times(YESTERDAY - timedelta(days=3), 9), *times(YESTERDAY, 4)]
    gate = terminal(store, clock, log[8:])
    push(store, *log)
    gate.day()
    assert set(gate.states().values()) == {"equal"}
    assert {kind for kind, *_ in gate.asked} == {"count_punches"}


@pytest.mark.parametrize("stamp", [pytest.param("0", marks=pytest.mark.matrix), "9999"])
def test_two_records_of_a_user_in_one_second_are_explained_and_not_asked_for_again(
    store: Store, clock: StoppedClock, stamp: str
) -> None:
    log = [*times(YESTERDAY, 4), times(YESTERDAY, 1)[0]]
    gate = terminal(store, clock, log, stamp=stamp)
    push(store, *log)
    gate.day()
    assert gate.states()[YESTERDAY, YESTERDAY] == "resent"
    assert missing(store) == 0
    queries = [one for one in gate.asked if one[0] == "query_punches"]
    for _ in range(2):
        gate.next_day()
    assert [one for one in gate.asked if one[0] == "query_punches"] == queries
    assert stored(store) == 4

    execute(store, "DELETE FROM raw_punches WHERE seq = (SELECT max(seq) FROM raw_punches)")  # a loss on that date
    execute(store, "UPDATE push_checks SET checked_at = checked_at - INTERVAL 8 DAY")
    gate.next_day()
    assert stored(store) == 4, "the difference is larger than the explained one"


def test_a_terminal_that_does_not_send_what_it_counts_is_asked_once_a_day_and_reported(
    store: Store, clock: StoppedClock
) -> None:
    gate = terminal(store, clock, times(YESTERDAY, 5), drops=2)
    gate.day()
    assert gate.states()[YESTERDAY, YESTERDAY] == "differs"
    (found,) = store.quality.freshness(**ALL).pushing
    assert found.differs_until == YESTERDAY
    assert missing(store) > 0
    asked = len(gate.asked)
    gate.day()
    assert len(gate.asked) == asked
    gate.clock.go(days=1)
    gate.turn()
    assert missing(store) > 0, "an alert goes on while the span is counted again"
    gate.drops = 0
    gate.day()
    assert gate.states()[YESTERDAY, YESTERDAY] == "equal"
    assert (stored(store), missing(store)) == (5, 0)


def test_punches_that_are_recorded_after_the_query_are_not_taken_for_the_answer(
    store: Store, clock: StoppedClock
) -> None:
    gate = terminal(store, clock, times(YESTERDAY, 5), drops=2, stamp="9999", interim=times(TODAY, 6))
    gate.day()
    assert gate.states()[YESTERDAY, YESTERDAY] == "differs"


def test_a_terminal_that_cannot_count_uploads_the_last_date_again_each_day(store: Store, clock: StoppedClock) -> None:
    log = times(YESTERDAY, 5)
    gate = terminal(store, clock, log, cannot=("count_punches",))
    gate.day()
    assert set(gate.states().values()) == {"unsupported"}
    assert len(gate.asked) == RECENT_DATES + 1
    log += times(TODAY, 4)
    for number in range(1, 3):
        gate.next_day()
        assert len(gate.asked) == RECENT_DATES + 1 + number
    assert gate.asked[-2] == ("query_punches", TODAY, TODAY)
    assert (stored(store), missing(store)) == (4, 0)
    gate.cannot = ()  # new firmware, found by the weekly count
    clock.go(days=5)
    gate.day()
    assert stored(store) == 9


def test_a_terminal_that_can_do_neither_is_left_alone(store: Store, clock: StoppedClock) -> None:
    gate = terminal(store, clock, times(YESTERDAY, 5), cannot=("count_punches", "query_punches"))
    gate.day()
    gate.next_day()
    gate.next_day()
    assert len(gate.asked) == RECENT_DATES + 1 + 2
    assert set(gate.states().values()) == {"unsupported"}


def test_a_terminal_that_is_off_gets_no_further_commands(store: Store, clock: StoppedClock) -> None:
    gate = terminal(store, clock, times(YESTERDAY, 5))
    gate.turn()
    open_before = len(store.push.state().commands[SERIAL])
    for _ in range(3):
        clock.go(days=1)
        store.push.reconcile(begin=True)
    assert len(store.push.state().commands[SERIAL]) == open_before
    gate.day()
    assert stored(store) == 5, "its answers count when it is back"


def test_checks_continue_after_a_restart(store: Store, clock: StoppedClock) -> None:
    gate = terminal(store, clock, times(YESTERDAY, 5))
    gate.turn()
    gate.answer()
    again = Store(store.database, clock)
    assert again.push.reconcile(begin=False)
    gate.answer()
    clock.go(minutes=1)
    assert again.push.reconcile(begin=False)
    assert again.push.reconcile(begin=False) == [], "nothing is repeated"
    assert stored(store) == 5


def test_a_terminal_that_uploads_its_history_is_compared_afterwards(store: Store, clock: StoppedClock) -> None:
    log = times(YESTERDAY, 100)
    gate = terminal(store, clock, log)
    push(store, *log[:50])
    gate.turn()
    assert gate.asked == []
    assert store.push.state().commands == {}
    push(store, *log[50:])
    gate.turn(minutes=11)
    gate.turn()
    gate.turn()
    assert {kind for kind, *_ in gate.asked} == {"count_punches"}


def test_a_record_counter_above_the_store_makes_the_history_due_once_a_day(store: Store, clock: StoppedClock) -> None:
    old = times(date(2026, 1, 5), 6)
    gate = terminal(store, clock, old[:5])
    push(store, *old[:5])
    gate.day()
    gate.log = old  # the counter rises, and no upload comes
    asked = gate.asked[:]
    gate.next_day()
    assert stored(store) == 6
    assert [one for one in gate.asked[len(asked) :] if one[0] == "query_punches"] == [
        ("query_punches", date(2000, 1, 1), TODAY)
    ]


def test_punches_that_retention_has_deleted_are_not_requested(store: Store, clock: StoppedClock) -> None:
    old = date(2026, 1, 5)
    log = [*times(old, 6), *times(YESTERDAY, 3)]
    gate = terminal(store, clock, log)
    push(store, *log)
    execute(store, f"DELETE FROM raw_punches WHERE punched_at_local < '{old + timedelta(days=1)}'")
    execute(store, f"UPDATE work_dates SET raw_purged_at = now() WHERE work_date = '{old}'")
    gate.day()
    gate.next_day()
    assert {kind for kind, *_ in gate.asked} == {"count_punches"}
    assert min(first for _, first, _ in gate.asked) == old + timedelta(days=2)


def test_family_c_counts_its_whole_log_once_a_week(store: Store, clock: StoppedClock) -> None:
    log = times(YESTERDAY, 5)
    gate = terminal(store, clock, log, family="C")
    push(store, *log[1:], table="RTLOG", stamp=None)
    gate.day()
    assert stored(store) == 5
    assert gate.asked == [("count_punches", date.min, date.max), ("query_punches", date.min, date.max)]
    gate.next_day()
    clock.go(days=4)
    gate.day()
    assert len(gate.asked) == 2
    clock.go(days=2)
    gate.day()
    assert len(gate.asked) == 3


def test_a_command_that_is_never_confirmed_ends_the_check(store: Store, clock: StoppedClock) -> None:
    gate = terminal(store, clock, times(YESTERDAY, 5))
    gate.turn()
    for _ in range(5):
        store.push.record_sent([one.id for one in store.push.state().commands[SERIAL]])
    clock.go(minutes=11)
    store.push.expire_commands(timedelta(minutes=10))
    store.push.reconcile(begin=False)
    assert set(gate.states().values()) == {"unanswered"}
    gate.day()
    assert gate.asked == [], "again tomorrow"
    gate.next_day()
    assert stored(store) == 5


def test_a_device_that_is_disabled_is_not_compared(store: Store, clock: StoppedClock) -> None:
    gate = terminal(store, clock, times(YESTERDAY, 5))
    store.devices.update("Gate", enabled=False)
    gate.day()
    assert gate.asked == []


def test_two_terminals_with_the_same_dates_are_both_compared(store: Store, clock: StoppedClock) -> None:
    adopt(store, "Yard", "YARD1")
    gate = terminal(store, clock, times(YESTERDAY, 5))
    yard = Scripted(store, clock, times(YESTERDAY, 6), serial="YARD1", name="Yard")
    for _ in range(5):
        yard.answer()
        gate.turn()
    assert rows(store, "SELECT device, count(*) FROM raw_punches GROUP BY 1 ORDER BY 1") == [("Gate", 5), ("Yard", 6)]
