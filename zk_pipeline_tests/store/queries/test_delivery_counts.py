"""Lists and counts of days by delivery equal the view `processed_attendance`, also after each kind of change."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date, timedelta
from typing import Any

import pytest

from zk_pipeline.store.deliveries.deliveries import SyncStats
from zk_pipeline.store.engine.database import Connection
from zk_pipeline.store.queries import delivery_counts
from zk_pipeline.store.queries.keyset_pagination import Key, PageRequest
from zk_pipeline.store.queries.lists import DayRow, Filter
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_fixtures import MONDAY, device, execute, rows

NEWEST_FIRST = [Key("date", "date", descending=True), Key("user_id", "text")]


@pytest.fixture
def filled(store: Store) -> Store:
    """Forty dates of three users at two sites: without a delivery, with those of several revisions, or of both sites
    together.
    """
    store.devices.add(device("North"))
    execute(
        store,
        """
        INSERT INTO daily_attendance BY NAME
        SELECT i + 1 AS id, ['North', 'South'][1 + i % 2] AS site, site AS device, (i // 2 % 3)::VARCHAR AS user_id,
               DATE '2026-03-02' + (i // 6)::INTEGER AS work_date, work_date + INTERVAL 8 HOUR AS clock_in_local,
               (work_date + INTERVAL 8 HOUR)::TIMESTAMPTZ AS clock_in, 'UTC' AS timezone, 1 + i % 3 AS punch_count,
               i % 5 * 60 AS worked_minutes, false AS is_incomplete, i % 7 = 0 AS is_outlier,
               CASE WHEN is_outlier THEN ['LATE'] ELSE [] END AS outlier_codes, '' AS outlier_reason,
               1 + i % 2 AS revision, '' AS payload_hash, clock_in AS created_at, clock_in AS updated_at,
               i % 4 AS late_minutes, CASE WHEN i % 3 = 0 THEN 2 END AS early_leave_minutes
        FROM range(240) AS numbers(i)
        """,
        [],
    )
    execute(
        store,
        """
        INSERT INTO crm_deliveries BY NAME
        SELECT site, user_id, work_date, revision, '' AS device_ip, hash(i)::VARCHAR AS idempotency_key,
               ['pending', 'delivered', 'failed', 'delivered'][1 + (hash(i) % 4)::BIGINT] AS state,
               (i % 3)::INTEGER AS attempts, created_at,
               CASE WHEN hash(i) % 11 = 0 THEN '[]' END AS merged, 0 AS retry_rounds,
               CASE WHEN state = 'failed' THEN 'refused' END AS last_error
        FROM (
            SELECT day.* EXCLUDE (revision), version.revision, row_number() OVER (ORDER BY id, version.revision) AS i
            FROM daily_attendance AS day, (VALUES (1), (2), (3)) AS version(revision)
        ) AS version WHERE hash(i * 5) % 3 > 0
        """,
        [],
    )
    return store


def listed(store: Store, wanted: Filter, order: Sequence[Key] = NEWEST_FIRST, size: int = 7) -> list[DayRow]:
    """The rows of all pages, by their links."""
    found: list[DayRow] = []
    page = store.lists.days(wanted, order, PageRequest(1, size))
    while True:
        found += page.rows
        if not page.has_more:
            assert page.count == len(found)
            return found
        page = store.lists.days(wanted, order, PageRequest(2, size, page.until, page.last))


def in_view(store: Store, condition: str = "true") -> list[tuple[Any, ...]]:
    columns = ", ".join(DayRow.__dataclass_fields__)
    return rows(store, f"SELECT {columns} FROM processed_attendance WHERE {condition} ORDER BY date DESC, user_id, id")


def fields_of(days: Sequence[DayRow]) -> list[tuple[Any, ...]]:
    return [tuple(getattr(day, name) for name in DayRow.__dataclass_fields__) for day in days]


def check(store: Store) -> None:
    """Statistics, and the first pages of the lists by state of delivery, are those of the view."""
    synced, failed, total = (len(in_view(store, one)) for one in ("synced_to_crm", "sync_state = 'failed'", "true"))
    assert store.deliveries.stats() == SyncStats(total, synced, total - synced, failed)
    for is_synced in (True, False):
        expected = in_view(store, f"synced_to_crm = {is_synced}")
        for number in (1, 4):
            page = store.lists.days(Filter(synced_to_crm=is_synced), NEWEST_FIRST, PageRequest(number, 7))
            assert fields_of(page.rows) == expected[(number - 1) * 7 : number * 7]
            assert (page.count, page.has_more) == (len(expected), number * 7 < len(expected))


def test_each_row_of_a_page_is_that_of_the_view(filled: Store) -> None:
    assert len(rows(filled, "SELECT DISTINCT sync_state, synced_to_crm FROM processed_attendance")) == 4
    assert fields_of(listed(filled, Filter(), size=50)) == in_view(filled)


def test_lists_by_delivery_have_each_row_once_in_any_order(filled: Store) -> None:
    undelivered = in_view(filled, "NOT synced_to_crm")
    assert fields_of(listed(filled, Filter(synced_to_crm=False), size=20)) == undelivered
    by_user = listed(filled, Filter(synced_to_crm=False), [Key("user_id", "text")], size=50)
    assert sorted(fields_of(by_user), key=str) == sorted(undelivered, key=str)
    assert len(listed(filled, Filter(synced_to_crm=False, user_id="1"), size=50)) == sum(
        row[4] == "1" for row in undelivered
    )


CHANGES = {
    "two days exchange their states": """
        UPDATE crm_deliveries SET state = CASE state WHEN 'delivered' THEN 'pending' ELSE 'delivered' END
        WHERE work_date = DATE '2026-03-03' AND (user_id = '1' OR (user_id = '2' AND site = 'North'))""",
    "a delivery is one of both sites": "UPDATE crm_deliveries SET merged = '[]' WHERE work_date = DATE '2026-03-04'",
    "days have another revision": "UPDATE daily_attendance SET revision = 3 - revision WHERE user_id = '2'",
    "deliveries are deleted": "DELETE FROM crm_deliveries WHERE user_id = '0' AND work_date < DATE '2026-03-10'",
    "a date has no days": "DELETE FROM daily_attendance WHERE work_date = DATE '2026-03-05'",
    "two days exchange their users": """
        UPDATE daily_attendance SET user_id = CASE user_id WHEN '0' THEN '1' ELSE '0' END
        WHERE work_date >= DATE '2026-03-10' AND site || user_id IN ('North0', 'South1')""",
}


def test_counts_follow_each_kind_of_change(filled: Store) -> None:
    check(filled)
    before = filled.deliveries.stats()
    for name, change in CHANGES.items():
        execute(filled, change)
        check(filled)
        after = filled.deliveries.stats()
        assert after != before, name
        before = after


def test_only_dates_that_have_changed_are_counted_again(filled: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[list[date]] = []
    count = delivery_counts._count

    def noted(connection: Connection, dates: list[date]) -> dict[date, delivery_counts.DateCounts]:
        counted.append(dates)
        return count(connection, dates)

    monkeypatch.setattr(delivery_counts, "_count", noted)
    filled.deliveries.stats()
    execute(filled, CHANGES["two days exchange their states"])
    filled.deliveries.stats()
    filled.deliveries.stats()
    assert [len(dates) for dates in counted if dates] == [40, 1]
    assert counted[1] == [MONDAY + timedelta(days=1)]


def test_an_empty_store_has_no_undelivered_days(store: Store) -> None:
    assert listed(store, Filter(synced_to_crm=False)) == []
    assert store.deliveries.stats() == SyncStats(0, 0, 0, 0)
