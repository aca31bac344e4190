"""Manual punches: requested, decided, and then counted like punches of terminals."""

from __future__ import annotations

import random
from datetime import date, datetime, time, timedelta
from pathlib import Path

import pytest

from zk_pipeline.attendance.shifts import Assignment, Shift, Target
from zk_pipeline.errors import UsageError
from zk_pipeline.store.engine.database import Where
from zk_pipeline.store.errors import (
    OwnPunchRequest,
    PunchesRefused,
    PunchNotApproved,
    PunchRequestDecided,
    UnknownPunchRequest,
)
from zk_pipeline.store.quality.doctor import Doctor
from zk_pipeline.store.store import Store
from zk_pipeline.store.work_dates.manual_punches import PunchRequest
from zk_pipeline_tests.store.store_fixtures import (
    MONDAY,
    TUESDAY,
    StoppedClock,
    copied,
    device,
    execute,
    ingest,
    on,
    process,
    rows,
    stale,
)

DAYS = (
    "SELECT site, user_id, work_date, strftime(clock_in_local, '%H:%M'), strftime(clock_out_local, '%H:%M'), revision "
    "FROM daily_attendance ORDER BY 1, 2, 3"
)
REVISIONS = "SELECT user_id, work_date, revision FROM daily_attendance_revisions ORDER BY ALL"


@pytest.fixture(scope="module")
def two_days(empty_store_file: Where, tmp_path_factory: pytest.TempPathFactory) -> Where:
    store = copied(empty_store_file, tmp_path_factory.mktemp("two days"))
    store.devices.add(device(site="HQ"))
    ingest(store, "Gate", *on(MONDAY, "08:00", "17:00"), *on(TUESDAY, "08:00"))
    process(store, MONDAY, TUESDAY)
    return store.database.where


@pytest.fixture
def store(two_days: Where, tmp_path: Path, clock: StoppedClock) -> Store:
    """Monday and Tuesday of one user are processed; Tuesday has no clock-out."""
    return copied(two_days, tmp_path, clock)


def asked(day: date = TUESDAY, at: str = "17:30", *, user: str = "1001", site: str = "HQ") -> PunchRequest:
    state = "in" if at < "12" else "out"
    return PunchRequest(user, site, datetime.fromisoformat(f"{day} {at}"), state, "terminal without power")


def request(store: Store, *requests: PunchRequest) -> list[int]:
    return [one.id for one in store.manual_punches.request(requests, "cli:ada")]


def approve(store: Store, *requests: PunchRequest) -> None:
    for id_ in request(store, *requests):
        store.manual_punches.decide([id_], "approved", "cli:bob")


def test_an_approval_makes_exactly_its_work_date_stale_and_its_day_revised_and_due(store: Store) -> None:
    recorded = rows(store, "FROM raw_punches ORDER BY seq")
    request(store, asked())
    assert stale(store) == [], "a request without a decision counts for nothing"
    (done,) = store.manual_punches.decide([1], "approved", "cli:bob")
    assert (done.requested_by, done.decided_by, done.decision) == ("cli:ada", "cli:bob", "approved")
    assert stale(store) == [TUESDAY]
    process(store, TUESDAY)
    assert rows(store, DAYS) == [
        ("HQ", "1001", MONDAY, "08:00", "17:00", 1),
        ("HQ", "1001", TUESDAY, "08:00", "17:30", 2),
    ]
    due = "SELECT work_date, revision, state FROM crm_deliveries ORDER BY 1, 2"
    assert rows(store, due)[1:] == [(TUESDAY, 1, "superseded"), (TUESDAY, 2, "pending")]
    assert rows(store, "FROM raw_punches ORDER BY seq") == recorded
    assert stale(store) == []


def test_an_explanation_marks_the_punch_as_manual_with_reason_and_operators(store: Store, clock: StoppedClock) -> None:
    before = clock.now
    clock.go(hours=1)
    approve(store, asked())
    recorded, manual = store.explanations.explain("1001", TUESDAY).punches
    assert recorded.origin.startswith("polled (poll ")
    assert (manual.site, manual.poll_id, manual.stored_at) == ("HQ", None, clock.now)
    assert manual.origin == "manual punch 1: terminal without power (requested by cli:ada, approved by cli:bob)"
    assert len(store.explanations.explain("1001", TUESDAY, as_of=before).punches) == 1


def test_a_rejected_request_counts_for_nothing_and_no_request_is_decided_twice(store: Store) -> None:
    before = [rows(store, query) for query in (REVISIONS, "SELECT * FROM crm_deliveries ORDER BY ALL")]
    request(store, asked())
    store.manual_punches.decide([1], "rejected", "cli:bob", reason="on leave")
    assert stale(store) == []
    process(store, TUESDAY)
    assert [rows(store, query) for query in (REVISIONS, "SELECT * FROM crm_deliveries ORDER BY ALL")] == before
    for decision in ("approved", "rejected"):
        with pytest.raises(PunchRequestDecided, match="already rejected by cli:bob"):
            store.manual_punches.decide([1], decision, "cli:eve")
    approve(store, asked())  # requested again, and approved
    with pytest.raises(PunchRequestDecided, match="already approved"):
        store.manual_punches.decide([2], "rejected", "cli:eve")
    assert [(one.decision, one.decision_reason) for one in store.manual_punches.all()] == [
        ("rejected", "on leave"),
        ("approved", None),
    ]


def test_a_withdrawn_punch_counts_no_more_and_its_day_is_revised_and_due(store: Store, clock: StoppedClock) -> None:
    approve(store, asked(), asked(MONDAY, "18:00", user="7"))
    process(store, *stale(store))
    before = clock.now
    clock.go(hours=1)
    (done,) = store.manual_punches.withdraw([1], "cli:eve", " wrong user ")
    assert (done.decision, done.decided_by, done.decided_at) == ("withdrawn", "cli:bob", before)
    assert (done.withdrawn_by, done.withdrawn_at, done.withdrawal_reason) == ("cli:eve", clock.now, "wrong user")
    assert stale(store) == [TUESDAY]
    assert rows(store, "SELECT stale_sites[1].site FROM work_dates WHERE latest_punch_seq > processed_seq") == [("HQ",)]
    assert process(store, TUESDAY).failed == {}
    assert stale(store) == []
    days = {row[1:3]: row[3:] for row in rows(store, DAYS)}
    assert days["1001", TUESDAY] == ("08:00", None, 3)
    due = f"SELECT revision, state FROM crm_deliveries WHERE work_date = '{TUESDAY}' ORDER BY 1"
    assert rows(store, due)[-2:] == [(2, "superseded"), (3, "pending")]
    store.manual_punches.withdraw([2], "cli:eve", "wrong date")  # the only punch of its day
    assert process(store, MONDAY).failed == {}
    assert ("7", MONDAY) not in {row[1:3] for row in rows(store, DAYS)}
    approve(store, asked())  # requested again
    assert stale(store) == [TUESDAY]
    assert [one.severity for one in Doctor(store.database).examine(store.clock()) if one.severity == "error"] == []


def test_an_explanation_has_the_withdrawal_and_before_it_the_punch(store: Store, clock: StoppedClock) -> None:
    approve(store, asked())
    before = clock.now
    clock.go(hours=1)
    store.manual_punches.withdraw([1], "cli:eve", "wrong user")
    now, then = store.explanations.explain("1001", TUESDAY), store.explanations.explain("1001", TUESDAY, as_of=before)
    assert ([one.manual_punch_id for one in now.punches], [one.id for one in now.withdrawn]) == ([None], [1])
    assert now.withdrawn[0].withdrawal == (
        "manual punch 1 at 2026-03-03 17:30: terminal without power "
        "(requested by cli:ada, approved by cli:bob, withdrawn by cli:eve: wrong user)"
    )
    assert ([one.manual_punch_id for one in then.punches], then.withdrawn) == ([None, 1], [])
    assert store.explanations.explain("1001", MONDAY).withdrawn == now.at("Port").withdrawn == []


def test_only_approved_punches_are_withdrawn_all_or_none(store: Store) -> None:
    approve(store, asked())
    request(store, asked(at="18:00"), asked(at="19:00"))
    store.manual_punches.decide([3], "rejected", "cli:bob", reason="no")
    for number, words in ((2, "waits for a decision"), (3, "was rejected")):
        with pytest.raises(PunchNotApproved, match=f"manual punch {number} {words}"):
            store.manual_punches.withdraw([1, number], "cli:eve", "x")
    with pytest.raises(UnknownPunchRequest):
        store.manual_punches.withdraw([1, 9], "cli:eve", "x")
    with pytest.raises(UsageError, match="needs a reason"):
        store.manual_punches.withdraw([1], "cli:eve", " ")
    assert store.manual_punches.all()[0].decision == "approved"
    execute(store, "UPDATE work_dates SET raw_purged_at = now() WHERE work_date = ?", [TUESDAY])
    with pytest.raises(UsageError, match="deleted by retention"):
        store.manual_punches.withdraw([1], "cli:eve", "x")
    execute(store, "UPDATE work_dates SET raw_purged_at = NULL")
    store.manual_punches.withdraw([1], "cli:eve", "x")
    with pytest.raises(PunchNotApproved, match="manual punch 1 was withdrawn"):
        store.manual_punches.withdraw([1], "cli:eve", "x")
    with pytest.raises(PunchRequestDecided, match="already withdrawn by cli:eve"):
        store.manual_punches.decide([1], "approved", "cli:bob")


def test_another_operator_must_decide_where_that_is_asked_for(store: Store) -> None:
    request(store, asked())
    store.manual_punches.request([asked(at="18:30")], "cli:bob")
    for ids in ([1], [1, 2]):
        with pytest.raises(OwnPunchRequest, match="another must decide"):
            store.manual_punches.decide(ids, "approved", "cli:ada", may_be_own=False)
    assert [one.decision for one in store.manual_punches.all()] == [None, None], "all or none"
    (done,) = store.manual_punches.decide([1], "approved", "cli:bob", reason="seen", may_be_own=False)
    assert (done.decision, done.decision_reason) == ("approved", "seen")


def test_a_user_is_unknown_without_enrolment_days_and_recorded_punches(store: Store) -> None:
    store.devices.add(device("Dock", site="Port"))
    ingest(store, "Dock", *on(MONDAY, "08:00", user_id="8"))  # not processed
    approve(store, asked(user="1O01"))
    assert store.enrolled_users.unknown(["1001", "8", "1O01", "9"]) == ["1O01", "9"]


def test_bad_requests_are_named_each_and_none_is_stored(store: Store) -> None:
    approve(store, asked(at="18:00"))
    bad = [
        asked(),
        asked(site="HO"),
        asked(day=date(2027, 1, 1)),
        asked(at="18:00"),
        asked(),
        PunchRequest("1001", "HQ", datetime(2026, 3, 2, 7), "in", " "),  # noqa: DTZ001 (wall clock)
        PunchRequest("", "HO", datetime(2027, 3, 2, 7), "inn", "x"),  # noqa: DTZ001 (wall clock)
        asked(day=date(2019, 12, 31)),
    ]
    with pytest.raises(PunchesRefused) as refused:
        store.manual_punches.request(bad, "cli:ada", approve=True, history_start=date(2020, 1, 1))
    assert refused.value.problems == {
        1: "no site 'HO'; there are: HQ",
        2: "1001 out at 2027-01-01 17:30 is in the future",
        3: "1001 out at 2026-03-03 18:00 is manual punch 1 already",
        4: "1001 out at 2026-03-03 17:30 is requested already",
        5: "the reason is empty",
        6: "the user_id is empty; the state 'inn' is not in or out; no site 'HO'; there are: HQ",
        7: "work date 2019-12-31 is before ZK_PIPELINE_HISTORY_START: the first possible one is 2020-01-01",
    }
    assert len(store.manual_punches.all()) == 1


def test_a_user_without_any_other_punch_has_a_day_in_the_zone_of_the_site(store: Store) -> None:
    store.devices.add(device("Dock", timezone="Europe/Istanbul", site="Port"))
    approve(store, asked(at="08:10", user="7", site="Port"), asked(user="7", site="Port"))
    process(store, *stale(store))
    assert rows(store, f"SELECT * FROM ({DAYS}) WHERE site = 'Port'") == [("Port", "7", TUESDAY, "08:10", "17:30", 1)]
    assert rows(store, "SELECT hour(clock_in), timezone FROM daily_attendance WHERE site = 'Port'") == [
        (5, "Europe/Istanbul")
    ]


def test_manual_punches_stay_at_their_site_and_follow_its_last_terminal(store: Store) -> None:
    store.devices.add(device("HQ", timezone="Asia/Dubai", site="Other"))  # named like the site, and elsewhere
    approve(store, asked())
    process(store, *stale(store))
    store.devices.add(device("Door", timezone="Europe/Istanbul", site="HQ"))
    store.devices.update("Gate", site="Yard")  # the site keeps Door
    assert TUESDAY in stale(store)
    process(store, *stale(store))
    assert [row[:5] for row in rows(store, DAYS)] == [
        ("HQ", "1001", TUESDAY, "17:30", None),
        ("Yard", "1001", MONDAY, "08:00", "17:00"),
        ("Yard", "1001", TUESDAY, "08:00", None),
    ]
    assert rows(store, "SELECT hour(clock_in) FROM daily_attendance WHERE site = 'HQ'") == [(14,)]
    store.devices.update("Door", site="Main")  # the site gets another name
    process(store, *stale(store))
    assert {row[0] for row in rows(store, DAYS)} == {"Main", "Yard"}
    store.devices.update("Door", timezone="UTC")
    assert stale(store) == [TUESDAY]
    process(store, TUESDAY)
    assert rows(store, "SELECT hour(clock_in) FROM daily_attendance WHERE site = 'Main'") == [(17,)]
    assert [one.name for one in Doctor(store.database).examine(store.clock()) if one.severity == "error"] == []


def test_the_work_date_of_a_request_is_not_before_the_first_one(store: Store) -> None:
    store.shifts.add(Shift(name="night", start=time(22), end=time(6)))
    store.shifts.assign(Assignment(shift="night", target=Target(user_id="1001")))
    early, late = asked(MONDAY, "03:00"), asked(MONDAY, "22:00")
    with pytest.raises(PunchesRefused, match=f"work date {MONDAY - timedelta(1)} is before"):
        store.manual_punches.request([early], "cli:ada", history_start=MONDAY)
    assert store.manual_punches.all() == []
    assert len(store.manual_punches.request([late], "cli:ada", history_start=MONDAY)) == 1


def test_a_site_without_registered_terminals_keeps_the_zone_of_its_oldest_removed_one(store: Store) -> None:
    store.devices.add(device("Dock", timezone="Europe/Istanbul", site="Port"))
    store.devices.remove("Dock")
    approve(store, asked(at="08:10", user="7", site="Port"))
    process(store, *stale(store))
    assert rows(store, "SELECT hour(clock_in) FROM daily_attendance WHERE site = 'Port'") == [(5,)]


def test_a_day_does_not_change_when_its_manual_punch_is_lost(store: Store) -> None:
    approve(store, asked())
    process(store, TUESDAY)
    execute(store, "UPDATE raw_punches SET voided_at = now() WHERE punched_at_local::DATE = ?", [TUESDAY])
    assert process(store, TUESDAY).failed == {}, "its clock-in is the manual punch now"
    execute(store, "DELETE FROM manual_punches")
    assert "punches are missing" in process(store, TUESDAY).failed[TUESDAY]


def test_retention_purges_manual_punches_with_their_date_and_none_is_requested_for_it_again(
    store: Store, clock: StoppedClock
) -> None:
    approve(store, asked())
    request(store, asked(MONDAY, "18:00"))
    process(store, MONDAY, TUESDAY)
    execute(store, "UPDATE crm_deliveries SET state = 'delivered' WHERE state = 'pending'")
    execute(store, "UPDATE work_dates SET reprocess_after = NULL")
    clock.go(days=400)
    assert store.retention.clean(retention_days=100).punches == 4
    assert store.manual_punches.all() == []
    with pytest.raises(PunchesRefused, match="deleted by retention"):
        request(store, asked())
    assert rows(store, DAYS)[1][4] == "17:30"


@pytest.mark.file_engine
def test_a_restore_keeps_the_manual_punches_of_since_and_of_the_backup(
    store: Store, clock: StoppedClock, tmp_path: Path
) -> None:
    approve(store, asked())
    process(store, TUESDAY)
    file = store.backups.make(tmp_path / "before.duckdb").file
    approve(store, asked(MONDAY, "18:00"))
    request(store, asked(MONDAY, "19:00"))
    process(store, *stale(store))
    days = rows(store, DAYS)
    execute(store, "DELETE FROM manual_punches WHERE id = 1")  # lost
    store.restore.run(file)
    assert [(one.id, one.decision) for one in store.manual_punches.all()] == [
        (1, "approved"),
        (2, "approved"),
        (3, None),
    ]
    assert process(store, MONDAY, *stale(store)).failed == {}
    assert rows(store, DAYS) == days
    clock.go(hours=1)
    store.manual_punches.withdraw([1], "cli:eve", "wrong user")
    process(store, *stale(store))
    days = rows(store, DAYS)
    store.restore.run(file)
    assert store.manual_punches.all()[0].withdrawal_reason == "wrong user"
    assert process(store, *stale(store)).failed == {}
    assert rows(store, DAYS) == days


@pytest.mark.parametrize("seed", [0, *(pytest.param(seed, marks=pytest.mark.matrix) for seed in range(1, 8))])
def test_days_are_those_of_a_store_in_which_terminals_recorded_all_punches(
    seed: int, store: Store, empty_store_file: Where, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Punches of a week, each by a terminal or by hand at random; two people, with shifts by day and by night."""
    other_store = copied(empty_store_file, tmp_path_factory.mktemp("other"))
    chance = random.Random(seed)
    punches = [
        (user, datetime(2026, 3, 4) + timedelta(minutes=chance.randrange(7 * 1440)))  # noqa: DTZ001 (wall clock)
        for user in ("7", "8")
        for _ in range(12)
    ]
    other_store.devices.add(device(site="HQ"))
    for one in (store, other_store):
        one.shifts.add(Shift(name="night", start=time(22), end=time(6)))
        one.shifts.assign(Assignment(shift="night", target=Target(user_id="8", site="HQ")))
        one.shifts.assign(Assignment(shift="night", target=Target(device="Gate"), valid_from=date(2026, 3, 8)))
    ingest(other_store, "Gate", *((user, str(at)) for user, at in punches))
    manual = [one for one in punches if chance.random() < 0.5]
    ingest(store, "Gate", *((user, str(at)) for user, at in punches if (user, at) not in manual))
    process(store, *stale(store))
    store.manual_punches.request(
        [PunchRequest(user, "HQ", at, "in", "no power") for user, at in manual], "cli:ada", approve=True
    )
    process(store, *stale(store))
    process(other_store, *stale(other_store))
    compared = (
        "SELECT * EXCLUDE (id, revision, payload_hash, run_id, created_at, updated_at) "
        "FROM daily_attendance WHERE user_id IN ('7', '8') ORDER BY user_id, work_date"
    )
    assert rows(store, compared) == rows(other_store, compared)
