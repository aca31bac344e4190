"""Conversion of a terminal's wall-clock times to instants. The store assigns punches to work dates."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

from zk_pipeline.data_libraries import np, pd

if TYPE_CHECKING:
    import numpy.typing as npt

    Moments = npt.NDArray[Any]


def to_instants(local: pd.Series[pd.Timestamp], zone: str) -> pd.Series[pd.Timestamp]:
    """Instants (datetime64[us, UTC]) of naive wall-clock times (datetime64[us], no nulls) in the IANA `zone`.

    An ambiguous time at a clock change is its first occurrence; a skipped one is converted with the offset before the
    change (PEP 495, fold=0). So every time has exactly one instant. The rules are those of zoneinfo, for any year;
    pandas uses pytz, which has no rules after 2037.
    """
    readings = local.to_numpy("datetime64[us]")
    tz = ZoneInfo(zone)
    days, day_of = np.unique(readings.astype("datetime64[D]"), return_inverse=True)
    offsets = _offsets(days, tz)
    changes = (offsets != _offsets(days + 1, tz))[day_of]
    offset = offsets[day_of]
    # Times on the day of a clock change need their own offset each.
    offset[changes] = _offsets(readings[changes], tz)
    return pd.Series(readings - offset, index=local.index, name=local.name).dt.tz_localize("UTC")


def _offsets(readings: Moments, tz: ZoneInfo) -> Moments:
    moments = readings.astype("datetime64[us]").tolist()
    return np.array([moment.replace(tzinfo=tz).utcoffset() for moment in moments], dtype="timedelta64[us]")
