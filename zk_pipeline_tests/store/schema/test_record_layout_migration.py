"""An upgrade puts right the states that were read from 16-byte and MA300 records, and no others, and marks no date."""

from __future__ import annotations

import pytest

from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.schema.former_names import undo_columns, undo_names
from zk_pipeline_tests.store.store_fixtures import rows, stale, store_at

pytestmark = pytest.mark.file_engine  # as `undo_columns`

# By device: the layout of its tail, and its polls as (bytes per record, mode).
POLLED: dict[str, tuple[str | None, list[tuple[int | None, str | None]]]] = {
    "Sixteen": ("16", [(16, "full"), (16, "tail"), (None, "live"), (16, None)]),
    "Forty": ("40", [(40, "full"), (40, "tail"), (None, "live"), (40, None)]),
    "Ma300": ("8-MA300", [(8, "full"), (8, "tail"), (None, "live"), (None, "release")]),
    "Eight": ("8", [(8, "full"), (8, "tail"), (None, "live"), (None, "release")]),
    "Without tail": (None, [(16, "full"), (16, "tail"), (None, "live"), (16, "full")]),
    "Unknown": (None, [(8, "full"), (8, "tail"), (None, "live"), (None, "release")]),
}


def before_the_migration(store: Store) -> None:
    """One punch by each poll, with the first byte 0x29 and the second 4, as earlier versions decoded them."""
    with store.database.write("as before the migration") as connection:
        undo_columns(connection)
        undo_names(connection)
        connection.execute("ALTER TABLE devices DROP COLUMN log_layout")
        connection.execute("DELETE FROM schema_migrations WHERE name LIKE '%record_layouts%'")
        poll = 0
        for number, (name, (layout, polls)) in enumerate(POLLED.items()):
            connection.execute(
                """
                INSERT INTO devices (id, name, ip_address, port, protocol, timezone, site, enabled, encoding,
                                     created_at, updated_at)
                VALUES (?, ?, '192.0.2.1', 4370, 'auto', 'UTC', 'HQ', true, 'UTF-8', now(), now())
                """,
                [number, name],
            )
            if layout is not None:
                connection.execute(
                    "INSERT INTO device_tails VALUES (?, 'A1', ?, 3, 120, 'x'::BLOB, 1, now(), now())", [name, layout]
                )
            for size, mode in polls:
                poll += 1
                connection.execute(
                    """
                    INSERT INTO device_polls (id, device, started_at, finished_at, status, layout, mode)
                    VALUES (?, ?, now(), now(), 'success', ?, ?)
                    """,
                    [poll, name, size, mode],
                )
                connection.execute(
                    """
                    INSERT INTO raw_punches (device, user_id, punched_at, punched_at_local, status, punch_state,
                                             verify_type, first_poll_id, seq, created_at)
                    VALUES ($1, '1', '2026-03-02 08:00:00+00', '2026-03-02 08:00:00', 41, 4, 41, $2, $2, now())
                    """,
                    [name, poll],
                )
        connection.execute(
            """
            INSERT INTO corrected_punches
            SELECT seq, device, user_id, punched_at, punched_at_local, punch_state, first_poll_id, 1 FROM raw_punches
            """
        )


def test_states_and_verifications_are_put_right_by_the_layout_of_the_poll_that_brought_them(store: Store) -> None:
    before_the_migration(store)
    upgraded = store_at(store.database.where)
    as_it_was, swapped, in_bits = (4, 41), (41, 4), (1, 1)
    expected = {
        "Sixteen": [swapped, swapped, as_it_was, swapped],
        "Forty": [as_it_was] * 4,
        "Ma300": [in_bits, in_bits, as_it_was, in_bits],
        "Eight": [as_it_was] * 4,
        "Without tail": [swapped, swapped, as_it_was, swapped],
        "Unknown": [as_it_was] * 4,
    }
    for name, kinds in expected.items():
        sql = f"SELECT punch_state, verify_type FROM raw_punches WHERE device = '{name}' ORDER BY seq"
        assert rows(upgraded, sql) == kinds, name
        sql = f"SELECT punch_state FROM corrected_punches WHERE device = '{name}' ORDER BY seq"
        assert rows(upgraded, sql) == [(state,) for state, _ in kinds], name
    assert rows(upgraded, "SELECT DISTINCT status FROM raw_punches") == [(41,)]
    layouts = {device.name: device.log_layout for device in upgraded.devices.all()}
    assert layouts == {name: layout for name, (layout, _) in POLLED.items()} | {"Without tail": "16"}
    assert stale(upgraded) == []


def test_punches_of_before_have_the_source_of_their_poll_and_terminals_stay_polled(store: Store) -> None:
    before_the_migration(store)
    upgraded = store_at(store.database.where)
    sources = rows(
        upgraded, "SELECT mode, source FROM raw_punches JOIN device_polls ON id = first_poll_id GROUP BY ALL"
    )
    assert {source for mode, source in sources if mode == "live"} == {"live"}
    assert {source for mode, source in sources if mode != "live"} == {"poll"}
    assert rows(upgraded, "SELECT DISTINCT polled FROM devices") == [(True,)]
