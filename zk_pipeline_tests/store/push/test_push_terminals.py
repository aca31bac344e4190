"""Terminals that connect to the receiver: pending, adopted, removed; and their commands."""

from __future__ import annotations

from datetime import datetime, timedelta

import pytest

from zk_pipeline.devices.push.commands import PushCommand
from zk_pipeline.errors import UsageError
from zk_pipeline.store.push.commands import MAX_SENDS, Confirmation
from zk_pipeline.store.push.terminals import Contact, PushTerminal
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_fixtures import SERIAL, StoppedClock, device, ingest, rows

INFO = PushCommand(kind="info")


def connect(store: Store, serial: str = SERIAL, **learned: object) -> None:
    contact = Contact(serial_number=serial, address="192.0.2.10", seen_at=store.clock(), **learned)  # type: ignore[arg-type]
    store.push.record_contacts([contact])


def adopt(store: Store, serial: str = SERIAL, name: str = "Gate", timezone: str | None = None, site: str | None = None):  # type: ignore[no-untyped-def]
    return store.push.adopt(serial, name, timezone=timezone, default_timezone="Asia/Dubai", site=site, by="cli:ann")


def terminal(store: Store, serial: str = SERIAL) -> PushTerminal:
    return next(one for one in store.push.terminals() if one.serial_number == serial)


@pytest.mark.both_engines("matrix")
def test_a_pending_terminal_becomes_a_device_that_is_not_polled(store: Store, clock: StoppedClock) -> None:
    first = clock.now
    connect(store, family="A", push_version="2.4.1")
    clock.go(minutes=1)
    connect(store, record_count=12, info_at=clock.now)
    pending = terminal(store)
    assert (pending.device, pending.first_seen_at, pending.last_seen_at) == (None, first, clock.now)
    assert (pending.family, pending.push_version, pending.record_count) == ("A", "2.4.1", 12)  # unknown: as before
    adopted = adopt(store, site="Plant")
    assert (adopted.timezone, adopted.site, adopted.serial_number) == ("Asia/Dubai", "Plant", SERIAL)
    assert (adopted.polled, adopted.pushes, adopted.is_polled) == (False, True, False)
    assert (terminal(store).device, terminal(store).adopted_by) == ("Gate", "cli:ann")


def test_the_same_terminal_that_polls_read_keeps_its_name_and_polls(store: Store) -> None:
    store.devices.add(device("Gate"))
    ingest(store, "Gate")
    serial = store.devices.get("Gate").serial_number or ""
    connect(store, serial)
    assert terminal(store, serial).registered_as == "Gate"
    with pytest.raises(UsageError, match=f"registered as 'Gate'.*device adopt {serial} --name Gate"):
        adopt(store, serial, "Other")
    adopted = adopt(store, serial, "Gate", timezone="Europe/Berlin")
    assert (adopted.ip_address, adopted.polled, adopted.pushes, adopted.timezone) == (
        "192.0.2.10", True, True, "Europe/Berlin",
    )  # fmt: skip
    assert len(store.devices.all()) == 1


def test_a_registered_device_that_was_never_polled_takes_the_serial_number(store: Store) -> None:
    store.devices.add(device("Gate"))
    connect(store)
    assert adopt(store).serial_number == SERIAL


def test_a_name_of_another_terminal_is_refused_until_its_serial_number_is_given_up(store: Store) -> None:
    connect(store)
    adopt(store)
    connect(store, "NEW1")
    with pytest.raises(UsageError, match=f"'Gate' is the terminal with serial number {SERIAL}.*--accept-new-serial"):
        adopt(store, "NEW1")
    store.devices.forget_serial("Gate")  # as the message advises
    assert adopt(store, "NEW1").serial_number == "NEW1"
    assert terminal(store).device is None


@pytest.mark.parametrize("serial", ["UNKNOWN", SERIAL])
def test_a_terminal_that_never_connected_or_is_adopted_is_refused(store: Store, serial: str) -> None:
    connect(store)
    adopt(store)
    with pytest.raises(UsageError, match="has connected" if serial == "UNKNOWN" else "adopted already, as 'Gate'"):
        adopt(store, serial, "Second")
    assert [one.name for one in store.devices.all()] == ["Gate"]


def test_the_terminal_of_a_removed_device_is_pending_again(store: Store) -> None:
    connect(store)
    adopt(store)
    store.devices.remove("Gate")
    assert (terminal(store).device, terminal(store).adopted_by) == (None, None)
    assert adopt(store, name="Gate 2").serial_number == SERIAL


def test_a_device_that_is_adopted_again_keeps_its_zone_and_site_and_its_family_is_open(store: Store) -> None:
    connect(store, family="C")
    adopt(store, timezone="Asia/Kathmandu", site="Plant")
    assert terminal(store).family is None, "a pending terminal may be anyone: its requests prove nothing"
    store.devices.remove("Gate")
    again = adopt(store)
    assert (again.timezone, again.site) == ("Asia/Kathmandu", "Plant")
    assert adopt_other_name(store).timezone == "Asia/Dubai"


def adopt_other_name(store: Store):  # type: ignore[no-untyped-def]
    connect(store, "NEW1")
    return adopt(store, "NEW1", "Yard")


@pytest.mark.both_engines("matrix")
def test_open_commands_end_with_the_adoption(store: Store) -> None:
    connect(store)
    adopt(store)
    store.push.queue(SERIAL, PushCommand(kind="reboot"), by="cli:ann")
    store.devices.remove("Gate")
    adopt(store, name="Gate 2")
    assert store.push.state().commands == {}
    assert [one.state for one in store.push.commands(SERIAL)] == ["expired"]


def test_invented_serial_numbers_evict_the_oldest_pending_ones_only(
    store: Store, clock: StoppedClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zk_pipeline.store.push.terminals.MAX_PENDING", 3)
    connect(store)
    adopt(store)
    for number in range(5):
        clock.go(minutes=1)
        connect(store, f"X{number}")
    assert [one.serial_number for one in store.push.terminals()] == [SERIAL, "X2", "X3", "X4"]


def test_a_pending_terminal_that_is_not_seen_for_a_week_is_forgotten_and_an_adopted_one_is_not(
    store: Store, clock: StoppedClock
) -> None:
    connect(store)
    adopt(store)
    connect(store, "GONE1")
    clock.go(days=7)
    connect(store, "HERE1")
    assert [one.serial_number for one in store.push.terminals()] == [SERIAL, "GONE1", "HERE1"]
    clock.go(minutes=1)
    connect(store, "HERE1")
    assert [one.serial_number for one in store.push.terminals()] == [SERIAL, "HERE1"]


def test_the_address_of_a_device_that_only_pushes_follows_its_contacts(store: Store, clock: StoppedClock) -> None:
    connect(store)
    adopt(store)

    def contact(address: str) -> str:
        store.push.record_contacts([Contact(serial_number=SERIAL, address=address, seen_at=clock.now)])
        return store.devices.get("Gate").ip_address

    assert [contact("198.51.100.7"), contact("198.51.100.9")] == ["198.51.100.7", "198.51.100.9"]
    store.devices.update("Gate", ip_address="192.0.2.10")
    assert contact("198.51.100.8") == "192.0.2.10"  # set by an operator


def test_a_contact_is_a_sign_of_life_of_a_device_without_polls_only(store: Store, clock: StoppedClock) -> None:
    connect(store)
    adopt(store)
    store.devices.add(device("Both"))
    ingest(store, "Both")
    polled_at = store.devices.get("Both").last_sync
    both = store.devices.get("Both").serial_number or ""
    connect(store, both)
    adopt(store, both, "Both")
    clock.go(minutes=5)
    connect(store)
    connect(store, both)
    assert store.devices.get("Gate").last_sync == clock.now
    assert store.devices.get("Both").last_sync == polled_at


@pytest.mark.both_engines("matrix")
def test_secret_networks_and_zone_form_are_kept_until_the_terminal_is_given_up(store: Store) -> None:
    connect(store)
    adopt(store)
    store.push.protect("Gate", secret_hash="a" * 64, networks="192.0.2.0/24")
    store.push.protect("Gate", timezone_form="minutes")
    assert terminal(store).secret_hash == "a" * 64
    assert (terminal(store).networks, terminal(store).timezone_form) == ("192.0.2.0/24", "minutes")
    store.devices.add(device("Polled"))
    with pytest.raises(UsageError, match="'Polled' does not push"):
        store.push.protect("Polled", networks=None)


class TestCommands:
    @pytest.mark.both_engines("matrix")
    def test_a_command_is_open_until_its_terminal_confirms_it(self, store: Store, clock: StoppedClock) -> None:
        number = store.push.queue(SERIAL, INFO, by="cli:ann")
        assert store.push.queue(SERIAL, INFO, by="cli:bob") == number  # the same command
        span = PushCommand(kind="count_punches", start_local=at(1), end_local=at(2))
        other = store.push.queue(SERIAL, span, by="receiver")
        store.push.record_sent([number, other])
        assert [one.times_sent for one in store.push.state().commands[SERIAL]] == [1, 1]
        assert store.push.confirm("ANOTHER", [Confirmation(number, True, 0)]) == []
        clock.go(minutes=1)
        done = store.push.confirm(SERIAL, [Confirmation(number, True, 0), Confirmation(other, False, -1002, "x=1")])
        assert [(one.state, one.return_code, one.result, one.finished_at) for one in done] == [
            ("done", 0, None, clock.now),
            ("failed", -1002, "x=1", clock.now),
        ]
        quick = store.push.queue(SERIAL, PushCommand(kind="hello"), by="cli:ann")
        (confirmed,) = store.push.confirm(SERIAL, [Confirmation(quick, True, 0)])  # before its sending is recorded
        assert (confirmed.times_sent, confirmed.sent_at) == (1, clock.now)
        assert done[1].command == span
        assert store.push.confirm(SERIAL, [Confirmation(number, False, -1)]) == []  # repeated: changes nothing
        assert store.push.state().commands == {}
        assert [one.id for one in store.push.commands(SERIAL)] == [quick, other, number]
        assert store.push.queue(SERIAL, INFO, by="cli:ann") > other

    def test_a_command_that_is_never_confirmed_expires_and_a_reboot_is_sent_once(
        self, store: Store, clock: StoppedClock
    ) -> None:
        info, reboot = (store.push.queue(SERIAL, PushCommand(kind=kind), by="x") for kind in ("info", "reboot"))
        unconfirmed = timedelta(minutes=1)
        for sends in range(1, MAX_SENDS + 1):
            store.push.record_sent([info, reboot] if sends == 1 else [info])
            assert store.push.expire_commands(unconfirmed) == []
            clock.go(minutes=2)
            ended = [one.id for one in store.push.expire_commands(unconfirmed)]
            assert ended == ([reboot] if sends == 1 else [info] if sends == MAX_SENDS else [])
        assert {one.state for one in store.push.commands(SERIAL)} == {"expired"}
        assert rows(store, "SELECT times_sent FROM push_commands ORDER BY id") == [(MAX_SENDS,), (1,)]


def at(hour: int) -> datetime:
    return datetime(2026, 3, 2, hour)  # noqa: DTZ001 (a wall-clock reading)
