"""Slot holders by the user lists of a terminal, and the attribution of records that name only a slot.

Records of 8 bytes contain a slot (`uid`) instead of a user id, and firmware assigns the lowest free slot to the next
enrolled user. User lists are numbered per device; a row of `device_slots` is one user in one slot, from the first list
with it to the last. A record lies between two lists: the last one read before it was possible, and the first one read
after it was in the log.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

from zk_pipeline.data_libraries import pa
from zk_pipeline.store.engine.database import Connection
from zk_pipeline.store.terminals.ingest import NAMES_OF_TERMINALS

# For a slot with a new holder between two lists: new users punch at once, and a leaving user seldom minutes before.
HANDOVER = "INTERVAL 1 HOUR"

LIST_REFUSED = "the user list could not be read"


def record_lists(connection: Connection, lists: pa.Table, read_at: Mapping[str, datetime]) -> list[str]:
    """Record one complete user list each of the devices in `read_at`; returns the devices with a current list.

    `lists(device, user_id, uid)`; a slot that a list contains twice has an unknown holder. A list older than the newest
    stored one, which is possible if readings are stored in another order, is skipped.
    """
    newest = dict(
        connection.execute(
            "SELECT name, users_listed_at FROM devices WHERE list_contains(?, name)", [list(read_at)]
        ).fetchall()
    )
    current = [name for name, at in read_at.items() if newest.get(name) is None or newest[name] <= at]
    if not current:
        return []
    times = pa.table(
        {"device": current, "at": pa.array([read_at[name] for name in current], pa.timestamp("us", "UTC"))}
    )
    connection.register("listed_slots", lists.select(["device", "user_id", "uid"]))
    connection.register("listed_times", times.rename_columns(["device", "listed_at"]))
    connection.execute(
        """
        CREATE TEMP TABLE listed AS
        SELECT device, uid, min(user_id) AS user_id
        FROM listed_slots WHERE device IN (SELECT device FROM listed_times)
        GROUP BY device, uid HAVING count(DISTINCT user_id) = 1
        """
    )
    connection.execute(
        """
        UPDATE device_slots SET last_list = device.user_lists, last_listed_at = device.users_listed_at
        FROM devices AS device
        WHERE device_slots.device = device.name AND device_slots.last_list IS NULL
          AND device_slots.device IN (SELECT device FROM listed_times)
          AND (device_slots.device, device_slots.uid, device_slots.user_id) NOT IN (
              SELECT (device, uid, user_id) FROM listed
          )
        """
    )
    connection.execute(
        """
        INSERT INTO device_slots (device, uid, user_id, first_list, first_listed_at)
        SELECT listed.device, listed.uid, listed.user_id, device.user_lists + 1, listed_times.listed_at
        FROM listed
        JOIN devices AS device ON device.name = listed.device
        JOIN listed_times ON listed_times.device = listed.device
        ANTI JOIN (SELECT device, uid, user_id FROM device_slots WHERE last_list IS NULL) AS held
            ON held.device = listed.device AND held.uid = listed.uid AND held.user_id = listed.user_id
        """
    )
    connection.execute(
        """
        UPDATE devices SET user_lists = user_lists + 1, users_listed_at = listed_times.listed_at
        FROM listed_times WHERE listed_times.device = devices.name
        """
    )
    connection.execute("DROP TABLE listed")
    connection.unregister("listed_slots")
    connection.unregister("listed_times")
    return current


def attribute(connection: Connection, records: pa.Table) -> pa.Table:
    """Attribute `records`, which name only a slot: returns the same rows with `user_id`, or with the `reason` for none.

    `records(device, uid, punched_at_local, raw, listed_before, listed_after, …)`: the two numbers give the lists around
    a new record. A stored record keeps its user; one in quarantine keeps its numbers. If one user had the slot in that
    time, the record is theirs. Of several, it is that of the last one if the slot changed its holder within an hour;
    otherwise the user is unknown.
    """
    connection.register("slot_records", records.append_column("place", pa.array(range(len(records)), pa.int64())))
    connection.execute(
        """
        CREATE TEMP TABLE placed_records AS
        SELECT
            record.place, record.device, record.uid, record.punched_at_local,
            CASE WHEN waiting.raw IS NULL THEN record.listed_before ELSE waiting.listed_before END AS listed_before,
            CASE WHEN waiting.raw IS NULL THEN record.listed_after ELSE waiting.listed_after END AS listed_after,
            device.user_lists
        FROM slot_records AS record
        JOIN devices AS device ON device.name = record.device
        LEFT JOIN (
            SELECT device, raw, min(listed_before) AS listed_before, min(listed_after) AS listed_after
            FROM quarantined_records
            WHERE released_at IS NULL AND device IN (SELECT device FROM slot_records)
            GROUP BY device, raw
        ) AS waiting ON waiting.device = record.device AND waiting.raw = record.raw
        """
    )
    attributed = connection.execute(
        f"""
        WITH stored AS (
            SELECT name.device, punch.punched_at_local, punch.uid, punch.user_id
            FROM raw_punches AS punch JOIN ({NAMES_OF_TERMINALS}) AS name ON name.stored_as = punch.device
            WHERE punch.voided_at IS NULL AND name.device IN (SELECT device FROM slot_records)
              AND punch.punched_at_local BETWEEN (SELECT min(punched_at_local) FROM slot_records)
                                            AND (SELECT max(punched_at_local) FROM slot_records)
        ),
        known AS (
            SELECT device, uid, punched_at_local, min(user_id) AS user_id FROM stored WHERE uid IS NOT NULL GROUP BY ALL
        ),
        -- Punches stored by versions without slots: matched by user and second only.
        unslotted AS (
            SELECT device, punched_at_local, list(user_id ORDER BY user_id) AS people
            FROM stored WHERE uid IS NULL GROUP BY ALL
        ),
        held AS (
            SELECT
                record.place,
                count(DISTINCT slot.user_id) AS holders,
                arg_max(slot.user_id, slot.first_list) AS holder,
                arg_min(slot.user_id, slot.first_list) AS predecessor,
                min(slot.last_listed_at) AS left_at,
                max(slot.first_listed_at) AS came_at
            FROM placed_records AS record
            JOIN device_slots AS slot ON slot.device = record.device AND slot.uid = record.uid
                AND slot.first_list <= record.listed_after
                AND coalesce(slot.last_list, 2147483647) >= record.listed_before
            WHERE record.listed_after <= record.user_lists
            GROUP BY record.place
        ),
        matched AS (
            SELECT
                record.place, record.device, record.punched_at_local, known.user_id AS known, unslotted.people,
                CASE WHEN held.holders = 1 OR held.came_at - held.left_at <= {HANDOVER} THEN held.holder END AS holder,
                CASE
                    WHEN record.listed_after IS NULL THEN format('uid {{}} had no known user', record.uid)
                    WHEN record.listed_after > record.user_lists
                        THEN format('uid {{}} has no user id: {LIST_REFUSED}', record.uid)
                    WHEN held.holders IS NULL THEN format('uid {{}} had no known user', record.uid)
                    ELSE format(
                        'uid {{}} passed from {{}} to {{}} between {{}} and {{}}: either can have made the record',
                        record.uid, held.predecessor, held.holder,
                        strftime(held.left_at, '%Y-%m-%d %H:%M'), strftime(held.came_at, '%Y-%m-%d %H:%M UTC')
                    )
                END AS reason
            FROM placed_records AS record
            LEFT JOIN known ON known.device = record.device AND known.uid = record.uid
                AND known.punched_at_local = record.punched_at_local
            LEFT JOIN unslotted ON unslotted.device = record.device
                AND unslotted.punched_at_local = record.punched_at_local
            LEFT JOIN held ON held.place = record.place
        ),
        claimed AS (
            SELECT device, punched_at_local, list(holder) AS people
            FROM matched WHERE known IS NULL AND list_contains(people, holder) GROUP BY ALL
        )
        SELECT
            CASE
                WHEN known IS NOT NULL THEN known
                WHEN matched.people IS NULL OR list_contains(matched.people, holder) THEN holder
                ELSE coalesce(
                    list_filter(
                        matched.people, lambda person: NOT list_contains(coalesce(claimed.people, []), person)
                    )[1],
                    holder
                )
            END AS user_id,
            reason,
            known IS NULL AND matched.people IS NOT NULL AS is_unslotted
        FROM matched
        LEFT JOIN claimed ON claimed.device = matched.device AND claimed.punched_at_local = matched.punched_at_local
        ORDER BY place
        """  # noqa: S608 (constant texts)
    ).to_arrow_table()
    placed = connection.execute(
        "SELECT listed_before, listed_after FROM placed_records ORDER BY place"
    ).to_arrow_table()
    connection.execute("DROP TABLE placed_records")
    connection.unregister("slot_records")
    for name in ("listed_before", "listed_after"):
        records = records.set_column(records.schema.get_field_index(name), name, placed[name])
    for name in ("user_id", "reason", "is_unslotted"):
        records = records.append_column(name, attributed[name])
    return records
