"""Details of a terminal that pushes: its uploads by date, stamps, commands and events; the contact of its device."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from zk_pipeline.devices.models import Device
from zk_pipeline.devices.push.commands import PushCommand
from zk_pipeline.store.errors import TerminalAdopted, UnknownTerminal
from zk_pipeline.store.push.commands import Confirmation
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.push.push_fixtures import adopt, contact, event, push
from zk_pipeline_tests.store.store_fixtures import SERIAL, StoppedClock


def test_a_device_that_does_not_push_has_no_details(store: Store) -> None:
    store.devices.add(Device(name="Gate", ip_address="192.0.2.1"))
    contact(store, SERIAL)
    assert store.push.details("Gate", "UTC") is None
    assert [one.serial_number for one in store.push.pending()] == [SERIAL]


def test_uploads_are_summed_by_the_date_in_the_zone_of_the_device(store: Store, clock: StoppedClock) -> None:
    adopt(store, "Gate", timezone="Asia/Kolkata")
    first = clock.now
    push(store, ("1", "2026-03-02T08:00"), ("2", "2026-03-02T08:00"), events=[event(4, "2026-03-02T08:00")])
    push(store, ("1", "2026-03-02T08:00"), rejected=[b"?"])
    clock.go(days=1)
    push(store, ("1", "2026-03-03T08:00"), stamp="17")
    details = store.push.details("Gate", "Asia/Kolkata")
    assert details is not None
    newest, before = details.uploads
    kolkata = timedelta(hours=5, minutes=30)
    assert (newest.date, before.date) == ((clock.now + kolkata).date(), (first + kolkata).date())
    assert (before.uploads, before.lines, before.stored, before.duplicates) == (2, 5, 2, 1)
    assert (before.quarantined, before.other, newest.uploads) == (1, 1, 1)
    assert [(one.table_name, one.stamp) for one in details.stamps] == [("ATTLOG", "17")]


def test_only_commands_without_a_result_are_open(store: Store) -> None:
    adopt(store)
    info, hello = (store.push.queue(SERIAL, PushCommand(kind=kind), by="me") for kind in ("info", "hello"))
    store.push.confirm(SERIAL, [Confirmation(info, is_done=True, return_code=0)])
    details = store.push.details("Gate", "UTC")
    assert details is not None
    assert ([one.id for one in details.commands], [one.id for one in details.open_commands]) == ([hello, info], [hello])
    assert store.push.command(info).state == "done"
    assert [one.id for one in store.push.commands_of_device("Gate")] == [hello, info]
    assert store.push.commands_of_device("Door") == []


def test_events_are_those_of_the_device_and_dates_newest_first(store: Store) -> None:
    adopt(store)
    adopt(store, "Door", "SN2")
    at = ["2026-03-01T23:59:59", "2026-03-02T00:00", "2026-03-02T23:59:59", "2026-03-03T00:00"]
    push(store, events=[event(code, one) for code, one in enumerate(at)])
    push(store, events=[event(9, at[1])], name="Door", serial="SN2")

    def codes(first: date | None, last: date | None, limit: int = 100) -> list[int]:
        return [one.code for one in store.push.events("Gate", first, last, limit=limit)]

    day = date(2026, 3, 2)
    assert codes(day, day) == [2, 1]
    assert (codes(day, None), codes(None, day)) == ([3, 2, 1], [2, 1, 0])
    assert codes(None, None, limit=2) == [3, 2]


def test_the_last_contact_of_a_device_is_the_newer_one_of_poll_and_upload(store: Store, clock: StoppedClock) -> None:
    store.devices.add(Device(name="Gate", ip_address="192.0.2.1"))
    assert (store.devices.get("Gate").last_contact, store.devices.get("Gate").connection) == (None, "polled")
    adopt(store)
    assert store.devices.get("Gate").last_contact == clock.now
    clock.go(hours=1)
    contact(store)
    gate = store.devices.get("Gate")
    assert (gate.last_contact, gate.last_sync, gate.connection) == (clock.now, None, "polled, pushes")
    store.devices.update("Gate", polled=False)
    assert store.devices.get("Gate").connection == "pushes"
    store.devices.forget_serial("Gate")
    assert (store.devices.get("Gate").connection, store.devices.get("Gate").last_contact) == ("files", None)


def test_refused_adoptions_have_their_own_errors(store: Store) -> None:
    with pytest.raises(UnknownTerminal):
        store.push.adopt("SN9", "Gate", timezone=None, default_timezone="UTC", site=None, by="me")
    adopt(store)
    with pytest.raises(TerminalAdopted):
        adopt(store, "Door")
    contact(store, "SN2")
    with pytest.raises(TerminalAdopted):
        adopt(store, "Gate", "SN2")


def test_an_adoption_begins_without_the_limits_of_an_earlier_one(store: Store) -> None:
    adopt(store)
    store.push.protect("Gate", secret_hash="digest", networks="192.0.2.0/24", timezone_form="minutes")
    store.devices.remove("Gate")
    adopt(store)
    (terminal,) = store.push.terminals()
    assert (terminal.secret_hash, terminal.networks, terminal.timezone_form) == (None, None, None)
