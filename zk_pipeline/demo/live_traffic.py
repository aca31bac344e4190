"""Simulated punches while the demo runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

import numpy as np

from zk_pipeline.simulator.company.workforce import NextPunch, Workforce
from zk_pipeline.simulator.terminal.terminal import TerminalLockedError

PAUSE_SECONDS = 4.0


class PunchingFleet(Protocol):
    """A fleet of emulated terminals, polled or pushing."""

    def punch(self, name: str, user_id: str, /, *, verify_type: int, punch_state: int) -> object:
        """Record a punch at the time that the terminal `name` shows."""


def punch_until(
    stopped: threading.Event,
    fleet: PunchingFleet,
    workforce: Workforce,
    *,
    now: Callable[[], datetime],
    pause_seconds: float = PAUSE_SECONDS,
    check: Callable[[], None] = lambda: None,
) -> int:
    """Make one to three users punch every `pause_seconds` until `stopped`; returns the number of punches.

    At a terminal whose keypad a client has locked, users wait: each of them punches once when it is unlocked.
    `check` is called once per round and may raise to end it.
    """
    rng = np.random.default_rng()
    waiting: dict[tuple[str, str], NextPunch] = {}  # by terminal and user
    punches = 0
    while not stopped.wait(pause_seconds):
        check()
        for one in workforce.next_punches(rng, now(), count=int(rng.integers(1, 4))):
            waiting.setdefault((one.terminal, one.user_id), one)
        waiting, tried = {}, waiting
        for key, one in tried.items():
            try:
                fleet.punch(one.terminal, one.user_id, verify_type=one.verify_type, punch_state=one.punch_state)
                punches += 1
            except TerminalLockedError:
                waiting[key] = one
    return punches
