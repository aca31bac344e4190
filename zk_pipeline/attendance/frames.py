"""Pandera schemas of the data frames between the store and the rules. `*_local` columns are naive wall-clock times."""

from __future__ import annotations

import pandas as pd
import pandera.pandas as pa

_UTC = pd.DatetimeTZDtype("us", "UTC")
_LOCAL = "datetime64[us]"

# One row per site, user and work date, aggregated from its punches. Optional columns select the rules of a row; a
# missing column means the hours of the settings, no holiday, no trusted punch states.
SUMMARIES = pa.DataFrameSchema(
    {
        "site": pa.Column(object),
        "user_id": pa.Column(object),
        "work_date": pa.Column(_LOCAL),
        "device": pa.Column(object),
        "timezone": pa.Column(object),
        "first_punch": pa.Column(_UTC),
        "last_punch": pa.Column(_UTC),
        "first_punch_local": pa.Column(_LOCAL),
        "last_punch_local": pa.Column(_LOCAL),
        "punch_count": pa.Column("int32", pa.Check.ge(1)),
        "shift": pa.Column(object, nullable=True, required=False),  # name; null: the hours of the settings
        # Minutes after midnight at which the work date, and the next one, begin.
        "begins": pa.Column("int32", pa.Check.in_range(0, 1439), required=False),
        "next_begins": pa.Column("int32", pa.Check.in_range(0, 1439), required=False),
        "holiday": pa.Column(object, nullable=True, required=False),  # name
        # Instants of clocking in and out in turn, microseconds since the epoch (int64): by punch states if those are
        # trusted, else by alternation of the debounced punches; null if they do not pair.
        "spans": pa.Column(object, nullable=True, required=False),
        "is_trusted": pa.Column(bool, required=False),  # whether the punch states of the row are trusted
    },
    unique=["site", "user_id", "work_date"],
    strict=True,
    name="summaries",
)

# One evaluated row per site, user and work date, as written to daily_attendance.
DAYS = pa.DataFrameSchema(
    {
        "site": pa.Column(object),
        "device": pa.Column(object),
        "user_id": pa.Column(object),
        "work_date": pa.Column(_LOCAL),
        "clock_in": pa.Column(_UTC),
        "clock_out": pa.Column(_UTC, nullable=True),
        "clock_in_local": pa.Column(_LOCAL),
        "clock_out_local": pa.Column(_LOCAL, nullable=True),
        "timezone": pa.Column(object),
        "punch_count": pa.Column("int32", pa.Check.ge(1)),
        "worked_minutes": pa.Column("Int32", pa.Check.ge(0), nullable=True),
        "is_incomplete": pa.Column(bool),
        "is_outlier": pa.Column(bool),
        "outlier_codes": pa.Column(object),
        "outlier_reason": pa.Column(object),
    },
    unique=["site", "user_id", "work_date"],
    strict=True,
    ordered=True,
    name="days",
)

# DAYS with the rules of each row; a missing column is null in every row.
EVALUATED_DAYS = DAYS.add_columns(
    {
        "shift": pa.Column(object, nullable=True, required=False),
        "shift_start": pa.Column(object, nullable=True, required=False),  # datetime.time
        "shift_end": pa.Column(object, nullable=True, required=False),
        "day_off": pa.Column(object, nullable=True, required=False),
        "worked_minutes_source": pa.Column(object, nullable=True, required=False),
        "late_minutes": pa.Column("int32", pa.Check.ge(0)),
        "early_leave_minutes": pa.Column("Int32", pa.Check.ge(0), nullable=True),  # null without a clock-out
        "attendance_status": pa.Column(object),
        "judged_by": pa.Column(object),  # hours and where they come from
        # Minutes are null without a clock-out; sources and classes in a row without such minutes.
        "break_minutes": pa.Column("Int32", pa.Check.ge(0), nullable=True),
        "break_source": pa.Column(object, nullable=True, required=False),
        "overtime_minutes": pa.Column("Int32", pa.Check.ge(0), nullable=True),
        "overtime_class": pa.Column(object, nullable=True, required=False),
        "weekly_overtime_after_minutes": pa.Column("Int32", pa.Check.ge(0), nullable=True, required=False),
        "night_minutes": pa.Column("Int32", pa.Check.ge(0), nullable=True),
    }
)

# Minutes of days without daily overtime, for weekly overtime; on one date in the order in which they were worked.
REGULAR_MINUTES = pa.DataFrameSchema(
    {
        "site": pa.Column(object),
        "user_id": pa.Column(object),
        "work_date": pa.Column(_LOCAL),
        "regular_minutes": pa.Column("int32"),
        "weekly_overtime_after_minutes": pa.Column("Int32", nullable=True),
    },
    strict=True,
    name="regular_minutes",
)


def validated(frame: pd.DataFrame, schema: pa.DataFrameSchema) -> pd.DataFrame:
    """The frame, checked against its schema. Raises pandera.errors.SchemaError or SchemaErrors.

    Pandera attaches an accessor to the frame: a reference cycle, which would keep the columns in memory until the next
    garbage collection. It is removed.
    """
    checked = schema.validate(frame)
    for one in (frame, checked):
        vars(one).pop("pandera", None)
    return checked
