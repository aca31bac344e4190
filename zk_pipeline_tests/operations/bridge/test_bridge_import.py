"""History of the Django bridge: devices, punches and users once, and no delivered day a second time at the CRM."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from zk_pipeline.config.settings import load_settings
from zk_pipeline.errors import RowsRefused, UsageError, ZkPipelineError
from zk_pipeline.operations.bridge.database import read_bridge
from zk_pipeline.operations.bridge.history import BridgeImport, BridgeOptions, apply_bridge, plan_bridge
from zk_pipeline.operations.sync import sync
from zk_pipeline.simulator.crm.receiver import CrmReceiver
from zk_pipeline.store.deliveries.due_deliveries import SyncScope
from zk_pipeline.store.store import Store
from zk_pipeline_tests.operations.bridge.bridge_fixtures import NEWEST, Bridge, sqlite_bridge
from zk_pipeline_tests.postgres import Postgres
from zk_pipeline_tests.store.store_fixtures import MONDAY, TUESDAY, device, execute, ingest, process, rows

TOKEN = "s3cret-token"
RUNS = count()
DELIVERIES = "SELECT user_id, work_date, state, attempts, delivered_at IS NOT NULL FROM crm_deliveries ORDER BY ALL"
EVERYTHING = ("devices", "raw_punches", "device_polls", "device_users", "earlier_deliveries", "work_dates")


ON_EACH_ENGINE = pytest.mark.parametrize("bridge", ["sqlite", "postgres"], indirect=True)


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.matrix)])
def bridge(request: pytest.FixtureRequest, tmp_path: Path) -> Bridge:
    """An empty bridge at its newest version, on each of its engines: they differ in what reads it only."""
    if request.param == "sqlite":
        return sqlite_bridge(tmp_path)
    server: Postgres = request.getfixturevalue("postgres")
    return Bridge("postgres", server.fresh_database())


@pytest.fixture
def crm() -> Iterator[CrmReceiver]:
    with CrmReceiver(token=TOKEN) as receiver:
        yield receiver


def filled(bridge: Bridge) -> Bridge:
    """Two terminals; on Monday one delivered day, one of which the CRM lacks the clock-out, one undelivered."""
    bridge.device(1, "Main Office", "192.0.2.10")
    bridge.device(2, "Dock", "192.0.2.11", enabled=False)
    bridge.user("1001", "ADA", full_name="Ada Lovelace") if bridge.version >= 9 else bridge.user("1001", "ADA")
    for user_id in ("1001", "1002", "1003"):
        bridge.punch(user_id, f"{MONDAY} 05:30:15")
        bridge.punch(user_id, f"{MONDAY} 14:45", state=1)
    bridge.punch("1004", f"{MONDAY} 06:00", device=2)
    bridge.day("1001", f"{MONDAY} 05:30:15", f"{MONDAY} 14:45", delivered=f"{MONDAY} 16:30")
    # Delivered at clock-in, and processed each hour since.
    bridge.day(
        "1002", f"{MONDAY} 05:30:15", f"{MONDAY} 14:45",
        created=f"{MONDAY} 06:05", delivered=f"{MONDAY} 06:30", saved=f"{TUESDAY} 02:05",
    )  # fmt: skip
    bridge.day("1003", f"{MONDAY} 05:30:15", f"{MONDAY} 14:45")
    return bridge


def imported(store: Store, bridge: Bridge, **options: Any) -> BridgeImport:
    """Import a bridge; the plan stores nothing and reports the same."""
    before = [rows(store, f"SELECT * FROM {table} ORDER BY ALL") for table in EVERYTHING]
    plan = plan_bridge(store, bridge.dsn, BridgeOptions(**options))
    assert [rows(store, f"SELECT * FROM {table} ORDER BY ALL") for table in EVERYTHING] == before
    done = apply_bridge(store, plan)
    assert done.devices == plan.summary.devices
    return done


def sent(store: Store, crm: CrmReceiver, home: Path) -> int:
    """Number of requests that the CRM got in one sync; each of its records was accepted."""
    before = sum(crm.ledger.attempts.values())
    variables = {"CRM_API_URL": crm.url, "CRM_API_TOKEN": TOKEN}
    settings = load_settings({"ZK_PIPELINE_HOME": str(home), "CRM_MAX_RETRIES": "1", **variables})
    summary = sync(store, settings, SyncScope(), run_id=f"run {next(RUNS)}")
    assert (summary.retry, summary.failed, summary.unsent) == (0, 0, 0)
    return sum(crm.ledger.attempts.values()) - before


@ON_EACH_ENGINE
def test_devices_punches_and_users_are_imported_once(store: Store, bridge: Bridge) -> None:
    done = imported(store, filled(bridge))
    assert [(one.name, one.is_new, one.punches, one.new, one.users) for one in done.devices] == [
        ("Main Office", True, 6, 6, 1),
        ("Dock", True, 1, 1, 0),
    ]
    assert (done.delivered, done.outdated, done.uncertain, done.undelivered) == (2, 1, 0, 1)
    registered = [(one.name, one.ip_address, one.port, one.timezone, one.enabled) for one in store.devices.all()]
    assert registered == [
        ("Dock", "192.0.2.11", 4370, "Africa/Nairobi", False),
        ("Main Office", "192.0.2.10", 4370, "Africa/Nairobi", True),
    ]
    first = "SELECT punched_at_local::VARCHAR, punched_at::VARCHAR, status, punch_state, verify_type, source "
    assert rows(store, f"{first} FROM raw_punches WHERE user_id = '1001' ORDER BY 1") == [
        (f"{MONDAY} 08:30:15", f"{MONDAY} 05:30:15+00", 1, 0, 1, "file"),
        (f"{MONDAY} 17:45:00", f"{MONDAY} 14:45:00+00", 1, 1, 1, "file"),
    ]
    assert rows(store, "SELECT user_id, name FROM device_users") == [("1001", "Ada Lovelace")]
    assert "1234" not in str([rows(store, f"SELECT * FROM {table}") for table in EVERYTHING])
    before = [rows(store, f"SELECT * FROM {table} ORDER BY ALL") for table in EVERYTHING]
    again = imported(store, bridge)
    assert [(one.is_new, one.new, one.known) for one in again.devices] == [(False, 0, 6), (False, 0, 1)]
    assert [rows(store, f"SELECT * FROM {table} ORDER BY ALL") for table in EVERYTHING] == before


def test_the_crm_gets_only_what_it_does_not_have(
    store: Store, bridge: Bridge, crm: CrmReceiver, tmp_path: Path
) -> None:
    imported(store, filled(bridge))
    process(store, MONDAY)
    assert rows(store, DELIVERIES) == [
        ("1001", MONDAY, "delivered", 0, True),
        ("1002", MONDAY, "pending", 0, False),
        ("1003", MONDAY, "pending", 0, False),
        ("1004", MONDAY, "pending", 0, False),
    ]
    assert store.deliveries.stats().synced == 1
    assert sent(store, crm, tmp_path) == 3
    assert sorted(user_id for user_id, _, *_ in crm.ledger.latest()) == ["1002", "1003", "1004"]
    assert sent(store, crm, tmp_path) == 0
    imported(store, bridge)
    process(store, MONDAY)
    assert sent(store, crm, tmp_path) == 0
    assert store.quality.block_relevant_dates() == {}


def test_a_delivered_day_that_changes_later_is_sent_as_an_update(
    store: Store, bridge: Bridge, crm: CrmReceiver, tmp_path: Path
) -> None:
    imported(store, filled(bridge))
    process(store, MONDAY)
    sent(store, crm, tmp_path)
    ingest(store, "Main Office", ("1001", f"{MONDAY} 18:30"))
    process(store, MONDAY)
    assert sent(store, crm, tmp_path) == 1
    (record,) = (record for (user_id, *_), record in crm.ledger.latest().items() if user_id == "1001")
    assert (record["clock_out"], record["revision"]) == (f"{MONDAY}T18:30:00+03:00", 2)
    ingest(store, "Main Office", ("1001", f"{MONDAY} 19:30"))
    process(store, MONDAY)
    assert sent(store, crm, tmp_path) == 1


def test_a_day_that_changes_back_before_a_sync_is_not_sent(store: Store, tmp_path: Path, crm: CrmReceiver) -> None:
    imported(store, filled(sqlite_bridge(tmp_path)))
    process(store, MONDAY)
    sent(store, crm, tmp_path)
    ingest(store, "Main Office", ("1001", f"{MONDAY} 18:30"))
    process(store, MONDAY)
    execute(store, "UPDATE raw_punches SET voided_at = created_at WHERE punched_at_local = ?", [f"{MONDAY} 18:30"])
    execute(store, "UPDATE work_dates SET processed_seq = 0")
    process(store, MONDAY)
    revisions = "SELECT revision, state FROM crm_deliveries WHERE user_id = '1001' ORDER BY 1"
    assert rows(store, revisions) == [(1, "delivered"), (2, "superseded"), (3, "delivered")]
    assert sent(store, crm, tmp_path) == 0


def test_days_that_were_due_before_the_import_are_settled_by_it(
    store: Store, bridge: Bridge, crm: CrmReceiver, tmp_path: Path
) -> None:
    """The terminals were polled and their days processed first."""
    filled(bridge)
    store.devices.add(device("Main Office", timezone="Africa/Nairobi"))
    ingest(store, "Main Office", ("1001", f"{MONDAY} 08:30:15"), ("1001", f"{MONDAY} 17:45"))
    process(store, MONDAY)
    done = imported(store, bridge)
    assert ([(one.is_new, one.new, one.known) for one in done.devices], done.settled) == (
        [(False, 4, 2), (True, 1, 0)],
        1,
    )
    process(store, MONDAY)
    assert sent(store, crm, tmp_path) == 3


def test_a_day_that_this_store_has_sent_is_not_settled_again(store: Store, tmp_path: Path, crm: CrmReceiver) -> None:
    """What the CRM has is then the record of this store, whatever the bridge delivered before."""
    bridge = filled(sqlite_bridge(tmp_path))
    store.devices.add(device("Main Office", timezone="Africa/Nairobi"))
    ingest(store, "Main Office", ("1001", f"{MONDAY} 08:30:15"))
    process(store, MONDAY)
    assert sent(store, crm, tmp_path) == 1
    assert imported(store, bridge).settled == 0
    process(store, MONDAY)
    assert sent(store, crm, tmp_path) == 4


def test_of_two_records_for_one_user_and_date_the_crm_has_the_later_one(
    store: Store, tmp_path: Path, crm: CrmReceiver
) -> None:
    """In at one terminal, out at the other: the bridge made two days of it, this store makes one."""
    bridge = sqlite_bridge(tmp_path)
    bridge.device(1, "North", "192.0.2.10")
    bridge.device(2, "South", "192.0.2.11")
    for user_id, first, second in (("1", 1, 2), ("2", 1, 1)):
        bridge.punch(user_id, f"{MONDAY} 05:00", device=first)
        bridge.punch(user_id, f"{MONDAY} 14:00", device=second)
    bridge.punch("2", f"{MONDAY} 10:00", device=2)
    bridge.day("1", f"{MONDAY} 05:00", device=1, delivered=f"{MONDAY} 16:00")
    bridge.day("1", f"{MONDAY} 14:00", device=2, delivered=f"{MONDAY} 16:01")
    bridge.day("2", f"{MONDAY} 10:00", device=2, delivered=f"{MONDAY} 16:00")
    bridge.day("2", f"{MONDAY} 05:00", f"{MONDAY} 14:00", device=1, delivered=f"{MONDAY} 16:01")
    imported(store, bridge)
    process(store, MONDAY)
    assert sent(store, crm, tmp_path) == 1
    assert [user_id for user_id, *_ in crm.ledger.latest()] == ["1"]


@pytest.mark.parametrize("version", range(1, NEWEST + 1))
def test_each_version_of_the_bridge_is_read(store: Store, tmp_path: Path, version: int) -> None:
    bridge = sqlite_bridge(tmp_path, version)
    bridge.device(1, "Main Office", "192.0.2.10", timezone="Asia/Kolkata")
    bridge.punch("1001", f"{MONDAY} 05:30")
    bridge.day("1001", f"{MONDAY} 05:30", delivered=f"{MONDAY} 16:30")
    if version >= 2:
        bridge.user("1001", "Ada")
    if version >= 5:
        with pytest.raises(UsageError, match="import it without --timezone"):
            plan_bridge(store, bridge.dsn, BridgeOptions(timezone="Asia/Kolkata"))
        done = imported(store, bridge)
    else:
        with pytest.raises(UsageError, match=r"name the zone of its terminals with --timezone"):
            plan_bridge(store, bridge.dsn, BridgeOptions())
        done = imported(store, bridge, timezone="Asia/Kolkata")
    assert ([one.new for one in done.devices], done.delivered) == ([1], 1)
    assert rows(store, "SELECT punched_at_local::VARCHAR FROM raw_punches") == [(f"{MONDAY} 11:00:00",)]
    assert rows(store, "SELECT count(*) FROM device_users") == [(int(version >= 2),)]


def test_the_next_poll_of_a_terminal_finds_its_punches_stored_and_replaces_the_users(
    store: Store, tmp_path: Path
) -> None:
    imported(store, filled(sqlite_bridge(tmp_path)))
    log = [(user_id, f"{MONDAY} {at}") for user_id in ("1001", "1002", "1003") for at in ("08:30:15", "17:45")]
    polled = ingest(store, "Main Office", *log, users=[("1001", 7, "ADA", 14, 0)])
    assert (polled.stored, polled.new) == (6, 0)
    assert rows(store, "SELECT user_id, uid, name FROM device_users") == [("1001", 7, "ADA")]


def test_punches_at_the_clock_changes_are_stored_and_counted_as_documented(store: Store, tmp_path: Path) -> None:
    """The bridge has converted the skipped 02:30 with the offset before the change."""
    bridge = sqlite_bridge(tmp_path)
    bridge.device(1, "Main Office", "192.0.2.10", timezone="Europe/Berlin")
    for at in ("2025-10-26 00:30", "2025-10-26 01:30", "2025-10-26 02:30", "2026-03-29 01:30"):
        bridge.punch("1001", at)
    (done,) = imported(store, bridge).devices
    assert (done.in_repeated_hour, done.punches, done.new) == (1, 3, 3)
    assert rows(store, "SELECT punched_at_local::VARCHAR FROM raw_punches ORDER BY 1") == [
        ("2025-10-26 02:30:00",),
        ("2025-10-26 03:30:00",),
        ("2026-03-29 03:30:00",),
    ]
    polled = [("1001", at) for at in ("2025-10-26 02:30", "2025-10-26 03:30", "2026-03-29 02:30")]
    assert ingest(store, "Main Office", *polled).new == 1


def test_a_device_name_that_is_not_valid_here_needs_another_one(store: Store, tmp_path: Path) -> None:
    bridge = sqlite_bridge(tmp_path)
    bridge.device(1, "Gate 1/2", "192.0.2.10")
    wanted = "'Gate 1/2' is not valid: .* slash or backslash: name it here with --rename, or correct the bridge"
    with pytest.raises(UsageError, match=wanted):
        plan_bridge(store, bridge.dsn, BridgeOptions())
    with pytest.raises(UsageError, match="the bridge has no device 'Gate', but Gate 1/2"):
        plan_bridge(store, bridge.dsn, BridgeOptions(names={"Gate": "Gate 1"}))
    bridge.punch("1001", f"{MONDAY} 09:00")
    assert [one.name for one in imported(store, bridge, names={"Gate 1/2": "Gate 1"}).devices] == ["Gate 1"]
    assert rows(store, "SELECT device FROM raw_punches") == [("Gate 1",)]


def test_a_device_in_another_zone_is_refused(store: Store, tmp_path: Path) -> None:
    store.devices.add(device("Main Office", timezone="UTC"))
    with pytest.raises(UsageError, match="'Main Office' has the time zone UTC here and Africa/Nairobi in the bridge"):
        imported(store, filled(sqlite_bridge(tmp_path)))
    assert rows(store, "SELECT count(*) FROM raw_punches") == [(0,)]


def test_bad_rows_are_named_and_nothing_or_the_others_are_imported(store: Store, tmp_path: Path) -> None:
    bridge = filled(sqlite_bridge(tmp_path))
    bridge.punch("", f"{MONDAY} 09:00")
    bridge.punch("1001", f"{MONDAY} 09:00", device=9)
    bridge.punch("1001", f"{MONDAY} 09:00", state=256)
    with pytest.raises(RowsRefused) as refused:
        plan_bridge(store, bridge.dsn, BridgeOptions())
    assert refused.value.rows == [
        "id 8: its user_id is empty",
        "id 9: its device 9 does not exist",
        "id 10: status, punch_state or verify_type is not between 0 and 255",
    ]
    done = imported(store, bridge, skip_unreadable=True, history_start=TUESDAY)
    assert done.unreadable == refused.value.rows
    assert [(one.punches, one.before_history) for one in done.devices] == [(6, 6), (1, 1)]


def test_another_database_is_refused(tmp_path: Path, postgres: Postgres) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no database at all, but long enough to have a header of its own: " * 20)
    other = tmp_path / "other.sqlite3"
    with closing(sqlite3.connect(other)) as connection:
        connection.execute("CREATE TABLE people (id integer)")
    with pytest.raises(UsageError, match="there is no such file"):
        read_bridge(str(tmp_path / "missing.sqlite3"))
    with pytest.raises(UsageError, match="cannot be read as a SQLite database"):
        read_bridge(str(text))
    for dsn in (str(other), postgres.fresh_database()):
        with pytest.raises(UsageError, match="no database of the Django bridge: it has no table core_device"):
            read_bridge(dsn)


@pytest.mark.parametrize(
    "dsn",
    [
        "postgresql://zk:top-secret@127.0.0.1:1/bridge",
        "host=127.0.0.1 port=1 user=zk password=top-secret secret-word",
        "postgresql://zk:top-secret/part@127.0.0.1:port/bridge",
    ],
)
def test_no_part_of_a_password_is_in_a_message(dsn: str) -> None:
    with pytest.raises(ZkPipelineError, match="the database of the bridge cannot be read: ") as refused:
        read_bridge(dsn)
    assert "secret" not in str(refused.value)


def test_the_database_of_the_bridge_is_not_changed(store: Store, tmp_path: Path) -> None:
    bridge = filled(sqlite_bridge(tmp_path))
    before = Path(bridge.dsn).read_bytes()
    Path(bridge.dsn).chmod(0o444)
    imported(store, bridge)
    assert Path(bridge.dsn).read_bytes() == before


@pytest.mark.parametrize("record_per", ["person", "site"])
def test_records_per_site_are_compared_with_the_record_of_that_site(
    store: Store, tmp_path: Path, record_per: str
) -> None:
    bridge = sqlite_bridge(tmp_path)
    bridge.device(1, "North", "192.0.2.10")
    bridge.device(2, "South", "192.0.2.11")
    bridge.punch("1", f"{MONDAY} 05:00", device=1)
    bridge.punch("1", f"{MONDAY} 14:00", device=2)
    bridge.day("1", f"{MONDAY} 05:00", device=1, delivered=f"{MONDAY} 16:00")
    bridge.day("1", f"{MONDAY} 14:00", device=2, delivered=f"{MONDAY} 16:01")
    imported(store, bridge)
    process(store, MONDAY, per_site=record_per == "site")
    states = [state for (state,) in rows(store, "SELECT state FROM crm_deliveries WHERE state <> 'superseded'")]
    assert states == (["delivered", "delivered"] if record_per == "site" else ["pending"])


@pytest.mark.file_engine
def test_a_restore_keeps_what_the_bridge_delivered(store: Store, tmp_path: Path) -> None:
    backup = store.backups.make(tmp_path / "before.duckdb").file
    imported(store, filled(sqlite_bridge(tmp_path)))
    store.restore.run(backup)
    assert rows(store, "SELECT count(*) FROM earlier_deliveries") == [(2,)]
