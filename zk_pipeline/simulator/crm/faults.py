"""Injected faults of the emulated CRM: error answers, delays, dropped connections, for tests of real CRM failures.

A fault rule is a function from a request to a `Fault`, or None to serve it normally. Rules combine: see `any_of`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class ReceivedRequest:
    """A request as received, without its token."""

    number: int  # 1 for the first POST
    key: str | None
    body: bytes
    user_ids: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """The fault of one request. Without `status` the request is served, with the other faults applied.

    Delays and `drip` are in seconds; `drip` is the pause between two bytes of the whole answer, status line included.
    """

    status: int | None = None  # answered instead of serving: nothing is applied
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b'{"detail": "injected fault"}'
    delay_before: float = 0.0
    delay_after: float = 0.0  # after the record was applied, before the answer
    drop: Literal["before", "after"] | None = None  # reset the connection before or after the record is applied
    drip: float = 0.0
    cut_after: int | None = None  # reset the connection after this byte of the answer; negative: from its end
    keep_results: int | None = None  # shorten the answer to a batch to this number of results
    interim: bytes = b""  # sent before the answer, such as a 103 with its headers
    extra: bytes = b""  # sent after the answer, like a second one
    success_body: bytes | None = None  # body of the answer, although the record was applied
    reshape: Callable[[list[dict[str, object]]], object] | None = None  # converts the results of a batch to a body
    record_status: Mapping[str, int] = field(default_factory=dict)  # by user id: answered instead of applying


FaultRule = Callable[[ReceivedRequest], Fault | None]


def no_fault(_: ReceivedRequest) -> Fault | None:
    """The rule without faults."""
    return None


def refusal(status: int, *, detail: str = "injected refusal", retry_after: str | None = None) -> Fault:
    """An error answer, with `Retry-After` as given (seconds or an HTTP date)."""
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return Fault(status=status, headers=headers, body=f'{{"detail": "{detail}"}}'.encode())


def html_page(status: int = 200, *, title: str = "Sign in") -> Fault:
    """A web page instead of JSON, like the login page of a proxy."""
    page = f"<!DOCTYPE html><html><head><title>{title}</title></head><body>{title}</body></html>"
    return Fault(status=status, headers={"Content-Type": "text/html; charset=utf-8"}, body=page.encode())


def redirect(to: str, *, status: int = 302) -> Fault:
    return Fault(status=status, headers={"Location": to}, body=b"")


def first(count: int, fault: Fault) -> FaultRule:
    """The fault for the next `count` requests."""
    lock = Lock()
    left = count

    def rule(_: ReceivedRequest) -> Fault | None:
        nonlocal left
        with lock:
            left -= 1
            return fault if left >= 0 else None

    return rule


def sometimes(probability: float, fault: Fault, *, seed: int) -> FaultRule:
    """The fault for a share of the requests, reproducible for the same seed and order."""
    rng = random.Random(seed)  # noqa: S311 - reproducible on purpose
    lock = Lock()

    def rule(_: ReceivedRequest) -> Fault | None:
        with lock:
            return fault if rng.random() < probability else None

    return rule


def whenever(condition: Callable[[ReceivedRequest], bool], fault: Fault) -> FaultRule:
    """The fault for the requests that meet a condition."""
    return lambda received: fault if condition(received) else None


def any_of(*rules: FaultRule) -> FaultRule:
    """The first fault of any rule; later rules are not evaluated."""

    def rule(received: ReceivedRequest) -> Fault | None:
        for each in rules:
            if (fault := each(received)) is not None:
                return fault
        return None

    return rule
