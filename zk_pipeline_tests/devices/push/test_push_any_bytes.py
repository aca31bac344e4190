"""Any body is read or refused by a documented error, and each of its lines is accounted for."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from zk_pipeline.devices.push.uploads import (
    DEFAULT_PUNCH_EVENTS,
    UnreadableBody,
    parse_counts,
    parse_options,
    parse_quarantined,
    parse_upload,
)

TABLES = ["ATTLOG", "OPERLOG", "RTLOG", "TABLEDATA:transaction", "TABLEDATA:user", "BIODATA", "OPTIONS", "NEW_TABLE"]
# Parts of lines that lead far into the parsers.
PARTS = st.sampled_from(
    [
        *(b"\t", b"\n", b"\r\n", b" ", b"=", b"\0", b"0", b"104", b"2026-03-02 08:41:07", b"2026-02-31 08:41:07"),
        *(b"OPLOG ", b"USER PIN=", b"FP PIN=1\tTMP=", b"Passwd=", b"pin=", b"event=", b"time=", b"time_second="),
        *(b"857920849", b"-1", b"99999999999999999999", "王".encode("gb18030"), "é".encode(), b"\xff", b"\x1f\x8b"),
    ]
)
BODIES = st.one_of(st.binary(max_size=80), st.lists(PARTS, max_size=14).map(b"".join))


@settings(max_examples=75)
@given(table=st.sampled_from(TABLES), body=BODIES, encoding=st.sampled_from(["UTF-8", "cp1256", "GBK", "utf-16"]))
def test_each_line_of_any_body_is_a_record_a_rejected_line_or_dropped(table: str, body: bytes, encoding: str) -> None:
    try:
        upload = parse_upload(table, body, encoding=encoding, punch_events=DEFAULT_PUNCH_EVENTS, parameters={})
    except UnreadableBody:
        return
    assert 0 <= upload.dropped <= upload.lines
    assert upload.dropped == 0 or table in ("OPERLOG", "BIODATA", "OPTIONS")
    assert upload.lines <= body.count(b"\n") + body.count(b"\r") + 1
    assert all("\n" not in one.reason and len(one.reason) < 200 for one in upload.rejected)
    assert all(one.user_id and one.user_id.isprintable() and "\0" not in one.user_id for one in upload.punches)
    assert all(0 <= one.punch_state <= 255 and 0 <= one.verify_type <= 255 for one in upload.punches)
    assert all(one.work_code is None or 0 <= one.work_code < 2**63 for one in upload.punches)
    assert all(0 <= one.card < 2**63 and 0 <= one.privilege < 2**31 for one in upload.users)
    # A punch that is found again in a rejected line could be released twice.
    for one in upload.rejected:
        assert not parse_quarantined(table, one.raw, encoding=encoding, punch_events=DEFAULT_PUNCH_EVENTS)


@settings(max_examples=50)
@given(BODIES)
def test_options_and_counts_are_read_from_any_body(body: bytes) -> None:
    assert all(count >= 0 for count in parse_counts(body).values())
    assert all(not key.startswith("~") for key in parse_options(body))


@settings(max_examples=50)
@given(st.lists(st.tuples(st.text("0123456789ABé王", min_size=1, max_size=8), st.integers(0, 255)), max_size=6))
def test_each_punch_of_a_body_is_read_in_order(sent: list[tuple[str, int]]) -> None:
    body = "".join(f"{user_id}\t2026-03-02 08:41:07\t{state}\t1\t0\r\n" for user_id, state in sent).encode()
    upload = parse_upload("ATTLOG", body, encoding="UTF-8", punch_events=DEFAULT_PUNCH_EVENTS, parameters={})
    assert [(one.user_id, one.punch_state) for one in upload.punches] == sent
    assert upload.acknowledged == f"OK: {len(sent)}"
