"""Commands to pushing terminals: only those of the list, within the limits of an answer; their results in any form."""

# ruff: noqa: DTZ001 - wall clocks have no zone

from __future__ import annotations

from datetime import UTC, datetime
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from zk_pipeline.devices.protocol.record_layouts import decode_time
from zk_pipeline.devices.push.commands import (
    MAX_ANSWER_BYTES,
    SUPPORTED,
    CommandKind,
    CommandRefused,
    CommandText,
    PushCommand,
    TerminalCounters,
    attlog_count,
    command_text,
    pack_commands,
    parse_info,
    parse_results,
)
from zk_pipeline.devices.push.families import Family

NOW = datetime(2026, 1, 15, 12, 0, 7, tzinfo=UTC)
START, END = datetime(2026, 3, 2), datetime(2026, 3, 2, 23, 59, 59)
FAMILIES: tuple[Family, ...] = get_args(Family)


def text(kind: CommandKind, family: Family = "A", *, user_id: str | None = None) -> str:
    command = PushCommand(kind=kind, start_local=START, end_local=END, user_id=user_id)
    return command_text(command, family, zone="Asia/Kolkata", at=NOW)


@pytest.mark.parametrize(
    ("kind", "family", "expected"),
    [
        ("info", "A", "INFO"),
        ("hello", "A", "CHECK"),
        ("upload", "B", "LOG"),
        ("reboot", "A", "REBOOT"),
        ("reboot", "C", "CONTROL DEVICE 03000000"),
        (
            "query_punches",
            "A",
            "DATA QUERY ATTLOG StartTime=2026-03-02 00:00:00\tEndTime=2026-03-02 23:59:59",
        ),
        (
            "query_punches",
            "B",
            "DATA QUERY ATTLOG StartTime=2026-03-02T00:00:00\tEndTime=2026-03-02T23:59:59",
        ),
        ("query_punches", "C", "DATA QUERY tablename=transaction,fielddesc=*,filter=*"),
        ("count_punches", "A", "VERIFY SUM ATTLOG StartTime=2026-03-02 00:00:00\tEndTime=2026-03-02 23:59:59"),
        ("count_punches", "C", "DATA COUNT tablename=transaction,fielddesc=*,filter=*"),
        ("query_users", "A", "DATA QUERY USERINFO"),
        ("query_users", "C", "DATA QUERY tablename=user,fielddesc=*,filter=*"),
    ],
)
def test_a_command_has_the_text_of_its_family(kind: CommandKind, family: Family, expected: str) -> None:
    assert text(kind, family) == expected


def test_the_users_of_a_query_may_be_one() -> None:
    assert text("query_users", user_id="00104") == "DATA QUERY USERINFO PIN=00104"
    assert text("query_users", "C", user_id="104") == "DATA QUERY tablename=user,fielddesc=*,filter=pin=104"


@pytest.mark.parametrize(("family", "option"), [("A", "SET OPTION DateTime="), ("C", "SET OPTIONS DateTime=")])
def test_a_clock_is_set_to_the_wall_clock_of_its_zone(family: Family, option: str) -> None:
    rendered = text("set_clock", family)
    assert rendered.startswith(option)
    assert decode_time(int(rendered.removeprefix(option))) == datetime(2026, 1, 15, 17, 30, 7)


def test_no_command_runs_a_program_writes_a_file_or_deletes_data() -> None:
    every = {text(kind, family) for family in FAMILIES for kind in SUPPORTED[family]}
    assert len(every) > 12
    for word in ("SHELL", "PUTFILE", "GETFILE", "CLEAR", "DELETE", "UPDATE", "ENROLL", "UNLOCK", "UPGRADE", "ACC"):
        assert not [one for one in every if word in one.upper()]


def test_each_command_of_the_list_is_rendered_for_some_family_and_one_line() -> None:
    assert set.union(*(set(kinds) for kinds in SUPPORTED.values())) == set(get_args(CommandKind))
    for family in FAMILIES:
        for kind in SUPPORTED[family]:
            assert text(kind, family).isprintable() or "\t" in text(kind, family)
            assert len(text(kind, family).splitlines()) == 1


@pytest.mark.parametrize(("kind", "family"), [("info", "C"), ("hello", "C"), ("upload", "C"), ("set_clock", "B")])
def test_a_command_that_a_family_lacks_is_refused(kind: CommandKind, family: Family) -> None:
    with pytest.raises(CommandRefused, match=f"terminals of family {family} have no command {kind}"):
        text(kind, family)


@pytest.mark.parametrize(
    "user_id", ["1\nC:2:SHELL reboot", "1\tPIN=2", "1 2", "", "1" * 33, "1\r", "1,filter=*", "\x001", "1=2"]
)
@pytest.mark.parametrize("family", FAMILIES)
def test_a_user_id_that_would_begin_another_field_or_command_is_refused(user_id: str, family: Family) -> None:
    with pytest.raises(CommandRefused, match="cannot be sent"):
        text("query_users", family, user_id=user_id)


@pytest.mark.parametrize(("start", "end"), [(None, END), (START, None), (END, START)])
def test_a_span_without_an_end_or_backwards_is_refused(start: datetime | None, end: datetime | None) -> None:
    for kind in ("query_punches", "count_punches"):
        command = PushCommand(kind=kind, start_local=start, end_local=end)
        with pytest.raises(CommandRefused, match=f"{kind} needs a start and an end"):
            command_text(command, "A", zone="UTC", at=NOW)


def test_an_answer_without_commands_is_ok() -> None:
    assert pack_commands([]) == ("OK", [])


def test_an_answer_has_a_line_per_command_in_their_order() -> None:
    body, ids = pack_commands([(7, CommandText("INFO")), (9, CommandText("LOG"))])
    assert (body, ids) == ("C:7:INFO\nC:9:LOG\n", [7, 9])


def test_an_answer_has_at_most_200_commands() -> None:
    body, ids = pack_commands((number, CommandText("LOG")) for number in range(1000))
    assert ids == list(range(200))
    assert body.count("\n") == 200


def test_an_answer_has_at_most_10_kilobytes_of_whole_commands() -> None:
    long = CommandText(text("query_punches"))
    body, ids = pack_commands((number, long) for number in range(200))
    assert MAX_ANSWER_BYTES - 100 < len(body) <= MAX_ANSWER_BYTES
    assert body.endswith(f"C:{ids[-1]}:{long}\n")


@pytest.mark.parametrize("last", ["CHECK", "REBOOT", "CONTROL DEVICE 03000000"])
def test_a_new_hello_or_reboot_is_the_last_command_of_an_answer(last: str) -> None:
    queue = [(1, CommandText("INFO")), (2, CommandText(last)), (3, CommandText("LOG"))]
    assert pack_commands(queue)[1] == [1, 2]
    assert pack_commands(queue[2:])[1] == [3]


def test_several_results_in_one_body_are_read() -> None:
    body = b"ID=info8487&Return=0&CMD=DATA\nID=8&Return=-1&CMD=DATA\r\n\nid=9&return=12&cmd=LOG\n"
    assert [(one.command_id, one.return_code, one.command) for one in parse_results(body)] == [
        ("info8487", 0, "DATA"),
        ("8", -1, "DATA"),
        ("9", 12, "LOG"),
    ]


def test_the_lines_after_an_info_result_are_its_values() -> None:
    body = (
        b"ID=1&Return=0&CMD=INFO\n~SerialNumber=A1\nTransactionCount=1234\nFWVersion=Ver 6.60\nReturn=9\n"
        b"ID=2&Return=0&CMD=LOG"
    )
    info, log = parse_results(body)
    assert info.return_code == 0
    assert info.values == {"serialnumber": "A1", "transactioncount": "1234", "fwversion": "Ver 6.60"}
    assert (log.command_id, dict(log.values)) == ("2", {})


def test_a_result_with_a_line_per_field_is_read_without_the_content_of_its_file() -> None:
    body = b"ID=5\nSN=A1\nReturn=3\nCMD=Shell\nFILENAME=out\nContent=secret&Return=9\nmore=1\nID=6&Return=0&CMD=DATA\n"
    shell, data = parse_results(body)
    assert (shell.command_id, shell.return_code, shell.command) == ("5", 3, "Shell")
    assert dict(shell.values) == {"sn": "A1", "filename": "out"}
    assert data.command_id == "6"


@pytest.mark.parametrize(
    ("line", "count"),
    [
        ("ID=4&Return=0&CMD=VERIFY SUM&StartTime=2026-03-02 00:00:00&EndTime=2026-03-02 23:59:59&AttlogSum=118", 118),
        ("ID=4&Return=0&CMD=VERIFY SUM ATTLOG&StartTime=2026-03-02&EndTime=2026-03-02&AttlogCount=0", 0),
        ("ID=4&Return=-1002&CMD=VERIFY SUM", None),
        ("ID=4&Return=0&CMD=VERIFY SUM&AttlogSum=-1", None),
    ],
)
def test_the_number_of_punches_in_a_span_is_read_under_both_names(line: str, count: int | None) -> None:
    (result,) = parse_results(line.encode())
    assert attlog_count(result) == count


@pytest.mark.parametrize(
    "body",
    [b"", b"OK", b"Return=0&CMD=DATA", b"ID=1&CMD=DATA", b"ID=1&Return=&CMD=DATA", b"ID=1&Return=" + b"9" * 5000],
)
def test_a_result_without_id_or_return_code_is_left_out(body: bytes) -> None:
    assert parse_results(body) == []


@settings(max_examples=60)
@given(st.binary(max_size=60))
def test_any_body_of_results_is_read(body: bytes) -> None:
    for result in parse_results(b"ID=1&Return=0&CMD=" + body):
        assert result.command_id


@pytest.mark.parametrize(
    ("info", "expected"),
    [
        (
            "Ver 2.0.12-20150625,12,30,4567,192.168.16.27,10,7,15,0,111",
            TerminalCounters("Ver 2.0.12-20150625", 12, 4567, "192.168.16.27"),
        ),
        (
            "ZAM180-NF-Ver1.1.17,3,0,18,10.0.0.9,10,-1,15,0,101,0,0,0",
            TerminalCounters("ZAM180-NF-Ver1.1.17", 3, 18, "10.0.0.9"),
        ),
        ("Ver 8.0,,-1, 77 ,,", TerminalCounters("Ver 8.0", None, 77, None)),
        ("", TerminalCounters(None, None, None, None)),
        ("x,-5,1,-2,300.1.1.1", TerminalCounters("x", None, None, None)),
    ],
)
def test_the_counters_of_a_terminal_are_read_as_far_as_it_sends_them(info: str, expected: TerminalCounters) -> None:
    assert parse_info(info) == expected
