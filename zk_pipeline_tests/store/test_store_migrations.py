"""A store of every earlier version is brought to the newest one with all it held."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import duckdb
import pytest

from zk_pipeline.store.migrate import migrations, newest_version
from zk_pipeline.store.store import Store
from zk_pipeline_tests.store.store_bench import MONDAY, ingest, on, process, rows, stale, store_at

HELD = """
INSERT INTO devices (id, name, ip_address, port, protocol, timezone, site, enabled, encoding, created_at, updated_at)
VALUES (1, 'Gate', '192.0.2.10', 4370, 'auto', 'UTC', 'HQ', true, 'UTF-8', now(), now());
INSERT INTO raw_punches (device, user_id, punched_at, punched_at_local, status, punch_state, verify_type, first_poll_id,
                         seq, created_at)
VALUES ('Gate', '1001', '2026-03-02 08:00:00+00', '2026-03-02 08:00:00', 1, 0, 1, 1, 7, now());
INSERT INTO work_dates (work_date, punched_seq, built_seq) VALUES ('2026-03-02', 7, 0);
"""


def store_of_version(path: Path, version: int) -> Store:
    """A file as the migrations up to `version` made it, with a device and a punch."""
    with duckdb.connect(str(path)) as connection:
        connection.execute("CREATE TABLE schema_migrations (version INTEGER, name VARCHAR, applied_at TIMESTAMPTZ)")
        for number, name in migrations():
            if number <= version:
                script = resources.files("zk_pipeline.store.migrations").joinpath(name).read_text(encoding="utf-8")
                connection.execute(script)
                connection.execute("INSERT INTO schema_migrations VALUES (?, ?, now())", [number, name])
        connection.execute(HELD)
    return store_at(path)


@pytest.mark.parametrize("version", range(1, newest_version() + 1))
def test_a_store_of_an_earlier_version_keeps_what_it_held_and_goes_on(version: int, tmp_path: Path) -> None:
    store = store_of_version(tmp_path / "store.duckdb", version)
    if version >= 2:  # the migration that brought the counter ran before there were punches
        with duckdb.connect(str(tmp_path / "store.duckdb")) as connection:
            connection.execute("UPDATE store_settings SET value = '7' WHERE name = 'last_seq'")
    assert [device.name for device in store.devices.all()] == ["Gate"]
    assert stale(store) == [MONDAY]
    process(store, MONDAY)
    ingest(store, "Gate", *on(MONDAY, "17:00"))
    assert stale(store) == [MONDAY]
    assert rows(store, "SELECT seq, is_clock_suspect FROM raw_punches ORDER BY 1") == [(7, False), (8, False)]
    assert rows(store, "SELECT max(version) FROM schema_migrations") == [(newest_version(),)]
