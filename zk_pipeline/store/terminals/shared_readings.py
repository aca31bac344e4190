"""Encoding of readings that wait for a shared store, and of their results: without pandas, which takes too long for the
time of the lock.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, fields, replace
from datetime import date
from typing import Any

from zk_pipeline.data_libraries import pa, pd
from zk_pipeline.devices.models import Device, LogPosition, Reading, TerminalInfo
from zk_pipeline.store.terminals.poll_results import FinishedReading, IngestResult, PreparedReading

KIND = "readings 1"  # to be counted up with each change of the classes and columns that are encoded

_ROWS = ("punches", "rejected", "users")
_OF_READING = tuple(one.name for one in fields(Reading) if one.name not in (*_ROWS, "info", "position"))


def encode_readings(readings: Sequence[PreparedReading]) -> bytes:
    """Streams of Arrow's IPC format: one row per reading with all that is no table; then the tables of each reading."""
    sink = pa.BufferOutputStream()
    _write(sink, pa.Table.from_pylist([_facts(one) for one in readings]))
    for one in readings:
        for table in (one.punches, one.rejected, *([] if one.users is None else [one.users])):
            _write(sink, table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def decode_readings(data: bytes) -> list[PreparedReading]:
    """The readings, with their tables only: the frames of `finished.reading` are empty."""
    source = pa.BufferReader(data)
    return [_reading(facts, source) for facts in _read(source).to_pylist()]


def encode_results(results: Sequence[IngestResult]) -> str:
    """The results as JSON."""
    return json.dumps(
        [asdict(one) | {"touched": {f"{day}": count for day, count in one.touched.items()}} for one in results]
    )


def decode_results(text: str) -> list[IngestResult]:
    return [
        IngestResult(
            **values
            | {
                "touched": {date.fromisoformat(day): count for day, count in values["touched"].items()},
                "warnings": tuple(values["warnings"]),
            }
        )
        for values in json.loads(text)
    ]


def _facts(one: PreparedReading) -> dict[str, object]:
    finished, reading = one.finished, one.finished.reading
    return {
        "device": asdict(finished.device),
        "info": asdict(reading.info),
        "position": None if reading.position is None else asdict(reading.position),
        "reading": {name: getattr(reading, name) for name in _OF_READING},
        "started_at": finished.started_at,
        "finished_at": finished.finished_at,
        "zone": one.zone,
        "fetched": one.fetched,
        "accounted_for": one.accounted_for,
        "run_id": one.run_id,
        "has_users": one.users is not None,
    }


def _reading(facts: dict[str, Any], source: pa.BufferReader) -> PreparedReading:
    reading = Reading(
        info=TerminalInfo(**facts["info"]),
        position=None if facts["position"] is None else LogPosition(**facts["position"]),
        punches=pd.DataFrame(),
        rejected=pd.DataFrame(),
        users=None,
        **facts["reading"],
    )
    return PreparedReading(
        FinishedReading(
            device=Device(**facts["device"]),
            reading=replace(reading, warnings=tuple(reading.warnings)),
            started_at=facts["started_at"],
            finished_at=facts["finished_at"],
        ),
        facts["zone"],
        punches=_read(source),
        rejected=_read(source),
        users=_read(source) if facts["has_users"] else None,
        fetched=facts["fetched"],
        accounted_for=facts["accounted_for"],
        run_id=facts["run_id"],
        has_frames=False,
    )


def _write(sink: pa.BufferOutputStream, table: pa.Table) -> None:
    with pa.ipc.new_stream(sink, table.schema) as stream:
        stream.write_table(table)


def _read(source: pa.BufferReader) -> pa.Table:
    with pa.ipc.open_stream(source) as stream:
        return stream.read_all()
