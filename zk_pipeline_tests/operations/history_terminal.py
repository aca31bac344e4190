"""A terminal whose log and users can be changed in every way that hardware changes them, with its own encoding.

The records are written here, byte by byte, from the descriptions that readings are held against; nothing of
`zk_pipeline.devices` is used. Everything that changes a served terminal goes through `Fleet.call`.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Literal

from zk_pipeline.simulator.terminal.connections import Connection
from zk_pipeline.simulator.terminal.definition import TerminalDefinition
from zk_pipeline.simulator.terminal.faults import Faults
from zk_pipeline.simulator.terminal.protocol import Command, Frame
from zk_pipeline.simulator.terminal.records import Punch, TerminalUser
from zk_pipeline.simulator.terminal.terminal import EmulatedTerminal

LayoutName = Literal["8", "8-MA300", "16", "40", "49"]
LAYOUTS: tuple[LayoutName, ...] = ("8", "8-MA300", "16", "40", "49")
SLOT_LAYOUTS = ("8", "8-MA300")  # their records name a slot of the user list (uid) instead of a person
RECORD_BYTES: dict[LayoutName, int] = {"8": 8, "8-MA300": 8, "16": 16, "40": 40, "49": 49}


@dataclass(eq=False)
class Record:
    """One record of a log. `moment`: the wall clock it bears, None for a date that does not exist.

    `person` is who punched. `was_read`: by a successful poll; `is_checked`: among the last 16 of that reading.
    """

    raw: bytes
    slot: int
    person: str
    moment: datetime | None
    punch_state: int
    verify_type: int
    was_read: bool = False
    is_checked: bool = False


class HistoryTerminal(EmulatedTerminal):
    """The terminal of one history. `records` is its log, oldest first; `people` maps slots to users.

    A full log gives up its oldest `gives_up` records at once.
    """

    def __init__(
        self,
        name: str,
        layout_name: LayoutName,
        *,
        timezone: str,
        clock: Callable[[], datetime],
        serial_number: str = "CEXA230760001",
        capacity: int = 100_000,
        gives_up: int = 1,
        events_name_uids: bool = False,
    ) -> None:
        definition = TerminalDefinition(
            name=name,
            layout=8 if layout_name in SLOT_LAYOUTS else 16 if layout_name == "16" else 40,
            user_record_size=28 if layout_name in SLOT_LAYOUTS else 72,
            timezone=timezone,
            serial_number=serial_number,
            record_capacity=capacity,
            events_name_uids=events_name_uids,
        )
        super().__init__(definition, clock=clock)
        self.layout_name = layout_name
        self.gives_up = gives_up
        self.records: list[Record] = []
        self.people: dict[int, str] = {}

    @property
    def names_people(self) -> bool:
        """Whether records say the user id."""
        return self.layout_name not in SLOT_LAYOUTS

    @property
    def record_count(self) -> int:
        return len(self.records)

    def encoded_log(self) -> bytes:
        return b"".join(record.raw for record in self.records)

    def slot_of(self, person: str) -> int:
        return next(slot for slot, holder in self.people.items() if holder == person)

    def lowest_free_slot(self) -> int:
        return next(slot for slot in range(1, 2**16) if slot not in self.people)

    def enrol(self, person: str, slot: int | None = None) -> int:
        """Put a person into a slot, by default the lowest free one, as firmware does; the slot."""
        taken = self.lowest_free_slot() if slot is None else slot
        assert taken not in self.people
        assert person not in self.people.values()
        self._become({**self.people, taken: person})
        return taken

    def delete(self, person: str) -> int:
        """Take a person off the user list; the slot that is free now. Their records stay."""
        slot = self.slot_of(person)
        self._become({held: holder for held, holder in self.people.items() if held != slot})
        return slot

    def make(self, person: str, moment: datetime, punch_state: int = 0, verify_type: int = 1) -> Record:
        """A record as the terminal would write it now; not yet in the log."""
        slot = self.slot_of(person)
        raw = encode(
            self.layout_name, slot, person, time_code(moment), punch_state=punch_state, verify_type=verify_type
        )
        return Record(raw, slot, person, moment, punch_state, verify_type)

    def make_impossible(self, person: str, second_of_day: int) -> Record:
        """A record dated 31 February."""
        slot = self.slot_of(person)
        code = ((26 * 12 + 1) * 31 + 30) * 86_400 + second_of_day
        raw = encode(self.layout_name, slot, person, code, punch_state=0, verify_type=1)
        return Record(raw, slot, person, None, 0, 1)

    def write(self, records: Iterable[Record], *, is_reported: bool = False) -> None:
        """Append to the log; `is_reported`: live sessions receive it."""
        for record in records:
            if len(self.records) >= self.definition.record_capacity:
                del self.records[: self.gives_up]
            self.records.append(record)
            if is_reported and record.moment is not None:
                punch = Punch(record.person, record.moment, record.verify_type, record.punch_state)
                for listener in tuple(self._listeners):
                    listener(punch)

    def clear(self) -> None:
        self.records.clear()

    def lose_newest(self, count: int) -> None:
        """As after a power cut."""
        del self.records[len(self.records) - count :]

    def exchange(self, index: int, record: Record) -> None:
        """Edit in place: the counter stays."""
        self.records[index] = record

    def _become(self, people: dict[int, str]) -> None:
        users = tuple(TerminalUser(uid=slot, user_id=who, name=f"P {who}") for slot, who in sorted(people.items()))
        self.definition = replace(self.definition, users=users)
        self.people = people
        self._uids = {who: slot for slot, who in people.items()}


def time_code(moment: datetime) -> int:
    """`EncodeTime` of the maker's 2006 manual."""
    days = ((moment.year - 2000) * 12 + moment.month - 1) * 31 + moment.day - 1
    return ((days * 24 + moment.hour) * 60 + moment.minute) * 60 + moment.second


def encode(layout: LayoutName, slot: int, person: str, code: int, *, punch_state: int, verify_type: int) -> bytes:
    """One record, by the maker's 2006 manual and the captures of each layout."""
    if layout == "8":
        return struct.pack("<HBIB", slot, verify_type, code, punch_state)
    if layout == "8-MA300":  # bits 0-2 state, 3-4 verification, 5: a full time follows
        return struct.pack("<HBxI", slot, punch_state | verify_type << 3 | 1 << 5, code)
    if layout == "16":
        return struct.pack("<IIBBxxI", int(person), code, punch_state, verify_type, 0)
    text = struct.pack("<H24sBIB8x", slot, person.encode(), verify_type, code, punch_state)
    return text if layout == "40" else text + bytes(9)


@dataclass
class RefusesUserList(Faults):
    """Answers neither way of asking for the user list; the rest as always. `refused` counts."""

    refused: int = field(default=0)

    async def deliver(self, request: Frame, answer: list[Frame], connection: Connection) -> None:
        buffered = request.command == Command.CMD_DATA_WRRQ and request.data.startswith(b"\x01\x09\x00")
        if buffered or request.command == Command.CMD_USERTEMP_RRQ:
            self.refused += 1
            answer = [Frame(Command.CMD_ACK_UNKNOWN, answer[0].session_id, request.reply_number)]
        await super().deliver(request, answer, connection)
