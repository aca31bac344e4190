"""Punches recorded by a clock that was measured wrong: how far off is too far, and which new punches are in doubt.

Pure functions over columns. Clocks are measured in `devices.session`; what was measured is kept in the store.
"""

from __future__ import annotations

from datetime import datetime, timezone

import numpy as np
import numpy.typing as npt
import pandas as pd

from zk_pipeline.attendance.zones import to_instants

# Clocks that only drift stay far below this between two settings; a clock that was reset, or did not follow a change
# to or from summer time, is above it.
LIMIT_SECONDS = 900.0


def is_wrong(drift_seconds: float | None) -> bool:
    """Whether a clock is further off than LIMIT_SECONDS; one that shows no real date (None) says nothing."""
    return drift_seconds is not None and abs(drift_seconds) > LIMIT_SECONDS


def drift_in_zone(drift_seconds: float | None, clock_local: datetime | None, *, zone: str, other: str) -> float | None:
    """A drift measured against the wall clock of `zone`, as measured against that of `other`, in seconds."""
    if drift_seconds is None or clock_local is None:
        return None
    shown = pd.Series([pd.Timestamp(clock_local)]).astype("datetime64[us]")
    moved: pd.Timedelta = to_instants(shown, other)[0] - to_instants(shown, zone)[0]
    return drift_seconds + moved.total_seconds()


def in_doubt(
    punched_at: npt.NDArray[np.datetime64],
    *,
    drift_seconds: float | None,
    wrong_by: float | None,
    read_before: datetime | None,
    read_at: datetime,
) -> npt.NDArray[np.bool_]:
    """Which of the punches that came into a log after `read_before` were recorded by a clock known to be wrong.

    `punched_at`: instants by the recorded wall clock, datetime64[us] in UTC. `drift_seconds`: of the clock at
    `read_at`, when the log was read; `wrong_by`: its drift, in seconds, when it was last measured wrong since
    `read_before`, None where it was not.

    All of them, where the clock is wrong at `read_at`. Where it has been set right since, a punch is in doubt unless
    only the right clock explains it: it was made between the two readings.
    """
    none = np.zeros(len(punched_at), dtype=bool)
    if is_wrong(drift_seconds):
        return ~none
    if wrong_by is None or read_before is None:
        return none
    limit = LIMIT_SECONDS
    since, until = seconds_ahead(punched_at, read_before), seconds_ahead(punched_at, read_at)
    by_right_clock = (since >= -limit) & (until <= limit)
    by_wrong_clock = (since - wrong_by >= -limit) & (until - wrong_by <= limit)
    return ~by_right_clock | by_wrong_clock


def seconds_ahead(punched_at: npt.NDArray[np.datetime64], moment: datetime) -> npt.NDArray[np.float64]:
    """Seconds by which instants (datetime64[us] in UTC) lie after an aware `moment`; negative before it."""
    reference = np.datetime64(moment.astimezone(timezone.utc).replace(tzinfo=None), "us")
    return (punched_at - reference) / np.timedelta64(1, "s")
