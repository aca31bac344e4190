"""The data packets that answer one request: their order, and the failure when it cannot be proven. No sockets."""

from __future__ import annotations

from dataclasses import dataclass, field

from zk_pipeline.devices.errors import IncompleteTransfer
from zk_pipeline.devices.protocol.frames import Command, Frame


class LostPacket(IncompleteTransfer):
    """Data packets are missing or in no provable order; over UDP asking again can mend it."""


@dataclass
class Packets:
    """The data packets that answer one request, after PREPARE_DATA announced them.

    Real terminals number them, from 0, in the field of the session id (captures in pyzk's
    test_tcp_get_users_broken_tcp and issues); others repeat the session id there, which proves no order.
    """

    is_announced: bool = False
    count: int = 0
    first_bytes: int = 0
    are_numbered: bool = True
    _numbers: list[int] = field(default_factory=list)

    @property
    def are_shuffled(self) -> bool:
        """Their numbers are all there, and not in order: so they are numbers, and the data is not in order either."""
        first = min(self._numbers, default=0)
        return not self.are_numbered and sorted(self._numbers) == list(range(first, first + self.count))

    def note(self, frame: Frame) -> None:
        """Take account of a frame that arrived."""
        if frame.command != Command.DATA:
            return
        if self.count == 0:
            self.first_bytes = len(frame.data)
        elif frame.session_id != (self._numbers[-1] + 1) & 0xFFFF:
            self.are_numbered = False
        self._numbers.append(frame.session_id)
        self.count += 1
