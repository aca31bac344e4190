"""Clock errors: the tolerated drift, and which new punches a wrong clock recorded.

Pure functions over columns. `devices.terminal_info` measures the clocks; the store has the measurements.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from zk_pipeline.attendance.zones import to_instants
from zk_pipeline.data_libraries import np, pd

if TYPE_CHECKING:
    import numpy.typing as npt

# Drift between two settings of a clock stays far below this limit; a reset clock or a missed daylight saving change
# exceeds it.
MAX_CLOCK_ERROR_SECONDS = 900.0


def is_wrong(drift_seconds: float | None) -> bool:
    """Whether the drift exceeds MAX_CLOCK_ERROR_SECONDS; False for an unknown drift (None)."""
    return drift_seconds is not None and abs(drift_seconds) > MAX_CLOCK_ERROR_SECONDS


def drift_in_zone(drift_seconds: float | None, clock_local: datetime | None, *, zone: str, other: str) -> float | None:
    """Drift in seconds relative to the wall clock of the time zone `other`, from one relative to that of `zone`."""
    if drift_seconds is None or clock_local is None:
        return None
    shown = pd.Series([pd.Timestamp(clock_local)]).astype("datetime64[us]")
    moved: pd.Timedelta = to_instants(shown, other)[0] - to_instants(shown, zone)[0]
    return drift_seconds + moved.total_seconds()


def doubtful_punches(
    punched_at: npt.NDArray[np.datetime64],
    *,
    drift_seconds: float | None,
    wrong_by: float | None,
    read_before: datetime | None,
    read_at: datetime,
) -> npt.NDArray[np.bool_]:
    """Mask of the punches recorded since `read_before` whose time may come from a wrong clock.

    `punched_at`: instants from the recorded wall clock, datetime64[us] in UTC. `drift_seconds`: clock drift at
    `read_at`, when the log was read. `wrong_by`: drift in seconds at the last measurement since `read_before` that
    exceeded the limit; None if there was none.

    If the clock is wrong at `read_at`, all punches are doubtful. If it was set in between, a punch is doubtful unless
    its time lies between the two readings by the correct clock and not by the wrong one.
    """
    none = np.zeros(len(punched_at), dtype=bool)
    if is_wrong(drift_seconds):
        return ~none
    if wrong_by is None or read_before is None:
        return none
    limit = MAX_CLOCK_ERROR_SECONDS
    since, until = seconds_ahead(punched_at, read_before), seconds_ahead(punched_at, read_at)
    by_right_clock = (since >= -limit) & (until <= limit)
    by_wrong_clock = (since - wrong_by >= -limit) & (until - wrong_by <= limit)
    return ~by_right_clock | by_wrong_clock


def seconds_ahead(punched_at: npt.NDArray[np.datetime64], moment: datetime) -> npt.NDArray[np.float64]:
    """Seconds from the aware `moment` to each instant (datetime64[us] in UTC); negative before it."""
    reference = np.datetime64(moment.astimezone(UTC).replace(tzinfo=None), "us")
    return (punched_at - reference) / np.timedelta64(1, "s")
