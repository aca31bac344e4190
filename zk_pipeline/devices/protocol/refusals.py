"""Refused requests: error class and advice for each answer code of a terminal.

Sources: the maker's 2006 manual and zk-protocol for the codes; firmware of the ZEM family answers ACK_ERROR to a
request that it cannot execute now or at all, ACK_RETRY to an incomplete request, and does not answer a CONNECT while
its menu is open.
"""

from __future__ import annotations

from zk_pipeline.devices.errors import TerminalBusy, TerminalError, UnsupportedCommand
from zk_pipeline.devices.protocol.frames import Command
from zk_pipeline.devices.protocol.transport import Transport

# A retry may succeed after these answers.
TRANSIENT_ANSWERS = frozenset({Command.ACK_ERROR, Command.ACK_RETRY, Command.ACK_REPEAT})

_MEANINGS = {
    Command.ACK_ERROR: "error",
    Command.ACK_RETRY: "try again",
    Command.ACK_REPEAT: "repeat",
    Command.ACK_UNAUTH: "not authorised",
    Command.ACK_ERROR_DATA: "wrong data",
    Command.ACK_ERROR_INIT: "not initialised",
    Command.ACK_ERROR_CMD: "wrong command",
    Command.ACK_UNKNOWN: "unknown command",
}
ANOTHER_PROGRAM_ADVICE = "Another program is connected to it, or its menu is open: close both, then poll it again."
ERROR_ADVICE = (
    "It may be busy: poll it again, and close the connections of other programs. If the answer persists, enable the PC "
    "connection in its menu, or ask its vendor for firmware with that protocol."
)


class RequestRefused(UnsupportedCommand):
    """A refusal with the codes of request and answer, which together determine its meaning."""

    request: int
    answer: int


class SessionLost(TerminalBusy):
    """The terminal no longer knows the session; a new one may work."""


def refusal_error(transport: Transport, request: int, answer: int) -> TerminalError:
    """The error to raise if the terminal has answered `request` with `answer`."""
    meaning = _MEANINGS.get(Command(answer)) if answer in set(Command) else None
    problem = f"the terminal answered {answer}" + (f" ({meaning})" if meaning else "")
    about = (transport.device, transport.operation, problem)
    if answer == Command.ACK_UNAUTH:
        transport.is_broken = True
        return SessionLost(*about, advice=ANOTHER_PROGRAM_ADVICE)
    if request == Command.CONNECT and answer in TRANSIENT_ANSWERS:
        return TerminalBusy(*about, advice=ANOTHER_PROGRAM_ADVICE)
    if answer in (Command.ACK_RETRY, Command.ACK_REPEAT):
        return TerminalBusy(*about)
    failure = RequestRefused(*about, advice=ERROR_ADVICE if answer == Command.ACK_ERROR else None)
    failure.request, failure.answer = request, answer
    return failure
