"""Refused requests: the failure and the advice for each code that a terminal may answer.

Sources: the maker's 2006 manual and zk-protocol for the codes; firmware of the ZEM family answers ACK_ERROR to whatever
it cannot do at the moment or at all, ACK_RETRY to a request that did not arrive whole, and nothing to a CONNECT while
its menu is open.
"""

from __future__ import annotations

from zk_pipeline.devices.errors import TerminalBusy, TerminalError, UnsupportedCommand
from zk_pipeline.devices.protocol.frames import Command
from zk_pipeline.devices.protocol.transport import Transport

# Worth asking again: they say nothing of the next time.
TRANSIENT = frozenset({Command.ACK_ERROR, Command.ACK_RETRY, Command.ACK_REPEAT})

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
ANOTHER_PROGRAM = "Another program is connected to it, or somebody is in its menu: end that, then poll it again."
ERROR_ADVICE = (
    "It may be busy: poll it again, and end the connections of other programs. If it answers so each time, enable the "
    "PC connection in its menu, or ask its vendor for firmware with that protocol."
)


class RequestRefused(UnsupportedCommand):
    """A refusal with the request and the answer: what it means depends on both."""

    request: int
    answer: int


class SessionLost(TerminalBusy):
    """The terminal no longer knows the session; a fresh one may do."""


def refusal(transport: Transport, request: int, answer: int) -> TerminalError:
    """The failure to raise where the terminal has answered `request` with `answer`."""
    meaning = _MEANINGS.get(Command(answer)) if answer in set(Command) else None
    problem = f"the terminal answered {answer}" + (f" ({meaning})" if meaning else "")
    about = (transport.device, transport.doing, problem)
    if answer == Command.ACK_UNAUTH:
        transport.is_broken = True
        return SessionLost(*about, advice=ANOTHER_PROGRAM)
    if request == Command.CONNECT and answer in TRANSIENT:
        return TerminalBusy(*about, advice=ANOTHER_PROGRAM)
    if answer in (Command.ACK_RETRY, Command.ACK_REPEAT):
        return TerminalBusy(*about)
    failure = RequestRefused(*about, advice=ERROR_ADVICE if answer == Command.ACK_ERROR else None)
    failure.request, failure.answer = request, answer
    return failure
