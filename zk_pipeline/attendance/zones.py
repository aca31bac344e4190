"""From a terminal's wall clock to instants. What a work date is stands in `workday`."""

from __future__ import annotations

from datetime import timezone
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd


def to_instants(local: pd.Series[pd.Timestamp], zone: str) -> pd.Series[pd.Timestamp]:
    """Instants (datetime64[us, UTC]) of naive wall-clock readings in an IANA `zone`, whole columns at once.

    A reading that a clock change repeats is taken as its first occurrence; one that it skips as read from a clock not
    yet moved (PEP 495, fold=0). So every reading has exactly one instant, and none aborts an import.
    """
    readings = local.astype("datetime64[us]")
    first = np.ones(len(readings), dtype=bool)
    instants = readings.dt.tz_localize(zone, ambiguous=first, nonexistent="NaT").dt.tz_convert("UTC")
    skipped = instants.isna() & readings.notna()
    if skipped.any():
        tz = ZoneInfo(zone)
        instants.loc[skipped] = [
            pd.Timestamp(moment.to_pydatetime().replace(tzinfo=tz).astimezone(timezone.utc))
            for moment in readings[skipped]
        ]
    return instants.astype("datetime64[us, UTC]")
