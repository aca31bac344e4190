"""Device lock: one connection per terminal at a time, between threads and processes."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest

from zk_pipeline.devices.clock import Deadline
from zk_pipeline.devices.device_lock import exclusive_access
from zk_pipeline.devices.errors import Busy
from zk_pipeline.devices.models import Device
from zk_pipeline.errors import UsageError
from zk_pipeline.simulator.terminal.connections import Connection
from zk_pipeline.simulator.terminal.faults import Faults
from zk_pipeline.simulator.terminal.protocol import Command, Frame
from zk_pipeline_tests.devices.terminal_fixtures import gateway, serving, terminal
from zk_pipeline_tests.waiting import child, until

ONE = Device(name="gate", ip_address="192.0.2.10")

HOLD = """
    import sys
    from pathlib import Path
    from zk_pipeline.devices.clock import Deadline
    from zk_pipeline.devices.device_lock import exclusive_access
    from zk_pipeline.devices.models import Device

    with exclusive_access(Path(sys.argv[1]), Device(name="x", ip_address=sys.argv[2]), Deadline.after(10)) as hold:
        print("held", flush=True)
        sys.stdin.readline()
"""


class Overlap(Faults):
    """Counts concurrent sessions."""

    def __init__(self) -> None:
        self.open: set[int] = set()
        self.most = 0

    async def deliver(self, request: Frame, answer: list[Frame], connection: Connection) -> None:
        if request.command == Command.CMD_EXIT:
            self.open.discard(request.session_id)
        elif request.command != Command.CMD_CONNECT:
            self.open.add(request.session_id)
            self.most = max(self.most, len(self.open))
        await super().deliver(request, answer, connection)


def test_threads_take_turns(tmp_path: Path) -> None:
    overlap = Overlap()
    with serving(terminal(40, records=500), overlap) as one:
        threads = [threading.Thread(target=gateway(locks=tmp_path).read, args=[one]) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert overlap.most == 1


def test_another_process_is_waited_for(tmp_path: Path) -> None:
    with serving(terminal()) as one, child(HOLD, tmp_path / "locks", "127.0.0.1") as other:
        # The other process has locked the default port: the lock depends on the address.
        here = replace(ONE, ip_address=one.ip_address)
        assert other.hear() == "held"
        with pytest.raises(Busy) as failure, exclusive_access(tmp_path / "locks", here, Deadline.after(0.2)):
            pytest.fail("two processes had the lock at once")
        other.go_on()
        with exclusive_access(tmp_path / "locks", here, Deadline.after(10)):
            assert other.end() == 0
    assert failure.value.code == "busy"
    assert "another process held the lock" in str(failure.value)


def test_a_gateway_gives_up_waiting_at_its_deadline_without_a_connection(tmp_path: Path) -> None:
    overlap = Overlap()
    with serving(terminal(), overlap) as one, exclusive_access(tmp_path, one, Deadline.after(1)):
        started = time.monotonic()
        with pytest.raises(Busy):
            gateway(locks=tmp_path, deadline=0.3).read(one)
        assert 0.25 < time.monotonic() - started < 2
    assert overlap.most == 0


def test_a_process_that_was_killed_holds_nothing(tmp_path: Path) -> None:
    with child(HOLD, tmp_path, ONE.ip_address) as other:
        assert other.hear() == "held"
        other.kill()
        with exclusive_access(tmp_path, ONE, Deadline.after(10)):
            pass


def test_devices_at_other_addresses_are_not_delayed(tmp_path: Path) -> None:
    others = [replace(ONE, port=4371), replace(ONE, ip_address="192.0.2.1"), replace(ONE, ip_address="2001:db8::1")]
    with exclusive_access(tmp_path, ONE, Deadline.after(1)):
        for other in others:
            with exclusive_access(tmp_path, other, Deadline.after(0)):
                pass


def test_two_names_for_one_address_share_the_connection(tmp_path: Path) -> None:
    with (
        exclusive_access(tmp_path, replace(ONE, ip_address="Gate.example"), Deadline.after(1)),
        pytest.raises(Busy),
        exclusive_access(tmp_path, replace(ONE, ip_address="gate.example", name="again"), Deadline.after(0)),
    ):
        pytest.fail("two held it at once")


def test_a_failed_reading_lets_go(tmp_path: Path) -> None:
    with (
        pytest.raises(ZeroDivisionError),
        exclusive_access(tmp_path, ONE, Deadline.after(1)),
    ):
        raise ZeroDivisionError
    with exclusive_access(tmp_path, ONE, Deadline.after(0)):
        pass


def test_the_holder_sees_that_somebody_waits_and_cannot_come_back_first(tmp_path: Path) -> None:
    order: list[str] = []

    def wait() -> None:
        with exclusive_access(tmp_path, ONE, Deadline.after(10)):
            order.append("waiter")

    thread = threading.Thread(target=wait)
    with exclusive_access(tmp_path, ONE, Deadline.after(1)) as hold:
        assert not hold.is_wanted()
        thread.start()
        until(hold.is_wanted)
        assert not order
    with exclusive_access(tmp_path, ONE, Deadline.after(10)):
        order.append("holder")
    thread.join()
    assert order == ["waiter", "holder"]


def test_waiting_can_be_called_off(tmp_path: Path) -> None:
    cancelled = threading.Event()
    failures: list[Busy] = []

    def wait() -> None:
        try:
            with exclusive_access(tmp_path, ONE, Deadline.after(30), cancelled.is_set):
                pytest.fail("two held it at once")
        except Busy as busy:
            failures.append(busy)

    with exclusive_access(tmp_path, ONE, Deadline.after(1)) as hold:
        thread = threading.Thread(target=wait)
        thread.start()
        until(hold.is_wanted)
        cancelled.set()
        thread.join()
    assert len(failures) == 1


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with (
        pytest.raises(UsageError, match=r"192\.0\.2\.10_4370"),
        exclusive_access(tmp_path / "file", ONE, Deadline.after(1)),
    ):
        pytest.fail("the lock was taken without a file")
