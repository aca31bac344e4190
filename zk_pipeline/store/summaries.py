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
        "debounce": debounce_seconds * 1_000_000,
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


# Each person's punches of a date as one sorted list: a window over all rows, which first sorts them all, takes three
# times as long. Punches of one instant are in the order of their devices' names, so that the result is always the same.
_SUMMARIZE = """
WITH placed AS (
    SELECT
        coalesce(device.site, punch.device) AS site,
        punch.user_id,
        CAST(punch.punched_at_local - to_minutes($offset) AS DATE) AS work_date,
        epoch_us(punch.punched_at) AS moment,
        punch.device,
        punch.punched_at_local
    FROM raw_punches AS punch
    LEFT JOIN devices AS device ON device.name = punch.device
    WHERE punch.punched_at_local >= $begin AND punch.punched_at_local < $end AND NOT punch.is_clock_suspect
),
listed AS (
    SELECT site, user_id, work_date, list_sort(list(struct_pack(moment, device, punched_at_local))) AS punches
    FROM placed
    WHERE list_contains($dates, work_date)
    GROUP BY ALL
),
spaced AS (
    SELECT *, list_transform(punches, lambda punch: punch.moment) AS moments FROM listed
)
SELECT
    spaced.site, user_id, work_date,
    punches[1].device AS device,
    coalesce(device.timezone, 'UTC') AS timezone,
    make_timestamptz(punches[1].moment) AS first_punch,
    make_timestamptz(punches[-1].moment) AS last_punch,
    punches[1].punched_at_local AS first_punch_local,
    punches[-1].punched_at_local AS last_punch_local,
    len(list_filter(moments, lambda moment, nth: nth = 1 OR moment - moments[nth - 1] >= $debounce))::INTEGER
        AS punch_count
FROM spaced LEFT JOIN devices AS device ON device.name = punches[1].device
ORDER BY work_date, spaced.site, user_id
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
