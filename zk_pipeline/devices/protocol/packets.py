"""Order of the data packets that answer one request, and the error if the order cannot be proven. No sockets."""

from __future__ import annotations

from dataclasses import dataclass, field

from zk_pipeline.devices.errors import IncompleteTransfer
from zk_pipeline.devices.protocol.frames import Command, Frame


class LostPacket(IncompleteTransfer):
    """Data packets are missing or their order is not provable; over UDP the request is repeated."""


@dataclass
class Packets:
    """Numbers of the data packets that answer one request, after their announcement by PREPARE_DATA.

    Real terminals number them, from 0, in the field of the session id (captures in pyzk's
    test_tcp_get_users_broken_tcp and issues); others repeat the session id there, which proves no order.
    """

    is_announced: bool = False
    count: int = 0
    first_bytes: int = 0
    are_numbered: bool = True
    _numbers: list[int] = field(default_factory=list)

    @property
    def are_out_of_order(self) -> bool:
        """Whether the packets have consecutive numbers in another order, so that the data is out of order too."""
        first = min(self._numbers, default=0)
        return not self.are_numbered and sorted(self._numbers) == list(range(first, first + self.count))

    def note(self, frame: Frame) -> None:
        """Register a frame that arrived."""
        if frame.command != Command.DATA:
            return
        if self.count == 0:
            self.first_bytes = len(frame.data)
        elif frame.session_id != (self._numbers[-1] + 1) & 0xFFFF:
            self.are_numbered = False
        self._numbers.append(frame.session_id)
        self.count += 1
