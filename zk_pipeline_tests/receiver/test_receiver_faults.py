"""Faults of terminals and networks, one test each: an emulated terminal sends them over HTTP, the receiver stores."""

from __future__ import annotations

import socket
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

import pytest

from zk_pipeline.devices.push.commands import PushCommand
from zk_pipeline.simulator.push.faults import PushFaults
from zk_pipeline.simulator.push.profiles import PROFILES, SECURITY_3
from zk_pipeline.simulator.push.terminal import PushingTerminal
from zk_pipeline.simulator.terminal.definition import serial_number_of
from zk_pipeline.store.store import Store
from zk_pipeline_tests.receiver.receiver_fixtures import (
    SERIAL,
    Served,
    adopt,
    line,
    punches,
    quarantined,
    receiver_of,
    serve,
)
from zk_pipeline_tests.simulator.push.push_fixtures import pushing_terminal
from zk_pipeline_tests.store.store_fixtures import ALL
from zk_pipeline_tests.waiting import until

NAME = "push-gate"


@contextmanager
def connected(
    store: Store, *, zone: str = "Africa/Nairobi", **terminal: Any
) -> Iterator[tuple[Served, PushingTerminal]]:
    """A receiver and an adopted emulated terminal."""
    with all_connected(store, {NAME: terminal}, zone=zone) as (served, terminals):
        yield served, terminals[NAME]


@contextmanager
def all_connected(
    store: Store, terminals: Mapping[str, Mapping[str, Any]], *, zone: str = "Africa/Nairobi"
) -> Iterator[tuple[Served, dict[str, PushingTerminal]]]:
    """A receiver and an adopted emulated terminal of each name."""
    for name in terminals:
        adopt(store, serial_number_of(name), name, zone=zone)
    with serve(receiver_of(store)) as served:
        yield (
            served,
            {
                name: pushing_terminal(served.url, name=name, clock=store.clock, **one)
                for name, one in terminals.items()
            },
        )


def complete(store: Store, terminal: PushingTerminal, name: str = NAME) -> bool:
    """Whether the store has each punch of the terminal's log once, and nothing else of it."""
    held = sorted({(one.punch.user_id, str(one.punch.punched_at_local), name) for one in terminal.log.entries})
    return [one for one in punches(store) if one[2] == name] == held and terminal.log.pending_count == 0


def test_every_line_of_firmware_uploads_its_log_and_its_users(store: Store) -> None:
    made = {name: {"profile": profile, "punches": 9, "batch_lines": 4} for name, profile in PROFILES.items()}
    with all_connected(store, made) as (_, terminals):
        for name, terminal in terminals.items():
            assert terminal.cycle(), name
            terminal.punch("1001")
            assert terminal.upload() == 1, name
            assert complete(store, terminal, name), name
    known = {one.device: (one.family, one.record_count) for one in store.push.terminals()}
    assert known == {name: (profile.family, 9) for name, profile in PROFILES.items()}
    with store.database.read("test") as connection:
        users = connection.execute("SELECT device, user_id, name FROM device_users").fetchall()
    listed = (("1001", "李娜 0"), ("1002", "李娜 1"), ("1003", "李娜 2"))
    assert sorted(users) == sorted((name, *user) for name in PROFILES for user in listed)


FAULTS = ("lost_answers", "unread_answers", "half_bodies", "hellos")


def test_answers_lost_half_bodies_and_repeated_hellos_lose_and_double_nothing(store: Store) -> None:
    made = {name: {"punches": 20, "batch_lines": 8, "faults": PushFaults(**{name: 2})} for name in FAULTS}  # type: ignore[arg-type]
    with all_connected(store, made) as (_, terminals):
        for name, terminal in terminals.items():
            until(terminal.cycle)
            assert complete(store, terminal, name), name


@pytest.mark.parametrize("times", [4, pytest.param(220, marks=pytest.mark.stress)])
def test_a_batch_that_comes_many_times_is_stored_once(times: int, store: Store) -> None:
    with connected(store, punches=5, faults=PushFaults(repeats=times)) as (_, terminal):
        assert terminal.cycle()
        assert complete(store, terminal)
    with store.database.read("test") as connection:
        counts = connection.execute(
            "SELECT count(*), sum(stored), sum(duplicates) FROM push_batches WHERE table_name = 'ATTLOG'"
        ).fetchone()
    assert counts == (times, 5, (times - 1) * 5)


@pytest.mark.parametrize("stamp", ["9999", "None"])
def test_a_constant_stamp_is_given_back_as_it_is(stamp: str, store: Store) -> None:
    with connected(store, punches=3, faults=PushFaults(stamp=stamp)) as (_, terminal):
        assert terminal.cycle()
        terminal.hello()
        assert terminal.options["ATTLOGStamp"] == stamp
        assert complete(store, terminal)


def test_the_stamp_0_of_an_answered_query_does_not_replace_the_saved_one(store: Store) -> None:
    with connected(store, punches=6) as (served, terminal):
        terminal.cycle()
        saved = served.receiver.registry.stamps(terminal.serial_number)["ATTLOG"]
        first = terminal.log.entries[0].punch.punched_at_local
        span = PushCommand(kind="query_punches", start_local=first, end_local=first + timedelta(days=1))
        store.push.queue(terminal.serial_number, span, by="test")
        until(terminal.ask)
        assert store.push.commands(terminal.serial_number)[0].state == "done"
        terminal.hello()
        assert terminal.options["ATTLOGStamp"] == saved not in ("", "0")
        assert complete(store, terminal)


def test_a_clock_that_follows_the_answers_is_right_after_the_hello(store: Store) -> None:
    with connected(store, follows_date=True, zone="Asia/Kolkata") as (_, terminal):
        terminal.clock.set_local(datetime.fromisoformat("2001-01-01"))
        terminal.hello()
        assert terminal.clock.now_local() == datetime.fromisoformat("2026-06-01 17:30:00")


def test_a_log_that_overflows_while_the_receiver_is_down_keeps_its_newest_punches(store: Store) -> None:
    with connected(store, punches=30, record_capacity=10) as (_, terminal):
        assert terminal.log.lost_count == 20
        assert terminal.cycle()
        assert complete(store, terminal)


SPELLINGS = (
    PushFaults(suffix=".aspx"), PushFaults(has_lower_case_names=True), PushFaults(line_end=b"\r\n"),
    PushFaults(separator="space"), PushFaults(separator="pairs"), PushFaults(has_nul=True),
    PushFaults(http_version="1.0"), PushFaults(bytes_per_second=50_000.0),
)  # fmt: skip


def test_other_spellings_of_requests_and_lines_are_understood(store: Store) -> None:
    made = {f"gate {number}": {"punches": 3, "faults": fault} for number, fault in enumerate(SPELLINGS)}
    with all_connected(store, made) as (_, terminals):
        for name, terminal in terminals.items():
            assert terminal.cycle(), made[name]
            assert complete(store, terminal, name), made[name]
            assert quarantined(store) == [], made[name]


def test_broken_lines_are_quarantined_with_the_batch_around_them_stored(store: Store) -> None:
    broken = (b"1001\t2026-13-45 08:00:00\t0\t1", b"\xff\xfe", b"\t2026-03-02 08:00:00\t0\t1")
    with connected(store, punches=3, faults=PushFaults(broken_lines=broken)) as (_, terminal):
        assert terminal.cycle()
        assert complete(store, terminal)
        assert {raw for _, raw, _ in quarantined(store)} == set(broken)


def test_names_in_gb18030_are_read(store: Store) -> None:
    with connected(store, encoding="gb18030") as (_, terminal):
        terminal.cycle()
    with store.database.read("test") as connection:
        assert connection.execute("SELECT name FROM device_users WHERE user_id = '1001'").fetchone() == ("李娜 0",)


def test_a_photo_is_acknowledged_and_not_stored(store: Store) -> None:
    with connected(store) as (_, terminal):
        terminal.connect()
        assert terminal.send_photo("1001", b"\xff\xd8\xff\xe0\n\0\xff").text == "OK"
        assert (punches(store), quarantined(store)) == ([], [])


@pytest.mark.parametrize(("stamp", "batches"), [({}, 0), ({"Stamp": "7"}, 1)])
def test_an_upload_without_anything_to_store_needs_a_transaction_for_its_stamp_only(
    stamp: dict[str, str], batches: int, served: Served, adopted: Store
) -> None:
    assert served.post("cdata", b"BIODATA Pin=1\tTmp=abc\n", table="BIODATA", **stamp).text == "OK: 1"
    with adopted.database.read("test") as connection:
        assert connection.execute("SELECT count(*) FROM push_batches").fetchone() == (batches,)


def test_events_before_the_registration_are_stored(store: Store) -> None:
    faults = PushFaults(registers_late=True)
    with connected(store, profile=SECURITY_3, punches=3, faults=faults) as (_, terminal):
        assert terminal.cycle()
        assert complete(store, terminal)


def test_refusals_and_door_events_are_facts_and_no_punches(store: Store) -> None:
    with connected(store, profile=SECURITY_3) as (_, terminal):
        terminal.connect()
        terminal.record_event(27, "1001")
        terminal.record_event(8)
        terminal.punch("1002")
        assert terminal.upload() == 3
    assert [user for user, _, _ in punches(store)] == ["1002"]
    with store.database.read("test") as connection:
        events = connection.execute(
            "SELECT code, user_id FROM device_events WHERE NOT is_operation ORDER BY 1"
        ).fetchall()
    assert [code for code, _ in events] == [8, 27]


@pytest.mark.parametrize("offset", ["", "+10800"])
def test_the_utc_offset_of_a_line_may_be_empty(offset: str, served: Served, adopted: Store) -> None:
    body = f"1\t2026-06-01 09:00:00\t0\t1\t0\t0\t0\t0\t36.5\t0\t{offset}\t\n".encode()
    assert served.post("cdata", body, table="ATTLOG").text == "OK: 1"
    assert punches(adopted) == [("1", "2026-06-01 09:00:00", "Gate")]


def test_a_batch_of_one_megabyte_is_stored(adopted: Store, served: Served) -> None:
    start = datetime.fromisoformat("2026-01-01 00:00:00")
    body = b"".join(line(str(n % 50), str(start + timedelta(minutes=n))) for n in range(33_000))
    assert len(body) > 1_000_000
    assert served.post("cdata", body, table="ATTLOG").text == "OK: 33000"
    assert len(punches(adopted)) == 33_000


def test_a_body_that_is_not_text_is_refused_logged_and_recorded(
    served: Served, adopted: Store, caplog: pytest.LogCaptureFixture
) -> None:
    body = bytes(range(128, 256)) * 8 + b"\n" + bytes(range(1, 30))
    assert served.post("cdata", body, table="ATTLOG").status_code == 503
    assert f"terminal {SERIAL} uploads what cannot be received" in caplog.text
    assert (punches(adopted), quarantined(adopted)) == ([], [])
    until(lambda: adopted.quality.freshness(**ALL).pushing[0].refused_at is not None)
    (found,) = adopted.quality.freshness(**ALL).pushing
    assert str(found.refusal).startswith(f"{len(body)} bytes of table ATTLOG are no text: the terminal encrypts")


@pytest.mark.parametrize("query", [{}, {"table": "a b"}, {"table": "tabledata"}])
def test_an_upload_without_a_valid_table_is_quarantined_and_acknowledged(
    query: dict[str, str], served: Served, adopted: Store
) -> None:
    answer = served.post("cdata", b"1\t2026-06-01 09:00:00\n", **query)
    assert (answer.status_code, answer.text) == (200, "OK: 1")
    assert quarantined(adopted) == [("UNNAMED", b"1\t2026-06-01 09:00:00", "the upload names no table")]


def test_the_serial_number_of_another_terminal_delivers_for_that_one_only(store: Store) -> None:
    adopt(store, serial_number_of("other"), "other")
    faults = PushFaults(serial_number=serial_number_of("other"))
    with connected(store, punches=2, faults=faults) as (_, terminal):
        assert terminal.cycle()
    assert {device for _, _, device in punches(store)} == {"other"}


def test_http_1_0_without_a_host_header_gets_its_answer_and_the_end_of_the_connection(served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port), 10) as raw:
        raw.sendall(f"GET /iclock/getrequest?SN={SERIAL} HTTP/1.0\r\n\r\n".encode())
        data = b"".join(iter(lambda: raw.recv(4096), b""))
    head, _, body = data.partition(b"\r\n\r\n")
    assert (head.split()[1], body) == (b"200", b"OK")
    assert b"content-length: 2" in head.lower()
    assert b"content-encoding" not in head.lower()


@pytest.mark.usefixtures("adopted")
@pytest.mark.parametrize("path", [f"/iclock/getrequest?SN={SERIAL}", "/iclock/getrequest?SN=UNKNOWN", "/other"])
def test_names_of_headers_are_in_title_case_because_old_firmware_compares_them(served: Served, path: str) -> None:
    with socket.create_connection(("127.0.0.1", served.port), 10) as raw:
        raw.sendall(f"GET {path} HTTP/1.0\r\n\r\n".encode())
        head = b"".join(iter(lambda: raw.recv(4096), b"")).partition(b"\r\n\r\n")[0].decode()
    names = [one.partition(":")[0] for one in head.split("\r\n")[1:]]
    assert {"Content-Type", "Content-Length", "Date"} <= set(names)
    assert names == [one.title() for one in names]


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_an_answer_arrives_whole_for_a_client_that_reads_once(method: str, served: Served) -> None:
    with socket.create_connection(("127.0.0.1", served.port), 10) as raw:
        raw.sendall(f"{method} /iclock/cdata?SN={SERIAL}&options=all HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        head, end, body = raw.recv(65536).partition(b"\r\n\r\n")
    assert end
    assert body.startswith(b"GET OPTION FROM") == (method == "GET")
    assert b"200 OK" in head or method == "HEAD"


def test_requests_on_one_connection_are_answered_in_turn(served: Served, adopted: Store) -> None:
    with socket.create_connection(("127.0.0.1", served.port), 10) as raw:
        for n in range(3):
            body = line(str(n), "2026-06-01 09:00:00")
            head = f"POST /iclock/cdata?SN={SERIAL}&table=ATTLOG HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}"
            raw.sendall(head.encode() + b"\r\n\r\n" + body)
            data = b""
            while not data.endswith(b"OK: 1"):
                data += raw.recv(4096)
    assert len(punches(adopted)) == 3
