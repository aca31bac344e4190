"""From a terminal's wall clock to instants. Which work date a punch belongs to is the store's to say."""

from __future__ import annotations

from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import numpy.typing as npt
import pandas as pd

Moments = npt.NDArray[Any]


def to_instants(local: pd.Series[pd.Timestamp], zone: str) -> pd.Series[pd.Timestamp]:
    """Instants (datetime64[us, UTC]) of naive wall-clock readings in an IANA `zone`, whole columns at once.

    A reading that a clock change repeats is taken as its first occurrence; one that it skips as read from a clock not
    yet moved (PEP 495, fold=0). So every reading has exactly one instant, and none aborts an import. The zone's rules
    are zoneinfo's, for any year: pandas' own come from pytz, which knows none after 2037. No reading may be null.
    """
    readings = local.to_numpy("datetime64[us]")
    tz = ZoneInfo(zone)
    days, day_of = np.unique(readings.astype("datetime64[D]"), return_inverse=True)
    offsets = _offsets(days, tz)
    changes = (offsets != _offsets(days + 1, tz))[day_of]
    offset = offsets[day_of]
    # Only on the day of a clock change do readings have to be looked at one by one.
    offset[changes] = _offsets(readings[changes], tz)
    return pd.Series(readings - offset, index=local.index, name=local.name).dt.tz_localize("UTC")


def _offsets(readings: Moments, tz: ZoneInfo) -> Moments:
    moments = readings.astype("datetime64[us]").tolist()
    return np.array([moment.replace(tzinfo=tz).utcoffset() for moment in moments], dtype="timedelta64[us]")
