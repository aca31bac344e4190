"""Lists page by page: the right rows in the right order, each once, also while new rows arrive."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from zk_pipeline.errors import UsageError
from zk_pipeline.store.queries import keyset_pagination
from zk_pipeline.store.queries.keyset_pagination import Key, PageRequest
from zk_pipeline.store.queries.lists import DAY_ORDER, PUNCH_ORDER, Filter
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_fixtures import MONDAY, device, execute, ingest, on, process

ID = Key("id", "number")
NEWEST_FIRST = Key("timestamp", "instant", descending=True)


@pytest.fixture(autouse=True)
def _near_pages_end_sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pages beyond 1,000 rows are found by buckets, so that a list of a few thousand rows has them."""
    monkeypatch.setattr(keyset_pagination, "_SHALLOW", 1_000)


def filled(store: Store, punches: int) -> Store:
    """A store with so many punches of seven people at three devices, over months, in no order of time."""
    for name in ("North", "South", "West"):
        store.devices.add(device(name))
    execute(
        store,
        """
        INSERT INTO raw_punches (device, user_id, punched_at, punched_at_local, status, punch_state, verify_type,
                                 first_poll_id, seq, created_at)
        SELECT ['North', 'South', 'West'][1 + (hash(i) % 3)::BIGINT], (hash(i * 7) % 7)::VARCHAR, t, t::TIMESTAMP,
               1, 0, 1, 1, i, t
        FROM (
            SELECT i, TIMESTAMPTZ '2026-01-01 00:00:00+00' + to_minutes((hash(i * 3) % 200000)::BIGINT) AS t
            FROM range(1, ? + 1) AS numbers(i)
        )
        """,
        [punches],
    )
    execute(store, "UPDATE store_settings SET value = ? WHERE name = 'last_seq'", [str(punches)])
    return store


@pytest.mark.both_engines
def test_voided_and_deleted_punches_are_not_counted(store: Store) -> None:
    filled(store, 300)
    execute(store, "UPDATE raw_punches SET voided_at = punched_at WHERE seq <= 20")
    execute(store, "DELETE FROM raw_punches WHERE seq BETWEEN 16 AND 30")
    for size in (10, 400):
        page = store.lists.punches(Filter(), [NEWEST_FIRST], PageRequest(1, size))
        assert (page.count, len(page.rows), page.until) == (270, min(size, 270), 300)


ORDERS = [
    [ID],
    [Key("id", "number", descending=True)],
    [NEWEST_FIRST],
    [Key("timestamp", "instant")],
    [Key("user_id", "text"), NEWEST_FIRST],
    [Key("device_name", "text", descending=True), Key("user_id", "text")],
]


def expected(store: Store, order: list[Key]) -> list[int]:
    """All ids, ordered by Python."""
    rows = store.lists.punches(Filter(), [ID], PageRequest(1, 10**6)).rows
    rows.sort(key=lambda row: row.id, reverse=order[-1].descending)
    for key in reversed(order):
        rows.sort(key=lambda row: getattr(row, key.column), reverse=key.descending)
    return [row.id for row in rows]


@pytest.mark.parametrize("order", ORDERS, ids=lambda order: ",".join(key.column for key in order))
def test_a_jump_to_any_page_and_a_walk_show_the_same_rows(store: Store, order: list[Key]) -> None:
    filled(store, 1_200)
    wanted = expected(store, order)
    size = 150
    walked, until, after = [], None, None
    for number in range(1, 9):
        jumped = store.lists.punches(Filter(), order, PageRequest(number, size))
        page = store.lists.punches(Filter(), order, PageRequest(number, size, until, after))
        assert [row.id for row in page.rows] == [row.id for row in jumped.rows]
        assert page.count == jumped.count == 1_200
        assert page.has_more == jumped.has_more == (number < 8)
        walked += [row.id for row in page.rows]
        until, after = page.until, page.last
    assert walked == wanted
    assert store.lists.punches(Filter(), order, PageRequest(9, size)).rows == []


def test_a_walk_shows_each_row_once_while_rows_come_in_and_go(store: Store) -> None:
    filled(store, 1_000)
    walked, until, after = [], None, None
    for number in range(1, 11):
        page = store.lists.punches(Filter(), [NEWEST_FIRST], PageRequest(number, 100, until, after))
        walked += [row.id for row in page.rows]
        until, after = page.until, page.last
        ingest(store, "North", *on(date(2026, 5, 1) + timedelta(days=number), "08:00", user_id="new"))
        assert page.count == 1_000 - (number - 1)
        execute(store, "DELETE FROM raw_punches WHERE seq = ?", [walked[number]])  # retention, behind the walk
    assert sorted(walked) == list(range(1, 1_001))


def test_far_pages_are_right_after_rows_came_and_went(store: Store) -> None:
    """Counts of buckets are kept: new rows are counted on top, deleted ones make them be counted again."""
    filled(store, 3_000)
    for change in (
        "SELECT 1",
        "INSERT INTO raw_punches SELECT * REPLACE (seq + 3000 AS seq, punched_at + to_hours(1) AS punched_at) "
        "FROM raw_punches WHERE seq <= 50",
        "DELETE FROM raw_punches WHERE seq BETWEEN 10 AND 900",
    ):
        execute(store, change)
        for order in ORDERS[:4]:
            wanted = expected(store, order)
            page = store.lists.punches(Filter(), order, PageRequest(150, 10))
            assert [row.id for row in page.rows] == wanted[1_490:1_500]


def test_filters_of_punches(store: Store) -> None:
    filled(store, 500)
    rows = store.lists.punches(Filter(), [ID], PageRequest(1, 500)).rows
    instant = datetime(2026, 3, 2, tzinfo=UTC)
    for wanted, keep in (
        (Filter(user_id="3"), lambda row: row.user_id == "3"),
        (Filter(device=2), lambda row: row.device_name == "South" and row.device == 2),
        (Filter(first=MONDAY), lambda row: row.timestamp >= instant),
        (Filter(last=MONDAY), lambda row: row.timestamp < instant + timedelta(days=1)),
        (Filter(first=MONDAY, last=MONDAY), lambda row: row.timestamp.date() == MONDAY),
        (Filter(user_id="'; DROP TABLE devices; --"), lambda _: False),
    ):
        page = store.lists.punches(wanted, [ID], PageRequest(1, 500))
        assert page.rows == [row for row in rows if keep(row)]
        assert page.count == len(page.rows)
    with pytest.raises(UsageError, match="device: there is none with the id 9"):
        store.lists.punches(Filter(device=9), [ID], PageRequest(1, 1))


def test_days_are_listed_with_their_delivery(store: Store) -> None:
    store.devices.add(device("North"))
    ingest(store, "North", *on(MONDAY, "08:55", "18:02"), *on(MONDAY, "04:00", "18:00", user_id="1002"))
    process(store, MONDAY)
    execute(store, "UPDATE crm_deliveries SET state = 'delivered' WHERE user_id = '1002'")
    order = [Key("date", "date", descending=True), Key("user_id", "text")]

    def people(wanted: Filter) -> list[str]:
        page = store.lists.days(wanted, order, PageRequest(1, 10))
        assert page.count == len(page.rows)
        return [row.user_id for row in page.rows]

    assert people(Filter()) == ["1001", "1002"]
    assert people(Filter(is_outlier=True)) == people(Filter(synced_to_crm=True)) == ["1002"]
    assert people(Filter(is_outlier=False)) == people(Filter(synced_to_crm=False)) == ["1001"]
    assert people(Filter(sync_state="pending")) == ["1001"]
    assert people(Filter(site="North", first=MONDAY, last=MONDAY)) == ["1001", "1002"]
    assert people(Filter(last=MONDAY - timedelta(days=1))) == []
    second = store.lists.days(Filter(), order, PageRequest(2, 1, after=(MONDAY, "1001", 1)))
    assert [row.user_id for row in second.rows] == ["1002"]
    assert store.lists.day(1) is not None
    assert store.lists.day(3) is None


def test_nothing_that_can_be_ordered_by_is_ever_null(store: Store) -> None:
    with store.database.read("test") as connection:
        for table, columns in (
            ("raw_punches", ("seq", "punched_at", "user_id", "device", "created_at")),
            (
                "daily_attendance",
                ("id", "work_date", "user_id", "device", "site", "clock_in", "is_outlier", "created_at", "updated_at"),
            ),
        ):
            nullable = connection.execute(
                "SELECT column_name FROM duckdb_columns() WHERE table_name = ? AND is_nullable", [table]
            ).fetchall()
            assert not {name for (name,) in nullable} & set(columns)
    assert (len(PUNCH_ORDER), len(DAY_ORDER)) == (6, 10)
