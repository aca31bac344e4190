"""Progress of commands on stderr, on a terminal only."""

from __future__ import annotations

import os
import pty
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from zk_pipeline.cli.output import note, warn, working
from zk_pipeline_tests.cli.command_fixtures import CommandLine
from zk_pipeline_tests.store.store_fixtures import MONDAY
from zk_pipeline_tests.waiting import until

DATES = ["--start-date", str(MONDAY), "--end-date", str(MONDAY)]


@contextmanager
def terminal(monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    """A terminal as the standard error of commands, read by its other end."""
    user, program = pty.openpty()
    os.set_blocking(user, False)
    monkeypatch.setenv("TERM", "xterm")
    with os.fdopen(program, "w", encoding="utf-8") as stream, monkeypatch.context() as patched:
        patched.setattr(sys, "stderr", stream)
        yield user
    os.close(user)


def read_until(text: str, screen: int) -> str:
    """Everything shown, as soon as `text` is: a terminal passes on what is written in pieces."""
    shown = b""

    def is_shown() -> bool:
        nonlocal shown
        with suppress(BlockingIOError):
            shown += os.read(screen, 10_000)
        return text.encode() in shown

    until(is_shown)
    return shown.decode()


def test_a_long_command_shows_its_progress_on_a_terminal(
    zk: CommandLine, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with terminal(monkeypatch) as screen:
        assert zk("export", "raw", *DATES, "-o", str(home / "punches.csv")).code == 0
        sys.stderr.flush()
        shown = read_until("0:00:", screen)
    assert "exporting to " in shown
    assert "0:00:" in shown


def test_a_message_clears_the_progress_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    with terminal(monkeypatch) as screen:
        with working("polling terminals"):
            note("1 of 3: Gate failed (refused)")
            warn("the daemon does not run")
        sys.stderr.flush()
        shown = read_until("the daemon does not run\r\n", screen)
    for message in ("1 of 3: Gate failed (refused)", "zk-pipeline: the daemon does not run"):
        before, found, after = shown.partition(message)
        assert found
        assert before.endswith(("\x1b[2K", "\n", "\r"))
        assert after.startswith("\r\n")


def test_a_command_in_a_pipe_shows_no_progress(zk: CommandLine, home: Path) -> None:
    assert zk("export", "raw", *DATES, "-o", str(home / "punches.csv")).err == ""
