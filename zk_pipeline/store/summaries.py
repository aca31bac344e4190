"""The few numbers of each site, person and work date that the rules need, however many punches there were."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta

import pandas as pd

from zk_pipeline.store.database import Database
from zk_pipeline.store.work_dates import minutes


@dataclass(frozen=True)
class Summaries:
    """`frame` as declared by `attendance.frames.SUMMARIES`; `seq` says what each work date is made from."""

    frame: pd.DataFrame
    seq: dict[date, int]


def summarize(
    database: Database, dates: Sequence[date], *, workday_starts_at: time, debounce_seconds: int
) -> Summaries:
    """The numbers of every site and person on each of `dates`, in one read. Raises ValueError for no dates."""
    if not dates:
        raise ValueError("no work dates to summarize")
    offset = timedelta(minutes=minutes(workday_starts_at))
    values = {
        "dates": list(dates),
        "offset": minutes(workday_starts_at),
        "debounce": debounce_seconds,
        "begin": datetime.combine(min(dates), time()) + offset,
        "end": datetime.combine(max(dates), time()) + offset + timedelta(days=1),
    }
    with database.read("summarize punches") as connection:
        seq = connection.execute(
            "SELECT work_date, punched_seq FROM work_dates WHERE list_contains(?, work_date)", [list(dates)]
        ).fetchall()
        table = connection.execute(_SUMMARIZE, values).to_arrow_table()
    known = dict(seq)
    frame = table.to_pandas(timestamp_as_object=False, date_as_object=False)
    return Summaries(frame=_typed(frame), seq={day: known.get(day, 0) for day in dates})


_SUMMARIZE = """
WITH placed AS (
    SELECT
        coalesce(device.site, punch.device) AS site,
        punch.user_id,
        CAST(punch.punched_at_local - to_minutes($offset) AS DATE) AS work_date,
        punch.punched_at,
        punch.punched_at_local,
        punch.device,
        coalesce(device.timezone, 'UTC') AS timezone
    FROM raw_punches AS punch
    LEFT JOIN devices AS device ON device.name = punch.device
    WHERE punch.punched_at_local >= $begin AND punch.punched_at_local < $end AND NOT punch.is_clock_suspect
),
spaced AS (
    SELECT *, punched_at - lag(punched_at) OVER (
        PARTITION BY site, user_id, work_date ORDER BY punched_at
    ) AS gap
    FROM placed
    WHERE list_contains($dates, work_date)
),
summed AS (
    SELECT
        site, user_id, work_date,
        min(struct_pack(punched_at, device, punched_at_local, timezone)) AS first,
        max(struct_pack(punched_at, device, punched_at_local, timezone)) AS last,
        count(*) FILTER (gap IS NULL OR gap >= to_seconds($debounce)) AS punch_count
    FROM spaced
    GROUP BY ALL
)
SELECT
    site, user_id, work_date,
    first.device AS device,
    first.timezone AS timezone,
    first.punched_at AS first_punch,
    last.punched_at AS last_punch,
    first.punched_at_local AS first_punch_local,
    last.punched_at_local AS last_punch_local,
    punch_count::INTEGER AS punch_count
FROM summed
ORDER BY work_date, site, user_id
"""


def _typed(frame: pd.DataFrame) -> pd.DataFrame:
    return frame.astype(
        {
            "work_date": "datetime64[us]",
            "first_punch": "datetime64[us, UTC]",
            "last_punch": "datetime64[us, UTC]",
            "first_punch_local": "datetime64[us]",
            "last_punch_local": "datetime64[us]",
            "punch_count": "int32",
        }
    )
