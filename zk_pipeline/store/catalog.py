"""What every table and column holds, in which unit or zone: the one source of the comments in the database, of the
column schemas in Dagster and of the API's field descriptions. Structure itself is in `migrations/`; a test holds them
equal.
"""

from __future__ import annotations

_DAY = {
    "id": "Stable number of this person's day at this site",
    "site": "Site: devices that share it share their people",
    "device": "Device of the clock-in",
    "user_id": "The person's id as enrolled on the terminals",
    "work_date": "The work date, in the device's zone",
    "clock_in": "First punch of the work date (instant, UTC)",
    "clock_out": "Last punch of the work date (instant, UTC); null while there is only one",
    "clock_in_local": "First punch on the terminal's wall clock",
    "clock_out_local": "Last punch on the terminal's wall clock; null while there is only one",
    "timezone": "IANA zone of the clock-in's device",
    "punch_count": "Punches of the day; those closer together than DEBOUNCE_SECONDS count once",
    "worked_minutes": "Whole minutes between clock-in and clock-out, by instants; null without a clock-out",
    "is_incomplete": "There is no clock-out (yet)",
    "is_outlier": "At least one outlier rule holds",
    "outlier_codes": "Codes of the outlier rules that hold, in the order of the day",
    "outlier_reason": "Why, as a sentence with times and bounds; empty when nothing is unusual",
    "revision": "1 for the first content of the day, one more each time the content changed",
    "payload_hash": "SHA-256 of the content that a revision stands for",
    "run_id": "Dagster run that made this revision",
}

TABLES: dict[str, tuple[str, dict[str, str]]] = {
    "schema_migrations": (
        "Which numbered migrations this store has had",
        {
            "version": "Number of the migration",
            "name": "File name of the migration",
            "applied_at": "When it was applied (instant, UTC)",
        },
    ),
    "store_settings": (
        "Settings that stored values were computed with",
        {"name": "Name of the setting", "value": "Its value"},
    ),
    "devices": (
        "Registered terminals; a removed one keeps its row, since its punches stay",
        {
            "id": "Stable number of the device",
            "name": "Unique name; also its Dagster partition key",
            "ip_address": "IP address or host name",
            "port": "TCP and UDP port",
            "protocol": "auto, tcp or udp",
            "timezone": "IANA zone of the terminal's wall clock",
            "site": "Site; the device's own name unless another was given",
            "enabled": "Whether polls read it",
            "comm_key_env": "Name of the environment variable that holds the comm key; never the key",
            "encoding": "Character encoding of names on the terminal",
            "serial_number": "Serial number it answered with last",
            "firmware_version": "Firmware it answered with last",
            "platform": "Platform it answered with last",
            "record_capacity": "Punches its log can hold",
            "last_transport": "tcp or udp: what `auto` found last, tried first",
            "last_sync": "Last successful poll (instant, UTC)",
            "created_at": "When it was registered (instant, UTC)",
            "updated_at": "When its registration last changed (instant, UTC)",
            "removed_at": "When it was removed from the registry (instant, UTC); null while registered",
        },
    ),
    "device_polls": (
        "One row per poll of one device, successful or not",
        {
            "id": "Number of the poll",
            "device": "Name of the device",
            "started_at": "Start (instant, UTC)",
            "finished_at": "End (instant, UTC)",
            "status": "success or failed",
            "mode": "full, tail (only new records) or unchanged (the counter had not moved); null on failure",
            "reported": "Punches the terminal said it holds, before its log was read",
            "reported_after": "The same, asked again afterwards",
            "fetched": "Records read from its log",
            "stored": "Distinct punches of this reading that the store holds now",
            "new": "Those of them that were not known before",
            "quarantined": "Records that cannot be a punch; see quarantined_records",
            "accounted": "Records of its log that are stored or in quarantine after this poll",
            "clock_drift_seconds": "Terminal's clock minus true time, in seconds, round trip taken out",
            "round_trip_ms": "Round trip to the terminal, in milliseconds",
            "transport": "tcp or udp",
            "layout": "Bytes per record of its log",
            "bytes_read": "Bytes of log read",
            "run_id": "Dagster run of the poll",
            "error_code": "Class of the failure; null on success",
            "error": "The failure in words; null on success",
        },
    ),
    "raw_punches": (
        "Every punch as read from a terminal: one row per device, user_id and punched_at_local; only ever added to",
        {
            "device": "Device that recorded it",
            "user_id": "The person's id as enrolled on the terminal",
            "punched_at": "The instant (UTC), from the wall clock and the device's zone",
            "punched_at_local": "The terminal's wall clock, as recorded",
            "status": "As the Django bridge stored it: repeats verify_type",
            "punch_state": "0 in, 1 out, 2 break out, 3 break in, 4 overtime in, 5 overtime out, 255 undefined",
            "verify_type": "0 password, 1 finger, 2 card, 15 face; others by firmware",
            "first_poll_id": "Poll that brought it first (device_polls.id)",
            "seq": "Grows with every punch stored; what a day was made from is told by it",
            "created_at": "When it was stored (instant, UTC)",
            "is_clock_suspect": "The terminal's clock cannot have been right: kept, but part of no day",
        },
    ),
    "quarantined_records": (
        "Records of a terminal's log that cannot be a punch, with their bytes as they came",
        {
            "device": "Device that sent it",
            "raw": "The record's bytes",
            "reason": "Why it cannot be a punch",
            "first_poll_id": "Poll that brought it first (device_polls.id)",
            "created_at": "When it was stored (instant, UTC)",
        },
    ),
    "device_tails": (
        "Where the last reading of each terminal's log ended, so that the next one reads only what is new",
        {
            "device": "Name of the device",
            "serial_number": "Terminal that was read",
            "layout": "Record layout of its log",
            "record_count": "Records in its log then",
            "total_bytes": "Bytes of these records",
            "overlap": "The last few of them as they came, to be found again by the next reading",
            "user_count": "Users the terminal counted then",
            "full_read_at": "When the whole log was read last (instant, UTC)",
            "updated_at": "When it was read last (instant, UTC)",
        },
    ),
    "device_users": (
        "People enrolled on each terminal; no passwords, no templates",
        {
            "device": "Name of the device",
            "user_id": "The person's id",
            "uid": "The terminal's own slot number",
            "name": "Name as enrolled",
            "privilege": "0 user, 14 administrator; others by firmware",
            "card": "Card number, 0 for none",
            "updated_at": "When this was last read different (instant, UTC)",
        },
    ),
    "work_dates": (
        "What each work date's rows were made from; a date is stale while punched_seq is above built_seq",
        {
            "work_date": "The work date, in the device's zone",
            "punched_seq": "Highest raw_punches.seq among its punches",
            "built_seq": "Highest seq that its rows were made from; 0 before the first time",
            "built_at": "When its rows were made (instant, UTC)",
            "recheck_after": "When the day is over and must be judged again (instant, UTC); null if it was over",
            "raw_deleted_at": "When retention deleted its punches (instant, UTC); its rows are final since",
        },
    ),
    "daily_attendance": (
        "One row per site, person and work date",
        {
            **_DAY,
            "created_at": "When the day first appeared (instant, UTC)",
            "updated_at": "When this revision was made (instant, UTC)",
        },
    ),
    "daily_attendance_history": (
        "Every revision of every day, the current one included",
        {
            **_DAY,
            "clock_in": "First punch of the work date (instant, UTC); null in a retraction",
            "clock_in_local": "First punch on the terminal's wall clock; null in a retraction",
            "is_retracted": "The day ceased to exist (its punches moved to another site)",
            "created_at": "When this revision was made (instant, UTC)",
        },
    ),
    "crm_deliveries": (
        "The outbox: one row per revision of a day that the CRM is to be told of",
        {
            "site": "Site of the day",
            "user_id": "Person of the day",
            "work_date": "Work date of the day",
            "revision": "Revision of the day",
            "device_ip": "The day's device's address when this revision was made: every attempt sends the same",
            "idempotency_key": "The same for every attempt at this revision",
            "state": "pending, sending, delivered, retry, failed or superseded",
            "attempts": "Requests made with this key",
            "rounds": "Sync rounds that ended in retry",
            "last_attempt_at": "Last request (instant, UTC)",
            "delivered_at": "When the CRM confirmed it (instant, UTC)",
            "last_status": "HTTP status of the last answer; null when there was none",
            "last_error": "Why the last attempt failed; null after success",
            "run_id": "Dagster run that claimed it last",
            "created_at": "When it became due (instant, UTC)",
        },
    ),
}

VIEWS: dict[str, tuple[str, dict[str, str]]] = {
    "processed_attendance": (
        "The day with its delivery, in the words of the REST API",
        {
            **{name: text for name, text in _DAY.items() if name not in {"timezone", "payload_hash", "run_id"}},
            "device": "Number of the device of the clock-in (devices.id)",
            "device_name": "Device of the clock-in",
            "date": "The work date, in the device's zone",
            "synced_to_crm": "The CRM holds this revision",
            "sync_state": "State of this revision's delivery",
            "sync_attempts": "Requests made for this revision",
            "last_sync_attempt": "Last request for this revision (instant, UTC)",
            "sync_error": "Why the last attempt failed; null after success",
            "created_at": "When the day first appeared (instant, UTC)",
            "updated_at": "When this revision was made (instant, UTC)",
        },
    )
}
del VIEWS["processed_attendance"][1]["work_date"]
