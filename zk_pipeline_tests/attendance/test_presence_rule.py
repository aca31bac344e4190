"""The presence rule on hand-made punches; `operations/test_any_company` compares it with the plain loop."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

import pandas as pd
import pytest

from zk_pipeline.attendance.presence import presence

NOW = datetime(2026, 3, 2, 20, tzinfo=UTC)
TRUSTED = {"Turnstile"}


def rows_of(*punches: tuple[str, str, int], site: str = "Works", next_begins: int = 0) -> pd.DataFrame:
    """Punches of user 1 as (device, `day HH:MM[:SS]` in March 2026, state)."""
    local = pd.Series([pd.Timestamp(f"2026-03-{at}") for _, at, _ in punches]).astype("datetime64[us]")
    return pd.DataFrame(
        {
            "site": pd.Series(site, index=range(len(punches)), dtype=object),
            "user_id": pd.Series("1", index=range(len(punches)), dtype=object),
            "work_date": (local - pd.Timedelta(minutes=next_begins)).dt.normalize().astype("datetime64[us]"),
            "device": pd.Series([name for name, _, _ in punches], dtype=object),
            "timezone": pd.Series("UTC", index=range(len(punches)), dtype=object),
            "punched_at": local.dt.tz_localize("UTC"),
            "punched_at_local": local,
            "punch_state": pd.Series([state for _, _, state in punches], dtype="uint8"),
            "is_trusted": [name in TRUSTED for name, _, _ in punches],
            "next_begins": pd.Series(next_begins, index=range(len(punches)), dtype="int32"),
        }
    )


def directions(*frames: pd.DataFrame, apart: Sequence[str] = ()) -> list[tuple[str, str]]:
    found = presence(pd.concat(frames, ignore_index=True), NOW, debounce_seconds=60, apart=apart)
    return sorted(zip(found["site"], found["direction"], strict=True))


@pytest.mark.parametrize(
    ("punches", "direction"),
    [
        ([("Gate", "02 08:00", 0)], "in"),
        ([("Gate", "02 08:00", 1)], "in"),  # states of this device are not trusted
        ([("Gate", "02 08:00", 0), ("Gate", "02 17:00", 0)], "out"),
        ([("Gate", "02 08:00", 0), ("Gate", "02 08:00:59", 0)], "in"),  # one debounced punch
        ([("Gate", "02 08:00", 0), ("Gate", "02 08:01:00", 0)], "out"),
        ([("Turnstile", "02 08:00", 0), ("Turnstile", "02 12:00", 0)], "in"),
        *(([("Turnstile", "02 08:00", state)], "in") for state in (0, 3, 4, 255)),
        *(([("Turnstile", "02 08:00", state)], "out") for state in (1, 2, 5)),
    ],
)
def test_the_last_punch_decides(punches: list[tuple[str, str, int]], direction: str) -> None:
    assert directions(rows_of(*punches)) == [("Works", direction)]


def test_a_clock_in_of_an_earlier_work_date_is_over() -> None:
    yesterday = rows_of(("Gate", "01 08:00", 0))
    assert directions(yesterday) == []
    assert directions(yesterday, rows_of(("Gate", "02 08:00", 0))) == [("Works", "in")]
    assert directions(rows_of(("Gate", "01 22:00", 0), next_begins=20 * 60 + 1)) == [("Works", "in")]
    assert directions(rows_of(("Gate", "01 22:00", 0), next_begins=20 * 60)) == []


def test_a_user_is_at_the_site_of_the_newest_punch_only() -> None:
    works, quay = rows_of(("Gate", "02 08:00", 0)), rows_of(("Pier", "02 09:00", 0), site="Quay")
    left = rows_of(("Pier", "02 09:00", 0), ("Pier", "02 10:00", 0), site="Quay")
    assert directions(works, quay) == [("Quay", "in")]
    assert directions(works, left) == [("Quay", "out")]
    assert directions(works, quay, apart=["1"]) == [("Quay", "in"), ("Works", "in")]
    assert directions(works.iloc[:0]) == []
