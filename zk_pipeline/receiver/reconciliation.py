"""Periodic comparison of the punches of pushing terminals with the store, and its lines of the log."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from zk_pipeline.counted import counted
from zk_pipeline.store.push.checks import Step
from zk_pipeline.store.push.push import PushStore

BEGIN_SECONDS = 600.0  # between two searches for checks that are due

_log = logging.getLogger("zk_pipeline.receiver")


@dataclass
class Reconciliation:
    """Task of the receiver. All progress is in the store."""

    store: PushStore
    begin_seconds: float = BEGIN_SECONDS
    monotonic: Callable[[], float] = time.monotonic
    _begun_at: float = field(default=float("-inf"), init=False)

    def tick(self) -> None:
        """Continue checks whose commands have ended, and from time to time begin those that are due. Raises errors of
        the store, after which the next tick repeats the work.
        """
        now = self.monotonic()
        begin = now - self._begun_at >= self.begin_seconds
        steps = self.store.reconcile(begin=begin)
        if begin:
            self._begun_at = now
        for one in steps:
            _log_step(one)


def _log_step(step: Step) -> None:
    before, after = step.before, step.after
    dates = f"{after.first_date}" if after.span.days == 1 else f"{after.first_date} to {after.last_date}"
    if after.state == "queried" and after.surplus:
        _log.info("%s: %s of %s requested again", step.device, counted(after.surplus, "punch", "punches"), dates)
    elif after.state == "equal" and before is not None and before.state == "queried":
        _log.info("%s: %s of %s stored", step.device, counted(before.surplus, "lost punch", "lost punches"), dates)
    elif after.state == "differs":
        _log.warning(
            "%s: %s of %s not in the store, and the terminal has not sent all of its records again",
            step.device,
            counted(after.surplus, "punch is", "punches are"),
            dates,
        )
