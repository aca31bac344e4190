"""The layout of a table follows from its size, the terminal's counter and, last, what its records say."""

from __future__ import annotations

import struct

import numpy as np
import pytest

from zk_pipeline.devices.layouts import (
    LOG_8,
    LOG_8_MA300,
    LOG_16,
    LOG_40,
    LOG_49,
    LOG_LAYOUTS,
    Layout,
    encode_time,
    fitting,
    most_plausible,
)

NOW = np.datetime64("2026-11-20T12:00:00", "s")


@pytest.mark.parametrize(
    ("size", "before", "after", "expected"),
    [
        (2400, 60, 60, [LOG_40]),
        (960, 60, 60, [LOG_16]),
        (480, 60, 60, [LOG_8, LOG_8_MA300]),
        (4808, 600, 601, [LOG_8, LOG_8_MA300]),
        (2940, 60, 60, [LOG_49]),
        (2400, 61, 61, []),
        (2400, 60, 0, []),
        (2400, 0, 60, [LOG_40]),
        (2399, 0, 0, []),
        (80, 0, 0, [LOG_40, LOG_16, LOG_8, LOG_8_MA300]),
    ],
)
def test_layouts_fit_by_size_and_counter(size: int, before: int, after: int, expected: list[Layout]) -> None:
    assert fitting(size, LOG_LAYOUTS, at_least=before, at_most=after) == expected


def _records(layout: Layout, count: int) -> bytes:
    start = np.datetime64("2026-03-01T08:00:00", "s")
    records = np.zeros(count, layout.dtype)
    moments = [(start + np.timedelta64(i * 9000, "s")).item() for i in range(count)]
    records["time"] = [encode_time(moment) for moment in moments]
    records["status"], records["punch"] = 1, np.arange(count) % 2
    names = layout.dtype.names or ()
    if "uid" in names:
        records["uid"] = np.arange(count) % 300 + 1
    if "number" in names:
        records["number"] = np.arange(count) % 300 + 100_000
    if "user_id" in names:
        records["user_id"] = [f"EMP{i % 300}".encode() for i in range(count)]
    return records.tobytes()


@pytest.mark.parametrize("count", [1, 2, 40, 980])
@pytest.mark.parametrize("layout", LOG_LAYOUTS, ids=lambda layout: layout.name)
def test_counter_and_records_together_tell_the_layout(layout: Layout, count: int) -> None:
    table = _records(layout, count)
    candidates = fitting(len(table), LOG_LAYOUTS, at_least=count, at_most=count)
    assert most_plausible(table, candidates, latest=NOW) == layout


@pytest.mark.parametrize("count", [1, 2, 40, 980])
@pytest.mark.parametrize("layout", [LOG_8, LOG_16, LOG_40, LOG_49], ids=lambda layout: layout.name)
def test_without_a_counter_the_records_alone_tell_the_layout(layout: Layout, count: int) -> None:
    table = _records(layout, count)
    candidates = fitting(len(table), LOG_LAYOUTS, at_least=0, at_most=0)
    assert most_plausible(table, candidates, latest=NOW) == layout


def test_without_a_counter_pairs_of_ma300_records_are_not_taken_for_16_bytes() -> None:
    """Both readings make sense of every record, so neither is chosen."""
    table = _records(LOG_8_MA300, 40)
    assert most_plausible(table, [LOG_16, LOG_8, LOG_8_MA300], latest=NOW) is None


def test_between_the_two_orders_of_8_bytes_the_usual_one_wins_a_draw() -> None:
    assert most_plausible(bytes(80), [LOG_8, LOG_8_MA300], latest=NOW) == LOG_8


def test_nonsense_has_no_layout() -> None:
    assert most_plausible(bytes(80), [LOG_40, LOG_16, LOG_8], latest=NOW) is None


def test_a_table_that_nothing_fits_has_no_layout() -> None:
    assert most_plausible(b"", [], latest=NOW) is None


def test_a_clock_that_stopped_at_2000_leaves_the_usual_order() -> None:
    table = b"".join(struct.pack("<HBIB", 7, 1, second, 0) for second in range(50))
    assert most_plausible(table, [LOG_8, LOG_8_MA300], latest=NOW) == LOG_8
