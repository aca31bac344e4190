"""Deliveries with an unknown outcome: kept with their key, sent again before later ones."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from zk_pipeline.crm.mapping import IDENTITY_MAPPING
from zk_pipeline.crm.models import MAX_ROUNDS, Attempt, Delivery, DeliveryState, Outcome
from zk_pipeline.crm.payload import encode_batch, encode_one, record_body
from zk_pipeline.store.deliveries.due_deliveries import SyncScope
from zk_pipeline.store.deliveries.journal import Journal
from zk_pipeline.store.deliveries.outbox import SyncOutbox
from zk_pipeline.store.engine.database import Where
from zk_pipeline.store.errors import StoreUnusable
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_fixtures import (
    LONG_AFTER,
    MONDAY,
    StoppedClock,
    copied,
    device,
    execute,
    ingest,
    on,
    process,
    rows,
)

STATES = "SELECT user_id, revision, state, sent_body IS NOT NULL FROM crm_deliveries ORDER BY user_id, revision"
PEOPLE = ("1001", "1002", "1003")


@pytest.fixture(scope="module")
def three_due_days(empty_store_file: Where, tmp_path_factory: pytest.TempPathFactory) -> Where:
    store = copied(empty_store_file, tmp_path_factory.mktemp("due"))
    store.devices.add(device("Gate"))
    days_of(store, *PEOPLE, until="17:00")
    return store.database.where


@pytest.fixture
def store(three_due_days: Where, tmp_path: Path, clock: StoppedClock) -> Store:
    return copied(three_due_days, tmp_path, clock)


def days_of(store: Store, *user_ids: str, until: str) -> None:
    ingest(store, "Gate", *(punch for user in user_ids for punch in on(MONDAY, "08:00", until, user_id=user)))
    process(store, MONDAY)


def outbox(store: Store, run_id: str, user: str | None = "1001", **changes: object) -> SyncOutbox:
    scope = SyncScope(user_id=user, states=("retry",))
    return store.deliveries.outbox(scope, run_id, lambda: True, **changes)  # type: ignore[arg-type]


def claim(store: Store, run_id: str, user: str | None = "1001") -> list[Delivery]:
    return outbox(store, run_id, user).settle_and_claim([], 100)


def settle(
    store: Store, run_id: str, delivery: Delivery, state: DeliveryState, *, said: str = "", status: int | None = None
) -> None:
    tried = [Attempt(started_at=LONG_AFTER, finished_at=LONG_AFTER, outcome=said, status=status)] if said else []
    outcome = Outcome(
        delivery=delivery,
        state=state,
        attempts=len(tried),
        finished_at=LONG_AFTER,
        status=status,
        tried=tuple(tried),
    )
    outbox(store, run_id).settle_and_claim([outcome], 0)


def unknown(store: Store, run_id: str) -> Delivery:
    """A round of 1001's that ends without an answer."""
    (delivery,) = claim(store, run_id)
    settle(store, run_id, delivery, DeliveryState.RETRY, said="unknown")
    return delivery


def mine(store: Store) -> list[tuple[object, ...]]:
    return [row[1:] for row in rows(store, STATES) if row[0] == "1001"]


def test_a_record_whose_outcome_is_unknown_is_sent_again_as_it_was_though_the_mapping_changed(store: Store) -> None:
    first = unknown(store, "a")
    (again,) = outbox(store, "b", encode=lambda _: '{"other": 1}').settle_and_claim([], 1)
    assert again.idempotency_key == first.idempotency_key
    assert again.sent_body == record_body(first, IDENTITY_MAPPING)
    assert encode_one(again) == encode_one(first)
    assert json.loads(encode_batch([again])) == json.loads(encode_batch([first]))


@pytest.mark.parametrize(
    ("state", "said", "status", "is_kept"),
    [
        (DeliveryState.DELIVERED, "delivered", 201, False),
        (DeliveryState.FAILED, "rejected", 400, False),
        pytest.param(DeliveryState.UNSENT, "", None, False, marks=pytest.mark.matrix),
        pytest.param(DeliveryState.RETRY, "unavailable", None, False, marks=pytest.mark.matrix),
        pytest.param(DeliveryState.RETRY, "unavailable", 429, False, marks=pytest.mark.matrix),
        (DeliveryState.RETRY, "unavailable", 503, False),
        pytest.param(DeliveryState.WAITING, "unavailable", 503, False, marks=pytest.mark.matrix),
        pytest.param(DeliveryState.UNSENT, "misconfigured", 401, False, marks=pytest.mark.matrix),
        (DeliveryState.UNSENT, "misconfigured", 200, True),
        (DeliveryState.RETRY, "unavailable", 500, True),
        pytest.param(DeliveryState.RETRY, "unavailable", 504, True, marks=pytest.mark.matrix),
        pytest.param(DeliveryState.RETRY, "unknown", None, True, marks=pytest.mark.matrix),
        (DeliveryState.WAITING, "unknown", None, True),
    ],
)
def test_what_was_sent_is_kept_only_while_its_outcome_is_unknown(
    state: DeliveryState, said: str, status: int | None, is_kept: bool, store: Store
) -> None:
    (delivery,) = claim(store, "a")
    assert delivery.sent_body is None
    assert rows(store, "SELECT sent_body FROM crm_deliveries WHERE state = 'sending'") == [(record_body(delivery),)]
    settle(store, "a", delivery, state, said=said, status=status)
    assert [row[-1] for row in mine(store)] == [is_kept]
    days_of(store, "1001", until="18:30")
    assert [d.revision for d in claim(store, "b")] == [1 if is_kept else 2]


@pytest.mark.parametrize("state", [DeliveryState.UNSENT, DeliveryState.WAITING, DeliveryState.RETRY])
def test_a_round_that_found_out_nothing_leaves_the_outcome_unknown(state: DeliveryState, store: Store) -> None:
    first = unknown(store, "a")
    (again,) = claim(store, "b")
    settle(store, "b", again, state, said="" if state is DeliveryState.UNSENT else "unavailable")
    (third,) = claim(store, "c")
    assert third.sent_body == record_body(first)


@pytest.mark.parametrize("state", [DeliveryState.DELIVERED, DeliveryState.FAILED])
def test_a_newer_revision_follows_one_whose_outcome_was_unknown_once_that_is_known(
    state: DeliveryState, store: Store
) -> None:
    first = unknown(store, "a")
    days_of(store, "1001", until="18:30")
    assert mine(store) == [(1, "retry", True), (2, "pending", False)]
    (again,) = claim(store, "b")
    assert (again.revision, again.idempotency_key) == (1, first.idempotency_key)
    assert claim(store, "b") == [], "the newer one waits"
    settle(store, "b", again, state, said=state.name.lower())
    assert [d.revision for d in claim(store, "b")] == [2]
    assert mine(store)[0] == (1, "delivered" if state is DeliveryState.DELIVERED else "superseded", False)


def test_an_outcome_that_never_becomes_known_holds_the_newer_revision_for_eight_rounds(store: Store) -> None:
    unknown(store, "round 1")
    days_of(store, "1001", until="18:30")
    for number in range(2, MAX_ROUNDS + 1):
        assert unknown(store, f"round {number}").revision == 1
    assert mine(store) == [(1, "superseded", False), (2, "pending", False)]
    assert [d.revision for d in claim(store, "then")] == [2]


def test_a_newer_revision_replaces_a_dead_letter_whose_outcome_stayed_unknown(store: Store) -> None:
    for number in range(MAX_ROUNDS):
        unknown(store, f"round {number}")
    assert mine(store) == [(1, "failed", True)]
    days_of(store, "1001", until="18:30")
    assert mine(store) == [(1, "superseded", False), (2, "pending", False)]
    assert [d.revision for d in claim(store, "then")] == [2]


def test_a_dead_letter_asked_for_again_is_what_was_sent(store: Store) -> None:
    for number in range(MAX_ROUNDS):
        first = unknown(store, f"round {number}")
    assert store.deliveries.requeue(SyncScope()) == 1
    (again,) = claim(store, "by hand")
    assert again.sent_body == first.sent_body


ABANDONED = "SELECT user_id, run_id FROM crm_attempts WHERE outcome = 'abandoned' ORDER BY user_id, run_id"


def killed_run(store: Store, run_id: str, *in_request: str) -> dict[str, Delivery]:
    """Claims all due deliveries, has `in_request` in requests, and dies."""
    dead = outbox(store, run_id, None)
    claimed = {delivery.user_id: delivery for delivery in dead.settle_and_claim([], 100)}
    dead.mark_sending([claimed[user] for user in in_request])
    return claimed


def test_of_what_a_dead_run_had_claimed_only_what_was_in_a_request_is_in_doubt(store: Store) -> None:
    dead = killed_run(store, "dead run", "1002")
    days_of(store, "1001", "1002", until="18:30")
    claimed = claim(store, "next run", None)
    assert [(d.user_id, d.revision, d.sent_body) for d in claimed] == [
        ("1001", 2, None),
        ("1002", 1, record_body(dead["1002"])),
        ("1003", 1, None),
    ]
    assert rows(store, ABANDONED) == [("1002", "dead run")]
    assert mine(store)[0] == (1, "superseded", False)


def test_what_was_in_doubt_before_stays_so_when_the_next_run_dies_without_sending_it(store: Store) -> None:
    dead = killed_run(store, "dead run", "1002")
    killed_run(store, "dead too", "1003")
    days_of(store, "1001", "1002", "1003", until="18:30")
    claimed = claim(store, "next run", None)
    assert [(d.user_id, d.revision) for d in claimed] == [("1001", 2), ("1002", 1), ("1003", 1)]
    assert claimed[1].sent_body == record_body(dead["1002"])
    assert rows(store, ABANDONED) == [("1002", "dead run"), ("1003", "dead too")]


def test_a_delivered_day_forced_by_a_run_that_died_before_sending_it_stays_delivered(store: Store) -> None:
    (delivery,) = claim(store, "a")
    settle(store, "a", delivery, DeliveryState.DELIVERED, said="delivered", status=201)
    dead = store.deliveries.outbox(SyncScope(user_id="1001", states=("delivered",)), "forced", lambda: True)
    assert len(dead.settle_and_claim([], 1)) == 1
    assert claim(store, "next") == []
    assert mine(store) == [(1, "delivered", False)]


def test_without_the_journal_of_a_dead_run_all_it_had_claimed_is_in_doubt(store: Store) -> None:
    dead = killed_run(store, "dead run")
    journal_of(store).unlink()
    assert [d.sent_body for d in claim(store, "next run", None)] == [record_body(dead[user]) for user in PEOPLE]
    assert rows(store, ABANDONED) == [(user, "dead run") for user in PEOPLE]


def test_a_journal_from_before_the_machine_was_started_again_vouches_for_nothing(store: Store) -> None:
    killed_run(store, "dead run")
    journal = journal_of(store)
    _, _, rest = journal.read_text(encoding="utf-8").split(" ", 2)
    journal.write_text(f"run 00000000-0000-0000-0000-000000000000 {rest}", encoding="utf-8")
    claim(store, "next run", None)
    assert len(rows(store, ABANDONED)) == 3


def test_rows_left_by_another_host_are_in_doubt(store: Store) -> None:
    killed_run(store, "dead run")
    execute(store, "UPDATE crm_deliveries SET run_id = 'elsewhere' WHERE user_id = '1003'")
    claim(store, "next run", None)
    assert rows(store, ABANDONED) == [("1003", "elsewhere")]


def test_the_journal_holds_only_what_has_no_outcome_yet(store: Store) -> None:
    run = outbox(store, "run", None)
    claimed = run.settle_and_claim([], 100)
    run.mark_sending(claimed[:2])
    run.mark_sending(claimed[:2])
    lines = journal_of(store).read_text(encoding="utf-8").splitlines()
    assert lines[1:] == [d.idempotency_key for d in claimed[:2]]
    for delivery in claimed[:2]:
        run.settle_and_claim(
            [Outcome(delivery=delivery, state=DeliveryState.DELIVERED, attempts=1, finished_at=LONG_AFTER)], 0
        )
    assert journal_of(store).read_text(encoding="utf-8").splitlines() == lines[:1]


def test_a_journal_that_grew_long_is_cut_to_what_is_open(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "sending", "run")
    journal.note(f"key {number}" for number in range(30_000))
    journal.forget(f"key {number}" for number in range(29_999))
    assert (tmp_path / "sending").read_text(encoding="utf-8").splitlines()[1:] == ["key 29999"]
    assert Journal(tmp_path / "sending", "next").left_behind == {"run": {"key 29999"}}


def test_a_journal_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StoreUnusable, match=r"cannot write the send journal .*file/sending"):
        Journal(tmp_path / "file" / "sending", "run")


def journal_of(store: Store) -> Path:
    side = store.database.engine.side
    return side.with_name(f"{side.name}.crm-sending")


def test_an_outcome_whose_body_was_not_kept_stays_unknown_through_a_run_that_sends_nothing(store: Store) -> None:
    execute(store, "UPDATE crm_deliveries SET sent_body = ''")
    killed_run(store, "dead run")
    (again,) = claim(store, "next run")
    assert again.sent_body == ""
    settle(store, "next run", again, DeliveryState.UNSENT)
    days_of(store, "1001", until="18:30")
    (third,) = claim(store, "third run")
    assert (third.revision, third.sent_body) == (1, "")
    assert encode_one(third) == encode_one(replace(third, sent_body=None))
    settle(store, "third run", third, DeliveryState.FAILED, said="rejected", status=400)
    assert mine(store) == [(1, "superseded", False), (2, "pending", False)]


def test_a_body_that_was_not_kept_is_kept_once_it_is_sent(store: Store) -> None:
    execute(store, "UPDATE crm_deliveries SET sent_body = ''")
    (delivery,) = claim(store, "a")
    settle(store, "a", delivery, DeliveryState.WAITING, said="unknown")
    (again,) = outbox(store, "b", encode=lambda _: '{"other": 1}').settle_and_claim([], 1)
    assert again.sent_body == record_body(delivery)
