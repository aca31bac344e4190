"""The record layouts, byte for byte."""

from __future__ import annotations

from datetime import datetime

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zk_pipeline.simulator.terminal.definition import TerminalDefinition
from zk_pipeline.simulator.terminal.records import (
    Layout,
    Punch,
    TerminalUser,
    check_user_id,
    encode_punch,
    encode_punches,
    encode_user,
    punches_frame,
)

AT = datetime.fromisoformat("2026-11-20T08:59:30")
AT_BYTES = "f2678133"  # (26 * 12 + 10) * 31 + 19 days and 32,370 seconds


@pytest.mark.parametrize(
    ("layout", "expected"),
    [
        (8, "0700 0f" + AT_BYTES + "02"),
        (16, "e9030000" + AT_BYTES + "02 0f 0000 4d000000"),
        (40, "0700" + "31303031".ljust(48, "0") + "0f" + AT_BYTES + "02" + "00000000ff000000"),
    ],
)
def test_a_punch_has_the_documented_bytes(layout: Layout, expected: str) -> None:
    punch = Punch("1001", AT, verify_type=15, punch_state=2, work_code=77)
    assert encode_punch(punch, layout, 7) == bytes.fromhex(expected)


def test_a_punch_of_ma300_has_state_and_verification_in_bits() -> None:
    rows = [("1001", AT, 1, 2), ("1001", AT, 3, 5)]
    expected = bytes.fromhex("0700 2a 00" + AT_BYTES + "0700 3d 00" + AT_BYTES)
    assert b"".join(encode_punch(Punch(*row), 8, 7, is_ma300=True) for row in rows) == expected
    assert encode_punches(punches_frame(rows), 8, {"1001": 7}, is_ma300=True) == expected
    for verify_type, punch_state in ((4, 0), (0, 8)):
        with pytest.raises(ValueError, match="does not fit the bit field"):
            encode_punch(Punch("1001", AT, verify_type, punch_state), 8, 7, is_ma300=True)
    with pytest.raises(ValueError, match="have 8 bytes"):
        TerminalDefinition(name="gate", layout=16, is_ma300=True)


@settings(max_examples=40)
@given(
    st.sampled_from([8, 16, 40]),
    st.lists(
        st.tuples(
            st.integers(0, 2**32 - 1).map(str),
            st.datetimes(
                datetime.fromisoformat("2000-01-01T00:00:00"), datetime.fromisoformat("2099-12-31T00:00:00")
            ).map(lambda at: at.replace(microsecond=0)),
            st.integers(0, 255),
            st.integers(0, 255),
        )
    ),
)
def test_a_whole_log_is_its_punches_one_after_the_other(
    layout: Layout, rows: list[tuple[str, datetime, int, int]]
) -> None:
    uids = {user_id: uid for uid, (user_id, *_) in enumerate(rows, start=1)}
    one_by_one = [encode_punch(Punch(*row), layout, uids[row[0]]) for row in rows]
    assert encode_punches(punches_frame(rows), layout, uids) == b"".join(one_by_one)


def test_user_ids_of_a_log_may_have_letters() -> None:
    log = punches_frame([("EMP7", AT, 1, 0), ("8", AT, 1, 0)])
    records = encode_punches(log, 40, {"EMP7": 1, "8": 2})
    assert records[2:26].rstrip(b"\0") == b"EMP7"
    assert records[42:66].rstrip(b"\0") == b"8"


def test_a_log_of_somebody_not_enrolled_is_refused() -> None:
    with pytest.raises(KeyError, match="1001"):
        encode_punches(punches_frame([("1001", AT, 1, 0)]), 8, {})


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        (28, "0300 0e 0000000000 5a6fc3ab204dc3bc 67452301 00 01 0000 e9030000"),
        (72, "0300 0e" + "00" * 8 + "5a6fc3ab204dc3bc6c6c6572".ljust(48, "0") + "67452301 01" + "00" * 8),
    ],
)
def test_a_user_has_the_documented_bytes(size: int, expected: str) -> None:
    user = TerminalUser(uid=3, user_id="1001", name="Zoë Müller", privilege=14, card=0x01234567)
    record = encode_user(user, 28 if size == 28 else 72)
    assert len(record) == size
    assert record.startswith(bytes.fromhex(expected))
    assert size == 28 or record[48:] == b"1001" + b"\0" * 20


@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40), st.sampled_from([(28, 11), (72, 24)]))
def test_a_long_name_is_cut_between_characters(name: str, size_and_end: tuple[int, int]) -> None:
    size, _ = size_and_end
    record = encode_user(TerminalUser(uid=1, user_id="1", name=name), 28 if size == 28 else 72)
    field = record[8:16] if size == 28 else record[11:35]
    assert name.startswith(field.rstrip(b"\0").decode() or name[:0])
    room = 8 if size == 28 else 23
    assert len(name.encode()) > room or field.rstrip(b"\0") == name.encode().rstrip(b"\0")


@pytest.mark.parametrize("user_id", ["EMP1", "007", "-1", "", "4294967296", "١"])
def test_terminals_with_numeric_ids_enrol_numbers_only(user_id: str) -> None:
    with pytest.raises(ValueError, match="user id"):
        check_user_id(user_id, 16)
    with pytest.raises(ValueError, match="user id"):
        TerminalDefinition(name="gate", layout=8, user_record_size=28, users=(TerminalUser(uid=1, user_id=user_id),))


@pytest.mark.parametrize(
    "users",
    [
        (TerminalUser(uid=1, user_id="1"), TerminalUser(uid=1, user_id="2")),
        (TerminalUser(uid=1, user_id="1"), TerminalUser(uid=2, user_id="1")),
        (TerminalUser(uid=65_536, user_id="1"),),
    ],
)
def test_a_terminal_has_each_user_once(users: tuple[TerminalUser, ...]) -> None:
    with pytest.raises(ValueError, match="id"):
        TerminalDefinition(name="gate", users=users)


@pytest.mark.parametrize("user_id", ["", "Zoë", "x" * 24, "a\tb"])
def test_terminals_with_textual_ids_enrol_what_fits(user_id: str) -> None:
    with pytest.raises(ValueError, match="user id"):
        check_user_id(user_id, 40)


def test_an_empty_log_is_no_bytes() -> None:
    empty: pd.DataFrame = punches_frame([])
    assert encode_punches(empty, 40, {}) == b""
