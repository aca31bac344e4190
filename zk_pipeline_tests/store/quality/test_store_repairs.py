"""Punches that earlier versions stored wrongly: found by doctor, repaired, and followed by their days."""

from __future__ import annotations

from zk_pipeline.store.quality.doctor import Doctor
from zk_pipeline.store.queries.keyset_pagination import Key, PageRequest
from zk_pipeline.store.queries.lists import Filter
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_fixtures import (
    MONDAY,
    TUESDAY,
    User,
    device,
    execute,
    ingest,
    on,
    process,
    rows,
    stale,
)


def errors(store: Store) -> set[str]:
    return {one.name for one in Doctor(store.database).examine(store.clock()) if one.severity == "error"}


def repaired(store: Store, *, dry_run: bool = False) -> list[tuple[str, str, int]]:
    return [(one.device, one.what, one.punches) for one in store.repairs.run(dry_run=dry_run)]


def test_instants_of_another_zone_are_found_and_repaired_and_their_dates_become_stale(store: Store) -> None:
    store.devices.add(device(timezone="Europe/Istanbul"))
    store.devices.add(device("Other", ip="192.0.2.11"))
    ingest(store, "Gate", *on(MONDAY, "08:00", "17:00"), *on(TUESDAY, "08:00"))
    ingest(store, "Other", *on(MONDAY, "08:00"))
    process(store, MONDAY, TUESDAY)
    execute(
        store,
        "UPDATE raw_punches SET punched_at = punched_at + INTERVAL 3 HOUR "
        "WHERE device = 'Gate' AND punched_at_local::DATE = '2026-03-02'",
    )
    assert errors(store) == {"punches-instant"}
    assert repaired(store, dry_run=True) == [("Gate", "instants", 2)]
    assert (errors(store), stale(store)) == ({"punches-instant"}, [])
    assert repaired(store) == [("Gate", "instants", 2)]
    assert (errors(store), stale(store), repaired(store)) == (set(), [MONDAY], [])
    instants = rows(store, "SELECT strftime(punched_at, '%H:%M') FROM raw_punches WHERE device = 'Gate' ORDER BY seq")
    assert instants == [("05:00",), ("14:00",), ("05:00",)]


def test_records_stored_for_the_next_holder_of_their_slot_are_voided(store: Store) -> None:
    ann: User = ("1002", 5, "Ann", 0, 0)
    bo: User = ("777001", 5, "Bo", 0, 0)
    cy: User = ("1003", 6, "Cy", 0, 0)
    log = [(5, f"{MONDAY} 08:00"), (5, f"{MONDAY} 17:00"), (6, f"{MONDAY} 08:00")]
    store.devices.add(device())
    ingest(store, "Gate", slots=log, users=[ann, cy])
    # As stored before slots were on record: every reading gave the records to who held the slot then.
    execute(store, "UPDATE raw_punches SET uid = NULL WHERE user_id = '1002'")
    poll = ingest(store, "Gate", users=[bo, cy]).poll_id
    execute(
        store,
        "INSERT INTO raw_punches BY NAME SELECT * REPLACE ('777001' AS user_id, 5 AS uid, seq + 100 AS seq, "
        f"{poll} AS first_poll_id) FROM raw_punches WHERE user_id = '1002'",
    )
    execute(store, "UPDATE store_settings SET value = '200' WHERE name = 'last_seq'")
    execute(store, "UPDATE work_dates SET latest_punch_seq = 200")
    process(store, MONDAY)
    assert errors(store) == {"punches-person"}
    assert repaired(store) == [("Gate", "users", 2)]
    assert (errors(store), stale(store), repaired(store)) == (set(), [MONDAY], [])
    process(store, MONDAY)
    assert rows(store, "SELECT user_id FROM daily_attendance ORDER BY 1") == [("1002",), ("1003",)]
    listed = store.lists.punches(Filter(), [Key("id", "number")], PageRequest(1, 10)).rows
    assert sorted(one.user_id for one in listed) == ["1002", "1002", "1003"]
    # The next full reading brings the same records: they are known, and nothing comes back.
    done = ingest(store, "Gate", slots=log, users=[bo, cy])
    assert (done.new, errors(store)) == (0, set())
    assert rows(store, "SELECT DISTINCT uid FROM raw_punches WHERE user_id = '1002'") == [(5,)]
