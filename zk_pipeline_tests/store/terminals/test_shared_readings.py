"""Encoding of readings that wait for a shared store."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from zk_pipeline.devices.models import LogPosition
from zk_pipeline.store.terminals.poll_results import FinishedReading, IngestResult, PreparedReading
from zk_pipeline.store.terminals.shared_readings import (
    decode_readings,
    decode_results,
    encode_readings,
    encode_results,
)
from zk_pipeline_tests.store.store_fixtures import device, reading

AT = datetime(2026, 3, 2, 6, 0, 0, 123456, tzinfo=UTC)
POSITION = LogPosition(
    serial_number="X", layout="40", record_count=2, total_bytes=80, overlap=b"\x00\xff'", user_count=-1
)
FULL = reading(
    [("1001", "2026-03-02 08:00"), ("1002", "2026-03-02 08:00:01")],
    slots=[(7, "2026-03-02 08:05")],
    rejected=[b"\x00\xff"],
    users=[("1001", 1, "Ayşe", 0, 0)],
)
READINGS = {
    "everything": replace(FULL, position=POSITION, warnings=("no users",), mode="incremental"),
    "nothing": replace(reading(), layout=None, log_layout=None, mode="unchanged"),
    "unreadable clock": replace(FULL, info=replace(FULL.info, clock_drift_seconds=None)),
}


def prepared(name: str) -> PreparedReading:
    gate = replace(device("Kapı", timezone="Europe/Istanbul"), last_sync=AT, id=3)
    finished = FinishedReading(device=gate, reading=READINGS[name], started_at=AT, finished_at=AT)
    return replace(PreparedReading.of(finished), run_id="run")


@pytest.mark.parametrize("name", READINGS)
def test_a_reading_arrives_as_it_was_sent(name: str) -> None:
    sent = prepared(name)
    (arrived,) = decode_readings(encode_readings([sent]))
    assert (arrived.punches, arrived.rejected, arrived.users) == (sent.punches, sent.rejected, sent.users)
    assert (arrived.fetched, arrived.accounted_for, arrived.run_id) == (sent.fetched, sent.accounted_for, "run")
    assert arrived.finished.device == sent.finished.device
    assert (arrived.finished.started_at, arrived.finished.finished_at) == (AT, AT)
    for facts in ("info", "position", "warnings", "mode", "layout", "log_layout", "bytes_read", "record_count_after"):
        assert getattr(arrived.finished.reading, facts) == getattr(sent.finished.reading, facts)


def test_several_readings_keep_their_order() -> None:
    sent = [prepared(name) for name in READINGS]
    assert [one.punches for one in decode_readings(encode_readings(sent))] == [one.punches for one in sent]


def test_a_reading_of_another_process_is_not_moved_to_another_zone() -> None:
    (arrived,) = decode_readings(encode_readings([prepared("everything")]))
    assert arrived.in_zone("Europe/Istanbul") is arrived
    with pytest.raises(RuntimeError, match="Kapı: its zone changed"):
        arrived.in_zone("UTC")


def test_results_arrive_as_they_were_sent() -> None:
    one = IngestResult(7, 3, 2, 1, 0, {date(2026, 3, 2): 1}, "poll 7", ("a", "b"))
    two = IngestResult(8, 0, 0, 0, 0, {})
    assert decode_results(encode_results([one, two])) == [one, two]
