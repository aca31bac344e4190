"""Encoding of uploads that wait for a shared store, and of their results: without pandas, which takes too long for the
time of the lock.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from zk_pipeline.data_libraries import pa
from zk_pipeline.devices.push.records import DeviceEvent, ParsedUpload, PushedUser, RejectedLine
from zk_pipeline.store.push.uploads import PreparedUpload, PushUpload, StoredUpload

KIND = "uploads 1"  # to be counted up with each change of the classes and columns that are encoded

_OF_UPLOAD = ("serial_number", "device", "timezone", "table_name", "stamp", "received_at", "drift_seconds")


def encode_uploads(uploads: Sequence[PreparedUpload]) -> bytes:
    """Two streams of Arrow's IPC format: a row per upload; the punches of all, with `doubted`."""
    doubted = pa.chunked_array([pa.array(one.doubted, pa.bool_()) for one in uploads])
    punches = pa.concat_tables([one.punches for one in uploads]).append_column("doubted", doubted)
    sink = pa.BufferOutputStream()
    for table in (pa.Table.from_pylist([_facts(one) for one in uploads]), punches):
        with pa.ipc.new_stream(sink, table.schema) as stream:
            stream.write_table(table)
    data: bytes = sink.getvalue().to_pybytes()
    return data


def decode_uploads(data: bytes) -> list[PreparedUpload]:
    """The uploads; their punches only as tables, and without the bodies of their answers."""
    source = pa.BufferReader(data)
    facts, punches = _read(source).to_pylist(), _read(source)
    uploads, begin = [], 0
    for one in facts:
        uploads.append(_upload(one, punches.slice(begin, one["rows"])))
        begin += one["rows"]
    return uploads


def encode_results(results: Sequence[StoredUpload | None]) -> str:
    """The results as JSON."""
    return json.dumps([None if one is None else asdict(one) for one in results])


def decode_results(text: str) -> list[StoredUpload | None]:
    return [None if values is None else StoredUpload(**values) for values in json.loads(text)]


def _facts(one: PreparedUpload) -> dict[str, object]:
    upload, parsed = one.upload, one.upload.parsed
    return {
        "upload": {name: getattr(upload, name) for name in _OF_UPLOAD},
        "rejected": [line._asdict() for line in parsed.rejected],
        "users": [user._asdict() for user in parsed.users],
        "events": [event._asdict() for event in parsed.events],
        "lines": parsed.lines,
        "dropped": parsed.dropped,
        "rows": one.punches.num_rows,
        "punch_count": one.punch_count,
        "drift_seconds": one.drift_seconds,
        "lag_seconds": one.lag_seconds,
    }


def _upload(facts: dict[str, Any], punches: pa.Table) -> PreparedUpload:
    parsed = ParsedUpload(
        punches=[],
        rejected=[RejectedLine(**one) for one in facts["rejected"]],
        users=[PushedUser(**one) for one in facts["users"]],
        events=[DeviceEvent(**one) for one in facts["events"]],
        lines=facts["lines"],
        acknowledged="",
        dropped=facts["dropped"],
    )
    return PreparedUpload(
        PushUpload(parsed=parsed, **facts["upload"]),
        punches.drop_columns(["doubted"]),
        punches["doubted"].to_numpy(),
        punch_count=facts["punch_count"],
        drift_seconds=facts["drift_seconds"],
        lag_seconds=facts["lag_seconds"],
    )


def _read(source: pa.BufferReader) -> pa.Table:
    with pa.ipc.open_stream(source) as stream:
        return stream.read_all()
