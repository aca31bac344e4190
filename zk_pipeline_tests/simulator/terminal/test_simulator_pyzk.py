"""Unmodified pyzk reads exactly the generated data from the emulated terminals."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from typing import Any

import pytest
from zk import ZK
from zk.exception import ZKErrorResponse

from zk_pipeline.simulator.company.workforce import Workforce, generate
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline_tests.simulator.small_terminal import small_terminal

UNTIL = datetime(2026, 11, 20, 15, 0, tzinfo=UTC)
transports = pytest.mark.parametrize("udp", [False, True], ids=["tcp", "udp"])


@pytest.fixture(scope="module")
def workforce() -> Workforce:
    return generate(employees=60, devices=3, days=30, until=UNTIL)


@pytest.fixture(scope="module")
def fleet(workforce: Workforce) -> Iterator[Fleet]:
    with Fleet.serve(workforce.emulated_terminals()) as served:
        yield served


@contextmanager
def connected(port: int, *, udp: bool, password: int = 0) -> Iterator[Any]:
    client = ZK("127.0.0.1", port, timeout=5, password=password, force_udp=udp, ommit_ping=True)
    client.connect()
    try:
        yield client
    finally:
        client.disconnect()


@transports
@pytest.mark.parametrize("index", [0, 1, 2], ids=["8 bytes", "16 bytes", "40 bytes"])
def test_pyzk_reads_exactly_the_generated_users_and_log(
    workforce: Workforce, fleet: Fleet, index: int, udp: bool
) -> None:
    definition = workforce.terminals[index]
    with connected(fleet.port_of(definition.name), udp=udp) as client:
        users, log = client.get_users(), client.get_attendance()
    assert [(one.uid, one.user_id, one.privilege, one.card) for one in users] == [
        (one.uid, one.user_id, one.privilege, one.card) for one in definition.users
    ]
    if definition.user_record_size == 72:
        assert [one.name for one in users] == [one.name for one in definition.users]
    truth = workforce.log_of(definition.name)
    assert len(truth) > 1_000
    # pyzk names the first byte of 16-byte records status and the second punch, as in other layouts.
    named = ("punch_state", "verify_type") if definition.layout == 16 else ("verify_type", "punch_state")
    assert [(one.user_id, one.timestamp, one.status, one.punch) for one in log] == list(
        zip(
            truth["user_id"],
            truth["punched_at_local"].to_numpy().tolist(),
            truth[named[0]],
            truth[named[1]],
            strict=True,
        )
    )


@transports
def test_pyzk_reads_what_the_terminal_says_of_itself(workforce: Workforce, fleet: Fleet, udp: bool) -> None:
    definition = workforce.terminals[2]
    with connected(fleet.port_of(definition.name), udp=udp) as client:
        assert client.get_serialnumber() == definition.serial_number
        assert client.get_firmware_version() == definition.firmware
        assert client.get_platform() == definition.platform
        assert client.get_device_name() == definition.device_name
        assert client.get_mac() == definition.mac
        assert client.get_fp_version() == 10
        assert client.get_face_version() == 0
        assert client.get_pin_width() == 23
        assert client.get_network_params()["mask"] == "255.255.255.0"
        assert client.get_extend_fmt() is None  # an unknown option
        client.read_sizes()
        assert (client.users, client.records) == (
            len(definition.users),
            len(workforce.log_of(definition.name)),
        )
        assert client.rec_cap == definition.record_capacity
        assert client.get_templates() == []


@transports
def test_pyzk_sets_the_clock_and_clears_the_log(udp: bool) -> None:
    terminal = small_terminal(clock_offset_seconds=-420)
    with Fleet.serve([terminal]) as fleet, connected(fleet.port_of("gate"), udp=udp) as client:
        assert client.get_time() == datetime.fromisoformat("2026-03-02T14:53:00")
        client.set_time(datetime.fromisoformat("2026-03-02T15:00:00"))
        assert client.get_time() == datetime.fromisoformat("2026-03-02T15:00:00")
        client.disable_device()
        client.clear_attendance()
        client.enable_device()
        assert client.get_attendance() == []
        assert client.records == 0


@transports
def test_pyzk_gets_in_with_the_right_comm_key_only(udp: bool) -> None:
    with Fleet.serve([small_terminal(comm_key=9_999)]) as fleet:
        with connected(fleet.port_of("gate"), udp=udp, password=9_999) as client:
            assert len(client.get_attendance()) == 5
        with (
            pytest.raises(ZKErrorResponse, match="Unauthenticated"),
            connected(fleet.port_of("gate"), udp=udp),
        ):
            pass


@transports
def test_pyzk_hears_a_live_punch(udp: bool) -> None:
    with Fleet.serve([small_terminal()]) as fleet, connected(fleet.port_of("gate"), udp=udp) as client:
        capture = client.live_capture(new_timeout=1)
        assert next(capture) is None  # registered, without a punch within the second
        fleet.punch("gate", "1002", verify_type=15, punch_state=1)
        punch = next(capture)
        client.end_live_capture = True
        assert list(capture) == []
    assert (punch.user_id, punch.uid, punch.status, punch.punch) == ("1002", 12, 15, 1)
    assert punch.timestamp == datetime.fromisoformat("2026-03-02T15:00:00")
