"""A full reading equals the terminal's log and users, over both transports and in every layout."""

# ruff: noqa: DTZ001 - wall clocks have no zone

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import numpy as np
import pandas as pd
import pytest

from zk_pipeline.devices.models import PUNCH_COLUMNS, PUNCH_TYPES, REJECTED_COLUMNS, USER_COLUMNS, Protocol
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.simulator.terminal.protocol import Command, Frame
from zk_pipeline.simulator.terminal.records import Layout
from zk_pipeline_tests.devices.terminal_fixtures import (
    NAME,
    USERS,
    Rewrite,
    data_packets,
    device,
    gateway,
    same_punches,
    serving,
    table,
    terminal,
    udp_only,
)

LAYOUTS: list[Layout] = [8, 16, 40]
PROTOCOLS: list[Protocol] = ["tcp", "udp"]


@pytest.mark.parametrize("records", [0, 1, 7, 5000], ids=lambda count: f"{count}-records")
@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_record_is_read_in_the_order_of_the_log(protocol: Protocol, layout: Layout, records: int) -> None:
    emulated = terminal(layout, records=records)
    with serving(emulated, protocol=protocol) as one:
        reading = gateway().read(one)

    assert same_punches(reading.punches, emulated.punches())
    assert reading.rejected.empty
    assert reading.layout == (layout if records else None)
    assert (reading.info.record_count, reading.record_count_after) == (records, records)
    assert reading.info.transport == protocol
    assert reading.bytes_read >= records * layout


def test_frames_have_the_promised_columns_and_types() -> None:
    with serving(terminal(40)) as one:
        reading = gateway().read(one)

    assert list(reading.punches.columns) == PUNCH_COLUMNS
    assert list(reading.rejected.columns) == REJECTED_COLUMNS
    assert [str(kind) for kind in reading.punches.dtypes] == list(PUNCH_TYPES.values())
    assert reading.punches["work_code"].isna().all()
    assert (reading.punches["status"] == reading.punches["verify_type"]).all()
    assert [str(kind) for kind in reading.rejected.dtypes] == ["int64", "object", "object"]


@pytest.mark.parametrize("layout", LAYOUTS)
def test_users_are_read_with_their_names(layout: Layout) -> None:
    with serving(terminal(layout)) as one:
        users = gateway().users(one)

    assert list(users.columns) == USER_COLUMNS
    assert users["user_id"].tolist() == [user.user_id for user in USERS]
    assert users["uid"].tolist() == [user.uid for user in USERS]
    assert users["card"].tolist() == [user.card for user in USERS]
    assert users["name"].tolist() == [user.name for user in USERS]


def test_a_terminal_tells_who_it_is() -> None:
    emulated = terminal(40, clock_offset_seconds=-300)
    with serving(emulated) as one:
        info = gateway().probe(one)

    definition = emulated.definition
    assert info.serial_number == definition.serial_number
    assert info.firmware_version == definition.firmware
    assert (info.platform, info.device_name, info.mac) == (
        definition.platform,
        definition.device_name,
        definition.mac,
    )
    assert (info.user_count, info.user_capacity) == (len(USERS), definition.user_capacity)
    assert (info.record_count, info.record_capacity) == (60, definition.record_capacity)
    assert info.clock_drift_seconds == pytest.approx(-300.5, abs=1.0)
    assert 0 < info.round_trip_ms < 5000


@pytest.mark.parametrize(
    "answer",
    [
        b"~SerialNumber=A=1\0",
        b"~serialnumber==A=1\0junk",
        b"~SerialNumber=A=1",
        b"SerialNumber=A=1\0",  # X628-C
        b"~Serial Number=A=1\0",
        b"Serial=A=1\0",
        b"=A=1\0",
    ],
)
def test_a_serial_number_is_read_however_it_is_written(answer: bytes) -> None:
    def serial_number(frames: list[Frame]) -> list[Frame]:
        return [replace(frames[0], data=answer)] if b"Serial" in frames[0].data else frames

    with serving(terminal(), Rewrite(Command.CMD_OPTIONS_RRQ, serial_number)) as one:
        assert gateway().probe(one).serial_number == "A=1"


@pytest.mark.parametrize(("answer", "read"), [(b"A1\0", "A1"), (b"", ""), (b"\0", "")])
def test_a_serial_number_without_its_name_is_read(answer: bytes, read: str) -> None:
    def serial_number(frames: list[Frame]) -> list[Frame]:
        return [replace(frames[0], data=answer)] if b"Serial" in frames[0].data else frames

    with serving(terminal(), Rewrite(Command.CMD_OPTIONS_RRQ, serial_number)) as one:
        assert gateway().probe(one).serial_number == read


def test_auto_falls_back_to_udp_where_nothing_takes_a_tcp_connection() -> None:
    emulated = terminal(16)
    with Fleet.serve([emulated]) as fleet, udp_only(fleet.port_of(NAME)) as port:
        reading = gateway().read(device(port, "auto"))

    assert reading.info.transport == "udp"
    assert same_punches(reading.punches, emulated.punches())


def test_auto_prefers_tcp() -> None:
    with serving(terminal(16), protocol="auto") as one:
        assert gateway().probe(one).transport == "tcp"


@pytest.mark.parametrize("key", [1, 131071, 999999, 2**32 - 1])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_every_comm_key_opens_the_session_in_every_session(protocol: Protocol, key: int) -> None:
    with serving(terminal(40, comm_key=key), protocol=protocol) as one:
        for _ in range(5):
            assert gateway(comm_key=key).probe(one).record_count == 60


def test_setting_the_clock_cures_the_drift() -> None:
    with serving(terminal(40, clock_offset_seconds=4000)) as one:
        change = gateway().set_clock(one)
        drift = gateway().probe(one).clock_drift_seconds

    assert change.drift_before_seconds == pytest.approx(4000, abs=1.5)
    assert change.drift_after_seconds == pytest.approx(0, abs=1.5)
    assert drift == pytest.approx(0, abs=1.5)


def test_a_punch_that_lands_during_the_read_confuses_nothing() -> None:
    """The counter is read before the punch, the log after it: 61 records for a counter of 60."""
    for layout in LAYOUTS:
        emulated = terminal(layout)

        def late_punch(answer: list[Frame], emulated=emulated) -> list[Frame]:  # type: ignore[no-untyped-def]
            emulated.punch("1000")
            return answer

        with serving(emulated, Rewrite(Command.CMD_GET_FREE_SIZES, late_punch, times=1)) as one:
            reading = gateway().read(one)

        assert (reading.info.record_count, len(reading.punches), reading.record_count_after) == (60, 61, 61)
        assert same_punches(reading.punches, emulated.punches())


@pytest.mark.parametrize("numbered", [True, False], ids=["numbered", "unnumbered"])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_data_in_packets_of_1008_bytes_is_put_together(protocol: Protocol, numbered: bool) -> None:
    emulated = terminal(40, records=3000)
    cut = Rewrite(Command.CMD_DATA_RDY, data_packets(1008, numbered=numbered))
    with serving(emulated, cut, protocol=protocol) as one:
        assert same_punches(gateway().read(one).punches, emulated.punches())


def test_one_impossible_date_rejects_that_record_only() -> None:
    emulated = terminal(40)
    bad = bytearray(emulated.encoded_log()[:40])
    bad[27:31] = ((((26 * 12 + 1) * 31 + 30) * 24 + 8) * 3600).to_bytes(4, "little")  # 31 February 2026, 08:00
    emulated.append_raw(bytes(bad))
    emulated.punch("1001", datetime(2026, 3, 1, 9, 0))
    with serving(emulated) as one:
        reading = gateway().read(one)

    assert len(reading.punches) == 61
    assert reading.rejected["record_index"].tolist() == [60]
    assert reading.rejected["raw"].tolist() == [bytes(bad)]
    assert reading.rejected["reason"].tolist() == ["impossible date 2026-02-31 08:00:00"]


@pytest.mark.parametrize(
    "refusal",
    [
        lambda frames: [replace(frames[0], command=Command.CMD_ACK_ERROR, data=b"")],
        lambda frames: [replace(frames[0], command=Command.CMD_DATA, data=table(b""))],
    ],
    ids=["refused", "empty"],
)
def test_without_a_user_list_8_byte_records_name_their_slots_alone(refusal) -> None:  # type: ignore[no-untyped-def]
    def only_users(frames: list[Frame]) -> list[Frame]:
        asked.append(1)
        return frames if len(asked) == 1 else refusal(frames)

    asked: list[int] = []
    emulated = terminal(8)
    with serving(emulated, Rewrite(Command.CMD_DATA_WRRQ, only_users)) as one:
        reading = gateway().read(one)

    assert (reading.users, reading.position) == (None, None)
    assert reading.rejected.empty
    assert reading.punches["user_id"].isna().all()
    assert b"".join(reading.punches["raw"]) == emulated.encoded_log()


def test_without_a_user_list_other_layouts_lose_nothing() -> None:
    emulated = terminal(16)
    asked: list[int] = []

    def silence(frames: list[Frame]) -> list[Frame]:
        asked.append(1)
        return frames if len(asked) == 1 else []

    with serving(emulated, Rewrite(Command.CMD_DATA_WRRQ, silence)) as one:
        reading = gateway(timeout=0.3).read(one)

    assert same_punches(reading.punches, emulated.punches())
    assert reading.users is None


@pytest.mark.parametrize("full_time_bit", [True, False])
def test_the_8_byte_order_of_ma300_is_recognised(full_time_bit: bool) -> None:
    emulated = terminal(8, records=30, is_ma300=True)
    records = np.frombuffer(emulated.encoded_log(), "u1").reshape(-1, 8).copy()
    if not full_time_bit:
        records[:, 2] &= ~np.uint8(1 << 5)

    def rewritten(frames: list[Frame]) -> list[Frame]:
        is_log = frames[0].data == table(emulated.encoded_log())
        return [replace(frames[0], data=table(records.tobytes()))] if is_log else frames

    with serving(emulated, Rewrite(Command.CMD_DATA_WRRQ, rewritten)) as one:
        reading = gateway().read(one)

    assert reading.log_layout == "8-MA300"
    assert same_punches(reading.punches, emulated.punches())
    assert reading.punches["status"].tolist() == records[:, 2].tolist()


def test_16_byte_records_bring_their_work_codes() -> None:
    emulated = terminal(16)
    with serving(emulated) as one:
        emulated.punch("1000", verify_type=15, punch_state=1, work_code=7)
        punches = gateway().read(one).punches

    assert punches["work_code"].tolist() == [0] * 60 + [7]
    assert punches[["status", "punch_state", "verify_type"]].iloc[-1].tolist() == [1, 1, 15]
    assert (punches["status"] == punches["punch_state"]).all()


def test_records_of_49_bytes_are_read() -> None:
    emulated = terminal(40, records=20)
    short = emulated.encoded_log()
    padded = b"".join(short[start : start + 40] + bytes(9) for start in range(0, len(short), 40))

    def longer(frames: list[Frame]) -> list[Frame]:
        if frames[0].data == table(short):
            return [replace(frames[0], data=table(padded))]
        return frames

    with serving(emulated, Rewrite(Command.CMD_DATA_WRRQ, longer)) as one:
        reading = gateway().read(one)

    assert reading.layout == 49
    assert same_punches(reading.punches, emulated.punches())


def test_a_counter_that_always_says_0_hides_no_punches() -> None:
    """Newer firmware reports sizes in another format (pyzk issues #126, #170)."""
    for layout in LAYOUTS:
        emulated = terminal(layout)
        blind = Rewrite(
            Command.CMD_GET_FREE_SIZES, lambda frames: [replace(frames[0], data=bytes(len(frames[0].data)))]
        )
        with serving(emulated, blind) as one:
            reading = gateway().read(one)
        assert reading.layout == layout
        assert same_punches(reading.punches, emulated.punches())


def test_readings_of_the_same_log_are_equal_over_tcp_and_udp() -> None:
    emulated = terminal(40, records=500)
    with Fleet.serve([emulated]) as fleet:
        over_tcp, over_udp = (gateway().read(device(fleet.port_of(NAME), kind)) for kind in PROTOCOLS)
    pd.testing.assert_frame_equal(over_tcp.punches, over_udp.punches)
    assert over_tcp.users is not None
    assert over_udp.users is not None
    pd.testing.assert_frame_equal(over_tcp.users, over_udp.users)
