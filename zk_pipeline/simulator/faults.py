"""Ways in which an emulated terminal misbehaves on the wire, one class each. Answers come from `session`.

To add one, subclass `Faults` and override what it changes.
"""

from __future__ import annotations

from dataclasses import dataclass

from zk_pipeline.simulator.protocol import Command, Frame
from zk_pipeline.simulator.wires import Wire


class Faults:
    """The faultless terminal."""

    def accepts(self) -> bool:
        """Whether a new connection is taken; if not, TCP is closed at once and UDP unanswered."""
        return True

    async def deliver(self, request: Frame, answer: list[Frame], wire: Wire) -> None:  # noqa: ARG002
        """Send the answer to a request, or what this fault makes of it."""
        await wire.send([wire.frame(frame) for frame in answer])


class RefuseConnections(Faults):
    """Takes no connection."""

    def accepts(self) -> bool:
        return False


@dataclass
class RefuseCommand(Faults):
    """Answers one command with `code`; with `data_prefix` only where the request's data starts so.

    CMD_CONNECT or CMD_AUTH with CMD_ACK_UNAUTH refuses whoever asks, CMD_DATA_WRRQ with prefix `01 09 00` the
    user list.
    """

    command: Command
    code: int = Command.CMD_ACK_ERROR
    data_prefix: bytes = b""

    async def deliver(self, request: Frame, answer: list[Frame], wire: Wire) -> None:
        if request.command == self.command and request.data.startswith(self.data_prefix):
            answer = [Frame(self.code, answer[0].session_id, request.reply_number)]
        await super().deliver(request, answer, wire)


@dataclass
class HangAt(Faults):
    """Never answers this command, nor anything after it."""

    command: Command

    async def deliver(self, request: Frame, answer: list[Frame], wire: Wire) -> None:
        if request.command == self.command:
            wire.mute()
        await super().deliver(request, answer, wire)


@dataclass
class CloseAfter(Faults):
    """Ends each connection once it has carried that many bytes, in the middle of a frame if need be."""

    sent_bytes: int
    with_reset: bool = False

    async def deliver(self, request: Frame, answer: list[Frame], wire: Wire) -> None:  # noqa: ARG002
        for packet in [wire.frame(frame) for frame in answer]:
            left = self.sent_bytes - wire.sent_bytes
            if len(packet) > left:
                await wire.send([packet[:left]] if left > 0 else [])
                if self.with_reset:
                    wire.reset()
                else:
                    wire.cut()
                return
            await wire.send([packet])


@dataclass
class CorruptData(Faults):
    """Flips one byte of each CMD_DATA frame long enough to have it, the checksum not following."""

    offset: int

    async def deliver(self, request: Frame, answer: list[Frame], wire: Wire) -> None:  # noqa: ARG002
        packets = []
        for frame in answer:
            packet = bytearray(wire.frame(frame))
            if frame.command == Command.CMD_DATA and len(frame.data) > self.offset:
                packet[len(packet) - len(frame.data) + self.offset] ^= 0xFF
            packets.append(bytes(packet))
        await wire.send(packets)
