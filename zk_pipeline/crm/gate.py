"""Whether the pool of workers may send right now. What they send, and when again, is in `delivery`."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event, Lock

from zk_pipeline.crm.answers import Answer, Meaning


class Gate:
    """Shared by all workers of a run. Closed for a while by `Retry-After`, for good by `stop`. Thread-safe.

    It stops by itself on the first MISCONFIGURED answer, after `breaker` failures of the destination in a row
    (the CRM is down: better to leave the rest untouched than to spend everybody's attempts), and when the CRM
    asks for a wait longer than `longest_wait` seconds.
    """

    def __init__(self, *, breaker: int, longest_wait: float, monotonic: Callable[[], float]) -> None:
        self._breaker = breaker
        self._longest_wait = longest_wait
        self._monotonic = monotonic
        self._lock = Lock()
        self._is_stopped = Event()
        self._failures_in_a_row = 0
        self.opens_at = 0.0  # on the monotonic clock
        self.stopped: str | None = None  # why nothing more is sent in this run
        self.is_misconfigured = False

    def may_send(self) -> bool:
        return self.stopped is None and self._monotonic() >= self.opens_at

    def wait(self, seconds: float) -> None:
        """Return after so many seconds, or as soon as the gate has stopped."""
        self._is_stopped.wait(seconds)

    def stop(self, why: str) -> None:
        """Let nothing more through; the first reason stays."""
        with self._lock:
            self._stop(why)

    def misconfigured(self, why: str) -> None:
        """Stop because a person must change the set-up first."""
        with self._lock:
            self.is_misconfigured |= self.stopped is None
            self._stop(why)

    def observe(self, answer: Answer) -> None:
        """Take one request's answer into account."""
        with self._lock:
            if answer.meaning is Meaning.MISCONFIGURED:
                self.is_misconfigured |= self.stopped is None
                self._stop(answer.error or answer.meaning.value)
            elif answer.meaning is Meaning.UNAVAILABLE or answer.status is None:
                self._failures_in_a_row += 1
                if self._failures_in_a_row >= self._breaker:
                    self._stop(f"the CRM is down: {self._breaker} failures in a row, last: {answer.error}")
            elif answer.meaning is not Meaning.UNKNOWN:
                self._failures_in_a_row = 0
            if answer.retry_after is not None:
                self._pause(answer.retry_after)

    def _pause(self, seconds: float) -> None:
        self.opens_at = max(self.opens_at, self._monotonic() + seconds)
        if seconds > self._longest_wait:
            self._stop(f"the CRM asks for a pause of {seconds:.0f} s, longer than a run waits")

    def _stop(self, why: str) -> None:
        if self.stopped is None:
            self.stopped = why
        self._is_stopped.set()
