"""Late arrival, early leave and attendance status of evaluated days. Vectorized; no I/O.

A status is given to days with punches, and by the view `absences` to dates without any.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from zk_pipeline.attendance.day_bounds import DayBounds
from zk_pipeline.attendance.rules import ExplainedCode
from zk_pipeline.data_libraries import np, pd

if TYPE_CHECKING:
    import numpy.typing as npt


class AttendanceStatus(ExplainedCode):
    """Attendance statuses."""

    PRESENT = "present", "Came to work on a working day"
    HALF_DAY = "half_day", "Worked less than the shift's minutes of a full day"
    ABSENT = "absent", "Did not come, or worked less than the shift's minutes of half a day"
    DAY_OFF = "day_off", "The shift does not work on this weekday"
    HOLIDAY = "holiday", "A holiday of the site or of all sites"
    WORKED_ON_DAY_OFF = "worked_on_day_off", "Came to work on a day off or a holiday"


def late_minutes(clock_in: pd.Series[pd.Timestamp], by: DayBounds) -> npt.NDArray[np.int32]:
    """Minutes from the start of the shift or its core time to the minute of the clock-in; 0 before it, within the
    grace, and on a day off.
    """
    late = (_minute(clock_in) - by.late_from.to_numpy("datetime64[us]")) // np.timedelta64(1, "m")
    return np.where(by.is_bound & (late > by.per_row("late_grace_minutes")), late, 0).astype(np.int32)


def early_leave_minutes(clock_out: pd.Series[pd.Timestamp], by: DayBounds) -> pd.arrays.IntegerArray:
    """Minutes from the minute of the clock-out to the end of the shift or its core time, as nullable Int32: 0 after it,
    within the grace, and on a day off; null without a clock-out.
    """
    is_out = clock_out.notna().to_numpy()
    before_end = by.early_until.to_numpy("datetime64[us]") - _minute(clock_out.fillna(by.early_until))
    early = before_end // np.timedelta64(1, "m")
    counts = by.is_bound & (early > by.per_row("early_leave_grace_minutes"))
    return pd.arrays.IntegerArray(np.where(counts, early, 0).astype(np.int32), ~is_out)


def attendance_status(worked_minutes: pd.Series[int], by: DayBounds) -> npt.NDArray[np.object_]:
    """Status of each row by its `worked_minutes` (nullable); a row without them is present: its punch proves it."""
    worked = worked_minutes.to_numpy(dtype=np.float64, na_value=np.inf)
    table = np.array([one.value for one in AttendanceStatus], dtype=object)
    status = np.zeros(len(worked), dtype=np.int8)
    statuses = list(AttendanceStatus)
    status[worked < by.per_row("half_day_below_minutes")] = statuses.index(AttendanceStatus.HALF_DAY)
    status[worked < by.per_row("absent_below_minutes")] = statuses.index(AttendanceStatus.ABSENT)
    status[~by.is_bound] = statuses.index(AttendanceStatus.WORKED_ON_DAY_OFF)
    named: npt.NDArray[np.object_] = table[status]
    return named


def _minute(instants: pd.Series[pd.Timestamp]) -> npt.NDArray[np.datetime64]:
    """Instants without their seconds: those of the wall clock, whose offset is whole minutes."""
    return instants.to_numpy("datetime64[us]").astype("datetime64[m]").astype("datetime64[us]")
