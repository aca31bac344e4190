"""Execution shielded from signals: runs a callable in its own thread, since Python handles signals in the main thread.

A signal handler can raise an exception between any two steps of the main thread. Inside `concurrent.futures.wait` it
would leave futures locked and their workers blocked; between receiving a response and recording it, the response would
be lost. So the interrupted thread only waits.
"""

from __future__ import annotations

import contextvars
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from zk_pipeline.runtime.processes import check_for_end

Result = TypeVar("Result")

_CHECK_INTERVAL_SECONDS = 0.2  # between two checks for the end of the command and of the work


def run_signal_safe(work: Callable[[], Result], *, interrupted: Callable[[bool], None], name: str) -> Result:
    """Run `work` in a thread called `name`; return its result or raise its exception.

    After an exception from a signal handler (KeyboardInterrupt, a canceled Dagster run), `interrupted` is called in
    this thread and should end `work` soon; its argument is False for the first interrupt, True for later ones. The
    first interrupt is raised after `work` has ended, unless `work` itself raised.
    """
    task = _ShieldedTask(work)
    thread = threading.Thread(target=contextvars.copy_context().run, args=(task.run,), name=name)
    interrupts: list[BaseException] = []
    reported = 0
    while not task.has_ended:
        try:
            if thread.ident is None and not interrupts:
                thread.start()
            while reported < len(interrupts):
                reported += 1
                interrupted(reported > 1)
            if not task.ended.acquire(timeout=_CHECK_INTERVAL_SECONDS):
                check_for_end()
        except BaseException as error:
            if task.cancel_before_start():
                raise
            interrupts.append(error)
    if task.error is not None:
        raise task.error from (interrupts[0] if interrupts else None)
    if interrupts:
        raise interrupts[0]
    return task.results[0]


class _ShieldedTask(Generic[Result]):
    """Not a Future, nor a thread to join: an interrupt while waiting for one of those may corrupt its state."""

    def __init__(self, work: Callable[[], Result]) -> None:
        self.work = work
        self.results: list[Result] = []
        self.error: BaseException | None = None
        self.has_ended = False
        self.start_lock = threading.Lock()  # taken by the start of the work, or by its cancellation
        self.ended = threading.Lock()
        self.ended.acquire()

    def cancel_before_start(self) -> bool:
        """Cancel the work if it has not begun; returns whether it was canceled."""
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
