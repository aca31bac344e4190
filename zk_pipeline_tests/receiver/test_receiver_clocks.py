"""Clocks of terminals: refused answers of a wrong host, daylight saving changes, drift."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from zk_pipeline.devices.push.commands import PushCommand
from zk_pipeline.devices.push.hello import utc_offset
from zk_pipeline.simulator.push.profiles import SECURITY_3
from zk_pipeline.store.engine.database import Database
from zk_pipeline.store.store import Store
from zk_pipeline_tests.receiver.receiver_fixtures import SERIAL, Host, Served, adopt, line, punches, receiver_of, serve
from zk_pipeline_tests.simulator.push.push_fixtures import pushing_terminal
from zk_pipeline_tests.store.store_fixtures import StoppedClock, busy
from zk_pipeline_tests.waiting import until

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


def test_a_receiver_with_a_wrong_clock_refuses_everything_and_sends_no_date(
    adopted: Store, clock: StoppedClock, caplog: pytest.LogCaptureFixture
) -> None:
    host = Host(now=clock.now + timedelta(days=1))
    clock.now = host.now
    with serve(receiver_of(adopted, host_clock=host.clock())) as served:
        for answer in (
            served.get("cdata", options="all"),
            served.post("cdata", line("1", "2026-06-01 09:00:00"), table="ATTLOG"),
            served.get("getrequest"),
        ):
            assert (answer.status_code, answer.text, "date" in answer.headers) == (503, "", False)
        assert "clock of this host is not plausible" in served.get("../health/ready").text
        assert served.get("../health/live").status_code == 200
        host.now = clock.now = clock.now - timedelta(days=1)
        until(lambda: served.get("getrequest").status_code == 200)
        assert served.get("../health/ready").text == "ready"
    assert "24 h 0 min after the newest contact" in caplog.text
    assert punches(adopted) == []


@pytest.mark.parametrize(
    ("zone", "times", "values"),
    [
        ("Europe/Berlin", ("2026-10-25 00:59", "2026-10-25 01:01"), ("2", "1")),
        ("Europe/Berlin", ("2026-03-29 00:59", "2026-03-29 01:01"), ("1", "2")),
        ("Australia/Lord_Howe", ("2026-10-03 15:29", "2026-10-03 15:31"), ("630", "11")),
    ],
)
def test_a_daylight_saving_change_makes_the_terminal_say_hello_again(
    zone: str, times: tuple[str, str], values: tuple[str, str], store: Store, clock: StoppedClock
) -> None:
    before, after = (datetime.fromisoformat(one).replace(tzinfo=UTC) for one in times)
    clock.now = before
    adopt(store, zone=zone)
    with serve(receiver_of(store)) as served:
        assert _time_zone(served) == values[0]
        assert served.get("getrequest").text == "OK"
        clock.now = after
        until(lambda: store.push.commands(SERIAL))
        until(lambda: served.get("getrequest").text == "C:1:CHECK\n")
        served.post("devicecmd", b"ID=1&Return=0&CMD=CHECK")
        assert _time_zone(served) == values[1]
    (terminal,) = store.push.terminals()
    assert terminal.hello_offset_seconds == int(utc_offset(zone, clock.now).total_seconds())
    assert [one.state for one in store.push.commands(SERIAL)] == ["done"]


def test_a_change_of_the_zone_of_the_device_makes_the_terminal_say_hello_again(served: Served, adopted: Store) -> None:
    assert _time_zone(served) == "0"
    adopted.devices.update("Gate", timezone="Asia/Kolkata")
    until(lambda: "CHECK" in served.get("getrequest").text)
    assert _time_zone(served) == "330"


def test_a_security_terminal_gets_its_clock_set_at_a_change(store: Store, clock: StoppedClock) -> None:
    clock.now = datetime(2026, 10, 25, 0, 59, tzinfo=UTC)
    terminal = pushing_terminal("http://127.0.0.1:1", profile=SECURITY_3, clock=clock)
    adopt(store, terminal.serial_number, "push-gate", zone="Europe/Berlin")
    with serve(receiver_of(store)) as served:
        terminal = pushing_terminal(served.url, profile=SECURITY_3, clock=clock)
        assert terminal.cycle()
        clock.go(minutes=2)
        until(lambda: store.push.commands(terminal.serial_number))
        until(terminal.ask)
        assert terminal.clock.now_local() == datetime.fromisoformat("2026-10-25 02:01")
    (command,) = store.push.commands(terminal.serial_number)
    assert (command.command, command.state) == (PushCommand(kind="set_clock"), "done")


def test_the_drift_of_a_realtime_punch_is_the_clock_of_the_device(
    served: Served, adopted: Store, clock: StoppedClock
) -> None:
    for _ in range(4):
        served.get("getrequest")
        clock.go(seconds=30)
    served.post("cdata", line("1", "2026-06-01 12:01:40"), table="ATTLOG")  # 20 s ago
    assert _drift(adopted) == -20
    clock.go(seconds=10)
    served.post("cdata", line("1", "2026-06-01 13:02:10"), table="ATTLOG")
    assert _drift(adopted) == 3600


def test_a_punch_that_was_refused_at_first_is_no_clock_error(adopted: Store, clock: StoppedClock) -> None:
    impatient = Store(Database(adopted.database.where, wait_seconds=0.1, foreign_wait_seconds=0.1), clock)
    with serve(receiver_of(impatient)) as served:
        for _ in range(40):
            served.get("getrequest")
            clock.go(seconds=30)
        at = clock.now.strftime("%Y-%m-%d %H:%M:%S")
        with busy(adopted, "a long run"):
            assert served.post("cdata", line("1", at), table="ATTLOG").status_code == 503
        clock.go(seconds=40)
        assert served.post("cdata", line("2", at), table="ATTLOG").text == "OK: 1"  # was recorded next, and waited
    assert _drift(adopted) is None


def _time_zone(served: Served) -> str:
    lines = served.get("cdata", options="all").text.splitlines()
    return next(one.partition("=")[2] for one in lines if one.startswith("TimeZone="))


def _drift(store: Store) -> float | None:
    with store.database.read("test") as connection:
        found = connection.execute("SELECT clock_drift_seconds FROM devices").fetchone()
    return None if found is None else found[0]
