"""Work on a store that is killed by SIGKILL at a chosen point, in its own process: no clean-up."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from datetime import datetime
from enum import Enum
from types import ModuleType
from typing import Any, NoReturn

from zk_pipeline.config.settings import Settings
from zk_pipeline.operations.process import process_dates
from zk_pipeline.operations.work_dates import work_rules
from zk_pipeline.store.days import days
from zk_pipeline.store.engine.database import Where
from zk_pipeline.store.terminals import poll_results
from zk_pipeline_tests.attendance.plain_company import PlainPunch
from zk_pipeline_tests.forkserver import processes
from zk_pipeline_tests.operations.company_fixtures import read, stale
from zk_pipeline_tests.store.store_fixtures import StoppedClock, store_at


class Killed(Enum):
    """When; the value says what is left behind."""

    WHILE_READING = "nothing of the poll"
    AFTER_READING = "the punches, and no days of them"
    WHILE_WRITING = "the punches, and no days of them: the transaction was all but committed"
    AFTER_WRITING = "punches and days, not yet notified"


def killed(when: Killed, at: Where, now: datetime, settings: Settings, held: Sequence[PlainPunch]) -> None:
    """Read and process in a process that is killed; returns once it is dead. The store must not be open here."""
    process = processes.Process(target=_work, args=(when, at, now, settings, held))
    process.start()
    process.join(60)
    assert process.exitcode == -signal.SIGKILL, process.exitcode


def _die(*_: Any, **__: Any) -> NoReturn:
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still alive")


def _die_in(module: ModuleType, name: str) -> None:
    assert hasattr(module, name), f"{module.__name__} does not call {name}: no process would be killed"
    setattr(module, name, _die)


def _work(when: Killed, at: Where, now: datetime, settings: Settings, held: Sequence[PlainPunch]) -> None:
    store = store_at(at, StoppedClock(now))
    if when is Killed.WHILE_READING:
        _die_in(poll_results, "keep_positions")  # the last but one statement of its transaction
    read(store, held)
    if when is Killed.AFTER_READING:
        _die()
    if when is Killed.WHILE_WRITING:
        _die_in(days, "mark_processed")  # the last statement of its transaction
    dates = stale(store, settings)
    process_dates(store, dates, work_rules(settings), run_id=None, on_committed=_die)
    if not dates:
        _die()  # there was nothing to write
