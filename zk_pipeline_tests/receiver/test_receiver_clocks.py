"""Clocks: that of the host, by which terminals set theirs; daylight saving changes; the drift of terminals."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import pytest

from zk_pipeline.devices.push.commands import PushCommand
from zk_pipeline.devices.push.hello import utc_offset
from zk_pipeline.devices.push.records import ParsedUpload, PushedPunch
from zk_pipeline.devices.push.requests import parse_request
from zk_pipeline.receiver.host_clock import EARLIEST, HostClock, is_synchronized, seconds_since_boot
from zk_pipeline.receiver.sessions import Session
from zk_pipeline.simulator.push.profiles import SECURITY_3
from zk_pipeline.store.store import Store
from zk_pipeline_tests.receiver.receiver_fixtures import SERIAL, Served, adopt, line, punches, receiver_of, serve
from zk_pipeline_tests.simulator.push.push_fixtures import pushing_terminal
from zk_pipeline_tests.store.store_fixtures import StoppedClock
from zk_pipeline_tests.waiting import until

NOON = datetime(2026, 6, 1, 12, tzinfo=UTC)


@dataclass
class Host:
    """Clocks of a host, moved by hand."""

    now: datetime = NOON
    boot: float = 100.0
    has_ntp: bool = False

    def clock(self, *, is_trusted: bool = False) -> HostClock:
        return HostClock(lambda: self.now, is_trusted, elapsed=lambda: self.boot, is_synchronized=lambda: self.has_ntp)

    def pass_time(self, **by: float) -> None:
        span = timedelta(**by)
        self.now += span
        self.boot += span.total_seconds()


@pytest.mark.parametrize(
    ("contact", "problem"),
    [
        (NOON - timedelta(minutes=1), None),
        (NOON - timedelta(hours=11), None),
        (NOON - timedelta(days=1), "24 h 0 min after the newest contact"),
        (NOON + timedelta(minutes=9), None),
        (NOON + timedelta(days=1), "24 h 0 min behind the newest contact"),
    ],
)
def test_a_host_clock_a_day_off_at_the_start_is_not_plausible(contact: datetime, problem: str | None) -> None:
    host = Host()
    clock = host.clock()
    clock.note_contacts([contact, contact - timedelta(days=30)])
    found = clock.problem()
    assert (found is None) == (problem is None)
    assert (problem or "") in (found or "")
    host.has_ntp = True
    assert clock.problem() is None


def test_a_host_without_contacts_yet_is_trusted_unless_its_clock_was_never_set() -> None:
    assert Host().clock().problem() is None
    never_set = Host(now=datetime(1970, 1, 1, tzinfo=UTC), has_ntp=True)
    assert "before this program was written" in str(never_set.clock(is_trusted=True).problem())
    never_set.now = EARLIEST
    assert never_set.clock().problem() is None


@pytest.mark.parametrize("direction", [1, -1])
def test_a_clock_that_is_set_while_the_receiver_runs_is_refused_until_it_is_back(direction: int) -> None:
    host = Host()
    clock = host.clock()
    host.pass_time(days=3)
    assert clock.problem() is None
    host.now += direction * timedelta(days=1)
    assert "by 24 h 0 min while the receiver ran" in str(clock.problem())
    host.pass_time(hours=1)
    assert clock.problem() is not None
    host.now -= direction * timedelta(days=1)
    assert clock.problem() is None


def test_an_operator_may_vouch_for_the_clock_at_the_start() -> None:
    clock = Host().clock(is_trusted=True)
    clock.note_contacts([NOON - timedelta(days=9)])
    assert clock.problem() is None


def test_the_kernel_answers_about_its_clock() -> None:
    assert is_synchronized() in (True, False)
    assert seconds_since_boot() > 0


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
        clock.go(seconds=10)
    served.post("cdata", line("1", "2026-06-01 12:00:20"), table="ATTLOG")  # 20 s ago
    assert _drift(adopted) == -20
    clock.go(seconds=10)
    served.post("cdata", line("1", "2026-06-01 13:00:50"), table="ATTLOG")
    assert _drift(adopted) == 3600


def punch(at: str, offset: int | None = None) -> ParsedUpload:
    read = PushedPunch("1", datetime.fromisoformat(at), 0, 1, None, offset)
    return ParsedUpload([read], [], [], [], 1, "OK: 1")


def session(connected_for: timedelta = timedelta(hours=1)) -> Session:
    return Session("A", NOON, NOON - connected_for, 0, is_registered=False)


def measured(
    one: Session, upload: ParsedUpload, *, table: str = "ATTLOG", stamp: str = "9", zone: str = "UTC"
) -> object:
    return one.measure_drift(table, stamp, upload, zone=zone, now=NOON)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/St_Johns"])
def test_a_drift_is_measured_in_the_zone_of_the_device_or_by_the_offset_of_the_line(zone: str) -> None:
    local = {"UTC": "11:59:58", "Asia/Kolkata": "17:29:58", "America/St_Johns": "09:29:58"}[zone]
    assert measured(session(), punch(f"2026-06-01 {local}"), zone=zone) == -2
    assert measured(session(), punch("2026-06-01 14:59:58", 3 * 3600), zone=zone) == -2


def test_a_delayed_punch_is_no_clock_error_and_one_of_the_future_is() -> None:
    late = punch("2026-06-01 11:30:00")
    assert measured(session(timedelta(minutes=29)), late) is None
    assert measured(session(timedelta(minutes=31)), late) == -1800
    assert measured(session(timedelta()), punch("2026-06-01 12:30:00")) == 1800


def test_uploads_that_are_no_realtime_punch_measure_no_drift() -> None:
    now = punch("2026-06-01 11:59:58")
    assert measured(session(), now, stamp="0") is None  # the answer to a query
    assert measured(session(), now, table="TABLEDATA:transaction") is None
    backlog = replace(now, punches=now.punches * 2, lines=2)
    one = session()
    assert measured(one, backlog) is None
    assert one.connected_since == NOON  # further lines of the backlog follow
    repeated = session()
    assert measured(repeated, now) == -2
    assert measured(repeated, now) is None  # its answer was lost


def test_a_drift_is_recorded_again_after_a_change_or_ten_minutes() -> None:
    one = session()
    one.record_drift(-2, NOON)
    assert measured(one, punch("2026-06-01 11:59:57")) is None
    assert measured(one, punch("2026-06-01 11:59:50")) == -10
    one.record_drift(-2, NOON - timedelta(minutes=11))
    assert measured(one, punch("2026-06-01 11:59:56")) == -4


def test_a_pause_and_a_failed_upload_end_the_contact_that_proves_a_drift() -> None:
    heartbeat = parse_request("GET", "/iclock/getrequest", b"SN=1")
    one = session()
    one.observe(heartbeat, NOON + timedelta(seconds=40))
    assert one.connected_since < NOON
    one.observe(heartbeat, NOON + timedelta(seconds=100))
    assert one.connected_since == NOON + timedelta(seconds=100)
    one.interrupt(NOON + timedelta(seconds=130))
    assert one.connected_since == NOON + timedelta(seconds=130)


def _time_zone(served: Served) -> str:
    lines = served.get("cdata", options="all").text.splitlines()
    return next(one.partition("=")[2] for one in lines if one.startswith("TimeZone="))


def _drift(store: Store) -> float | None:
    with store.database.read("test") as connection:
        found = connection.execute("SELECT clock_drift_seconds FROM devices").fetchone()
    return None if found is None else found[0]
