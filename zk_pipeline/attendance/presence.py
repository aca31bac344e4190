"""Presence: who is in at an instant, and where, by each user's newest punch. Vectorized; no I/O."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from zk_pipeline.attendance.rules import CLOSING_STATES, OPENING_STATES
from zk_pipeline.attendance.zones import to_instants
from zk_pipeline.data_libraries import np, pd

_DAY = ["site", "user_id", "work_date"]


def presence(
    punches: pd.DataFrame, now: datetime, *, debounce_seconds: int, apart: Collection[str] = ()
) -> pd.DataFrame:
    """The newest punch of each user whose work date is not over at `now`, with its `direction`, `in` or `out`.

    `punches` (schema `frames.PRESENCE_PUNCHES`) must have all punches of the work dates that are not over. The
    direction is the punch state where the device's states are trusted; else, and for any other state, the debounced
    punches of the site and work date alternate, the first one in. A user is at one site only, that of the newest
    punch; ids in `apart` belong to different employees at each site.
    """
    from zk_pipeline.attendance.frames import PRESENCE_PUNCHES, validated  # noqa: PLC0415 (pandera, slow to import)

    rows = validated(punches, PRESENCE_PUNCHES).sort_values(
        ["punched_at", "device", "punched_at_local"], ignore_index=True
    )
    pause = rows.groupby(_DAY, sort=False)["punched_at"].diff()
    is_counted = ~(pause < pd.Timedelta(seconds=debounce_seconds))
    number = is_counted.groupby([rows[name] for name in _DAY], sort=False).cumsum()
    is_in = (number % 2 == 1).to_numpy()
    state, is_trusted = rows["punch_state"].to_numpy(), rows["is_trusted"].to_numpy()
    opens, closes = np.isin(state, OPENING_STATES), np.isin(state, CLOSING_STATES)
    is_in = np.where(is_trusted & (opens | closes), opens, is_in)
    rows["direction"] = np.where(is_in, "in", "out")
    person = pd.DataFrame(
        {"user_id": rows["user_id"], "site": rows["site"].where(rows["user_id"].isin(list(apart)), "")}
    )
    newest = rows[~person.duplicated(keep="last")]
    return newest[_over(newest) > pd.Timestamp(now)].reset_index(drop=True)


def _over(rows: pd.DataFrame) -> pd.Series[pd.Timestamp]:
    """End of the work date of each row."""
    local = rows["work_date"] + pd.Timedelta(days=1) + pd.to_timedelta(rows["next_begins"], unit="min")
    local = local.astype("datetime64[us]")
    parts = [to_instants(local[rows["timezone"] == zone], str(zone)) for zone in rows["timezone"].unique()]
    return pd.concat(parts).reindex(rows.index) if parts else local.dt.tz_localize("UTC")
