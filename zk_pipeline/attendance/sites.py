"""Merge of a user's punch summaries over several sites of one work date, for CRM records per user."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import pandas as pd

_PERSON = ["user_id", "work_date"]
_NOT_MERGED = ["spans", "is_trusted"]  # worked minutes, which the CRM record does not have


def merge_sites(summaries: pd.DataFrame, *, debounce_seconds: int, apart: Collection[str] = ()) -> pd.DataFrame:
    """One row per user and work date with rows at several sites, with schema `frames.SUMMARIES`.

    It spans the first to the last punch at any site. Site, device, time zone, shift and holiday are those of the first
    punch; `last_punch_local` is the wall-clock time in that zone. User ids in `apart` are not merged: they belong to
    different employees at each site.
    """
    site = summaries["site"]
    if site.empty or (site == site.iloc[0]).all():
        return summaries.iloc[:0]
    rows = summaries[summaries.duplicated(_PERSON, keep=False)].drop(columns=_NOT_MERGED, errors="ignore")
    rows = rows[~rows["user_id"].isin(list(apart))].sort_values([*_PERSON, "first_punch", "site"], ignore_index=True)
    if rows.empty:
        return rows
    person = rows.groupby(_PERSON, sort=False)
    until = person["last_punch"].cummax()
    pause = rows["first_punch"] - until.groupby(person.ngroup()).shift()
    is_single = (rows["punch_count"] == 1) & ~(pause >= pd.Timedelta(seconds=debounce_seconds))
    merged = rows[~rows.duplicated(_PERSON)].reset_index(drop=True)
    merged["last_punch"] = person["last_punch"].max().to_numpy("datetime64[us]")
    merged["last_punch"] = merged["last_punch"].dt.tz_localize("UTC").astype(rows["last_punch"].dtype)
    merged["last_punch_local"] = _local(merged["last_punch"], merged["timezone"])
    punches = person["punch_count"].sum().clip(lower=2).to_numpy()
    merged["punch_count"] = np.where(is_single.groupby(person.ngroup()).all(), 1, punches).astype("int32")
    return merged


def _local(instants: pd.Series[pd.Timestamp], zones: pd.Series[str]) -> pd.Series[pd.Timestamp]:
    """Wall-clock times of instants in each row's time zone."""
    parts = [instants[zones == zone].dt.tz_convert(str(zone)).dt.tz_localize(None) for zone in zones.unique()]
    return pd.concat(parts).sort_index().astype("datetime64[us]")
