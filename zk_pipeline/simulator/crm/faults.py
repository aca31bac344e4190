"""Ways for the CRM receiver to misbehave, for tests and for trying out what a real CRM may do.

A misbehaviour is a function from a request to a `Fault`, or None to serve it properly. They combine: see
`any_of`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from threading import Lock
from typing import Literal


@dataclass(frozen=True, kw_only=True)
class Received:
    """A request as the receiver got it, its token left out."""

    number: int  # 1 for the first POST
    key: str | None
    body: bytes
    user_ids: frozenset[str]


@dataclass(frozen=True, kw_only=True)
class Fault:
    """What happens to one request. Without `status` the request is served, with the rest done to it.

    Delays and `drip` are in seconds, the latter between two bytes of the whole answer, status line included.
    """

    status: int | None = None  # given instead of serving: nothing is applied
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b'{"detail": "told to misbehave"}'
    delay_before: float = 0.0
    delay_after: float = 0.0  # after the record was applied, before the answer
    drop: Literal["before", "after"] | None = None  # reset the connection before or after the record is applied
    drip: float = 0.0
    cut_after: int | None = (
        None  # reset the connection after so many bytes of the answer; negative: so many before its end
    )
    keep_results: int | None = None  # shorten the answer to a batch to so many results
    interim: bytes = b""  # sent before the answer, such as a 103 with its headers
    extra: bytes = b""  # sent behind the answer, as if there were another
    said: bytes | None = None  # as the body of the answer, although the record was applied
    reshape: Callable[[list[dict[str, object]]], object] | None = None  # the results of a batch into another body
    record_status: Mapping[str, int] = field(default_factory=dict)  # by user id: given instead of applying the record


Misbehaviour = Callable[[Received], Fault | None]


def behave(_: Received) -> Fault | None:
    """No trouble at all."""
    return None


def refusal(status: int, *, detail: str = "told to refuse", retry_after: str | None = None) -> Fault:
    """An error answer, with `Retry-After` as given (seconds or an HTTP date)."""
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return Fault(status=status, headers=headers, body=f'{{"detail": "{detail}"}}'.encode())


def html_page(status: int = 200, *, title: str = "Sign in") -> Fault:
    """A web page where JSON is due, as a proxy's login gives it."""
    page = f"<!DOCTYPE html><html><head><title>{title}</title></head><body>{title}</body></html>"
    return Fault(status=status, headers={"Content-Type": "text/html; charset=utf-8"}, body=page.encode())


def redirect(to: str, *, status: int = 302) -> Fault:
    return Fault(status=status, headers={"Location": to}, body=b"")


def first(count: int, trouble: Fault) -> Misbehaviour:
    """Trouble for the next `count` requests."""
    lock = Lock()
    left = count

    def misbehave(_: Received) -> Fault | None:
        nonlocal left
        with lock:
            left -= 1
            return trouble if left >= 0 else None

    return misbehave


def sometimes(probability: float, trouble: Fault, *, seed: int) -> Misbehaviour:
    """Trouble for a share of the requests; the same ones for the same seed and order."""
    rng = random.Random(seed)  # noqa: S311 - reproducible on purpose
    lock = Lock()

    def misbehave(_: Received) -> Fault | None:
        with lock:
            return trouble if rng.random() < probability else None

    return misbehave


def whenever(condition: Callable[[Received], bool], trouble: Fault) -> Misbehaviour:
    """Trouble for the requests that meet a condition."""
    return lambda received: trouble if condition(received) else None


def any_of(*misbehaviours: Misbehaviour) -> Misbehaviour:
    """The first trouble that any of them makes; each is asked until then."""

    def misbehave(received: Received) -> Fault | None:
        for each in misbehaviours:
            if (trouble := each(received)) is not None:
                return trouble
        return None

    return misbehave
