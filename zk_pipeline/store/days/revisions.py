"""Revisions of staged attendance days: changed, new and retracted rows, and their CRM deliveries.

Uses the temporary tables `staged` (days with their content hash), `staged_dates` (with the sites whose rows these are;
null: all), `others` (stored days of the same users at other sites), `merged_days` (records of users with rows at
several sites on a date) and `people_apart` (ids that belong to different employees at different sites), inside the
caller's transaction. Creates `revised`, one row per new revision.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Any

from zk_pipeline.store.deliveries.earlier_deliveries import settle_earlier_deliveries
from zk_pipeline.store.deliveries.idempotency_keys import create_keys_table
from zk_pipeline.store.engine.database import Connection
from zk_pipeline.store.terminals.lost_punches import check_lost_punches

_CONTENT = """site, device, user_id, work_date, clock_in, clock_out, clock_in_local, clock_out_local, timezone,
    punch_count, worked_minutes, is_incomplete, is_outlier, outlier_codes, outlier_reason, shift, shift_start,
    shift_end, day_off, worked_minutes_source, late_minutes, early_leave_minutes, attendance_status, judged_by,
    break_minutes, break_source, overtime_minutes, overtime_class, night_minutes, weekly_overtime_after_minutes"""


# The stored days that `staged` replaces.
STORED = """
    SELECT day.* FROM daily_attendance AS day JOIN staged_dates AS made USING (work_date)
    WHERE made.sites IS NULL OR list_contains(made.sites, day.site)
"""


def record_content(row: str) -> str:
    """Content of the CRM's record of a row, as SQL of JSON; `due_deliveries` reads it for records merged over sites."""
    return f"""json_object(
        'site', {row}.site, 'device', {row}.device, 'timezone', {row}.timezone, 'clock_in', epoch_us({row}.clock_in),
        'clock_out', epoch_us({row}.clock_out), 'is_outlier', {row}.is_outlier, 'outlier_reason', {row}.outlier_reason
    )::VARCHAR"""


# Unchanged rows that get a revision because their delivered record changes: the bounds for a clock-out at another site
# changed, or a record that was delivered once per user is now delivered per site. Rows of `others`, too.
_UNCHANGED = f"""
INSERT INTO unchanged
WITH sent AS (
    SELECT user_id, work_date, max(struct_pack(revision, record_per, merged)) AS latest
    FROM crm_deliveries AS delivery
    WHERE work_date IN (SELECT work_date FROM staged_dates)
      AND ((user_id, work_date) IN (SELECT (user_id, work_date) FROM merged_days)
           OR $per_site OR user_id IN (FROM people_apart))
    GROUP BY ALL
),
stored AS ({STORED}),
kept AS (SELECT site, user_id, work_date FROM staged {{others}}),
changed AS (
    SELECT DISTINCT user_id, work_date FROM staged FULL JOIN stored USING (site, user_id, work_date)
    WHERE stored.payload_hash IS DISTINCT FROM staged.payload_hash
)
SELECT kept.site, user_id, work_date
FROM kept JOIN sent USING (user_id, work_date) LEFT JOIN merged_days AS merged USING (user_id, work_date)
WHERE CASE
    WHEN $per_site OR user_id IN (FROM people_apart)
        THEN sent.latest.record_per = 'person' AND (user_id, work_date) IN (SELECT (user_id, work_date) FROM changed)
    ELSE merged.content <> sent.latest.merged AND kept.site = merged.site
        AND (user_id, work_date) NOT IN (SELECT (user_id, work_date) FROM changed)
END
"""  # noqa: S608 (constant SQL)

# Users and dates that have or had rows at several sites.
_SHARED = """
CREATE TEMP TABLE shared AS
SELECT user_id, work_date FROM (
    SELECT site, user_id, work_date FROM staged
    UNION ALL
    SELECT site, user_id, work_date FROM daily_attendance_revisions
    WHERE work_date IN (SELECT work_date FROM staged_dates)
)
GROUP BY ALL HAVING min(site) <> max(site)
"""

_REVISED = f"""
CREATE TEMP TABLE revised AS
WITH stored AS ({STORED}),
past AS (
    SELECT site, user_id, work_date, any_value(id) AS id, max(revision) AS revision, min(created_at) AS created_at
    FROM daily_attendance_revisions
    WHERE work_date IN (SELECT work_date FROM staged_dates)
    GROUP BY ALL
),
current AS (
    SELECT staged.*, false AS is_retracted, stored.id IS NULL AS is_added
    FROM staged LEFT JOIN stored USING (site, user_id, work_date)
    WHERE stored.payload_hash IS DISTINCT FROM staged.payload_hash
       OR (site, user_id, work_date) IN (SELECT (site, user_id, work_date) FROM unchanged)
    {{others}}
),
vanished AS (
    SELECT
        site, device, user_id, work_date, timezone, 0 AS punch_count, true AS is_incomplete, false AS is_outlier,
        []::VARCHAR[] AS outlier_codes, '' AS outlier_reason, shift, shift_start, shift_end,
        'retracted' AS payload_hash, true AS is_retracted, false AS is_added
    FROM stored ANTI JOIN staged USING (site, user_id, work_date)
),
changes AS (FROM current UNION ALL BY NAME FROM vanished),
-- One sequence of revisions per user and date over all sites: the CRM orders records by it.
person AS (SELECT user_id, work_date, max(revision) AS revision FROM past SEMI JOIN shared USING (user_id, work_date)
           GROUP BY ALL),
ordinal AS (
    SELECT site, user_id, work_date,
        row_number() OVER (PARTITION BY user_id, work_date ORDER BY is_retracted DESC, site) AS nth
    FROM changes SEMI JOIN shared USING (user_id, work_date)
),
floor AS ( -- set by a restore that cannot know which revisions the CRM has seen since the backup
    SELECT CAST(max(value) FILTER (name = 'revision_floor') AS INTEGER) AS revision,
           CAST(max(value) FILTER (name = 'revision_floor_until') AS DATE) AS until
    FROM store_settings WHERE name IN ('revision_floor', 'revision_floor_until')
)
SELECT
    changes.*,
    greatest(
        coalesce(person.revision, past.revision, 0), CASE WHEN work_date <= floor.until THEN floor.revision ELSE 0 END
    ) + coalesce(ordinal.nth, 1) AS revision,
    coalesce(past.created_at, $now) AS first_created_at,
    coalesce(
        past.id,
        (SELECT coalesce(max(id), 0) FROM daily_attendance_revisions)
            + row_number() OVER (PARTITION BY past.id IS NULL ORDER BY work_date, site, user_id)
    ) AS id
FROM changes
LEFT JOIN past USING (site, user_id, work_date)
LEFT JOIN person USING (user_id, work_date)
LEFT JOIN ordinal USING (site, user_id, work_date)
CROSS JOIN floor
ORDER BY work_date, site, user_id
"""  # noqa: S608 (constant SQL)

_OF_OTHERS = """
    UNION ALL BY NAME
    SELECT *, false AS is_retracted, false AS is_added FROM others SEMI JOIN unchanged USING (site, user_id, work_date)
"""


def write_revisions(connection: Connection, *, now: datetime, run_id: str | None, per_site: bool) -> None:
    """Write the revisions: current rows, their history and their deliveries.

    Older deliveries are superseded, except those with an unknown outcome, which are sent first. Raises PunchesLost.
    """
    _revise(connection, now, per_site)
    # A statement takes milliseconds even for no rows; most dates have none for most of them.
    has_changes, replaces_rows, is_shared, has_deliveries = connection.execute(
        """
        SELECT EXISTS (FROM revised), EXISTS (FROM revised WHERE NOT is_added),
            EXISTS (FROM revised SEMI JOIN shared USING (user_id, work_date)),
            EXISTS (FROM crm_deliveries WHERE work_date IN (SELECT work_date FROM revised))
        """
    ).fetchall()[0]
    if replaces_rows:
        check_lost_punches(connection, STORED)
        connection.execute(
            """
            DELETE FROM daily_attendance
            WHERE work_date IN (SELECT work_date FROM staged_dates)
              AND (site, user_id, work_date) IN (SELECT (site, user_id, work_date) FROM revised)
            """
        )
    if has_changes:
        _insert_revisions(connection, now, run_id)
        connection.execute(_RECORDS if is_shared else _NO_RECORDS, {"per_site": per_site} if is_shared else {})
        if has_deliveries:
            connection.execute(_SUPERSEDE, {"per_site": per_site})
        _enqueue(connection, now, per_site)
        connection.execute("DROP TABLE records")
    connection.execute("DROP TABLE shared")


def _revise(connection: Connection, now: datetime, per_site: bool) -> None:
    """Create `shared` and `revised`."""
    has_others, has_apart = connection.execute(
        "SELECT EXISTS (FROM others), EXISTS (FROM merged_days) OR EXISTS (FROM people_apart)"
    ).fetchall()[0]
    connection.execute("CREATE TEMP TABLE unchanged AS SELECT site, user_id, work_date FROM staged LIMIT 0")
    if per_site or has_apart:
        others = "UNION ALL SELECT site, user_id, work_date FROM others" if has_others else ""
        connection.execute(_UNCHANGED.format(others=others), {"per_site": per_site})
    connection.execute(_SHARED)
    connection.execute(_REVISED.format(others=_OF_OTHERS if has_others else ""), {"now": now})
    connection.execute("DROP TABLE unchanged")


def _insert_revisions(connection: Connection, now: datetime, run_id: str | None) -> None:
    values = {"now": now, "run_id": run_id}
    connection.execute(
        f"""
        INSERT INTO daily_attendance (id, {_CONTENT}, revision, payload_hash, run_id, created_at, updated_at)
        SELECT id, {_CONTENT}, revision, payload_hash, $run_id, first_created_at, $now
        FROM revised WHERE NOT is_retracted
        """,  # noqa: S608 (constant names)
        values,
    )
    connection.execute(
        f"""
        INSERT INTO daily_attendance_revisions
            (id, {_CONTENT}, is_retracted, revision, payload_hash, run_id, created_at)
        SELECT id, {_CONTENT}, is_retracted, revision, payload_hash, $run_id, $now
        FROM revised
        """,  # noqa: S608 (constant names)
        values,
    )


# One record for each `shared` user and date of `revised`, with the newest revision: merged over the remaining rows, the
# one remaining row, or a retraction. `merged` is the content of a record that is not the row of its revision. A record
# equal to the one before (`is_repeated`) gets no delivery.
_RECORDS = f"""
CREATE TEMP TABLE records AS
WITH newest AS (
    SELECT user_id, work_date, max(struct_pack(revision, site, device, payload_hash)) AS revised
    FROM revised SEMI JOIN shared USING (user_id, work_date)
    WHERE NOT $per_site AND user_id NOT IN (FROM people_apart)
    GROUP BY ALL
),
standing AS (
    SELECT user_id, work_date, count(*) AS sites, any_value(site) AS site, any_value(revision) AS revision,
        any_value({record_content("day")}) AS content
    FROM daily_attendance AS day SEMI JOIN newest USING (user_id, work_date) GROUP BY ALL
),
sent AS (
    SELECT user_id, work_date, max(struct_pack(revision, record_per, state, merged)) AS latest
    FROM crm_deliveries SEMI JOIN newest USING (user_id, work_date) GROUP BY ALL
),
record AS (
    SELECT
        newest.*, CASE
            WHEN standing.sites = 1 THEN standing.content
            WHEN standing.sites > 1 THEN coalesce(merged.content, error(
                'no merged day of ' || user_id || ' on ' || work_date || ', who is at several sites'
            ))
        END AS content,
        standing.sites = 1 AND standing.site = newest.revised.site AND standing.revision = newest.revised.revision
            AS is_its_row
    FROM newest LEFT JOIN standing USING (user_id, work_date)
    LEFT JOIN merged_days AS merged USING (user_id, work_date)
)
SELECT
    user_id, work_date, record.revised.site AS site, record.revised.device AS device,
    record.revised.revision AS revision,
    CASE WHEN NOT is_its_row THEN content END AS merged,
    coalesce(sha256(merged), record.revised.payload_hash) AS payload_hash,
    coalesce(content = sent.latest.merged AND sent.latest.record_per = 'person'
             AND sent.latest.state IN ('pending', 'sending', 'retry', 'delivered'), false) AS is_repeated
FROM record LEFT JOIN sent USING (user_id, work_date)
"""  # noqa: S608 (constant SQL)


_NO_RECORDS = """
CREATE TEMP TABLE records (
    user_id VARCHAR, work_date DATE, site VARCHAR, device VARCHAR, revision INTEGER, merged VARCHAR,
    payload_hash VARCHAR, is_repeated BOOLEAN
)
"""

_SUPERSEDE = """
UPDATE crm_deliveries SET state = 'superseded', sent_body = NULL
WHERE (state = 'failed' OR (state IN ('pending', 'retry') AND sent_body IS NULL))
  AND work_date IN (SELECT work_date FROM staged_dates)
  AND (user_id, work_date) IN (SELECT (user_id, work_date) FROM revised)
  AND (user_id, work_date) NOT IN (SELECT (user_id, work_date) FROM records WHERE is_repeated)
  AND (record_per = 'person' OR NOT ($per_site OR user_id IN (FROM people_apart))
       OR (site, user_id, work_date) IN (SELECT (site, user_id, work_date) FROM revised))
"""


def _enqueue(connection: Connection, now: datetime, per_site: bool) -> None:
    create_keys_table(connection)
    connection.execute(
        """
        INSERT INTO crm_deliveries (site, user_id, work_date, revision, device_ip, idempotency_key, state, attempts,
                                    retry_rounds, created_at, record_per, merged)
        SELECT keyed.site, user_id, work_date, revision, coalesce(device.ip_address, ''), idempotency_key, 'pending',
               0, 0, $now, CASE WHEN $per_site OR user_id IN (FROM people_apart) THEN 'site' ELSE 'person' END, merged
        FROM keyed LEFT JOIN devices AS device ON device.name = coalesce(merged ->> 'device', keyed.device)
        """,
        {"now": now, "per_site": per_site},
    )
    connection.execute("DROP TABLE keyed")
    settle_earlier_deliveries(connection, "SELECT work_date FROM staged_dates")


# Every change of a row, a retraction too, is a revision.
REVISED_AT = """
SELECT work_date, max(created_at) AS revised_at FROM daily_attendance_revisions
WHERE list_contains($dates, work_date) GROUP BY 1
"""


def count_changes(connection: Connection, dates: list[date]) -> list[tuple[Any, ...]]:
    """Per written work date, in order: work_date, rows of all sites, added, changed, unchanged, retracted, last change
    of a row, whether it was not processed before.
    """
    return connection.execute(
        f"""
        SELECT
            work_date,
            coalesce(kept.rows, 0) AS rows,
            coalesce(made.added, 0) AS added,
            coalesce(made.changed, 0) AS changed,
            coalesce(kept.rows, 0) - coalesce(made.added, 0) - coalesce(made.changed, 0) AS unchanged,
            coalesce(made.retracted, 0) AS retracted,
            revised_at,
            known.processed_at IS NULL AS is_first
        FROM staged_dates
        LEFT JOIN work_dates AS known USING (work_date)
        LEFT JOIN ({REVISED_AT}) USING (work_date)
        LEFT JOIN (
            SELECT work_date, count(*) AS rows FROM daily_attendance
            WHERE work_date IN (SELECT work_date FROM staged_dates) GROUP BY 1
        ) AS kept USING (work_date)
        LEFT JOIN (
            SELECT
                work_date,
                count(*) FILTER (is_added) AS added,
                count(*) FILTER (NOT is_added AND NOT is_retracted) AS changed,
                count(*) FILTER (is_retracted) AS retracted
            FROM revised GROUP BY 1
        ) AS made USING (work_date)
        ORDER BY work_date
        """,  # noqa: S608 (constant SQL)
        {"dates": dates},
    ).fetchall()


def stage(connection: Connection) -> None:
    """Create `staged_dates`, `staged` and `others`: skip dates that another run processed from newer punches; hash each
    row.

    Also updates stored rows of which only the hours differ that they were evaluated by.
    """
    connection.execute(
        """
        CREATE TEMP TABLE staged_dates AS
        SELECT incoming.*
        FROM incoming_dates AS incoming
        LEFT JOIN work_dates AS known USING (work_date)
        WHERE coalesce(known.processed_seq, 0) <= incoming.seq AND known.raw_purged_at IS NULL
        """
    )
    connection.execute(
        """
        CREATE TEMP TABLE staged AS
        WITH hashed AS (
            SELECT
                day.* REPLACE (day.work_date::DATE AS work_date),
                concat(json_array(
                    site, device, user_id, day.work_date::DATE::VARCHAR, epoch_us(clock_in), epoch_us(clock_out),
                    epoch_us(clock_in_local), epoch_us(clock_out_local), timezone, punch_count, worked_minutes,
                    outlier_codes, outlier_reason
                ), CASE WHEN coalesce(shift, day_off, worked_minutes_source) IS NOT NULL
                    THEN json_array(shift, shift_start, shift_end, day_off,
                        -- Older versions stored 'states': the hash of unchanged content must stay.
                        CASE worked_minutes_source WHEN 'punch_states' THEN 'states' ELSE worked_minutes_source END
                    ) END) AS content
            FROM incoming_days AS day
            WHERE day.work_date::DATE IN (SELECT work_date FROM staged_dates)
        )
        SELECT * EXCLUDE (content),
            -- Content that earlier versions did not know has no part in the hash where it says nothing.
            sha256(concat(content, CASE WHEN (late_minutes, coalesce(early_leave_minutes, 0), attendance_status)
                <> (0, 0, 'present') THEN json_array(late_minutes, early_leave_minutes, attendance_status) END,
                CASE WHEN coalesce(overtime_minutes, 0) + coalesce(night_minutes, 0) > 0
                    OR weekly_overtime_after_minutes IS NOT NULL OR break_source <> 'punches'
                    THEN json_array(break_minutes, break_source, overtime_minutes, overtime_class, night_minutes,
                                    weekly_overtime_after_minutes) END
            )) AS payload_hash,
            sha256(content) AS former_hash
        FROM hashed
        """
    )
    is_scoped = connection.execute("SELECT EXISTS (FROM staged_dates WHERE sites IS NOT NULL)").fetchall()[0][0]
    connection.execute(_OTHERS if is_scoped else "CREATE TEMP TABLE others AS SELECT true LIMIT 0")
    connection.execute(_REJUDGED)
    if connection.execute("SELECT EXISTS (FROM rejudged)").fetchall()[0][0]:
        for table in ("daily_attendance", "daily_attendance_revisions"):
            connection.execute(_JUDGE.format(table=table))
    connection.execute("DROP TABLE rejudged")


_OTHERS = f"""
CREATE TEMP TABLE others AS
SELECT {_CONTENT}, payload_hash
FROM (
    SELECT day.* FROM daily_attendance AS day JOIN staged_dates AS made USING (work_date)
    WHERE NOT list_contains(made.sites, day.site)
)
WHERE (user_id, work_date) IN (
    SELECT (user_id, work_date) FROM staged UNION ALL SELECT (user_id, work_date) FROM ({STORED})
)
"""  # noqa: S608 (constant SQL)

# Rows with unchanged content: evaluated by other hours, or stored by a version without the columns of these hours.
_REJUDGED = """
CREATE TEMP TABLE rejudged AS
SELECT site, user_id, work_date, day.revision, staged.* EXCLUDE (site, user_id, work_date)
FROM staged
JOIN (FROM daily_attendance WHERE work_date IN (SELECT work_date FROM staged_dates)) AS day
    USING (site, user_id, work_date)
WHERE day.judged_by IS DISTINCT FROM staged.judged_by
  AND day.payload_hash = CASE WHEN day.judged_by IS NULL THEN staged.former_hash ELSE staged.payload_hash END
"""
# What may differ in such a row.
_JUDGED = (
    "late_minutes", "early_leave_minutes", "attendance_status", "judged_by", "break_minutes", "break_source",
    "overtime_minutes", "overtime_class", "night_minutes", "weekly_overtime_after_minutes", "payload_hash",
)  # fmt: skip
_JUDGE = f"""
UPDATE {{table}} AS day SET {", ".join(f"{name} = rejudged.{name}" for name in _JUDGED)}
FROM rejudged
WHERE day.site = rejudged.site AND day.user_id = rejudged.user_id AND day.work_date = rejudged.work_date
  AND day.revision = rejudged.revision
"""  # noqa: S608 (constant names)


def stage_people(connection: Connection) -> None:
    """Create `merged_days` (content as in `crm_deliveries.merged`) and `people_apart`, after `stage`."""
    connection.execute(
        f"""
        CREATE TEMP TABLE merged_days AS
        SELECT site, user_id, day.work_date::DATE AS work_date, {record_content("day")} AS content
        FROM incoming_merged AS day WHERE day.work_date::DATE IN (SELECT work_date FROM staged_dates)
        """  # noqa: S608 (constant SQL)
    )
    connection.execute("CREATE TEMP TABLE people_apart AS SELECT user_id FROM incoming_apart")


def mark_processed(connection: Connection, now: datetime) -> None:
    connection.execute(
        """
        MERGE INTO work_dates AS known
        USING staged_dates AS built ON known.work_date = built.work_date
        WHEN MATCHED THEN UPDATE
            SET processed_seq = built.seq, processed_at = $now,
                reprocess_after = CASE WHEN built.sites IS NULL THEN built.reprocess_after
                                       ELSE least(known.reprocess_after, built.reprocess_after) END,
                stale_sites = nullif(list_filter(known.stale_sites, lambda one: one.seq > built.seq), [])
        WHEN NOT MATCHED THEN INSERT (work_date, latest_punch_seq, processed_seq, processed_at)
            VALUES (built.work_date, 0, 0, $now)
        """,
        {"now": now},
    )
