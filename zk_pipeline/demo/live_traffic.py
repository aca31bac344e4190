"""Simulated punches while the demo runs."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import datetime
from typing import Protocol

import numpy as np

from zk_pipeline.simulator.company.workforce import Workforce

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

    `check` is called once per round and may raise to end it.
    """
    rng = np.random.default_rng()
    punches = 0
    while not stopped.wait(pause_seconds):
        check()
        for one in workforce.next_punches(rng, now(), count=int(rng.integers(1, 4))):
            fleet.punch(one.terminal, one.user_id, verify_type=one.verify_type, punch_state=one.punch_state)
            punches += 1
    return punches
