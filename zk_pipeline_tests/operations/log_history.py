"""One random history of a terminal: changes of its log, users and clock. One integer reproduces it.

The integer decides the layout and the transport (its last digit) and every step. What happens between terminal and
store, and when, is in `history_world`.
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Literal

from zk_pipeline_tests.operations.history_oracle import Oracle, utc_offset
from zk_pipeline_tests.operations.history_terminal import LAYOUTS, HistoryTerminal, Record

ZONES = ("Africa/Nairobi", "UTC", "Asia/Kolkata", "America/Bogota", "Asia/Tokyo")  # one offset each, for all dates
CLOCK_ERRORS = {
    "right": timedelta(0),
    "90 s ahead": timedelta(seconds=90),
    "7 minutes behind": timedelta(minutes=-7),
    "2 h ahead": timedelta(hours=2),
    "5 h behind": timedelta(hours=-5),
    "22 h ahead": timedelta(hours=22),
    "40 days behind": timedelta(days=-40),
    "9 days ahead": timedelta(days=9),
}
RESET_TO = datetime(2000, 1, 2)  # noqa: DTZ001 - a wall clock has no zone
FULL_LOG_RECORDS = 1000  # a log this near to its capacity is read whole
Poll = Literal["none", "complete", "without list"]


class History:
    """The terminal of one seed, what has happened to it (`steps`), and what is wrong (`problems`).

    `now`: true time, aware, at which the round began; `clock` runs on from there.
    """

    def __init__(self, seed: int, now: datetime, clock: Callable[[], datetime]) -> None:
        self.seed = seed
        self.steps: list[str] = []
        self.problems: list[str] = []
        self.counts: Counter[str] = Counter()
        self.now = now
        self.moment = now - timedelta(days=2)
        self.has_known_layout = False
        self._enrolled_last: str | None = None
        self._polled_count = 0  # records at the last poll
        self._random = random.Random(seed)
        self._number = 1000
        self._punched_by: dict[tuple[str, datetime], str] = {}  # who names a record, and when: the person
        self._unlisted: set[str] = set()  # who punched since the last user list that a poll has read
        self._held_back: set[int] = set()  # slots without a new user until the next list, or full reading
        self._held_until_full: set[int] = set()
        layout = LAYOUTS[seed % 10 // 2]
        self.protocol: Literal["tcp", "udp"] = "tcp" if seed % 2 else "udp"
        zone = self._random.choice(ZONES)
        registered = self._random.choice(ZONES) if self._chance(0.15) else zone
        in_parts = {"8": 135, "8-MA300": 135, "16": 70, "40": 40, "49": 40}[layout]  # more than one packet
        size = self._random.choice([5, 12, in_parts, in_parts])
        spare = self._random.choice([None, None, None, 8, FULL_LOG_RECORDS + 6])
        self.terminal = HistoryTerminal(
            f"gate {seed}",
            layout,
            timezone=zone,
            clock=clock,
            serial_number=f"SN{seed:08}",
            capacity=100_000 if spare is None else size + spare,
            gives_up=self._random.choice([1, 4]),
            events_name_uids=layout in ("8", "8-MA300") and self._chance(0.7),
        )
        self.oracle = Oracle(self.terminal, registered)
        self._say(f"a terminal of layout {layout} over {self.protocol}, in {zone}, registered in {registered}")
        for _ in range(self._random.randint(3, 7)):
            self._arrive()
        self._punches(size)
        if self._chance(0.4) and (slot := self._leave()) is not None:
            self._held_back.add(slot)

    def report(self) -> str:
        """The history, step by step, and what is wrong."""
        problems = self.problems or ["nothing is wrong"]
        return "\n".join([f"history {self.seed}", *self.steps, "=> " + "\n=> ".join(problems[:12])])

    def counted(self) -> Counter[str]:
        """What happened, and the facts by what is right for them."""
        return Counter(histories=1, failed=bool(self.problems)) + self.counts + self.oracle.counted()

    # What a round asks.

    def wants_poll(self) -> Poll:
        polls: list[Poll] = ["none", "complete", "without list"]
        return self._random.choices(polls, [12, 74, 14])[0]

    def wants_to_listen(self) -> bool:
        return self._chance(0.07)

    def new_zone(self) -> str | None:
        """A zone that the device is registered under from now on."""
        return self._random.choice([one for one in ZONES if one != self.oracle.zone]) if self._chance(0.03) else None

    def is_released_now(self) -> bool:
        return self._chance(0.04)

    # What happens at the terminal. These run in the thread that serves it.

    def offline(self, now: datetime) -> None:
        """Up to four things happen, in the last ten minutes before a round."""
        self.now, self.moment = now, now - timedelta(minutes=10)
        for _ in range(self._random.randint(0, 4)):
            self.moment = min(now, self.moment + timedelta(seconds=self._random.randint(1, 60)))
            happenings = list(_HAPPENINGS)
            happening = self._random.choices(happenings, [_HAPPENINGS[one] for one in happenings])[0]
            happening(self)
            self.counts[happening.__name__.strip("_").replace("_", " ")] += 1

    def live_punch(self) -> Record:
        """A user may come or go, and a user punches during a live session."""
        if self._chance(0.4):
            self._random.choice([History._slot_passes_on, History._arrive, History._leave])(self)
        self.moment = max(self.moment, self.now) + timedelta(seconds=self._random.randint(1, 4))
        record = self._record(self._newcomer() or self._someone())
        self._say(f"listening: {self._words(record)}")
        self.terminal.write([record], is_reported=True)
        self.counts["live punches"] += 1
        return record

    def heard(self, record: Record, now: datetime, *, is_certain: bool) -> None:
        reads_list = is_certain and self.terminal.definition.events_name_uids
        self.oracle.heard(record, now, is_certain=is_certain, reads_list=reads_list)
        if not reads_list:
            self._held_back.add(record.slot)

    def polled(self, now: datetime, *, is_full: bool, has_list: bool, zone_before: str | None = None) -> None:
        words = f"{'full' if is_full else 'plain'} poll{'' if has_list else ', the list refused'}"
        self._say(words + (f", registered in {self.oracle.zone} in the meantime" if zone_before else ""))
        self.oracle.polled(now, is_full=is_full, list_is_refused=not has_list, zone_before=zone_before)
        self.counts[words] += 1
        self.has_known_layout |= bool(self.terminal.records)
        self._polled_count = len(self.terminal.records)
        if is_full:
            self._held_until_full.clear()
        if has_list:
            self._unlisted.clear()
            self._held_back.clear()

    def rezoned(self, zone: str) -> None:
        self._say(f"registered in {zone}")
        self.oracle.rezoned(zone)
        self.counts["zone changes"] += 1

    def released(self) -> None:
        self._say("quarantine release")
        self.oracle.released()
        self.counts["releases"] += 1

    # The happenings.

    def _punches(self, count: int | None = None) -> None:
        count = self._random.randint(1, 6) if count is None else count
        if not count:
            return
        written = []
        for _ in range(count):
            self.moment = min(self.now, self.moment + timedelta(seconds=self._random.randint(0, 3)))
            written.append(self._record(self._newcomer() or self._someone()))
            self.terminal.write(written[-1:])
        words = ", ".join(map(self._words, written)) if count < 9 else f"{self._words(written[0])}, …"
        self._say(f"{count} punches: {words}")

    def _clear(self) -> None:
        self.terminal.clear()
        self._say("log cleared")

    def _clear_and_refill(self) -> None:
        self._clear()
        self._punches(self._polled_count + self._random.choice([0, 0, 0, 1, 5]))

    def _lose_newest(self) -> None:
        count = min(len(self.terminal.records), self._random.randint(1, 9))
        self.terminal.lose_newest(count)
        self._say(f"the newest {count} records lost")
        if self._chance(0.75):  # the counter is as before
            self._punches(count)

    def _edit_in_place(self) -> None:
        """Another time, state or, if records name users, user."""
        records = self.terminal.records
        recent = range(max(0, len(records) - 16), len(records))
        indices = recent if self._chance(0.6) else range(len(records))
        editable = [n for n in indices if records[n].moment is not None and self._holds(records[n])]
        if not editable:
            return
        index = self._random.choice(editable)
        old = records[index]
        assert old.moment is not None
        person, moment = old.person, old.moment
        if self.terminal.names_people and self._chance(0.3):
            person = self._someone()
        if self._chance(0.7):
            moment += timedelta(seconds=self._random.choice([-60, -1, 1, 45]))
        new = self._record(person, moment)
        new.was_read, new.is_checked = old.was_read, old.is_checked
        self.terminal.exchange(index, new)
        if old.was_read and not old.is_checked:
            self._held_until_full.add(new.slot)
        self._say(f"record {index} of {len(records)} edited: {self._words(old)} becomes {self._words(new)}")

    def _impossible_date(self) -> None:
        if self.has_known_layout:
            record = self.terminal.make_impossible(self._someone(), self._random.randrange(86_400))
            self.terminal.write([record])
            self._say(f"a record dated 31 February: {record.raw.hex()}")

    def _arrive(self) -> None:
        """A new or former user in the lowest free slot."""
        former = sorted(set(self._punched_by.values()) - set(self.terminal.people.values()))
        self._number += 1
        person = self._random.choice(former) if former and self._chance(0.3) else str(self._number)
        if self.terminal.lowest_free_slot() not in self._held_back | self._held_until_full:
            slot = self.terminal.enrol(person)
            self._enrolled_last = person
            self._say(f"{person} enrolled in slot {slot}")

    def _leave(self) -> int | None:
        free = [
            one for slot, one in self.terminal.people.items() if slot not in self._held_back | self._held_until_full
        ]
        # The rule cannot tell who punched in the gap in which a slot passes on: seldom, and counted.
        decidable = [one for one in free if one not in self._unlisted or self.terminal.names_people]
        leavers = decidable if decidable and self._chance(0.9) else free
        if not leavers or len(self.terminal.people) < 2:
            return None
        person = self._random.choice(sorted(leavers))
        slot = self.terminal.delete(person)
        self._say(f"{person} deleted from slot {slot}")
        return slot

    def _slot_passes_on(self) -> None:
        """A slot passes to another user, who may punch at once."""
        if self._leave() is not None:
            self._arrive()
            self._punches(self._random.randint(0, 2))

    def _clock_set(self) -> None:
        if not self.has_known_layout:
            return
        words = self._random.choice([*CLOCK_ERRORS, "right", "right", "reset"])
        offset = CLOCK_ERRORS[words] if words != "reset" else RESET_TO - self._wall_clock(self.now)
        self.terminal.clock_offset_seconds = offset.total_seconds()
        self._say(f"clock: {words}")
        self._punches(self._random.randint(0, 3))

    # Small helpers.

    def _record(self, person: str, moment: datetime | None = None) -> Record:
        """A record of now by the terminal's clock; a second later where that slot had another holder then."""
        if moment is None:
            moment = self._wall_clock(self.moment) + timedelta(seconds=self.terminal.clock_offset_seconds)
        slot = self.terminal.slot_of(person)
        who = person if self.terminal.names_people else str(slot)
        while self._punched_by.setdefault((who, moment), person) != person:
            moment += timedelta(seconds=1)
        self._unlisted.add(person)
        state, verification = self._random.randrange(6), self._random.randrange(3)
        return self.terminal.make(person, moment, state, verification)

    def _wall_clock(self, moment: datetime) -> datetime:
        """What a right clock of the terminal's zone shows."""
        return moment.replace(tzinfo=None) + utc_offset(self.terminal.definition.timezone)

    def _holds(self, record: Record) -> bool:
        return self.terminal.people.get(record.slot) == record.person

    def _newcomer(self) -> str | None:
        """Mostly who was enrolled last, the first time that it is asked."""
        person, self._enrolled_last = self._enrolled_last, None
        return person if person in self.terminal.people.values() and self._chance(0.7) else None

    def _someone(self) -> str:
        return self._random.choice(sorted(self.terminal.people.values()))

    def _chance(self, share: float) -> bool:
        return self._random.random() < share

    def _words(self, record: Record) -> str:
        return f"{record.person} ({record.slot}) at {record.moment}"

    def _say(self, step: str) -> None:
        self.steps.append(step)


_HAPPENINGS: dict[Callable[[History], object], int] = {
    History._punches: 30,
    History._clear: 5,
    History._clear_and_refill: 9,
    History._lose_newest: 10,
    History._edit_in_place: 10,
    History._impossible_date: 4,
    History._arrive: 7,
    History._leave: 6,
    History._slot_passes_on: 14,
    History._clock_set: 7,
}
