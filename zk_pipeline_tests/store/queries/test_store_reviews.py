"""Reviews of outliers: which one counts, and the effect of a new revision."""

from __future__ import annotations

from datetime import timedelta

import pytest

from zk_pipeline.store.queries.keyset_pagination import Key, PageRequest
from zk_pipeline.store.queries.lists import DAY_ORDER, Filter
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_fixtures import MONDAY, StoppedClock, device, ingest, on, process, rows, stale

ORDER = [Key(*DAY_ORDER["user_id"])]


@pytest.fixture
def outlying(store: Store) -> Store:
    """1001 and 1002 came too late, 1003 in time."""
    store.devices.add(device(site="HQ"))
    for user, came in (("1001", "12:00"), ("1002", "12:30"), ("1003", "09:00")):
        ingest(store, "Gate", *on(MONDAY, came, "18:00", user_id=user))
    process(store, *stale(store))
    return store


def listed(store: Store, *, is_reviewed: bool | None) -> list[tuple[str, int, int]]:
    found = store.lists.days(Filter(is_outlier=True, is_reviewed=is_reviewed), ORDER, PageRequest(1, 100))
    assert found.count == len(found.rows)
    return [(day.user_id, day.id, day.revision) for day in found.rows]


def test_a_day_is_reviewed_once_somebody_says_so(outlying: Store) -> None:
    (_, first, revision), (_, second, _) = listed(outlying, is_reviewed=False)
    done = outlying.reviews.mark({first: revision}, by="hr", note="was at the doctor's")
    assert [one.note for one in done.values()] == ["was at the doctor's"]
    assert [user for user, *_ in listed(outlying, is_reviewed=False)] == ["1002"]
    assert [user for user, *_ in listed(outlying, is_reviewed=True)] == ["1001"]
    assert [user for user, *_ in listed(outlying, is_reviewed=None)] == ["1001", "1002"]
    assert outlying.lists.outlier_codes(Filter(is_reviewed=False)) == {"CLOCK_IN_TOO_LATE": 1}
    assert {id_: one.reviewed_by for id_, one in outlying.reviews.latest([first, second]).items()} == {first: "hr"}


def test_a_day_that_changes_is_to_be_looked_at_again_and_what_was_said_stays(outlying: Store) -> None:
    (_, id_, revision), _ = listed(outlying, is_reviewed=False)
    outlying.reviews.mark({id_: revision}, by="hr", note="agreed")
    ingest(outlying, "Gate", *on(MONDAY, "18:30", user_id="1001"))
    process(outlying, *stale(outlying))
    assert [(user, of) for user, _, of in listed(outlying, is_reviewed=False)] == [("1001", 2), ("1002", 1)]
    assert outlying.reviews.latest([id_]) == {}
    assert outlying.reviews.mark({id_: revision}, by="hr") == {}, "that is not the day any more"
    outlying.reviews.mark({id_: 2}, by="boss")
    said = outlying.reviews.of_day("HQ", "1001", MONDAY)
    assert [(one.revision, one.reviewed_by, one.note) for one in said] == [(1, "hr", "agreed"), (2, "boss", "")]


def test_the_last_word_counts(outlying: Store) -> None:
    (_, id_, revision), _ = listed(outlying, is_reviewed=False)
    outlying.reviews.mark({id_: revision}, by="hr")
    later = Store(outlying.database, StoppedClock(outlying.clock() + timedelta(minutes=1)))
    later.reviews.mark({id_: revision}, by="boss", is_reviewed=False)
    assert [user for user, *_ in listed(outlying, is_reviewed=False)] == ["1001", "1002"]
    assert outlying.reviews.latest([id_])[id_].reviewed_by == "boss"
    assert len(outlying.reviews.of_day("HQ", "1001", MONDAY)) == 2


def test_only_unusual_days_that_there_are_can_be_reviewed(outlying: Store) -> None:
    ((ordinary,),) = rows(outlying, "SELECT id FROM daily_attendance WHERE user_id = '1003'")
    assert outlying.reviews.mark({ordinary: 1, 999_999: 1}, by="hr") == {}
    assert rows(outlying, "SELECT count(*) FROM day_reviews") == [(0,)]
