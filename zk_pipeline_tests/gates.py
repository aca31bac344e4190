"""Terminals whose punches are made by hand, switched on and registered in a store."""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from zk_pipeline.devices.models import Device
from zk_pipeline.simulator.terminal.definition import TerminalDefinition
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.simulator.terminal.records import TerminalUser, punches_frame
from zk_pipeline.simulator.terminal.terminal import EmulatedTerminal
from zk_pipeline.store.store import Store
from zk_pipeline_tests.kept_open import stores_kept_open

MONDAY, TUESDAY, WEDNESDAY = date(2024, 3, 4), date(2024, 3, 5), date(2024, 3, 6)
NASTY = "a|b\\c`<b>"  # a user id that a terminal may well hold
PEOPLE = ("1001", "1002", "1003", NASTY)

Punch = tuple[str, str]  # user id, wall clock such as "2024-03-04 09:00:00"


def present(day: date, user_id: str = "1001") -> list[Punch]:
    """In at nine, out at six."""
    return [(user_id, f"{day} 09:00:00"), (user_id, f"{day} 18:00:00")]


def gate(name: str, *punches: Punch, **definition: Any) -> EmulatedTerminal:
    """A terminal at UTC where PEOPLE are enrolled."""
    users = tuple(TerminalUser(uid=uid, user_id=id_, name=f"Zoë {uid}") for uid, id_ in enumerate(PEOPLE, start=1))
    rows = [(user_id, datetime.fromisoformat(at), 1, 255) for user_id, at in punches]
    return EmulatedTerminal(TerminalDefinition(name=name, users=users, **definition), log=punches_frame(rows))


def switch_on(fleet: Fleet, store: Store, *terminals: EmulatedTerminal, **device: Any) -> list[str]:
    """Serve the terminals and register them as devices of one site; their names."""
    given = {"site": "Head office", "protocol": "tcp"} | device
    with stores_kept_open():
        for terminal in terminals:
            port = fleet.add(terminal)
            store.devices.add(Device(name=terminal.name, ip_address=fleet.host, port=port, **given))
    return [terminal.name for terminal in terminals]
