"""Outcome of each wrong answer of the fault matrix, by the command that it answers.

One outcome where both transports end alike, else (TCP, UDP). Commands in the order of COMMANDS; the answers themselves
are in `test_matrix_frames`.
"""

from __future__ import annotations

from zk_pipeline_tests.devices.matrix.matrix_axes import BUSY, COMMANDS, LOSS, REFUSAL, SILENCE, VIOLATION
from zk_pipeline_tests.devices.matrix.matrix_judge import RIGHT, UNLISTED

_Row = tuple[str | tuple[str, str], ...]

# A wrong answer each time. The answers to FREE_DATA and EXIT are not used; options and firmware version may have
# any value, as long as they answer the request.
ALWAYS: dict[str, _Row] = {
    # CONNECT, GET_TIME, GET_FREE_SIZES, OPTIONS_RRQ, GET_VERSION, DATA_WRRQ, DATA_RDY, FREE_DATA, EXIT
    # The terminal does not know a wrong session id from CONNECT.
    "of-another-session": (BUSY, VIOLATION, VIOLATION, VIOLATION, VIOLATION, VIOLATION, VIOLATION, RIGHT, RIGHT),
    "to-a-later-request": (VIOLATION,) * 7 + (RIGHT, RIGHT),
    # Dropped as a late answer; before CONNECT no answer can be late. For a part, the announcement is lost, not the
    # data: over TCP it is still sent in one packet.
    "to-an-earlier-request": (VIOLATION, SILENCE, SILENCE, SILENCE, SILENCE, SILENCE, (RIGHT, LOSS), RIGHT, RIGHT),
    "to-one-long-ago": (VIOLATION,) * 7 + (RIGHT, RIGHT),
    "of-an-unknown-kind": (REFUSAL, REFUSAL, REFUSAL, RIGHT, RIGHT, REFUSAL, REFUSAL, RIGHT, RIGHT),
    "an-unrequested-event": (SILENCE,) * 6 + ((RIGHT, LOSS), RIGHT, RIGHT),
    "data-out-of-nothing": (RIGHT, VIOLATION, RIGHT, RIGHT, RIGHT, LOSS, LOSS, RIGHT, RIGHT),
    "an-announcement-out-of-nothing": (RIGHT, VIOLATION, VIOLATION, RIGHT, RIGHT, SILENCE, LOSS, RIGHT, RIGHT),
    "without-data": (RIGHT, VIOLATION, VIOLATION, RIGHT, RIGHT, LOSS, LOSS, RIGHT, RIGHT),
    # The log is announced with its size in the first half and sent in parts; the user list is sent at once.
    "with-half-the-data": (RIGHT, VIOLATION, VIOLATION, RIGHT, RIGHT, UNLISTED, RIGHT, RIGHT, RIGHT),
    "with-more-data": (RIGHT, RIGHT, RIGHT, RIGHT, RIGHT, UNLISTED, RIGHT, RIGHT, RIGHT),
    # Over UDP a duplicated packet is dropped; TCP duplicates none.
    "doubled": (RIGHT,) * 6 + ((VIOLATION, RIGHT), RIGHT, RIGHT),
    "with-what-follows-doubled": (RIGHT,) * 9,
    "without-what-follows": (RIGHT,) * 6 + (SILENCE, RIGHT, RIGHT),
    "after-an-empty-acknowledgement": (RIGHT, VIOLATION, VIOLATION, RIGHT, RIGHT, LOSS, LOSS, RIGHT, RIGHT),
}

# One wrong answer, on the first connection: a new connection repairs it. Only a refusal is final at once.
REFUSED_ONCE = "of-an-unknown-kind"


def outcome_of_answers(change: str, command: int, protocol: str, *, is_once: bool) -> str:
    """The pinned outcome of a reading with this answer to one command."""
    if is_once and change != REFUSED_ONCE:
        return RIGHT
    outcome = ALWAYS[change][[int(one) for one in COMMANDS].index(command)]
    return outcome if isinstance(outcome, str) else outcome[protocol == "udp"]
