"""Spoofed serial numbers, stolen commands, floods and slow clients."""

from __future__ import annotations

import contextlib
import logging
import socket

import httpx
import pytest

from zk_pipeline.devices.push.commands import PushCommand
from zk_pipeline.receiver import app as receiver_app
from zk_pipeline.receiver.limits import (
    MAX_BODY_BYTES,
    RateLimit,
)
from zk_pipeline.server import uvicorn_server
from zk_pipeline.server.receiver_server import ReceiverProtocol
from zk_pipeline.store.push.terminals import secret_digest
from zk_pipeline.store.store import Store
from zk_pipeline_tests.plain_http import NO_CERTIFICATES
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
from zk_pipeline_tests.store.store_fixtures import ALL, StoppedClock
from zk_pipeline_tests.waiting import until

NINE = "2026-06-01 09:00:00"
ATTEMPTS = [("GET", "cdata", {"options": "all"}), ("POST", "cdata", {"table": "ATTLOG"}), ("GET", "getrequest", {})]


def answers(served: Served, **more: str) -> list[tuple[int, list[tuple[str, str]], bytes]]:
    """Status, headers and body of each attempt, with everything that an attacker sees."""
    found = [
        served.send(method, path, line("1", NINE), **{**parameters, **more}) for method, path, parameters in ATTEMPTS
    ]
    return [(one.status_code, one.headers.multi_items(), one.content) for one in found]


def test_a_spoofed_serial_number_gets_the_answer_of_an_unknown_one(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    adopt(store, secret_hash=secret_digest("s3cret/path"))
    with serve(receiver_of(store)) as served:
        unknown = answers(served, SN="NOSUCHTERMINAL")
        assert {status for status, _, _ in unknown} == {503}
        for wrong in ("", "/s3cret", "/s3cret/path/more", "/S3CRET/PATH", "/path"):
            assert answers(served, prefix=wrong) == unknown
        assert f"terminal {SERIAL} is refused: wrong path secret" in caplog.text
        assert served.get("cdata", options="all", prefix="/s3cret/path").status_code == 200
        assert served.post("cdata", line("2", NINE), table="ATTLOG", prefix="/s3cret/path").text == "OK: 1"
    assert [user for user, _, _ in punches(store)] == ["2"]


def test_a_serial_number_from_a_foreign_network_is_refused_and_changes_no_address(
    store: Store, clock: StoppedClock
) -> None:
    adopt(store, networks="10.1.0.0/16, 2001:db8::/32")
    clock.go(minutes=5)
    with serve(receiver_of(store)) as served:
        assert {status for status, _, _ in answers(served)} == {503}
        assert answers(served, SN="NOSUCHTERMINAL") == answers(served)
        with httpx.Client(
            base_url=served.url, headers={"X-Forwarded-For": "10.1.2.3"}, trust_env=False, verify=NO_CERTIFICATES
        ) as client:
            assert client.get("/iclock/getrequest", params={"SN": SERIAL}).status_code == 200  # a proxy on this host
        until(lambda: _address_of(store) == "10.1.2.3")
    assert punches(store) == []


def test_commands_are_neither_given_to_strangers_nor_lost_to_thieves(store: Store, clock: StoppedClock) -> None:
    adopt(store, secret_hash=secret_digest("s3cret"))
    adopt(store, "OTHER1", "Other")
    number = store.push.queue(SERIAL, PushCommand(kind="query_users"), by="test")
    with serve(receiver_of(store)) as served:
        assert served.get("getrequest").status_code == 503
        assert served.get("getrequest", SN="OTHER1").text == "OK"
        served.post("devicecmd", f"ID={number}&Return=0&CMD=DATA".encode(), SN="OTHER1")
        served.post("devicecmd", f"ID={number}&Return=0&CMD=DATA".encode())
        assert store.push.commands(SERIAL)[0].state == "queued"
        stolen = served.get("getrequest", prefix="/s3cret").text  # by a reader of the secret
        clock.go(seconds=61)
        assert served.get("getrequest", prefix="/s3cret").text == stolen == f"C:{number}:DATA QUERY USERINFO\n"


def test_a_reboot_is_sent_once(served: Served, adopted: Store, clock: StoppedClock) -> None:
    adopted.push.queue(SERIAL, PushCommand(kind="reboot"), by="test")
    until(lambda: served.get("getrequest").text == "C:1:REBOOT\n")
    assert adopted.push.commands(SERIAL)[0].times_sent == 1  # recorded before it was sent
    clock.go(seconds=61)
    assert served.get("getrequest").text == "OK"


def test_a_flood_of_invented_serial_numbers_evicts_no_waiting_terminal(
    served: Served, adopted: Store, clock: StoppedClock
) -> None:
    assert served.get("cdata", options="all", SN="REAL1").status_code == 503
    until(lambda: _serials(adopted) == {"REAL1", SERIAL})
    clock.go(seconds=1)
    with httpx.Client(base_url=served.url, trust_env=False, verify=NO_CERTIFICATES) as client:
        for n in range(200):
            answer = client.get("/iclock/cdata", params={"SN": f"FAKE{n}", "options": "all"})
            assert answer.status_code == 503
    served.get("cdata", options="all", SN="REAL1")
    until(lambda: _seen_at(adopted, "REAL1") == clock.now)
    assert len(_serials(adopted)) <= 2 + 20
    assert served.get("cdata", options="all").status_code == 200
    assert (punches(adopted), quarantined(adopted)) == ([], [])


def test_a_terminal_that_sends_too_many_requests_is_refused_and_others_are_not(store: Store) -> None:
    adopt(store)
    adopt(store, "OTHER1", "Other")
    with serve(receiver_of(store, per_terminal=RateLimit(per_second=0.001, burst=5))) as served:
        assert [served.get("getrequest").status_code for _ in range(7)] == [200] * 5 + [503] * 2
        assert served.get("getrequest", SN="OTHER1").status_code == 200


def test_a_body_above_the_limit_is_refused_whether_it_is_announced_or_not(served: Served, adopted: Store) -> None:
    head = f"POST /iclock/cdata?SN={SERIAL}&table=ATTLOG HTTP/1.1\r\nHost: x\r\n"
    assert _exchange(served, f"{head}Content-Length: {MAX_BODY_BYTES + 1}\r\n\r\n".encode()).startswith(b"HTTP/1.1 413")
    chunk = b"%x\r\n%s\r\n" % (1024 * 1024, b"x" * 1024 * 1024)
    body = f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + chunk * 9
    assert _exchange(served, body).startswith(b"HTTP/1.1 413")
    until(lambda: adopted.quality.freshness(**ALL).pushing[0].refused_at is not None)  # for the alert
    assert adopted.quality.freshness(**ALL).pushing[0].refusal == "its body has more than 8 MiB"


def test_a_chunked_body_is_read(served: Served, adopted: Store) -> None:
    body = line("1", NINE)
    head = f"POST /iclock/cdata?SN={SERIAL}&table=ATTLOG HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n"
    sent = f"{head}Connection: close\r\n\r\n".encode() + b"%x\r\n%s\r\n0\r\n\r\n" % (len(body), body)
    assert _exchange(served, sent).endswith(b"OK: 1")
    assert len(punches(adopted)) == 1


def test_slow_clients_are_disconnected_while_others_are_served(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uvicorn_server, "HEADER_TIMEOUT_SECONDS", 0.3)
    monkeypatch.setattr(receiver_app, "body_seconds", lambda _: 0.3)
    head = b"POST /iclock/cdata?SN=%s&table=ATTLOG HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n" % SERIAL.encode()
    slow = [socket.create_connection(("127.0.0.1", served.port), 20) for _ in range(20)]
    for n, one in enumerate(slow):
        one.sendall(head if n % 2 else head + b"\r\n1\t2026")
    assert served.get("getrequest").text == "OK"
    received = [b"".join(iter(lambda one=one: one.recv(4096), b"")) for one in slow]  # type: ignore[misc]
    assert [data[9:12] for data in received] == [b"503", b""] * 10
    assert served.get("getrequest").text == "OK"


def test_connections_of_one_address_are_limited(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ReceiverProtocol, "unlimited", ())
    monkeypatch.setattr(ReceiverProtocol, "max_per_address", 2)
    held = [socket.create_connection(("127.0.0.1", served.port), 20) for _ in range(2)]
    until(lambda: ReceiverProtocol._per_address["127.0.0.1"] == 2)
    with pytest.raises(httpx.TransportError):
        served.get("getrequest")
    for one in held:
        one.close()
    until(lambda: not ReceiverProtocol._per_address)
    assert served.get("getrequest").text == "OK"


def test_no_secret_and_no_heartbeat_is_in_the_log(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "zk_pipeline.receiver")
    adopt(store, secret_hash=secret_digest("s3cret"))
    with serve(receiver_of(store)) as served:
        served.get("getrequest", prefix="/s3cret")
        served.post("cdata", line("1", NINE) + b"bad\n", table="ATTLOG", prefix="/s3cret")
        served.get("nothing", prefix="/s3cret")
        served.get("cdata", prefix="/s3cret", SN="not a serial")
    (entry,) = [one.getMessage() for one in caplog.records if one.name == "zk_pipeline.receiver.access"]
    assert '"lines": 2, "new": 1, "duplicates": 0, "quarantined": 1' in entry
    assert "s3cret" not in caplog.text
    assert "status 404" in caplog.text


def test_passwords_and_templates_are_stored_nowhere(served: Served, adopted: Store) -> None:
    body = (
        b"USER PIN=1\tName=Ada\tPri=0\tPasswd=hunter2\tCard=\tGrp=1\n"
        b"USER PIN=\tName=Eve\tPasswd=hunter2\nFP PIN=1\tFID=0\tSize=9\tValid=1\tTMP=hunter2\n"
    )
    assert served.post("cdata", body, table="OPERLOG").text == "OK: 3"
    with adopted.database.read("test") as connection:
        assert connection.execute("SELECT name FROM device_users").fetchall() == [("Ada",)]
        tables = [name for (name,) in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]
        for table in tables:
            assert "hunter2" not in str(connection.execute(f'SELECT * FROM "{table}"').fetchall())


def _exchange(served: Served, sent: bytes) -> bytes:
    with socket.create_connection(("127.0.0.1", served.port), 20) as raw:
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            raw.sendall(sent)
        data = b""
        while part := _received(raw):
            data += part
    return data


def _received(raw: socket.socket) -> bytes:
    try:
        return raw.recv(4096)
    except ConnectionResetError:
        return b""


def _serials(store: Store) -> set[str]:
    return {one.serial_number for one in store.push.terminals()}


def _seen_at(store: Store, serial: str) -> object:
    return next(one.last_seen_at for one in store.push.terminals() if one.serial_number == serial)


def _address_of(store: Store) -> str:
    return next(one.address for one in store.push.terminals() if one.serial_number == SERIAL)
