"""Tables of commands on terminals: width, priority of columns, colors, control characters."""

from __future__ import annotations

import sys

import pytest

from zk_pipeline.cli.output import is_colored, without_device
from zk_pipeline.cli.tables import lay_out, lay_out_pairs, plain, text_width
from zk_pipeline.store.store import Store
from zk_pipeline_tests.cli.command_fixtures import CommandLine
from zk_pipeline_tests.store.store_fixtures import device

ROWS = [
    {"name": "Main Office", "address": "192.0.2.10:4370", "zone": "–", "error": "no answer within the timeout " * 4},
    {"name": "Back Gate", "address": "192.0.2.11:4370", "zone": "–", "error": "–"},
]
COLUMNS = ["name", "address", "zone", "error"]


def test_a_table_has_its_full_width_in_a_pipe() -> None:
    table = lay_out(ROWS, COLUMNS)
    assert (table.left_out, table.is_truncated) == ([], False)
    assert ROWS[0]["error"].strip() in table.lines[1]
    assert not any(line.endswith(" ") for line in table.lines)


@pytest.mark.parametrize("width", [30, 50, 80, 120, 400])
def test_a_table_fits_the_terminal_and_breaks_no_line(width: int) -> None:
    table = lay_out(ROWS, COLUMNS, width=width, keep={"error"})
    assert len(table.lines) == 1 + len(ROWS)
    assert max(map(text_width, table.lines)) <= width
    assert {"name", "error"} <= set(table.lines[0].split())
    assert "Main Office" in table.lines[1]
    assert table.is_truncated == ("…" in table.lines[1])


def test_a_column_without_values_is_left_out_first_and_kept_ones_with_values_never() -> None:
    assert lay_out(ROWS, COLUMNS, width=100).left_out == ["zone"]
    assert lay_out(ROWS, COLUMNS, width=30).left_out == ["zone", "error"]
    assert lay_out(ROWS, COLUMNS, width=30, keep={"address", "error"}).left_out == ["zone"]
    assert lay_out(ROWS, COLUMNS, width=66, keep={"zone", "error"}).left_out == ["zone"]


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        (None, None),
        ("Gate (1) (192.0.2.7:4370): connecting failed: refused", "192.0.2.7:4370: connecting failed: refused"),
        ("Gate (1): its log cannot be stored", "its log cannot be stored"),
        ("the store failed", "the store failed"),
    ],
)
def test_an_error_in_a_table_does_not_repeat_the_name_of_its_device(error: str | None, shown: str | None) -> None:
    assert without_device(error, "Gate (1)") == shown


def test_wide_characters_take_two_cells() -> None:
    lines = lay_out([{"a": "北京", "b": "x"}, {"a": "abcd", "b": "y"}], ["a", "b"]).lines
    assert lines == ["a     b", "北京  x", "abcd  y"]


def test_control_characters_of_a_name_do_not_reach_the_terminal() -> None:
    assert plain("Ada\x1b[2J\r\x07") == "Ada\\x1b[2J\\r\\x07"
    assert plain("two\nlines") == "two lines"
    assert plain("Zoë\xa0北京") == "Zoë\xa0北京"


def test_a_long_value_of_a_pair_continues_below_its_beginning() -> None:
    lines = lay_out_pairs([("daemon", "no heartbeat yet; start it with `zk-pipeline up`"), ("days", "0")], width=40)
    assert lines == ["daemon  no heartbeat yet; start it with", "        `zk-pipeline up`", "days    0"]


def test_states_are_colored_by_meaning() -> None:
    rows = [{"name": "failed", "status": "failed", "error": "why"}, {"name": "b", "status": "success", "error": "–"}]
    table = lay_out(rows, ["name", "status", "error"], colored=True)
    assert table.lines[1] == "failed  \x1b[31mfailed\x1b[0m   \x1b[31mwhy\x1b[0m"
    assert table.lines[2] == "b       \x1b[32msuccess\x1b[0m  –"


@pytest.mark.parametrize(
    ("variables", "is_terminal", "colored"),
    [
        ({}, True, True),
        ({}, False, False),
        ({"NO_COLOR": "1"}, True, False),
        ({"CLICOLOR": "0"}, True, False),
        ({"TERM": "dumb"}, True, False),
        ({"FORCE_COLOR": "1"}, False, True),
        ({"CLICOLOR_FORCE": "1"}, False, True),
        ({"NO_COLOR": "1", "FORCE_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
    ],
    ids=str,
)
def test_colors_follow_the_conventions_for_variables(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], is_terminal: bool, colored: bool
) -> None:
    for name in ("NO_COLOR", "CLICOLOR", "FORCE_COLOR", "CLICOLOR_FORCE", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys.stdout, "isatty", lambda: is_terminal, raising=False)
    assert is_colored(sys.stdout) == colored


def test_the_list_of_devices_fits_80_columns_and_wide_prints_all(
    zk: CommandLine, home_store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(3):
        home_store.devices.add(device(f"Gate {number}", site="Head office of the company in Istanbul"))
    in_pipe = zk("device", "list").out
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("NO_COLOR", "1")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    lines = zk("device", "list").out.splitlines()
    assert len(lines) == 4
    assert max(map(len, lines)) <= 80
    assert lines[1].startswith("Gate 0")
    assert zk("device", "list", "--wide").out == in_pipe
    assert max(map(len, in_pipe.splitlines())) > 80
