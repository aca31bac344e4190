"""Idempotency keys in SQL, equal to those of `crm.payload.idempotency_key`.

Computed one by one in Python, they took three fifths of the time to write a year of days.
"""

from __future__ import annotations

import json

from zk_pipeline.crm.payload import KEY_NAMESPACE
from zk_pipeline.data_libraries import pa
from zk_pipeline.store.engine.database import Connection


def create_keys_table(connection: Connection) -> None:
    """Create the temporary table `keyed`: site, device, user_id, work_date, revision and merged content of each new
    delivery (from `revised`, or from `records` if the user and date have any), with its idempotency_key.

    A key is a UUID of version 5 (RFC 9562): the SHA-1 of namespace and name, overwritten with version and variant.
    """
    texts = connection.execute("SELECT site FROM revised UNION SELECT user_id FROM revised").fetchall()
    quoted = pa.table(
        {
            "plain": pa.array([text for (text,) in texts], pa.string()),
            "json": pa.array([json.dumps(text) for (text,) in texts], pa.string()),  # escaped as in the name
        }
    )
    connection.register("quoted_texts", quoted)
    # A table has a known size: without it, DuckDB built a hash table of all revisions for these few rows, on one core.
    connection.execute("CREATE TEMP TABLE quoted AS FROM quoted_texts")
    connection.unregister("quoted_texts")
    connection.execute(
        """
        CREATE TEMP TABLE keyed AS
        WITH due AS (
            SELECT site, device, user_id, work_date, revision, payload_hash, NULL::VARCHAR AS merged
            FROM revised ANTI JOIN records USING (user_id, work_date)
            UNION ALL
            SELECT site, device, user_id, work_date, revision, payload_hash, merged FROM records WHERE NOT is_repeated
        ),
        hashed AS (
            SELECT site, device, user_id, work_date, revision, merged,
                sha1(from_hex($namespace) || encode(concat(
                    '[', quoted_site.json, ', ', quoted_person.json, ', "', work_date, '", ', revision, ', "',
                    payload_hash, '"]'
                ))) AS hash
            FROM due
            JOIN quoted AS quoted_site ON quoted_site.plain = due.site
            JOIN quoted AS quoted_person ON quoted_person.plain = due.user_id
        )
        SELECT site, device, user_id, work_date, revision, merged, concat(
            substr(hash, 1, 8), '-', substr(hash, 9, 4), '-5', substr(hash, 14, 3), '-',
            substr('89ab', ('0x' || substr(hash, 17, 1))::INTEGER % 4 + 1, 1), substr(hash, 18, 3), '-',
            substr(hash, 21, 12)
        ) AS idempotency_key
        FROM hashed
        """,
        {"namespace": KEY_NAMESPACE.hex},
    )
    connection.execute("DROP TABLE quoted")
