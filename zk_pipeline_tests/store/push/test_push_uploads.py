"""Uploads of terminals that push: each punch once, with its source, whatever way and however often it arrives."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import pytest

from zk_pipeline.devices.push.uploads import DeviceEvent, ParsedUpload, PushedPunch, PushedUser, RejectedLine
from zk_pipeline.store.push.terminals import Contact
from zk_pipeline.store.push.uploads import PushUpload, StoredUpload
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.push.push_fixtures import store_uploads
from zk_pipeline_tests.store.store_fixtures import SERIAL, StoppedClock, device, execute, ingest, rows, stale

EIGHT = datetime(2026, 3, 2, 8, 0)  # noqa: DTZ001 (a wall-clock reading)
PUNCH = ("0042", "2026-03-02 08:00")


@pytest.fixture
def pushing(store: Store) -> Store:
    """A store with the device Gate, which pushes."""
    adopt(store, SERIAL, "Gate")
    return store


def adopt(store: Store, serial: str, name: str, timezone: str | None = "UTC") -> None:
    store.push.record_contacts([Contact(serial_number=serial, address="192.0.2.10", seen_at=store.clock())])
    store.push.adopt(serial, name, timezone=timezone, default_timezone="UTC", site=None, by="cli:ann")


def punch(user_id: str = "0042", at: datetime = EIGHT, *, work_code: int | None = None) -> PushedPunch:
    return PushedPunch(user_id, at, 1, 15, work_code, None)


def upload(
    *punches: PushedPunch,
    device: str = "Gate",
    serial: str = SERIAL,
    timezone: str = "UTC",
    table: str = "ATTLOG",
    stamp: str | None = "9999",
    rejected: Sequence[RejectedLine] = (),
    users: Sequence[PushedUser] = (),
    events: Sequence[DeviceEvent] = (),
    received_at: datetime = datetime(2026, 3, 2, 8, 0, 5, tzinfo=UTC),
    drift_seconds: float | None = None,
    dropped: int = 0,
) -> PushUpload:
    lines = len(punches) + len(rejected) + len(users) + len(events) + dropped
    return PushUpload(
        serial_number=serial,
        device=device,
        timezone=timezone,
        table_name=table,
        stamp=stamp,
        parsed=ParsedUpload(list(punches), list(rejected), list(users), list(events), lines, f"OK: {lines}", dropped),
        received_at=received_at,
        drift_seconds=drift_seconds,
    )


def counts(stored: StoredUpload | None) -> tuple[int, int, int, int]:
    assert stored is not None
    return stored.stored, stored.duplicates, stored.quarantined, stored.other


@pytest.mark.both_engines("matrix")
def test_an_upload_that_is_repeated_is_stored_once(pushing: Store) -> None:
    bad = RejectedLine(b"0042\t2026-13-40 08:00:00\t0", "impossible date")
    done = [store_uploads(pushing, [upload(punch(work_code=7), punch("7"), rejected=[bad])])[0] for _ in range(3)]
    assert [counts(one) for one in done] == [(2, 0, 1, 0), (0, 2, 1, 0), (0, 2, 1, 0)]
    assert rows(
        pushing,
        "SELECT user_id, punched_at, punched_at_local, status, punch_state, verify_type, work_code, source "
        "FROM raw_punches ORDER BY ALL",
    ) == [
        ("0042", EIGHT.replace(tzinfo=UTC), EIGHT, 15, 1, 15, 7, "push"),
        ("7", EIGHT.replace(tzinfo=UTC), EIGHT, 15, 1, 15, None, "push"),
    ]
    assert rows(pushing, "SELECT device, raw, reason, record_format FROM quarantined_records") == [
        ("Gate", *bad, "ATTLOG")
    ]
    assert rows(
        pushing,
        "SELECT id, serial, device, table_name, stamp, lines, stored, duplicates, quarantined, other, lag_seconds "
        "FROM push_batches ORDER BY id",
    ) == [
        (number, SERIAL, "Gate", "ATTLOG", "9999", 3, new, 2 - new, 1, 0, 5.0)
        for number, new in ((1, 2), (2, 0), (3, 0))
    ]
    assert stale(pushing) == [EIGHT.date()]


def test_a_punch_twice_in_one_upload_is_one_row_and_counts_as_a_duplicate(pushing: Store) -> None:
    (done,) = store_uploads(pushing, [upload(punch(), punch(), punch("7"))])
    assert counts(done) == (2, 1, 0, 0)


@pytest.mark.both_engines("matrix")
def test_uploads_of_several_terminals_and_several_of_one_are_stored_together(pushing: Store) -> None:
    adopt(pushing, "S2", "Yard", "Asia/Kolkata")
    yard = upload(punch(), device="Yard", serial="S2", timezone="Asia/Kolkata")
    done = store_uploads(
        pushing, [upload(punch()), upload(punch(), punch("7")), yard, upload(stamp=None, table="OPERLOG")]
    )
    assert [counts(one) for one in done] == [(1, 0, 0, 0), (1, 1, 0, 0), (1, 0, 0, 0), (0, 0, 0, 0)]
    assert rows(pushing, "SELECT device, user_id, punched_at FROM raw_punches ORDER BY ALL") == [
        ("Gate", "0042", EIGHT.replace(tzinfo=UTC)),
        ("Gate", "7", EIGHT.replace(tzinfo=UTC)),
        ("Yard", "0042", datetime(2026, 3, 2, 2, 30, tzinfo=UTC)),
    ]
    assert [one.batch_id for one in done if one] == [1, 2, 3, 4]  # in the order of their arrival


def test_an_upload_whose_terminal_is_not_accepted_is_not_stored_and_does_not_affect_others(pushing: Store) -> None:
    for number, name in enumerate(("Moved", "Off", "Removed", "Pending")):
        adopt(pushing, f"S{number}", name)
    pushing.devices.update("Moved", timezone="Asia/Kolkata")
    pushing.devices.update("Off", enabled=False)
    pushing.devices.remove("Removed")
    execute(pushing, "UPDATE push_terminals SET device = NULL WHERE device = 'Pending'")
    names = ("Moved", "Off", "Removed", "Pending")
    refused = [upload(punch(), device=name, serial=f"S{number}") for number, name in enumerate(names)]
    done = store_uploads(pushing, [*refused, upload(punch()), upload(punch(), serial="unknown")])
    assert [one is None for one in done] == [True, True, True, True, False, True]
    assert rows(pushing, "SELECT DISTINCT device FROM raw_punches") == [("Gate",)]
    assert rows(pushing, "SELECT DISTINCT serial FROM push_batches") == [(SERIAL,)]
    assert rows(pushing, "SELECT DISTINCT serial_number FROM push_stamps") == [(SERIAL,)]


def test_a_punch_that_is_polled_and_pushed_is_one_row_with_the_source_that_was_first(store: Store) -> None:
    store.devices.add(device("Gate"))
    ingest(store, "Gate", PUNCH)
    serial = store.devices.get("Gate").serial_number
    assert serial is not None
    adopt(store, serial, "Gate", timezone=None)
    later = EIGHT + timedelta(hours=9)
    (done,) = store_uploads(store, [upload(punch(), punch(at=later), serial=serial)])
    assert counts(done) == (1, 1, 0, 0)
    assert ingest(store, "Gate", PUNCH, ("0042", "2026-03-02 17:00")).new == 0
    assert rows(store, "SELECT punched_at_local, source FROM raw_punches ORDER BY 1") == [
        (EIGHT, "poll"),
        (later, "push"),
    ]
    assert [(one.name, one.polled, one.pushes) for one in store.devices.all()] == [("Gate", True, True)]


@pytest.mark.both_engines("matrix")
def test_stamps_are_kept_as_received_and_an_upload_that_answers_a_query_does_not_change_them(pushing: Store) -> None:
    for stamp in ("83", "9", "None", "0", None):  # neither the order nor the form of stamps has a meaning
        store_uploads(pushing, [upload(stamp=stamp)])
    store_uploads(pushing, [upload(stamp="2011-04-05T17:40:20", table="OPERLOG")])
    assert pushing.push.state().stamps == {SERIAL: {"ATTLOG": "None", "OPERLOG": "2011-04-05T17:40:20"}}


def test_a_stamp_is_saved_with_its_upload_or_not_at_all(pushing: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(*_: object) -> None:
        raise RuntimeError("the last statement fails")

    with monkeypatch.context() as patch:
        patch.setattr("zk_pipeline.store.push.uploads._record_batches", broken)
        with pytest.raises(RuntimeError):
            store_uploads(pushing, [upload(punch())])
    assert pushing.push.state().stamps == {}
    assert rows(pushing, "SELECT count(*) FROM raw_punches") == [(0,)]


def test_punches_of_one_date_share_a_poll_and_those_of_the_next_have_another(
    pushing: Store, clock: StoppedClock
) -> None:
    for minutes in (0, 5, 24 * 60):
        clock.go(minutes=minutes)
        store_uploads(pushing, [upload(punch(at=EIGHT + timedelta(minutes=minutes)))])
    assert rows(pushing, "SELECT device, status, mode FROM device_polls") == [("Gate", "success", "push")] * 2
    assert rows(pushing, "SELECT count(DISTINCT first_poll_id), count(*) FROM raw_punches") == [(2, 3)]


class TestClock:
    def test_a_punch_of_the_future_is_suspect_once_the_clock_was_right(self, pushing: Store) -> None:
        ahead = punch(at=EIGHT + timedelta(minutes=20))
        store_uploads(pushing, [upload(ahead)])
        assert self.suspect(pushing) == []  # an unconfirmed zone is no wrong clock
        store_uploads(pushing, [upload(punch(), drift_seconds=-5.0)])
        store_uploads(pushing, [upload(ahead._replace(user_id="7"), punch("8"))])
        assert self.suspect(pushing) == ["7"]

    def test_a_late_upload_is_not_suspect(self, pushing: Store) -> None:
        store_uploads(pushing, [upload(punch(), drift_seconds=0.0)])
        store_uploads(pushing, [upload(punch("7"), received_at=datetime(2026, 3, 9, tzinfo=UTC))])
        assert self.suspect(pushing) == []

    def test_a_measured_drift_is_that_of_the_device_and_makes_its_punches_suspect(self, pushing: Store) -> None:
        store_uploads(pushing, [upload(punch(), drift_seconds=-5.0)])
        store_uploads(pushing, [upload(punch("7"), drift_seconds=-3600.0)])
        assert rows(pushing, "SELECT clock_drift_seconds, clock_wrong_by FROM devices") == [(-3600.0, -3600.0)]
        assert self.suspect(pushing) == ["7"]
        store_uploads(pushing, [upload(punch("8"), drift_seconds=2.0)])
        assert rows(pushing, "SELECT clock_drift_seconds, clock_wrong_by FROM devices") == [(2.0, None)]
        assert self.suspect(pushing) == ["7"]

    def test_punches_that_only_a_wrong_zone_made_suspect_count_in_the_right_one(self, pushing: Store) -> None:
        store_uploads(pushing, [upload(punch(), drift_seconds=0.0)])
        store_uploads(pushing, [upload(punch("7", EIGHT + timedelta(hours=2)))])
        assert self.suspect(pushing) == ["7"]
        pushing.devices.update("Gate", timezone="Etc/GMT-2")  # two hours ahead of UTC
        assert self.suspect(pushing) == []

    @staticmethod
    def suspect(store: Store) -> list[str]:
        return [row[0] for row in rows(store, "SELECT user_id FROM raw_punches WHERE is_clock_suspect ORDER BY 1")]


@pytest.mark.both_engines("matrix")
def test_users_are_added_or_changed_and_others_stay(pushing: Store) -> None:
    store_uploads(pushing, [upload(users=[PushedUser("7", "Ann", 0, 0, None), PushedUser("8", "Bob", 14, 99, 3)])])
    store_uploads(pushing, [upload(users=[PushedUser("7", "Anna", 0, 0, None)], dropped=2)])
    assert rows(pushing, "SELECT user_id, uid, name, privilege, card FROM device_users ORDER BY 1") == [
        ("7", 0, "Anna", 0, 0),
        ("8", 3, "Bob", 14, 99),
    ]
    assert rows(pushing, "SELECT lines, other FROM push_batches ORDER BY id") == [(2, 2), (3, 3)]


def test_the_users_of_a_later_poll_replace_the_pushed_ones(store: Store) -> None:
    store.devices.add(device("Gate"))
    ingest(store, "Gate", users=[("1", 1, "Cem", 0, 0)])
    serial = store.devices.get("Gate").serial_number
    assert serial is not None
    adopt(store, serial, "Gate", timezone=None)
    store_uploads(store, [upload(serial=serial, users=[PushedUser("1", "Cem B", 0, 0, None)])])
    assert rows(store, "SELECT user_id, uid, name FROM device_users") == [("1", 1, "Cem B")]
    ingest(store, "Gate", users=[("1", 1, "Cem", 0, 0), ("2", 2, "Dan", 0, 0)])
    assert rows(store, "SELECT user_id, uid, name FROM device_users ORDER BY 1") == [("1", 1, "Cem"), ("2", 2, "Dan")]


@pytest.mark.both_engines("matrix")
def test_an_event_is_stored_once_and_is_no_punch(pushing: Store) -> None:
    set_clock = DeviceEvent(21, "1", EIGHT, "0\t0\t0\t0", True)
    for _ in range(2):
        store_uploads(pushing, [upload(events=[set_clock, set_clock._replace(code=4)], table="OPERLOG")])
    assert rows(
        pushing, "SELECT device, code, is_operation, user_id, occurred_at_local FROM device_events ORDER BY 2"
    ) == [
        ("Gate", 4, True, "1", EIGHT),
        ("Gate", 21, True, "1", EIGHT),
    ]
    assert rows(pushing, "SELECT count(*) FROM raw_punches") == [(0,)]


def test_punches_of_purged_dates_are_not_stored_again(pushing: Store) -> None:
    store_uploads(pushing, [upload(punch())])
    execute(pushing, "UPDATE work_dates SET raw_purged_at = now()")
    execute(pushing, "DELETE FROM raw_punches")
    (done,) = store_uploads(pushing, [upload(punch(), punch(at=EIGHT + timedelta(days=1)))])
    assert counts(done) == (1, 1, 0, 0)
    assert stale(pushing)[-1] == date(2026, 3, 3)
