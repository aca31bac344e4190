"""Release of pushed lines from quarantine, next to records of a terminal's log."""

from __future__ import annotations

from zk_pipeline.operations.quarantine_release import release_quarantine
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.push.push_fixtures import adopt, push
from zk_pipeline_tests.store.store_fixtures import rows

GOOD = b"0042\t2026-03-02 08:00:00\t0\t15\t7"  # was rejected by an earlier version
BAD = b"0042\t2026-13-40 08:00:00\t0\t15"
UNKNOWN = b"pin=0042\ttime=2026-03-02 08:00:00"


def test_lines_that_can_be_read_now_become_punches_and_others_stay_as_text(store: Store) -> None:
    adopt(store)
    push(store, rejected=[GOOD, BAD])
    push(store, table="NEWTABLE", rejected=[UNKNOWN])
    (done,) = release_quarantine(store)
    assert (done.records, done.new, done.left, done.error) == (1, 1, 2, None)
    assert rows(store, "SELECT user_id, verify_type, work_code, source FROM raw_punches") == [("0042", 15, 7, "push")]
    left = [one for one in store.quarantine.all() if one.released_at is None]
    assert {(one.record_format, one.text, one.source) for one in left} == {
        ("ATTLOG", "0042\t2026-13-40 08:00:00\t0\t15", "push"),
        ("NEWTABLE", "pin=0042\ttime=2026-03-02 08:00:00", "push"),
    }
    push(store, ("0042", "2026-03-02 08:00:00"))
    assert rows(store, "SELECT count(*) FROM raw_punches") == [(1,)], "the terminal sends the line again: one punch"


def test_the_event_codes_of_the_settings_decide_which_lines_are_punches(store: Store) -> None:
    adopt(store)
    line = b"time=2026-03-02 08:00:00\tpin=0042\tcardno=0\tevent=221\tinoutstatus=0\tverifytype=1\tindex=1"
    push(store, table="RTLOG", rejected=[line])
    assert [(one.records, one.new) for one in release_quarantine(store)] == [(0, 0)]
    assert [(one.records, one.new) for one in release_quarantine(store, punch_events=(221,))] == [(1, 1)]


def test_bytes_that_are_no_text_are_shown_escaped(store: Store) -> None:
    adopt(store)
    push(store, rejected=[b"\xff0042\t2026-13-40"])
    (record,) = store.quarantine.all()
    assert record.text == "\\xff0042\t2026-13-40"
