"""DNS resolution with a timeout. The system's resolver has none and may block its caller for minutes."""

from __future__ import annotations

import socket
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError

Address = tuple[str, int]  # numeric address and port, as `socket.create_connection` takes them

_lock = threading.Lock()
_lookups: dict[Address, Future[list[Address]]] = {}


def resolve(host: str, port: int, *, seconds: float) -> list[Address]:
    """The addresses of `host`, in the resolver's order, without duplicates.

    Raises the errors of getaddrinfo, and `socket.gaierror(EAI_AGAIN)` after `seconds` without a result. The lookup
    continues in its own thread and later calls wait for the same lookup, so a hanging resolver blocks one thread and
    not one per request.
    """
    with _lock:
        found = _lookups.get((host, port))
        if found is None:
            found = _lookups[host, port] = Future()
            threading.Thread(target=_look_up, args=(host, port, found), name="crm-resolve", daemon=True).start()
    try:
        return found.result(timeout=max(0.0, seconds))
    except (FutureTimeoutError, TimeoutError):
        raise socket.gaierror(socket.EAI_AGAIN, f"the name was not resolved within {seconds:.0f} s") from None


def _look_up(host: str, port: int, found: Future[list[Address]]) -> None:
    try:
        answers = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys((str(address[0]), port) for *_, address in answers))
    except BaseException as error:
        outcome: BaseException | None = error
    else:
        outcome = None
    with _lock:
        del _lookups[host, port]
    if outcome is None:
        found.set_result(addresses)
    else:
        found.set_exception(outcome)
