"""SQL statements of an ingest, in the caller's transaction: idempotent, and as many for one device as for fifty.

The rows of several devices are stored by the same few statements: on a shared store, a statement costs more than its
rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import cache
from typing import Literal, TypeVar

from zk_pipeline.attendance.zones import to_instants
from zk_pipeline.data_libraries import np, pa, pc, pd
from zk_pipeline.store.engine.database import Connection
from zk_pipeline.store.terminals.clock_corrections import correct_fresh
from zk_pipeline.store.work_dates.assignment import assign_work_dates
from zk_pipeline.store.work_dates.sequence import mark_stale, next_seq

# A clock that lost its time restarts at 2000-01-01; one that is a day ahead did not drift there. Such punches are
# stored, but their time is unknown.
CLOCK_WAS_RESET_BEFORE = datetime(2001, 1, 1)  # noqa: DTZ001 (a wall-clock reading)
AHEAD = timedelta(days=1)
T = TypeVar("T")
Source = Literal["poll", "live", "push", "file"]

# Periods in which known punches are searched are merged if they are closer than this.
_NEAR = timedelta(days=7)

PUNCHES = cache(
    lambda: pa.schema(
        {
            "user_id": pa.string(),
            "uid": pa.int32(),
            "punched_at": pa.timestamp("us", "UTC"),
            "punched_at_local": pa.timestamp("us"),
            "status": pa.uint8(),
            "punch_state": pa.uint8(),
            "verify_type": pa.uint8(),
            "work_code": pa.int64(),
            "raw": pa.binary(),
        }
    )
)
# `listed_before` and `listed_after`: for a record that names only a slot, see `slots.attribute`; otherwise null.
REJECTED = cache(
    lambda: pa.schema(
        {"raw": pa.binary(), "reason": pa.string(), "listed_before": pa.int32(), "listed_after": pa.int32()}
    )
)
_USERS = cache(
    lambda: pa.schema(
        {"user_id": pa.string(), "uid": pa.int32(), "name": pa.string(), "privilege": pa.int32(), "card": pa.int64()}
    )
)
USERS_OF_DEVICES = cache(lambda: pa.schema([pa.field("device", pa.string()), *_USERS()]))


# Names under which punches of a terminal are stored: its device, and removed devices with its serial number.
NAMES_OF_TERMINALS = """
    SELECT name AS device, name AS stored_as FROM devices
    UNION ALL
    SELECT device.name, earlier.name
    FROM devices AS device JOIN devices AS earlier ON earlier.serial_number = device.serial_number
    WHERE device.removed_at IS NULL AND earlier.removed_at IS NOT NULL AND earlier.serial_number <> ''
"""


_PURGED = "SELECT work_date FROM work_dates WHERE raw_purged_at IS NOT NULL"


def batches_without_repeats(items: Iterable[T], device: Callable[[T], str]) -> Iterator[list[T]]:
    """Batches to store together, in order: a device with two items is in two batches."""
    together: list[T] = []
    devices: set[str] = set()
    for one in items:
        name = device(one)
        if name in devices:
            yield together
            together, devices = [], set()
        together.append(one)
        devices.add(name)
    if together:
        yield together


@dataclass(frozen=True)
class FetchedTable:
    """Rows of one poll of one device: `table` as from `punches_table`, `rejected_table` or `users_table`.

    `in_doubt`: for punches, which ones have a clock known to be wrong; None: none of them. `record_format`: for
    rejected records, as in `quarantined_records`.
    """

    device: str
    poll_id: int
    table: pa.Table
    in_doubt: pa.Array | None = None
    source: Source = "poll"
    record_format: str | None = None


@dataclass
class Inserted:
    """Counts of one device: `stored` punches, `new` ones among them, `touched`: new valid ones by work date, and
    `in_doubt`: new ones with a suspect clock.
    """

    stored: int
    new: int = 0
    in_doubt: int = 0
    touched: dict[date, int] = field(default_factory=dict)


def punches_table(punches: pd.DataFrame, zone: str) -> pa.Table:
    """The frame as Arrow with instants, each (user, punched_at_local) once; prepared before the lock is taken.

    The user is `user_id`, or `uid` if a record names only a slot.
    """
    is_slot = punches["uid"].notna().any()
    once = punches.drop_duplicates([*(["uid"] if is_slot else []), "user_id", "punched_at_local"])
    once = once.assign(
        punched_at=to_instants(once["punched_at_local"], zone),
        punched_at_local=once["punched_at_local"].astype("datetime64[us]"),
    )
    return pa.Table.from_pandas(once, PUNCHES(), preserve_index=False)


def rejected_table(rejected: pd.DataFrame) -> pa.Table:
    none = pa.nulls(len(rejected), pa.int32())
    table = pa.Table.from_pandas(rejected, pa.schema(list(REJECTED())[:2]), preserve_index=False)
    return table.append_column("listed_before", none).append_column("listed_after", none)


def rejected_lines(rejected: Sequence[tuple[bytes, str]]) -> pa.Table:
    """As `rejected_table`, of (raw, reason) pairs."""
    none: list[None] = [None] * len(rejected)
    columns = {"raw": [raw for raw, _ in rejected], "reason": [reason for _, reason in rejected]}
    return pa.table({**columns, "listed_before": none, "listed_after": none}, schema=REJECTED())


def users_table(users: pd.DataFrame) -> pa.Table:
    return pa.Table.from_pandas(users, _USERS(), preserve_index=False)


def next_poll_id(connection: Connection) -> int:
    row = connection.execute("SELECT coalesce(max(id), 0) + 1 FROM device_polls").fetchone()
    assert row is not None
    return int(row[0])


def insert_punches(connection: Connection, fetched: Sequence[FetchedTable], now: datetime) -> list[Inserted]:
    """Store the new punches of different devices; returns the counts of each, in order."""
    done = [Inserted(stored=len(one.table)) for one in fetched]
    of = dict(zip([one.device for one in fetched], done, strict=True))
    assert len(of) == len(fetched), "one table of punches per device"
    if not any(one.stored for one in done):
        return done
    incoming = _numbered(_together(fetched), next_seq(connection, sum(one.stored for one in done)))
    connection.register("incoming", incoming)
    placing = assign_work_dates(connection, punches="incoming")
    is_purged = "false"
    if connection.execute(f"SELECT EXISTS ({_PURGED})").fetchall()[0][0]:
        is_purged = f"{placing.work_date} IN ({_PURGED})"
        cleared = f"SELECT punch.device, count(*) FROM incoming AS punch {placing.join} WHERE {is_purged} GROUP BY 1"  # noqa: S608
        for device, count in connection.execute(cleared).fetchall():
            of[device].stored -= count
    unknown, periods = _unknown(connection, incoming)
    ((new,),) = connection.execute(
        f"""
        CREATE TEMP TABLE fresh AS
        SELECT punch.*, {placing.work_date} AS work_date,
               punch.in_doubt OR punch.punched_at_local < $earliest OR punch.punched_at > $latest AS is_clock_suspect
        FROM (FROM {unknown}) AS punch {placing.join}
        WHERE NOT {is_purged}
        """,  # noqa: S608 (constant SQL)
        {**periods, "earliest": CLOCK_WAS_RESET_BEFORE, "latest": now + AHEAD},
    ).fetchall()
    if new < len(incoming):
        _keep_work_codes(connection, incoming)
    if not new:  # most polls: the statements below take a tenth of the time of a poll, even for no rows
        connection.execute("DROP TABLE fresh")
        connection.unregister("incoming")
        return done
    connection.execute(
        """
        INSERT INTO raw_punches (device, user_id, uid, punched_at, punched_at_local, status, punch_state, verify_type,
                                 work_code, source, first_poll_id, seq, created_at, is_clock_suspect)
        SELECT device, user_id, uid, punched_at, punched_at_local, status, punch_state, verify_type, work_code, source,
               poll_id, seq, $now, is_clock_suspect
        FROM fresh ORDER BY seq
        """,
        {"now": now},
    )
    correct_fresh(connection)
    # Suspect punches are stored, but part of no day.
    valid = "fresh LEFT JOIN devices AS registered ON registered.name = fresh.device WHERE NOT is_clock_suspect"
    mark_stale(connection, valid, site="coalesce(registered.site, fresh.device)")
    counted = connection.execute(
        """
        SELECT device, work_date, is_clock_suspect, count(*) FROM fresh GROUP BY ALL ORDER BY device, work_date
        """
    ).fetchall()
    for device, work_date, is_clock_suspect, count in counted:
        of[device].new += count
        if is_clock_suspect:
            of[device].in_doubt += count
        else:
            of[device].touched[work_date] = count
    connection.execute("DROP TABLE fresh")
    connection.unregister("incoming")
    return done


def _keep_work_codes(connection: Connection, incoming: pa.Table) -> None:
    """Add work codes to punches that live events stored: events, unlike the records of the log, have none."""
    coded = incoming.filter(pc.is_valid(incoming["work_code"]))
    if not len(coded):
        return
    period = pc.min_max(coded["punched_at_local"]).as_py()
    connection.execute(
        """
        UPDATE raw_punches SET work_code = incoming.work_code FROM incoming
        WHERE raw_punches.device = incoming.device AND raw_punches.user_id = incoming.user_id
          AND raw_punches.punched_at_local = incoming.punched_at_local
          AND raw_punches.punched_at_local BETWEEN $min AND $max
          AND raw_punches.work_code IS NULL AND incoming.work_code IS NOT NULL
        """,
        period,
    )


def count_missing(connection: Connection, device: str, punches: pa.Table) -> int:
    """Number of `punches` not stored for `device`; records that name only a slot may also be in quarantine."""
    if not len(punches):
        return 0
    incoming = _together([FetchedTable(device, 0, punches)])
    connection.register("incoming", incoming)
    if punches["uid"].null_count < len(punches):
        row = connection.execute(f"SELECT count(*) FROM {_SLOTS_UNKNOWN}").fetchone()  # noqa: S608 (constant SQL)
    else:
        unknown, periods = _unknown(connection, incoming)
        row = connection.execute(f"SELECT count(*) FROM {unknown}", periods).fetchone()  # noqa: S608 (constant SQL)
    connection.unregister("incoming")
    assert row is not None
    return int(row[0])


def count_new(connection: Connection, device: str, punches: pa.Table) -> tuple[int, int]:
    """Numbers of `punches`, all with a user, that are not stored for `device`: those that `insert_punches` would store,
    and those of work dates whose punches retention has deleted.
    """
    if not len(punches):
        return 0, 0
    incoming = _together([FetchedTable(device, 0, punches)])
    connection.register("incoming", incoming)
    placing = assign_work_dates(connection, pairs="SELECT DISTINCT device, user_id FROM incoming")
    unknown, periods = _unknown(connection, incoming)
    row = connection.execute(
        f"""
        SELECT count(*) FILTER (NOT is_purged), count(*) FILTER (is_purged) FROM (
            SELECT {placing.work_date} IN (
                SELECT work_date FROM work_dates WHERE raw_purged_at IS NOT NULL
            ) AS is_purged
            FROM (FROM {unknown}) AS punch {placing.join}
        )
        """,  # noqa: S608 (constant SQL)
        periods,
    ).fetchone()
    connection.unregister("incoming")
    assert row is not None
    return int(row[0]), int(row[1])


_SLOTS_UNKNOWN = """
    incoming
    ANTI JOIN (FROM raw_punches WHERE voided_at IS NULL) AS stored
        ON stored.device = incoming.device AND stored.uid = incoming.uid
        AND stored.punched_at_local = incoming.punched_at_local
    ANTI JOIN quarantined_records AS held ON held.device = incoming.device AND held.raw = incoming.raw
"""


def _together(fetched: Sequence[FetchedTable]) -> pa.Table:
    """One table with the device, its poll and `ahead`: the number of rows of the devices before.

    In one chunk: DuckDB scans each chunk of a table for itself, in every statement.
    """
    sizes = np.array([len(one.table) for one in fetched])
    owner = pa.array(np.repeat(np.arange(len(fetched)), sizes))
    table = pa.concat_tables([one.table for one in fetched]).combine_chunks()
    columns = {
        "device": pa.array([one.device for one in fetched], pa.string()),
        "poll_id": pa.array([one.poll_id for one in fetched], pa.int64()),
        "source": pa.array([one.source for one in fetched], pa.string()),
        "record_format": pa.array([one.record_format for one in fetched], pa.string()),
        "ahead": pa.array(np.cumsum(sizes) - sizes, pa.int64()),
    }
    for name, values in columns.items():
        table = table.append_column(name, values.take(owner))
    return table.append_column("in_doubt", _in_doubt(fetched, len(table)))


def _numbered(punches: pa.Table, first: int) -> pa.Table:
    """With their numbers `seq`, by device, time and user, as if the devices were stored one after the other."""
    order = [("ahead", "ascending"), ("punched_at_local", "ascending"), ("user_id", "ascending")]
    ordered = punches.sort_by(order)
    return ordered.append_column("seq", pa.array(np.arange(first, first + len(ordered))))


def _in_doubt(fetched: Sequence[FetchedTable], rows: int) -> pa.Array:
    if all(one.in_doubt is None for one in fetched):
        return pa.repeat(pa.scalar(False), rows)
    return pa.concat_arrays(
        [pa.repeat(pa.scalar(False), len(one.table)) if one.in_doubt is None else one.in_doubt for one in fetched]
    )


# Devices whose terminal may have punches under another name.
_EARLIER_NAMES = "FROM devices WHERE removed_at IS NOT NULL AND serial_number <> ''"


def _unknown(connection: Connection, incoming: pa.Table) -> tuple[str, dict[str, object]]:
    """Query of the punches in `incoming` that are not yet stored, which keeps punches unique, with its parameters.

    Periods and devices are parameters, because DuckDB then skips row groups outside them; it does not for values that
    the query computes.
    """
    parameters: dict[str, object] = {}
    scans = []
    for number, period in enumerate(_periods(incoming)):
        devices = {f"device_{number}_{nth}": device for nth, device in enumerate(period.devices)}
        parameters |= {f"first_{number}": period.first, f"last_{number}": period.last, **devices}
        scans.append(
            f"""
            SELECT device, user_id, punched_at_local FROM raw_punches {_OWN_SPAN if len(devices) > 1 else ""}
            WHERE punched_at_local BETWEEN $first_{number} AND $last_{number}
              AND device IN ({", ".join(f"${name}" for name in devices)})
            """  # noqa: S608 (constant numbers)
        )
    known = " UNION ALL ".join(scans)
    unknown = f"incoming ANTI JOIN ({known}) AS known USING (device, user_id, punched_at_local)"
    if connection.execute(f"SELECT EXISTS ({_EARLIER_NAMES})").fetchall()[0][0]:
        unknown += f" ANTI JOIN ({_UNDER_OTHER_NAMES}) AS elsewhere USING (device, user_id, punched_at_local)"
    return unknown, parameters


_UNDER_OTHER_NAMES = f"""
    SELECT name.device, punch.user_id, punch.punched_at_local
    FROM raw_punches AS punch JOIN ({NAMES_OF_TERMINALS}) AS name ON name.stored_as = punch.device
    WHERE name.device <> name.stored_as AND name.device IN (SELECT device FROM incoming)
"""  # noqa: S608 (constant SQL)

# The complete log of one device must not cause a scan of years of the others.
_OWN_SPAN = """
    SEMI JOIN (
        SELECT device, min(punched_at_local) AS first, max(punched_at_local) AS last FROM incoming GROUP BY 1
    ) AS span ON span.device = raw_punches.device AND punched_at_local BETWEEN first AND last
"""


@dataclass
class _Period:
    first: datetime
    last: datetime
    devices: list[str]


def _periods(incoming: pa.Table) -> list[_Period]:
    """Separate periods of the devices' punches: a clock reset to 2000-01-01 is far from the others."""
    spans = incoming.group_by("device").aggregate([("punched_at_local", "min"), ("punched_at_local", "max")])
    bounds = zip(*(spans[name].to_pylist() for name in ("punched_at_local_min", "punched_at_local_max")), strict=True)
    periods: list[_Period] = []
    for (first, last), device in sorted(zip(bounds, spans["device"].to_pylist(), strict=True)):
        if periods and first - periods[-1].last < _NEAR:
            periods[-1].last = max(last, periods[-1].last)
            periods[-1].devices.append(device)
        else:
            periods.append(_Period(first, last, [device]))
    return periods


def insert_rejected(connection: Connection, fetched: Sequence[FetchedTable], now: datetime) -> None:
    """Quarantine unreadable records, each once per device, with the latest reason."""
    if not any(len(one.table) for one in fetched):
        return
    connection.register("rejected", _together(fetched))
    connection.execute(
        """
        CREATE TEMP TABLE rejected_once AS
        SELECT device, raw, min(reason) AS reason, min(poll_id) AS poll_id, min(listed_before) AS listed_before,
               min(listed_after) AS listed_after, min(record_format) AS record_format
        FROM rejected GROUP BY device, raw
        """
    )
    connection.execute(
        """
        UPDATE quarantined_records SET reason = rejected_once.reason
        FROM rejected_once
        WHERE rejected_once.device = quarantined_records.device AND rejected_once.raw = quarantined_records.raw
          AND rejected_once.reason <> quarantined_records.reason AND released_at IS NULL
        """
    )
    connection.execute(
        """
        INSERT INTO quarantined_records
            (device, raw, reason, first_poll_id, created_at, listed_before, listed_after, record_format)
        SELECT device, raw, reason, poll_id, $now, listed_before, listed_after, record_format
        FROM rejected_once
        ANTI JOIN (
            SELECT device, raw FROM quarantined_records WHERE device IN (SELECT device FROM rejected_once)
        ) AS known USING (device, raw)
        """,
        {"now": now},
    )
    connection.execute("DROP TABLE rejected_once")
    connection.unregister("rejected")


def mark_released(connection: Connection, device: str, raw: Iterable[bytes], now: datetime) -> None:
    """Mark the records as released from quarantine."""
    connection.register("freed", pa.table({"raw": pa.array(list(raw), pa.binary())}))
    connection.execute(
        """
        UPDATE quarantined_records SET released_at = $now
        WHERE device = $device AND released_at IS NULL AND raw IN (SELECT raw FROM freed)
        """,
        {"now": now, "device": device},
    )
    connection.unregister("freed")


def replace_users(connection: Connection, fetched: Sequence[FetchedTable], now: datetime) -> None:
    """Replace the users of each device by its user list; unchanged rows stay."""
    if not fetched:
        return
    connection.register("enrolled", _together(fetched))
    connection.execute(
        """
        DELETE FROM device_users
        WHERE list_contains($devices, device) AND (device, user_id, uid, name, privilege, card) NOT IN (
            SELECT (device, user_id, uid, name, privilege, card) FROM enrolled
        )
        """,
        {"devices": [one.device for one in fetched]},
    )
    connection.execute(
        """
        INSERT INTO device_users (device, user_id, uid, name, privilege, card, updated_at)
        SELECT device, user_id, uid, name, privilege, card, $now
        FROM enrolled
        ANTI JOIN (SELECT device, user_id, uid FROM device_users WHERE device IN (SELECT device FROM enrolled)) AS known
            USING (device, user_id, uid)
        """,
        {"now": now},
    )
    connection.unregister("enrolled")
