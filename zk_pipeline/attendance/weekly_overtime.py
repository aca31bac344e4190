"""Weekly overtime: regular minutes beyond a threshold per ISO week. Vectorized; no I/O.

The rule of the US Fair Labor Standards Act: "a workweek longer than forty hours" is paid as overtime for the hours
beyond them (29 U.S.C. § 207(a)(1)), each workweek on its own (29 CFR § 778.104). 40 hours are a threshold of 2,400.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from zk_pipeline.data_libraries import np, pd

if TYPE_CHECKING:
    import numpy.typing as npt


def weekly_overtime(days: pd.DataFrame, *, apart: Collection[str] = ()) -> npt.NDArray[np.int32]:
    """Part of each row's regular minutes that is weekly overtime, in the order of `days` (schema `REGULAR_MINUTES`).

    A week is Monday to Sunday. Its threshold is that of the latest row that has one; without one there is no weekly
    overtime. Minutes beyond it belong to the date on which they were worked, and on one date to the later row. Rows of
    all sites count together, except for ids in `apart`, which belong to different employees at each site. Weeks must be
    complete: no row changes the minutes of an earlier one, but a later row may bring another threshold.
    """
    from zk_pipeline.attendance.frames import REGULAR_MINUTES, validated  # noqa: PLC0415 (pandera, slow to import)

    rows = validated(days, REGULAR_MINUTES).reset_index(drop=True)
    rows["site"] = rows["site"].where(rows["user_id"].isin(list(apart)), "")
    rows["week"] = rows["work_date"] - pd.to_timedelta(rows["work_date"].dt.weekday, unit="D")
    rows = rows.sort_values("work_date", kind="stable")
    weeks = rows.groupby(["user_id", "site", "week"], sort=False)
    threshold = weeks["weekly_overtime_after_minutes"].transform("last")  # the last one that is not null
    beyond = (weeks["regular_minutes"].cumsum() - threshold.astype("Float64")).fillna(0).clip(lower=0)
    minutes = np.minimum(beyond.to_numpy(np.float64), rows["regular_minutes"].to_numpy(np.float64))
    found: npt.NDArray[np.int32] = pd.Series(minutes, rows.index).sort_index().to_numpy(np.int32)
    return found
