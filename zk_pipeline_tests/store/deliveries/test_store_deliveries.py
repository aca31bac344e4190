"""The outbox: claiming, settling, and what becomes of deliveries whose run died."""

from __future__ import annotations

from contextlib import AbstractContextManager
from dataclasses import replace
from datetime import date, datetime, timedelta
from pathlib import Path
from unittest.mock import ANY
from zoneinfo import ZoneInfo

import pytest

from zk_pipeline.crm.models import MAX_ROUNDS, Attempt, Delivery, DeliveryState, Outcome
from zk_pipeline.store.deliveries.deliveries import SyncStats
from zk_pipeline.store.deliveries.due_deliveries import SyncScope
from zk_pipeline.store.engine.database import Database, Where
from zk_pipeline.store.errors import StoreUnusable
from zk_pipeline.store.locks.sync_lock import SyncAlreadyRunning, acquire_sync_lock
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_fixtures import (
    LONG_AFTER,
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
)
from zk_pipeline_tests.store.store_load import held_by_another

STATES = "SELECT user_id, revision, state, attempts, retry_rounds FROM crm_deliveries ORDER BY user_id, revision"


@pytest.fixture(scope="module")
def one_due_day(empty_store_file: Where, tmp_path_factory: pytest.TempPathFactory) -> Where:
    store = copied(empty_store_file, tmp_path_factory.mktemp("due"))
    store.devices.add(device("Gate", timezone="Europe/Istanbul", site="HQ", ip="192.0.2.10"))
    days_of(store, "1001")
    return store.database.where


@pytest.fixture
def store(one_due_day: Where, tmp_path: Path, clock: StoppedClock) -> Store:
    """With 1001's Monday due."""
    return copied(one_due_day, tmp_path, clock)


def days_of(store: Store, *user_ids: str, day: date = MONDAY, times: tuple[str, ...] = ("08:00", "17:00")) -> None:
    ingest(store, "Gate", *(punch for user_id in user_ids for punch in on(day, *times, user_id=user_id)))
    process(store, day)


def sending(at: Where) -> AbstractContextManager[object]:
    return Database(at).engine.acquire_sync_lock()


def has_sync_lock() -> bool:
    return True


def ended(
    delivery: Delivery,
    state: DeliveryState,
    *,
    attempts: int = 1,
    status: int | None = None,
    error: str | None = None,
) -> Outcome:
    return Outcome(
        delivery=delivery, state=state, attempts=attempts, finished_at=LONG_AFTER, status=status, error=error
    )


def claim(store: Store, run_id: str = "run", limit: int = 100, **scope: object) -> list[Delivery]:
    return store.deliveries.outbox(SyncScope(**scope), run_id, has_sync_lock).settle_and_claim([], limit)  # type: ignore[arg-type]


def claim_and_send(store: Store, run_id: str) -> list[Delivery]:
    outbox = store.deliveries.outbox(SyncScope(), run_id, has_sync_lock)
    claimed = outbox.settle_and_claim([], 100)
    outbox.mark_sending(claimed)
    return claimed


def settle(store: Store, *outcomes: Outcome, run_id: str = "run") -> None:
    store.deliveries.outbox(SyncScope(), run_id, has_sync_lock).settle_and_claim(list(outcomes), 0)


def one_round(store: Store, state: DeliveryState, run_id: str, **scope: object) -> list[str]:
    """Claim what is due and end it so; whom it was about."""
    claimed = store.deliveries.outbox(SyncScope(**scope), run_id, has_sync_lock).settle_and_claim([], 100)  # type: ignore[arg-type]
    settle(store, *(ended(delivery, state, status=500, error="no") for delivery in claimed), run_id=run_id)
    return [delivery.user_id for delivery in claimed]


def test_a_claimed_delivery_carries_the_day_in_the_zone_of_its_device(store: Store) -> None:
    (delivery,) = claim(store)
    istanbul = ZoneInfo("Europe/Istanbul")
    assert (delivery.site, delivery.user_id, delivery.work_date, delivery.revision) == ("HQ", "1001", MONDAY, 1)
    assert (delivery.device_name, delivery.device_ip, delivery.attempts) == ("Gate", "192.0.2.10", 0)
    assert delivery.clock_in == datetime(2026, 3, 2, 8, tzinfo=istanbul)
    assert delivery.clock_in.isoformat() == "2026-03-02T08:00:00+03:00"
    assert str(delivery.clock_out) == "2026-03-02 17:00:00+03:00"
    assert (delivery.is_outlier, delivery.outlier_reason) == (False, "")


def test_every_attempt_at_a_revision_sends_the_same_even_where_the_device_has_moved(store: Store) -> None:
    (first,) = claim(store, "a")
    store.devices.update("Gate", ip_address="192.0.2.99")
    (again,) = claim(store, "b")
    assert again == first


def test_claiming_marks_as_sending_and_claims_each_once_oldest_first(store: Store) -> None:
    days_of(store, "1003", "1002", day=TUESDAY)
    assert [d.user_id for d in claim(store, limit=2)] == ["1001", "1002"]
    assert [row[2] for row in rows(store, STATES)] == ["sending", "sending", "pending"]
    assert [d.user_id for d in claim(store, limit=2)] == ["1003"]
    assert claim(store) == []


def test_looking_at_what_is_due_claims_nothing(store: Store) -> None:
    days_of(store, "1002")
    days_of(store, "1001", day=TUESDAY)
    assert [d.user_id for d in store.deliveries.peek(SyncScope())] == ["1001", "1002", "1001"]
    assert [d.work_date for d in store.deliveries.peek(SyncScope(user_id="1001", first=TUESDAY), 5)] == [TUESDAY]
    assert next(store.deliveries.peek(SyncScope(), 1)).user_id == "1001"
    assert store.deliveries.due_dates(SyncScope()) == {MONDAY: 2, TUESDAY: 1}
    assert store.deliveries.states() == {"pending": 3}


def test_a_scope_limits_what_is_claimed(store: Store) -> None:
    days_of(store, "1002")
    days_of(store, "1001", day=TUESDAY)
    assert [d.work_date for d in claim(store, first=TUESDAY)] == [TUESDAY]
    assert [d.user_id for d in claim(store, last=MONDAY, user_id="1002")] == ["1002"]
    assert [(d.user_id, d.work_date) for d in claim(store)] == [("1001", MONDAY)]


@pytest.mark.parametrize(
    ("state", "status", "error", "after"),
    [
        (DeliveryState.DELIVERED, 201, None, ("delivered", 2, 0, LONG_AFTER, LONG_AFTER, 201, None)),
        (DeliveryState.RETRY, 503, "try later", ("retry", 2, 1, LONG_AFTER, None, 503, "try later")),
        (DeliveryState.RETRY, None, "timed out", ("retry", 2, 1, LONG_AFTER, None, None, "timed out")),
        (DeliveryState.FAILED, 400, "no such person", ("failed", 2, 0, LONG_AFTER, None, 400, "no such person")),
    ],
)
def test_what_came_of_a_delivery_is_on_record(
    state: DeliveryState, status: int | None, error: str | None, after: tuple[object, ...], store: Store
) -> None:
    (delivery,) = claim(store)
    settle(store, ended(delivery, state, attempts=2, status=status, error=error))
    assert rows(
        store,
        "SELECT state, attempts, retry_rounds, last_attempt_at, delivered_at, last_status, last_error "
        "FROM crm_deliveries",
    ) == [after]


def test_a_delivery_that_was_not_attempted_is_due_again_as_if_never_claimed(store: Store) -> None:
    (delivery,) = claim(store)
    settle(store, ended(delivery, DeliveryState.UNSENT, attempts=0))
    assert rows(store, "SELECT state, attempts, retry_rounds, last_attempt_at, last_error FROM crm_deliveries") == [
        ("pending", 0, 0, None, None)
    ]
    assert claim(store) == [delivery]


def test_a_success_wipes_the_words_of_the_failure_before_it(store: Store) -> None:
    one_round(store, DeliveryState.RETRY, "a")
    (delivery,) = claim(store, "b", states=("retry",))
    assert delivery.attempts == 1
    settle(store, ended(delivery, DeliveryState.DELIVERED, status=200))
    assert rows(store, "SELECT state, attempts, last_error, last_status FROM crm_deliveries") == [
        ("delivered", 2, None, 200)
    ]


def test_what_a_dead_run_was_sending_is_claimed_again_under_the_same_key(store: Store) -> None:
    days_of(store, "1002")
    dead = claim(store, "dead run")
    assert claim(store, "next run") == dead
    settle(store, *(ended(delivery, DeliveryState.DELIVERED, status=200) for delivery in dead))
    assert claim(store, "third run") == []


def test_a_later_revision_waits_until_the_earlier_one_is_settled(store: Store) -> None:
    (first,) = claim(store)
    days_of(store, "1001", "1002", times=("08:00", "18:30"))
    assert [d.user_id for d in claim(store)] == ["1002"]
    settle(store, ended(first, DeliveryState.DELIVERED, status=201))
    assert [(d.user_id, d.revision) for d in claim(store)] == [("1001", 2)]


def test_a_later_revision_waits_also_for_what_a_dead_run_was_sending(store: Store) -> None:
    dead = claim_and_send(store, "dead run")
    days_of(store, "1001", times=("08:00", "18:30"))
    assert [replace(d, sent_body=None) for d in claim(store, "next run")] == dead
    settle(store, ended(dead[0], DeliveryState.DELIVERED, status=200))
    assert [d.revision for d in claim(store, "next run")] == [2]


@pytest.mark.parametrize("state", [DeliveryState.RETRY, DeliveryState.FAILED, DeliveryState.UNSENT])
def test_a_revision_that_did_not_arrive_and_is_no_longer_the_latest_is_superseded(
    state: DeliveryState, store: Store
) -> None:
    (delivery,) = claim(store)
    days_of(store, "1001", times=("08:00", "18:30"))
    settle(store, ended(delivery, state, error="no"))
    assert [row[:3] for row in rows(store, STATES)] == [("1001", 1, "superseded"), ("1001", 2, "pending")]


def test_a_revision_that_arrived_is_delivered_though_a_later_one_waits(store: Store) -> None:
    (delivery,) = claim(store)
    days_of(store, "1001", times=("08:00", "18:30"))
    settle(store, ended(delivery, DeliveryState.DELIVERED))
    assert [row[:3] for row in rows(store, STATES)] == [("1001", 1, "delivered"), ("1001", 2, "pending")]
    assert store.deliveries.stats() == SyncStats(total=1, synced=0, unsynced=1, failed=0)


def test_a_retry_waits_for_a_run_that_asks_for_it(store: Store) -> None:
    assert one_round(store, DeliveryState.RETRY, "a") == ["1001"]
    assert one_round(store, DeliveryState.RETRY, "b") == []
    assert one_round(store, DeliveryState.DELIVERED, "c", states=("retry",)) == ["1001"]


def test_a_run_claims_nothing_again_that_it_has_settled_itself(store: Store) -> None:
    for _ in range(2):
        one_round(store, DeliveryState.RETRY, "run", states=("retry", "failed", "delivered"))
    assert rows(store, STATES) == [("1001", 1, "retry", 1, 1)]


def test_a_delivery_becomes_a_dead_letter_after_eight_rounds_and_can_be_tried_again(store: Store) -> None:
    assert MAX_ROUNDS == 8
    execute(store, "UPDATE crm_deliveries SET retry_rounds = 6, state = 'retry'")
    one_round(store, DeliveryState.RETRY, "seventh", states=("retry",))
    assert rows(store, STATES) == [("1001", 1, "retry", 1, 7)]
    one_round(store, DeliveryState.RETRY, "eighth", states=("retry",))
    assert rows(store, STATES) == [("1001", 1, "failed", 2, 8)]
    assert one_round(store, DeliveryState.RETRY, "ninth", states=("retry",)) == []
    assert one_round(store, DeliveryState.DELIVERED, "by hand", states=("failed",)) == ["1001"]


@pytest.mark.parametrize("state", DeliveryState)
def test_a_delivered_revision_is_sent_again_only_when_forced(store: Store, state: DeliveryState) -> None:
    """Whatever is answered then, such as a 422 because the mapping has changed since: the CRM has it all the same."""
    one_round(store, DeliveryState.DELIVERED, "a")
    assert claim(store, "b", states=("retry", "failed")) == []
    (again,) = claim(store, "c", states=("delivered",))
    settle(store, ended(again, state, attempts=0 if state is DeliveryState.UNSENT else 1))
    assert [row[2] for row in rows(store, STATES)] == ["delivered"]


def test_only_the_latest_revision_is_sent_again_when_forced(store: Store) -> None:
    one_round(store, DeliveryState.DELIVERED, "a")
    days_of(store, "1001", times=("08:00", "18:30"))
    one_round(store, DeliveryState.DELIVERED, "b")
    assert [d.revision for d in claim(store, "c", states=("delivered",))] == [2]


def test_a_day_that_moved_to_another_site_is_told_there_without_a_retraction(store: Store) -> None:
    one_round(store, DeliveryState.DELIVERED, "a")
    store.devices.update("Gate", site="Elsewhere")
    process(store, MONDAY)
    (moved,) = claim(store)
    assert (moved.site, moved.revision, moved.is_retracted) == ("Elsewhere", 3, False)


def test_per_site_a_day_that_moved_is_retracted_first_and_told_anew_after_that(store: Store) -> None:
    one_round(store, DeliveryState.DELIVERED, "a")
    store.devices.update("Gate", site="Elsewhere")
    process(store, MONDAY, per_site=True)
    (retraction,) = claim(store)
    assert (retraction.site, retraction.revision) == ("HQ", 2)
    assert (retraction.clock_in, retraction.clock_out, retraction.is_retracted) == (None, None, True)
    assert claim(store) == [], "one at a time of one person and date"
    settle(store, ended(retraction, DeliveryState.DELIVERED, status=201))
    (moved,) = claim(store)
    assert (moved.site, moved.is_retracted) == ("Elsewhere", False)


def test_a_retraction_that_did_not_arrive_gets_a_new_round_because_a_row_waits_for_it(store: Store) -> None:
    one_round(store, DeliveryState.DELIVERED, "a")
    store.devices.update("Gate", site="Elsewhere")
    process(store, MONDAY, per_site=True)
    assert one_round(store, DeliveryState.RETRY, "b") == ["1001"]
    assert claim(store, "b") == [], "not again in the same run"
    (retraction,) = claim(store, "c")
    assert retraction.is_retracted
    settle(store, ended(retraction, DeliveryState.DELIVERED), run_id="c")
    assert [d.site for d in claim(store, "c")] == ["Elsewhere"]


def test_a_refused_retraction_of_a_site_is_a_dead_letter_whatever_the_other_site_says(store: Store) -> None:
    one_round(store, DeliveryState.DELIVERED, "a")
    store.devices.update("Gate", site="Elsewhere")
    process(store, MONDAY, per_site=True)
    one_round(store, DeliveryState.FAILED, "b")
    one_round(store, DeliveryState.DELIVERED, "c")
    assert rows(store, "SELECT site, state FROM crm_deliveries ORDER BY site DESC, revision") == [
        ("HQ", "delivered"),
        ("HQ", "failed"),
        ("Elsewhere", "delivered"),
    ]


def test_of_two_sites_with_the_same_person_one_is_under_way_at_a_time(store: Store) -> None:
    store.devices.add(device("Annex", timezone="Europe/Istanbul"))
    ingest(store, "Annex", *on(MONDAY, "12:00", "13:00"))
    process(store, MONDAY, per_site=True)
    (first,) = claim(store)
    assert claim(store) == []
    settle(store, ended(first, DeliveryState.FAILED))
    (second,) = claim(store)
    assert {first.site, second.site} == {"HQ", "Annex"}


def test_every_attempt_is_on_record_that_of_a_dead_run_too(store: Store, clock: StoppedClock) -> None:
    claim_and_send(store, "dead run")
    (delivery,) = claim(store, "next run")
    tried = Attempt(started_at=clock(), finished_at=LONG_AFTER, outcome="unavailable", status=503, error="503: busy")
    done = Attempt(started_at=clock(), finished_at=LONG_AFTER, outcome="delivered", status=201)
    settle(store, replace(ended(delivery, DeliveryState.DELIVERED, attempts=2), tried=(tried, done)), run_id="next run")
    assert rows(store, "SELECT run_id, outcome, status, error, started_at, finished_at FROM crm_attempts") == [
        ("dead run", "abandoned", None, ANY, clock(), None),
        ("next run", "unavailable", 503, "503: busy", clock(), LONG_AFTER),
        ("next run", "delivered", 201, None, clock(), LONG_AFTER),
    ]
    assert rows(store, "SELECT DISTINCT idempotency_key FROM crm_attempts") == [(delivery.idempotency_key,)]


def test_days_are_counted_by_the_state_of_their_latest_revision(store: Store) -> None:
    days_of(store, "1002", "1003", "1004")
    one, two, three, _ = claim(store)
    settle(
        store, ended(one, DeliveryState.DELIVERED), ended(two, DeliveryState.FAILED), ended(three, DeliveryState.RETRY)
    )
    days_of(store, "1002", day=TUESDAY)
    assert store.deliveries.stats() == SyncStats(total=5, synced=1, unsynced=4, failed=1)
    assert store.deliveries.states_by_date([MONDAY, TUESDAY]) == {
        MONDAY: {"delivered": 1, "failed": 1, "retry": 1, "sending": 1},
        TUESDAY: {"pending": 1},
    }


def test_several_hundred_are_claimed_and_settled_at_once(store: Store) -> None:
    days_of(store, *(str(number) for number in range(299)))
    claimed = claim(store, limit=1000)
    assert len({d.idempotency_key for d in claimed}) == 300
    settle(store, *(ended(d, DeliveryState.DELIVERED) for d in claimed))
    assert store.deliveries.states() == {"delivered": 300}
    settle(store)
    assert store.deliveries.due_dates(SyncScope(last=MONDAY + timedelta(days=1))) == {}


@pytest.mark.closed_stores
def test_only_one_process_sends_at_a_time_and_a_killed_one_makes_room(store: Store) -> None:
    with held_by_another(sending, store.database.where) as sender:
        with (
            pytest.raises(SyncAlreadyRunning, match="another sync run is sending"),
            store.deliveries.acquire_sync_lock(),
        ):
            pass
        sender.kill()
        with (
            store.deliveries.acquire_sync_lock(),
            pytest.raises(SyncAlreadyRunning),
            store.deliveries.acquire_sync_lock(),
        ):
            pass
        with store.deliveries.acquire_sync_lock():
            pass


@pytest.mark.file_engine
def test_a_sender_without_a_place_for_its_lock_is_told_so(store: Store) -> None:
    below_a_file = store.database.path / "store.duckdb"
    with pytest.raises(StoreUnusable, match="cannot open the lock file"), acquire_sync_lock(below_a_file):
        pass
