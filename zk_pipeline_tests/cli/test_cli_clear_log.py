"""`device clear-log`: deletes the log of a terminal only after confirmation."""

from __future__ import annotations

import io

import pytest

from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.store.store import Store
from zk_pipeline_tests.cli.command_fixtures import CommandLine
from zk_pipeline_tests.gates import MONDAY, gate, present, switch_on
from zk_pipeline_tests.store.store_fixtures import rows


class Keyboard(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture
def records(fleet: Fleet, home_store: Store) -> int:
    """Number of records on the terminal Gate; none is stored yet."""
    switch_on(fleet, home_store, gate("Gate", *present(MONDAY)))
    return fleet.terminal("Gate").record_count


def _left(fleet: Fleet, store: Store) -> tuple[int, int]:
    return fleet.terminal("Gate").record_count, rows(store, "SELECT count(*) FROM raw_punches")[0][0]


def test_a_script_without_yes_is_refused_and_changes_nothing(
    zk: CommandLine, fleet: Fleet, home_store: Store, records: int
) -> None:
    for more in ((), ("--json",)):
        result = zk("device", "clear-log", "Gate", *more)
        assert result.is_refusal()
        assert "Delete the log of Gate (127.0.0.1:" in result.err
        assert "Nothing was done: confirm with --yes" in result.err
    assert _left(fleet, home_store) == (records, 0)
    assert zk("device", "clear-log", "Gate", "--yes", "--json").json["cleared"] is True
    assert _left(fleet, home_store) == (0, records)


@pytest.mark.parametrize("answer", ["n\n", "\n", "perhaps\nn\n", ""])
def test_any_other_answer_than_yes_keeps_the_log(
    *, zk: CommandLine, fleet: Fleet, home_store: Store, records: int, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Keyboard(answer))
    result = zk("device", "clear-log", "Gate")
    assert result.code not in (0, 2)
    assert "Delete the log of Gate" in result.out + result.err
    assert _left(fleet, home_store) == (records, 0)


def test_the_answer_yes_deletes_the_log_once_it_is_stored(
    zk: CommandLine, fleet: Fleet, home_store: Store, records: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Keyboard("y\n"))
    result = zk("device", "clear-log", "Gate")
    assert (result.code, f"{records} punches" in result.out) == (0, True)
    assert _left(fleet, home_store) == (0, records)


def test_an_unknown_terminal_is_reported_before_the_question(zk: CommandLine, records: int) -> None:
    assert records
    result = zk("device", "clear-log", "Nowhere")
    assert result.is_refusal()
    assert "unknown device 'Nowhere'" in result.err
