"""Detection of a record layout from size, counter and evidence in the records."""

from __future__ import annotations

import numpy as np
import pytest

from zk_pipeline.devices.protocol.layout_choice import detect_log_layout, detect_user_layout, possible_layouts
from zk_pipeline.devices.protocol.record_layouts import (
    LOG_8,
    LOG_8_MA300,
    LOG_16,
    LOG_40,
    LOG_49,
    LOG_LAYOUTS,
    USER_28,
    USER_72,
    USER_LAYOUTS,
    Layout,
    encode_time,
)

NOW = np.datetime64("2026-11-20T12:00:00", "s")
RESET = np.datetime64("2000-01-20T12:00:00", "s")
BOTH_ORDERS = [LOG_8, LOG_8_MA300]


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
    assert possible_layouts(size, LOG_LAYOUTS, at_least=before, at_most=after) == expected


def _records(
    layout: Layout, count: int, start: str = "2026-03-01T08:00:00", *, ids: str = "EMP{}", first_uid: int = 101
) -> bytes:
    """A log of clock-ins and clock-outs of up to 300 users, one every 2.5 hours."""
    records = np.zeros(count, layout.dtype)
    moments = [(np.datetime64(start, "s") + np.timedelta64(i * 9000, "s")).item() for i in range(count)]
    states, numbers = np.arange(count) % 2, np.arange(count) % 300
    records["time"] = [encode_time(moment) for moment in moments]
    if layout.has_bit_field:
        records["status"] = states | 1 << 3
    else:
        records["verify"] = 1
        records["state"] = states
    for who, first in (("uid", first_uid), ("number", 100_000)):
        if who in (layout.dtype.names or ()):
            records[who] = numbers + first
    if "user_id" in (layout.dtype.names or ()):
        records["user_id"] = [ids.format(number).encode() for number in numbers]
    return records.tobytes()


def _detected(
    table: bytes, *, counted: int = 0, latest: np.datetime64 = NOW, known: str | None = None
) -> Layout | None:
    candidates = possible_layouts(len(table), LOG_LAYOUTS, at_least=counted, at_most=counted)
    return detect_log_layout(table, candidates, latest=latest, known=known)


@pytest.mark.parametrize("count", [1, 2, 40, 980])
@pytest.mark.parametrize("layout", LOG_LAYOUTS, ids=lambda layout: layout.name)
def test_the_records_tell_the_layout_with_a_counter_and_without(layout: Layout, count: int) -> None:
    table = _records(layout, count)
    assert _detected(table, counted=count) == layout
    assert _detected(table) == layout


@pytest.mark.parametrize("layout", LOG_LAYOUTS, ids=lambda layout: layout.name)
@pytest.mark.parametrize("latest", [NOW, RESET], ids=["set right since", "reset still"])
def test_a_log_of_a_reset_clock_is_detected_by_its_user_ids_or_by_the_reading_before(
    layout: Layout, latest: np.datetime64
) -> None:
    table = _records(layout, 60, "2000-01-01T00:05:00")
    assert _detected(table, counted=60, latest=latest) == (layout if layout.names_users else None)
    assert _detected(table, counted=60, latest=latest, known=layout.name) == layout


def test_a_clock_behind_its_log_leaves_8_byte_records_to_the_reading_before() -> None:
    table = _records(LOG_8_MA300, 60)
    before = np.datetime64("2026-01-01", "s")
    assert _detected(table, counted=60, latest=before) is None
    assert _detected(table, counted=60, latest=before, known="8-MA300") == LOG_8_MA300


@pytest.mark.parametrize("layout", BOTH_ORDERS, ids=lambda layout: layout.name)
def test_three_punches_of_a_right_clock_tell_the_layout_of_any_log_before_them(layout: Layout) -> None:
    table = _records(layout, 200, "2000-01-08T00:00:00") + _records(layout, 3)
    assert _detected(table, counted=203) == layout


def test_pairs_of_ma300_records_of_five_people_are_not_taken_for_16_bytes() -> None:
    """Without a counter, every record is plausible in both layouts, so neither is chosen without an earlier reading."""
    table = _records(LOG_8_MA300, 4, first_uid=1)
    assert _detected(table) is None
    assert _detected(table, known="8-MA300") == LOG_8_MA300
    assert _detected(table, counted=4) == LOG_8_MA300


def test_what_records_prove_outweighs_the_layout_of_the_reading_before() -> None:
    for known in LOG_LAYOUTS:
        assert _detected(_records(LOG_8_MA300, 60), counted=60, known=known.name) == LOG_8_MA300
    assert _detected(_records(LOG_16, 60), counted=60, known="8") == LOG_16


def test_states_of_a_terminals_own_keys_hide_no_layout_that_names_users() -> None:
    for layout in (LOG_16, LOG_40):
        records = layout.records(_records(layout, 60)).copy()
        records["state"] = 77
        assert _detected(records.tobytes(), counted=60) == layout


def test_user_ids_in_another_script_are_evidence_with_a_date_and_a_state() -> None:
    table = _records(LOG_40, 60, ids="شركة{}")
    assert _detected(table, counted=60) == LOG_40
    assert _detected(table, counted=60, latest=RESET) is None


@pytest.mark.parametrize("byte", [0x00, 0xFF])
def test_erased_memory_after_the_newest_punch_hides_no_layout(byte: int) -> None:
    for layout in LOG_LAYOUTS:
        table = _records(layout, 60) + bytes([byte]) * layout.size * 9
        assert _detected(table, counted=69) == layout


@pytest.mark.parametrize("known", [None, *(layout.name for layout in LOG_LAYOUTS)])
def test_zeros_and_nothing_have_no_layout(known: str | None) -> None:
    for size in (8, 80, 784):
        assert _detected(bytes(size), known=known) is None
    assert detect_log_layout(b"", [], latest=NOW, known=known) is None


def test_random_bytes_never_pass_as_a_log_or_a_user_list() -> None:
    """Single records of 8 bytes are accepted in 1 of 200 cases, longer logs practically never."""
    chance = np.random.default_rng(21)
    passed = []
    for layout in LOG_LAYOUTS:
        for count in [*range(1, 60), 500, 5000]:
            table = chance.bytes(layout.size * count)
            passed += [(count, found) for counted in (count, 0) if (found := _detected(table, counted=counted))]
    for size in (28, 72):
        for count in [*range(1, 60), 500]:
            table = chance.bytes(size * count)
            detected = detect_user_layout(
                table, possible_layouts(len(table), USER_LAYOUTS, at_least=count, at_most=count)
            )
            passed += [(count, detected)] if detected else []
    assert passed == []


@pytest.mark.parametrize("count", [1, 2, 18, 300])
@pytest.mark.parametrize("layout", USER_LAYOUTS, ids=lambda layout: layout.name)
def test_the_entries_of_a_user_list_tell_its_layout(layout: Layout, count: int) -> None:
    entries = np.zeros(count, layout.dtype)
    entries["uid"] = np.arange(count) + 1
    entries["name"] = "Zoë".encode()
    entries["user_id" if layout is USER_72 else "number"] = np.arange(count) + 100_000
    table = entries.tobytes()
    for counted in (count, 0):
        candidates = possible_layouts(len(table), USER_LAYOUTS, at_least=counted, at_most=counted)
        assert detect_user_layout(table, candidates) == layout
    assert detect_user_layout(bytes(len(table)), [USER_28, USER_72][layout is USER_72 :][:1]) is None


@pytest.mark.parametrize("layout", LOG_LAYOUTS, ids=lambda layout: layout.name)
def test_records_of_impossible_dates_are_detected_only_by_the_layout_of_an_earlier_reading(layout: Layout) -> None:
    table = _records(layout, 3)
    records = layout.records(table).copy()
    records["time"] = (((26 * 12 + 1) * 31 + 30) * 24 + 8) * 3600  # 31 February 2026, 08:00
    assert _detected(records.tobytes(), counted=3) is None
    assert _detected(records.tobytes(), counted=3, known=layout.name) == layout
