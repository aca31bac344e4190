"""Migrations: a store of every earlier version is upgraded with all its rows, or stays unchanged."""

from __future__ import annotations

import os
import random
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import duckdb
import pytest

from zk_pipeline.errors import ZkPipelineError
from zk_pipeline.store.errors import StoreUnusable
from zk_pipeline.store.schema import migrations_runner
from zk_pipeline.store.schema.migrations_runner import copies_before_migration, migrations, script
from zk_pipeline.store.shifts.holiday_sources import CalendarEvent, HolidayCalendar
from zk_pipeline.store.store import Store
from zk_pipeline_tests.matrix_sample import SEED
from zk_pipeline_tests.store.schema.former_names import ALERT_KEYS, FORMER_TABLE, FORMER_VALUE, former_column
from zk_pipeline_tests.store.store_fixtures import MONDAY, ingest, on, process, rows, stale, store_at
from zk_pipeline_tests.store.store_load import end_all, start

pytestmark = pytest.mark.file_engine

VERSIONS = [number for number, _ in migrations()]
# The oldest, which goes through all migrations, one of those just before one that changes rows, and the newest that is
# upgraded: the others under `matrix`.
BEFORE_CHANGES = [
    before
    for before, (_, name) in zip(VERSIONS, migrations()[1:], strict=False)
    if re.search(r"^(UPDATE|INSERT INTO|DELETE FROM) ", script(name), re.MULTILINE)
]
MIGRATED = {VERSIONS[0], *random.Random(SEED).sample(BEFORE_CHANGES, 1), VERSIONS[-2]}
# What a store holds when it has just come to a version, in that version's own columns: add to it with each migration
# that makes a table. 10 people at two gates over 30 days; the last is not processed, the last but one not delivered.
HELD = {
    1: """
INSERT INTO devices (id, name, ip_address, port, protocol, timezone, site, enabled, encoding, created_at, updated_at)
SELECT i + 1, ['Gate', 'Back'][i + 1], '192.0.2.1' || i, 4370, 'auto', 'UTC', 'HQ', true, 'UTF-8', now(), now()
FROM range(2) AS t(i);
INSERT INTO device_polls (id, device, started_at, finished_at, status, "new", run_id)
SELECT i + 1, ['Gate', 'Back'][i % 2 + 1], TIMESTAMPTZ '2026-02-01 20:00:00+00' + to_days(i::INTEGER // 2),
       TIMESTAMPTZ '2026-02-01 20:00:01+00' + to_days(i::INTEGER // 2), 'success', 10, 'run ' || i
FROM range(60) AS t(i);
INSERT INTO raw_punches (device, user_id, punched_at, punched_at_local, status, punch_state, verify_type, first_poll_id,
                         seq, created_at)
SELECT ['Gate', 'Back'][i % 2 + 1], (1000 + i // 2 % 10)::VARCHAR, wall::TIMESTAMPTZ, wall, 1, 0, 1,
       (wall::DATE - DATE '2026-02-01') * 2 + i % 2 + 1, i + 1, wall::TIMESTAMPTZ
FROM (
    SELECT i, TIMESTAMP '2026-02-01 08:00:00' + to_days((i // 20)::INTEGER) + to_hours((9 * (i % 2))::INTEGER)
              + to_minutes((i // 2 % 10)::INTEGER) AS wall
    FROM range(600) AS t(i)
);
INSERT INTO quarantined_records (device, raw, reason, first_poll_id, created_at)
VALUES ('Gate', '\\xFF\\x00'::BLOB, 'impossible date', 1, now());
INSERT INTO device_users VALUES ('Gate', '1000', 1, 'Zoë', 0, 0, now());
INSERT INTO work_dates
SELECT punched_at_local::DATE, max(seq), CASE WHEN punched_at_local::DATE = '2026-03-02' THEN 0 ELSE max(seq) END,
       now(), NULL, NULL
FROM raw_punches GROUP BY 1;
INSERT INTO daily_attendance_history
SELECT row_number() OVER (), 'HQ', 'Gate', user_id, punched_at_local::DATE, min(punched_at),
       max(punched_at), min(punched_at_local), max(punched_at_local), 'UTC', count(*), 540, false, false, [], '', false,
       1, sha256(user_id), 'run', now()
FROM raw_punches WHERE punched_at_local < '2026-03-02' GROUP BY ALL;
INSERT INTO daily_attendance BY NAME
SELECT * EXCLUDE (is_retracted), created_at AS updated_at FROM daily_attendance_history;
INSERT INTO crm_deliveries
SELECT site, user_id, work_date, 1, '192.0.2.10', uuid()::VARCHAR,
       CASE WHEN work_date = '2026-03-01' THEN 'pending' ELSE 'delivered' END, 1, 0, now(), now(), 201, NULL, 'run',
       now()
FROM daily_attendance;
""",
    3: "INSERT INTO holidays VALUES ('2026-05-01', 'Labour Day', NULL, now());",
    15: "INSERT INTO holiday_sources VALUES ('2026-05-04', NULL, 'h.ics', 'a', 'A', now());",
    2: """
INSERT INTO device_tails VALUES ('Gate', 'CEXA1', '40', 3, 120, '\\x01'::BLOB, 1, now(), now());
UPDATE device_polls SET mode = 'tail', reported_after = 10, accounted = 10;
""",
    4: """
INSERT INTO crm_attempts (site, user_id, work_date, revision, idempotency_key, status, verdict)
SELECT site, user_id, work_date, revision, idempotency_key, 400, 'refused' FROM crm_deliveries WHERE user_id = '1000';
""",
    6: """
INSERT INTO alerts (key, kind, severity, owner, title, body, first_at, told_at)
VALUES ('check:daily_attendance:days_are_sound', 'check', 'critical', 'attendance', '', '', now(), now());
INSERT INTO held_dates VALUES ('2026-01-05', 'two rows of one person', now());
""",
    8: "INSERT INTO fixed_begins VALUES ('Gate', '1000', '2026-01-05', 300);",
}
FACTS = ["device_polls", "raw_punches", "quarantined_records", "daily_attendance_history", "crm_deliveries",
         "crm_attempts", "alerts", "held_dates", "fixed_begins", "device_tails"]  # fmt: skip
TODAY = {former: today for today, former in FORMER_TABLE.items()}
FORMER = FORMER_VALUE | {today: former for former, today in ALERT_KEYS.items()}
EARLIER_PUNCHES = 600
RESTORED = VERSIONS[:1]


@pytest.fixture(scope="module")
def earlier_stores(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Path]:
    """Version → a file that came to it by the migrations up to it, and was filled at each on the way."""
    folder = tmp_path_factory.mktemp("earlier")
    on_the_way, made = folder / "store.duckdb", {}
    with duckdb.connect(str(on_the_way)) as connection:
        connection.execute("SET TimeZone = 'UTC'")
        connection.execute("CREATE TABLE schema_migrations (version INTEGER, name VARCHAR, applied_at TIMESTAMPTZ)")
        for number, name in migrations():
            connection.execute(script(name))
            connection.execute("INSERT INTO schema_migrations VALUES (?, ?, now())", [number, name])
            connection.execute(HELD.get(number, ""))
            if number > 1:
                connection.execute(f"UPDATE store_settings SET value = '{EARLIER_PUNCHES}' WHERE name = 'last_seq'")
            connection.execute("CHECKPOINT")
            made[number] = Path(shutil.copyfile(on_the_way, folder / f"{number}.duckdb"))
    return made


@pytest.fixture
def store_of_version(earlier_stores: dict[int, Path], path: Path) -> Callable[[int], Store]:
    return lambda version: store_at(Path(shutil.copyfile(earlier_stores[version], path)))


def facts(path: Path, like: dict[str, list[str]] | None = None) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Columns of the tables of facts, and their rows in the columns of `like`; under the names of version 18."""
    columns, content = {}, {}
    with duckdb.connect(str(path)) as connection:
        there = {row[0] for row in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()}
        for table in FACTS:
            today = TODAY.get(table, table)
            name = today if today in there else table
            if name not in there or table not in (like or FACTS):
                continue
            known = {former_column(today, row[0]): row[0] for row in connection.execute(f"DESCRIBE {name}").fetchall()}
            columns[table] = list(known)
            chosen = ", ".join(f'"{known[one]}"' for one in (like or {}).get(table, known))
            found = connection.execute(f"SELECT {chosen} FROM {name}").fetchall()
            content[table] = sorted(str(tuple(FORMER.get(str(value), value) for value in row)) for row in found)
    return columns, content


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.duckdb"


@pytest.mark.parametrize(
    "version", [pytest.param(one, marks=() if one in MIGRATED else pytest.mark.matrix) for one in VERSIONS]
)
def test_a_store_of_an_earlier_version_keeps_what_it_held_and_goes_on(
    version: int, store_of_version: Callable[[int], Store], path: Path
) -> None:
    store = store_of_version(version)
    columns, before = facts(path)
    assert len(before["raw_punches"]) == EARLIER_PUNCHES
    assert {device.name for device in store.devices.all()} == {"Gate", "Back"}
    assert facts(path, columns)[1] == before
    copies = copies_before_migration(path)
    assert [copy.name for copy in copies] == [
        f"store.at-version-{one:04d}.duckdb" for one in VERSIONS[:-1] if one == version
    ]
    assert [facts(copy)[1] for copy in copies] == [before for _ in copies]
    assert rows(store, "SELECT list_sort(list(version)) FROM schema_migrations") == [(VERSIONS,)]
    assert stale(store) == [MONDAY]
    process(store, MONDAY)
    ingest(store, "Gate", *on(MONDAY, "19:00"))
    assert stale(store) == [MONDAY]
    last = rows(store, "SELECT max(seq), bool_or(is_clock_suspect) FROM raw_punches")
    assert last == [(EARLIER_PUNCHES + 1, False)]
    assert store.deliveries.states() == {"delivered": 28 * 10, "pending": 10 + 10}
    assert copies_before_migration(path) == copies


def test_holidays_from_before_their_sources_were_known_are_as_if_entered_by_hand(
    store_of_version: Callable[[int], Store],
) -> None:
    store = store_of_version(11)
    gone = HolidayCalendar(name="h.ics", events=(CalendarEvent(uid="a", days={}),))
    assert store.holidays.take_over(gone).removed == []
    assert [one.name for one in store.holidays.all()] == ["Labour Day"]


@pytest.mark.parametrize(
    "version",
    [pytest.param(one, marks=() if one in RESTORED else pytest.mark.matrix) for one in VERSIONS[:-1]],
)
def test_a_copy_from_before_the_upgrade_can_be_put_back(
    version: int, store_of_version: Callable[[int], Store], path: Path
) -> None:
    store = store_of_version(version)
    assert store.punches.total() == EARLIER_PUNCHES
    (copy,) = copies_before_migration(path)
    assert store.restore.run(copy).from_version == version
    assert store.punches.total() == EARLIER_PUNCHES


@pytest.fixture
def two_more(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Two migrations of the future."""
    scripts = {
        "9001_first.sql": "CREATE TABLE first (x INTEGER);",
        "9002_second.sql": "CREATE TABLE second (x INTEGER);",
    }
    ahead = (*migrations(), *((int(name[:4]), name) for name in scripts))
    monkeypatch.setattr(migrations_runner, "migrations", lambda: ahead)
    monkeypatch.setattr(migrations_runner, "script", lambda name: scripts.get(name) or script(name))
    return scripts


def test_a_migration_that_fails_is_rolled_back_and_those_before_it_stay(
    store_of_version: Callable[[int], Store], path: Path, two_more: dict[str, str]
) -> None:
    store = store_of_version(VERSIONS[-1])
    columns, before = facts(path)
    two_more["9002_second.sql"] += "DELETE FROM raw_punches; SELECT * FROM nowhere;"
    with pytest.raises(ZkPipelineError, match=r"migration 9002_second\.sql failed and changed nothing: .*nowhere"):
        store.punches.total()
    assert facts(path, columns)[1] == before
    with duckdb.connect(str(path)) as connection:
        made = connection.execute("SELECT table_name FROM duckdb_tables() WHERE table_name IN ('first', 'second')")
        assert made.fetchall() == [("first",)]
    two_more["9002_second.sql"] = "CREATE TABLE second (x INTEGER);"
    assert store.punches.total() == EARLIER_PUNCHES
    assert rows(store, "SELECT count(*) FROM schema_migrations WHERE version > 9000") == [(2,)]


def test_one_numbered_earlier_that_came_later_is_still_applied(
    store_of_version: Callable[[int], Store], path: Path, two_more: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    both = migrations_runner.migrations()
    monkeypatch.setattr(migrations_runner, "migrations", lambda: tuple(one for one in both if one[0] != 9001))
    assert store_of_version(VERSIONS[-1]).punches.total() == EARLIER_PUNCHES
    monkeypatch.setattr(migrations_runner, "migrations", lambda: both)
    store = store_at(path)
    assert rows(store, "SELECT count(*) FROM first") == [(0,)]
    assert len(two_more) == 2


def test_a_store_that_has_had_a_migration_unknown_here_is_refused(
    store_of_version: Callable[[int], Store], path: Path
) -> None:
    store = store_of_version(VERSIONS[-1])
    with duckdb.connect(str(path)) as connection:
        connection.execute("INSERT INTO schema_migrations VALUES (9999, 'x', now())")
    with pytest.raises(StoreUnusable, match="store version 9999, written by a newer zk_pipeline"):
        store.punches.total()


def upgrade_and_die(path: Path) -> None:
    """Upgrade the store, and die in the middle of a migration, after its statements and before its commit."""
    ahead = (*migrations(), (9001, "9001_x.sql"), (9002, "9002_x.sql"))

    def script_or_death(name: str) -> str:
        if name == "9002_x.sql":
            os._exit(9)
        return "CREATE TABLE first (x INTEGER); DELETE FROM device_users" if name == "9001_x.sql" else script(name)

    vars(migrations_runner).update(migrations=lambda: ahead, script=script_or_death)
    Store.at(path).punches.total()


def test_a_kill_between_two_migrations_leaves_the_first_whole_and_the_second_undone(
    store_of_version: Callable[[int], Store], path: Path, two_more: dict[str, str]
) -> None:
    store = store_of_version(VERSIONS[0])
    columns, before = facts(path)
    path.with_name(f".store.at-version-{VERSIONS[0]:04d}.duckdb.1.part").write_bytes(
        b"of a process killed while it copied"
    )
    assert end_all([start(upgrade_and_die, path)], seconds=60) == [9]
    assert facts(path, columns)[1] == before
    with duckdb.connect(str(path)) as connection:
        applied = connection.execute("SELECT max(version) FROM schema_migrations").fetchall()
        assert connection.execute("SELECT count(*) FROM device_users").fetchall() == [(0,)]
    assert applied == [(9001,)]
    assert store.punches.total() == EARLIER_PUNCHES
    assert rows(store, "SELECT max(version) FROM schema_migrations") == [(9002,)]
    assert len(two_more) == 2
    copies = [one.name for one in path.parent.iterdir() if "version" in one.name or "upgrading" in one.name]
    assert copies == [f"store.at-version-{VERSIONS[0]:04d}.duckdb"], "no second one of a version between"
    assert facts(path.parent / copies[0])[1] == before


def test_a_later_upgrade_has_a_copy_of_its_own_although_an_earlier_one_was_interrupted_at_its_very_end(
    store_of_version: Callable[[int], Store], path: Path, two_more: dict[str, str]
) -> None:
    store = store_of_version(VERSIONS[-1])
    path.with_name("store.at-version-0001.duckdb").touch()
    path.with_name("store.duckdb.upgrading").write_text(f"1 {VERSIONS[-1]}")
    assert store.punches.total() == EARLIER_PUNCHES
    assert path.with_name(f"store.at-version-{VERSIONS[-1]:04d}.duckdb") in copies_before_migration(path)
    assert not path.with_name("store.duckdb.upgrading").exists()
    assert len(two_more) == 2


def test_numbers_are_given_once() -> None:
    assert len(set(VERSIONS)) == len(VERSIONS)
    assert sorted(VERSIONS) == VERSIONS
