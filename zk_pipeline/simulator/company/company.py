"""Terminals, sites and employees of a generated company. No punches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from zk_pipeline.errors import UsageError
from zk_pipeline.simulator.company.schedules import Employee
from zk_pipeline.simulator.terminal.definition import TerminalDefinition
from zk_pipeline.simulator.terminal.records import Layout, TerminalUser, UserRecordSize

SLOW_CLOCK_SECONDS = -420

_LAYOUTS: tuple[tuple[Layout, UserRecordSize], ...] = ((8, 28), (16, 28), (40, 72))
_SITES = ("head-office", "warehouse", "plant", "clinic", "harbour", "airport", "campus", "depot")
_ZONES = ("Africa/Nairobi", "Europe/Berlin", "Asia/Kolkata", "America/New_York", "Asia/Tokyo")
_FIRST_NAMES = ("Zoë", "Łukasz", "Amina", "José", "Søren", "Grace", "Иван", "محمد", "李娜", "Anna")
_LAST_NAMES = ("Müller", "Żak", "Otieno", "Núñez", "Ångström", "Çelik", "Zhang", "Петров", "علي")
_VERIFY_TYPES = (1, 1, 15, 1, 2)  # finger, face, card
_CARD = 2
_ADMINISTRATOR = 14
_MAX_USERS = 65_535  # uids are 16 bits wide


def make_terminals(count: int, pushing: int = 0) -> list[TerminalDefinition]:
    """Terminals without users. Of every three, the first two are gates of one site, the third has its own site.

    Record layouts cycle through 8, 16 and 40 bytes; the last terminal's clock is slow. `pushing` further ones push,
    each at a site of its own.
    """
    polled = [_terminal(index, is_last=index == count - 1) for index in range(count)]
    groups = range(-(-count // 3), -(-count // 3) + pushing)
    return polled + [replace(_terminal(3 * group + 2, is_last=False), pushes=True) for group in groups]


def make_employees(count: int, terminals: Sequence[TerminalDefinition]) -> list[Employee]:
    """Employees, evenly distributed over the terminals; with enough of them, each punch pattern at each terminal."""
    return [_employee(index, terminals[index % len(terminals)], index // len(terminals)) for index in range(count)]


def enroll(terminal: TerminalDefinition, employees: Sequence[Employee], punches: int) -> TerminalDefinition:
    """The terminal with these employees as users, and capacity for twice their punches.

    Raises UsageError for too many employees.
    """
    if len(employees) > _MAX_USERS:
        problem = f"{len(employees)} employees at {terminal.site!r}, a terminal has at most {_MAX_USERS}: add devices"
        raise UsageError(problem)
    # Each gate numbers its users differently, to reveal a uid that is used as a user id.
    in_order = employees if terminal.layout == 8 else employees[::-1]
    users = tuple(
        TerminalUser(
            uid=uid,
            user_id=employee.user_id,
            name=employee.name,
            privilege=_ADMINISTRATOR if uid == 1 else 0,
            card=7_000_000 + uid if employee.verify_type == _CARD else 0,
        )
        for uid, employee in enumerate(in_order, start=1)
    )
    return replace(
        terminal,
        users=users,
        user_capacity=max(terminal.user_capacity, len(employees)),
        finger_capacity=max(terminal.finger_capacity, len(employees)),
        record_capacity=max(terminal.record_capacity, 2 * punches),
    )


def _terminal(index: int, *, is_last: bool) -> TerminalDefinition:
    group, position = divmod(index, 3)
    site_index = 2 * group + position // 2
    round_, place = divmod(site_index, len(_SITES))
    site = _SITES[place] + (f"-{round_ + 1}" if round_ else "")
    layout, user_record_size = _LAYOUTS[position]
    return TerminalDefinition(
        name=f"{site}-gate-{position + 1}" if position < 2 else site,
        site=site,
        timezone=_ZONES[site_index % len(_ZONES)],
        layout=layout,
        user_record_size=user_record_size,
        clock_offset_seconds=SLOW_CLOCK_SECONDS if is_last else 0,
        serial_number=f"CEXA2307{index + 1:05d}",
        device_name=("U160", "F18", "iFace702")[position],
        mac=f"00:17:61:{(index + 1) >> 16 & 255:02x}:{(index + 1) >> 8 & 255:02x}:{(index + 1) & 255:02x}",
    )


def _employee(index: int, home: TerminalDefinition, ordinal: int) -> Employee:
    number = 1001 + index
    has_letters = home.layout == 40 and ordinal % 2 == 0
    return Employee(
        user_id=f"EMP{number}" if has_letters else str(number),
        name=f"{_FIRST_NAMES[index % len(_FIRST_NAMES)]} {_LAST_NAMES[index * 5 % len(_LAST_NAMES)]}",
        site=home.site,
        home=home.name,
        shift="night" if ordinal % 8 == 5 else "day",
        is_late_comer=ordinal % 10 == 3,
        works_weekends=ordinal % 7 == 4,
        takes_lunch=ordinal % 3 == 0,
        uses_all_gates=ordinal % 4 == 1,
        verify_type=_VERIFY_TYPES[ordinal % len(_VERIFY_TYPES)],
    )
