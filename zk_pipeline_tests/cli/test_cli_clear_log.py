"""Deleting a terminal's log by hand: only after somebody said yes."""

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
def held(fleet: Fleet, home_store: Store) -> int:
    """The number of records on the terminal Gate, none of which is stored yet."""
    switch_on(fleet, home_store, gate("Gate", *present(MONDAY)))
    return fleet.terminal("Gate").record_count


def _left(fleet: Fleet, store: Store) -> tuple[int, int]:
    return fleet.terminal("Gate").record_count, rows(store, "SELECT count(*) FROM raw_punches")[0][0]


def test_a_script_that_does_not_say_yes_is_refused_and_nothing_is_touched(
    zk: CommandLine, fleet: Fleet, home_store: Store, held: int
) -> None:
    for more in ((), ("--json",)):
        said = zk("device", "clear-log", "Gate", *more)
        assert said.is_refusal()
        assert "Delete the log of Gate (127.0.0.1:" in said.err
        assert "Nothing was done: confirm with --yes" in said.err
    assert _left(fleet, home_store) == (held, 0)
    assert zk("device", "clear-log", "Gate", "--yes", "--json").json["cleared"] is True
    assert _left(fleet, home_store) == (0, held)


@pytest.mark.parametrize("answer", ["n\n", "\n", "perhaps\nn\n", ""])
def test_a_person_who_does_not_answer_yes_keeps_the_log(
    *, zk: CommandLine, fleet: Fleet, home_store: Store, held: int, answer: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Keyboard(answer))
    said = zk("device", "clear-log", "Gate")
    assert said.code not in (0, 2)
    assert "Delete the log of Gate" in said.out + said.err
    assert _left(fleet, home_store) == (held, 0)


def test_a_person_who_answers_yes_deletes_the_log_once_it_is_stored(
    zk: CommandLine, fleet: Fleet, home_store: Store, held: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin", Keyboard("y\n"))
    said = zk("device", "clear-log", "Gate")
    assert (said.code, f"{held} punches" in said.out) == (0, True)
    assert _left(fleet, home_store) == (0, held)


def test_an_unknown_terminal_is_named_before_anybody_is_asked(zk: CommandLine, held: int) -> None:
    assert held
    said = zk("device", "clear-log", "Nowhere")
    assert said.is_refusal()
    assert "unknown device 'Nowhere'" in said.err
