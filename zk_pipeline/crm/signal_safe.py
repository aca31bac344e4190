"""Work that no signal interrupts in two: it has a thread of its own, and Python handles signals in the main thread alone.

An exception raised by a signal handler can come between any two steps of the main thread. Inside
`concurrent.futures.wait` it leaves locks of futures held for ever, and their workers waiting for them; between taking
an answer and noting it, the answer is lost. So the thread that is interrupted does nothing but wait.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from zk_pipeline.runtime.processes import check_for_end

Result = TypeVar("Result")

_CHECK_INTERVAL_SECONDS = 0.2  # seconds between two looks whether the command is to end, and whether the work has ended


def run_signal_safe(work: Callable[[], Result], *, interrupted: Callable[[bool], None], name: str) -> Result:
    """Do `work` in a thread of that name and return or raise what it does.

    An exception that a signal handler raises meanwhile (KeyboardInterrupt, the one of a cancelled Dagster run) is reported
    to `interrupted`, called in this thread with whether it is not the first, which should make `work` end soon. The
    first is raised once that has ended; what `work` itself raises comes before it.
    """
    doing = _ShieldedTask(work)
    thread = threading.Thread(target=contextvars.copy_context().run, args=(doing.run,), name=name)
    interrupts: list[BaseException] = []
    reported = 0
    while not doing.has_ended:
        try:
            if thread.ident is None and not interrupts:
                thread.start()
            while reported < len(interrupts):
                reported += 1
                interrupted(reported > 1)
            if not doing.ended.acquire(timeout=_CHECK_INTERVAL_SECONDS):
                check_for_end()
        except BaseException as error:
            if doing.cancel_before_start():
                raise
            interrupts.append(error)
    if doing.error is not None:
        raise doing.error from (interrupts[0] if interrupts else None)
    if interrupts:
        raise interrupts[0]
    return doing.results[0]


class _ShieldedTask(Generic[Result]):
    """Not a Future, nor a thread to join: an interrupt in the wait for one of those may break the one waited for."""

    def __init__(self, work: Callable[[], Result]) -> None:
        self.work = work
        self.results: list[Result] = []
        self.error: BaseException | None = None
        self.has_ended = False
        self.start_lock = threading.Lock()  # of who takes it first: the work that begins, or who calls it off
        self.ended = threading.Lock()
        self.ended.acquire()

    def cancel_before_start(self) -> bool:
        """Whether the work has not begun, and now never will."""
        return self.start_lock.acquire(blocking=False)

    def run(self) -> None:
        if not self.start_lock.acquire(blocking=False):
            return
        try:
            self.results.append(self.work())
        except BaseException as error:
            self.error = error
        finally:
            self.has_ended = True
            self.ended.release()
