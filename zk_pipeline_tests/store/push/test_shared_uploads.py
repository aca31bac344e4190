"""Uploads for another process of a shared store: all that is stored of them arrives there."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from zk_pipeline.devices.push.records import DeviceEvent, ParsedUpload, PushedPunch, PushedUser, RejectedLine
from zk_pipeline.store.push.shared_uploads import decode_results, decode_uploads, encode_results, encode_uploads
from zk_pipeline.store.push.uploads import PreparedUpload, PushUpload, StoredUpload, prepare

AT = datetime.fromisoformat("2026-03-02T08:00:00")
PUNCH = PushedPunch("007", AT, 0, 1, 4_000_000_000, None)
EMPTY = PushUpload(
    serial_number="A1", device="Gate", timezone="Asia/Baku", table_name="OPERLOG", stamp=None,
    parsed=ParsedUpload([], [], [], [], 0, "OK"), received_at=datetime(2026, 3, 2, 4, tzinfo=UTC),
)  # fmt: skip
FULL = replace(
    EMPTY,
    device="Tür",
    stamp="9999",
    drift_seconds=-3600.5,
    parsed=ParsedUpload(
        [PUNCH, PUNCH, PUNCH._replace(user_id="8", work_code=None)],
        [RejectedLine(b"\x00\xff\t1", "impossible date")],
        [PushedUser("7", "Ada — ü", 14, 4_294_967_295, None), PushedUser("8", "", 0, 0, 3)],
        [DeviceEvent(4, "", AT, "1\t2", is_operation=True)],
        8,
        "OK: 8",
        dropped=1,
    ),
)


def test_an_upload_is_decoded_as_it_was_prepared() -> None:
    prepared = prepare([EMPTY, FULL, EMPTY])
    decoded = decode_uploads(encode_uploads(prepared))
    assert [_facts(one) for one in decoded] == [_facts(one) for one in prepared]
    assert [one.punch_count for one in decoded] == [0, 3, 0]
    assert [one.punches.num_rows for one in decoded] == [0, 2, 0]
    assert decoded[1].doubted.all()


def test_uploads_without_any_content_are_decoded() -> None:
    (decoded,) = decode_uploads(encode_uploads(prepare([EMPTY])))
    assert decoded.upload == replace(EMPTY, parsed=replace(EMPTY.parsed, acknowledged=""))


def test_a_result_is_decoded_as_it_was() -> None:
    results = [None, StoredUpload(batch_id=3, stored=1, duplicates=2, quarantined=0, other=4)]
    assert decode_results(encode_results(results)) == results


def _facts(one: PreparedUpload) -> tuple[object, ...]:
    """All but what only the process of the upload needs: the parsed punches and the body of the answer."""
    upload = replace(one.upload, parsed=replace(one.upload.parsed, punches=[], acknowledged=""))
    return upload, one.punches.to_pylist(), one.doubted.tolist(), one.punch_count, one.drift_seconds, one.lag_seconds
