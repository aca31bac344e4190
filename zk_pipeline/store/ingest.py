"""The statements of one ingest, inside the caller's transaction: set-based, idempotent, bounded by what came in."""

from __future__ import annotations

from datetime import date, datetime, timedelta

import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from zk_pipeline.attendance.zones import to_instants
from zk_pipeline.store.corrections import correct_fresh
from zk_pipeline.store.database import Connection
from zk_pipeline.store.placing import place
from zk_pipeline.store.sequence import take_seq, touch

# A terminal that lost its clock starts again at 2000-01-01; one that is a day ahead did not drift there. Their punches
# happened, but when is not known.
CLOCK_WAS_RESET_BEFORE = datetime(2001, 1, 1)  # noqa: DTZ001 (a wall-clock reading)
AHEAD = timedelta(days=1)


def punches_table(punches: pd.DataFrame, zone: str) -> pa.Table:
    """The frame as Arrow, with instants, each (user_id, punched_at_local) once: prepared before the lock is taken."""
    once = punches.drop_duplicates(["user_id", "punched_at_local"])
    once = once.assign(
        punched_at=to_instants(once["punched_at_local"], zone),
        punched_at_local=once["punched_at_local"].astype("datetime64[us]"),
    )
    return pa.Table.from_pandas(once, preserve_index=False)


def next_poll_id(connection: Connection) -> int:
    row = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM device_polls").fetchone()
    assert row is not None
    return int(row[0])


def insert_punches(
    connection: Connection, device: str, punches: pa.Table, poll_id: int, now: datetime
) -> tuple[int, int, dict[date, int]]:
    if not len(punches):
        return 0, 0, {}
    connection.register("incoming", punches)
    seq = take_seq(connection, len(punches))
    placing = place(
        connection, pairs="SELECT DISTINCT $device AS device, user_id FROM incoming", values={"device": device}
    )
    cleared = connection.execute(
        f"""
        SELECT count(*) FROM (SELECT *, $device AS device FROM incoming) AS punch {placing.join}
        WHERE {placing.work_date} IN (SELECT work_date FROM work_dates WHERE raw_deleted_at IS NOT NULL)
        """,  # noqa: S608 (SQL of ours)
        {"device": device},
    ).fetchone()
    assert cleared is not None
    connection.execute(
        f"""
        CREATE TEMP TABLE fresh AS
        SELECT punch.* EXCLUDE (device),
               $seq + row_number() OVER (ORDER BY punch.punched_at_local, punch.user_id) - 1 AS seq,
               {placing.work_date} AS work_date,
               punch.punched_at_local < $earliest OR punch.punched_at > $latest AS is_clock_suspect
        FROM (SELECT *, $device AS device FROM {_UNKNOWN}) AS punch {placing.join}
        WHERE work_date NOT IN (SELECT work_date FROM work_dates WHERE raw_deleted_at IS NOT NULL)
        """,  # noqa: S608 (SQL of ours)
        {**_span(device, punches), "seq": seq, "earliest": CLOCK_WAS_RESET_BEFORE, "latest": now + AHEAD},
    )
    connection.execute(
        """
        INSERT INTO raw_punches (device, user_id, punched_at, punched_at_local, status, punch_state, verify_type,
                                 first_poll_id, seq, created_at, is_clock_suspect)
        SELECT $device, user_id, punched_at, punched_at_local, status, punch_state, verify_type, $poll_id, seq, $now,
               is_clock_suspect
        FROM fresh ORDER BY seq
        """,
        {"device": device, "poll_id": poll_id, "now": now},
    )
    counted = connection.execute("SELECT count(*) FROM fresh").fetchone()
    assert counted is not None
    correct_fresh(connection, device)
    connection.execute("DELETE FROM fresh WHERE is_clock_suspect")  # stored, but part of no day
    touch(connection, "fresh")
    rows = connection.execute("SELECT work_date, count(*) FROM fresh GROUP BY 1 ORDER BY 1").fetchall()
    connection.execute("DROP TABLE fresh")
    connection.unregister("incoming")
    touched = dict(rows)
    return len(punches) - int(cleared[0]), int(counted[0]), touched


def count_missing(connection: Connection, device: str, punches: pa.Table) -> int:
    """How many of `punches` are not stored for `device`."""
    if not len(punches):
        return 0
    connection.register("incoming", punches)
    row = connection.execute(
        f"SELECT count(*) FROM {_UNKNOWN}",  # noqa: S608 (SQL of ours)
        _span(device, punches),
    ).fetchone()
    connection.unregister("incoming")
    assert row is not None
    return int(row[0])


# What keeps punches unique: those of `incoming` that the device has not brought before. The span stands in parameters
# because DuckDB then leaves out the parts of the table outside it, which it does not for a span found by the query.
_UNKNOWN = """
    incoming ANTI JOIN (
        SELECT user_id, punched_at_local FROM raw_punches
        WHERE device = $device AND punched_at_local BETWEEN $first AND $last
    ) AS known USING (user_id, punched_at_local)
"""


def _span(device: str, punches: pa.Table) -> dict[str, object]:
    """The parameters of _UNKNOWN."""
    bounds = pc.min_max(punches["punched_at_local"])
    return {"device": device, "first": bounds["min"].as_py(), "last": bounds["max"].as_py()}


def insert_rejected(connection: Connection, device: str, rejected: pa.Table, poll_id: int, now: datetime) -> None:
    if not len(rejected):
        return
    connection.register("rejected", rejected)
    connection.execute(
        """
        INSERT INTO quarantined_records (device, raw, reason, first_poll_id, created_at)
        SELECT DISTINCT $device, raw, reason, $poll_id, $now
        FROM rejected
        ANTI JOIN (SELECT raw, reason FROM quarantined_records WHERE device = $device) AS known USING (raw, reason)
        """,
        {"device": device, "poll_id": poll_id, "now": now},
    )
    connection.unregister("rejected")


def replace_users(connection: Connection, device: str, users: pa.Table, now: datetime) -> None:
    connection.register("enrolled", users)
    connection.execute(
        """
        DELETE FROM device_users
        WHERE device = $device AND (user_id, uid, name, privilege, card) NOT IN (
            SELECT (user_id, uid::INTEGER, name, privilege::INTEGER, card::BIGINT) FROM enrolled
        )
        """,
        {"device": device},
    )
    connection.execute(
        """
        INSERT INTO device_users (device, user_id, uid, name, privilege, card, updated_at)
        SELECT $device, user_id, uid, name, privilege, card, $now
        FROM enrolled
        ANTI JOIN (SELECT user_id, uid FROM device_users WHERE device = $device) AS known USING (user_id, uid)
        """,
        {"device": device, "now": now},
    )
    connection.unregister("enrolled")
