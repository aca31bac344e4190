"""Recorded answers of an emulated terminal, mutations of them, and a server that replays them for any request."""

from __future__ import annotations

import random
import selectors
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

from zk_pipeline.devices.models import Device, Protocol
from zk_pipeline.devices.reading import read_terminal
from zk_pipeline.simulator.terminal.connections import Connection
from zk_pipeline.simulator.terminal.faults import Faults
from zk_pipeline.simulator.terminal.fleet import Fleet
from zk_pipeline.simulator.terminal.network_faults import SmallPackets
from zk_pipeline.simulator.terminal.protocol import Command, Frame, FrameError, tcp_header
from zk_pipeline_tests.devices.matrix.matrix_terminals import NAME, SHAPES, ZONE, MatrixTerminal

FORGED = "data forged under a checksum that fits"
SWAPPED = "data packets swapped on TCP"
SIZES = (0, 1, 2, 7, 8, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x10000, 0x7FFFFFFF, 0xFFFFFFFF)


@dataclass(frozen=True)
class Recording:
    """All frames that answered one reading, in order, and their terminal."""

    terminal: MatrixTerminal
    protocol: Protocol
    frames: list[Frame]


def record(shape: str, records: int, protocol: Protocol, *, is_numbered: bool = True) -> Recording:
    """Record a reading without faults; larger tables in packets of 1,008 bytes."""

    class Recorder(Faults):
        async def deliver(self, request: Frame, answer: list[Frame], connection: Connection) -> None:
            frames.extend(answer)
            await super().deliver(request, answer, connection)

    frames: list[Frame] = []
    terminal = MatrixTerminal(SHAPES[shape], records)
    with Fleet.serve([terminal], faults={NAME: SmallPackets(1008, is_numbered, then=Recorder())}) as fleet:
        device = Device(name=NAME, ip_address="127.0.0.1", port=fleet.port_of(NAME), protocol=protocol, timezone=ZONE)
        read_terminal(device, comm_key=0, timeout=5, deadline=20)
    return Recording(terminal, protocol, frames)


@dataclass(frozen=True)
class Mutation:
    """A mutated recording. `apart`: why it is counted separately, "" if it is not."""

    name: str
    packets: list[bytes]  # frames with their TCP header, or datagrams
    apart: str = ""


def unchanged(recording: Recording) -> Mutation:
    return Mutation("nothing", _packets(recording, recording.frames))


def mutate(recording: Recording, chance: random.Random) -> Mutation:
    """One mutation, reproducible for the same state of `chance`."""
    kinds = [*FRAME_MUTATIONS, *BYTE_MUTATIONS] + (list(STREAM_MUTATIONS) if recording.protocol == "tcp" else [])
    name = chance.choice(kinds)
    at = chance.randrange(len(recording.frames))
    if name in FRAME_MUTATIONS:
        frames = FRAME_MUTATIONS[name](recording.frames, at, chance)
        return Mutation(name, _packets(recording, frames), _apart(recording, name, at, frames))
    packets = [frame.encode() for frame in recording.frames]
    if name in BYTE_MUTATIONS:
        packets[at] = BYTE_MUTATIONS[name](packets[at], chance)
        # One in 65,535 changes leaves the checksum valid, which is not detectable.
        is_forged = packets[at] != recording.frames[at].encode() and _adds_up(packets[at])
        return Mutation(name, _topped(recording, packets), FORGED if is_forged else "")
    stream = b"".join(_topped(recording, packets))
    return Mutation(name, [STREAM_MUTATIONS[name](stream, chance)])


def _apart(recording: Recording, name: str, at: int, frames: list[Frame]) -> str:
    """Swapped packets, which a network does not cause on TCP; see `test_swapped_packets_of_one_part`."""
    if name == "data-forged" and frames != recording.frames:
        return FORGED
    pair = recording.frames[at : at + 2]
    are_data = len(pair) == 2 and all(frame.command == Command.CMD_DATA for frame in pair)
    return SWAPPED if name == "frames-swapped" and are_data and recording.protocol == "tcp" else ""


def _packets(recording: Recording, frames: list[Frame]) -> list[bytes]:
    return _topped(recording, [frame.encode() for frame in frames])


def _topped(recording: Recording, packets: list[bytes]) -> list[bytes]:
    return [tcp_header(packet) + packet for packet in packets] if recording.protocol == "tcp" else packets


def _adds_up(packet: bytes) -> bool:
    with suppress(FrameError):
        return bool(Frame.decode(packet))
    return False


# Complete frames, each with a valid checksum.


def _with(frames: list[Frame], at: int, **changes: object) -> list[Frame]:
    return [*frames[:at], replace(frames[at], **changes), *frames[at + 1 :]]  # type: ignore[arg-type]


def _swapped(frames: list[Frame], at: int, _: random.Random) -> list[Frame]:
    return [*frames[:at], *reversed(frames[at : at + 2]), *frames[at + 2 :]]


def _forged(frames: list[Frame], at: int, chance: random.Random) -> list[Frame]:
    mutation = chance.choice(list(BYTE_MUTATIONS.values()))
    return _with(frames, at, data=mutation(frames[at].data, chance))


FRAME_MUTATIONS: dict[str, Callable[[list[Frame], int, random.Random], list[Frame]]] = {
    "frame-lost": lambda frames, at, _: [*frames[:at], *frames[at + 1 :]],
    "frame-doubled": lambda frames, at, _: [*frames[: at + 1], *frames[at:]],
    "frames-swapped": _swapped,
    "end-lost": lambda frames, at, _: frames[:at],
    "command-forged": lambda frames, at, chance: _with(frames, at, command=chance.choice([*Command, 6001, 0])),
    "session-forged": lambda frames, at, chance: _with(frames, at, session_id=chance.randrange(1 << 16)),
    "reply-number-forged": lambda frames, at, chance: _with(
        frames, at, reply_number=(frames[at].reply_number + chance.randint(-3, 3)) & 0xFFFF
    ),
    "data-forged": _forged,
}

# The bytes of one frame, with the length in its TCP header adjusted.


def _flipped(packet: bytes, chance: random.Random) -> bytes:
    if not packet:
        return packet
    changed = bytearray(packet)
    changed[chance.randrange(len(packet))] ^= 1 << chance.randrange(8)
    return bytes(changed)


def _overwritten(packet: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(packet) + 1)
    noise = chance.randbytes(chance.randint(1, 8))[: len(packet) - at]
    return packet[:at] + noise + packet[at + len(noise) :]


def _with_a_number(packet: bytes, chance: random.Random) -> bytes:
    """Four bytes, used as a size or not."""
    at = chance.randrange(len(packet) + 1)
    number = chance.choice(SIZES).to_bytes(4, "little")[: len(packet) - at]
    return packet[:at] + number + packet[at + len(number) :]


BYTE_MUTATIONS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "bit-flipped": _flipped,
    "bytes-overwritten": _overwritten,
    "number-put-in": _with_a_number,
    "cut-short": lambda packet, chance: packet[: chance.randrange(len(packet) + 1)],
    "made-longer": lambda packet, chance: packet + chance.randbytes(chance.randint(1, 50)),
}

# The TCP stream, headers included.


def _inserted(stream: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(stream))
    return stream[:at] + chance.randbytes(chance.randint(1, 20)) + stream[at:]


def _removed(stream: bytes, chance: random.Random) -> bytes:
    at = chance.randrange(len(stream))
    return stream[:at] + stream[at + chance.randint(1, 20) :]


STREAM_MUTATIONS: dict[str, Callable[[bytes, random.Random], bytes]] = {
    "stream-cut": lambda stream, chance: stream[: chance.randrange(len(stream))],
    "bytes-inserted": _inserted,
    "bytes-removed": _removed,
    "stream-bit-flipped": _flipped,
    "length-put-in": lambda stream, chance: _with_a_number(stream[:8], chance) + stream[8:],
}


class Replay:
    """A TCP and UDP server that answers any request with `packets`."""

    def __init__(self) -> None:
        self.packets: list[bytes] = []
        self._tcp = socket.create_server(("127.0.0.1", 0))
        self._udp = socket.socket(type=socket.SOCK_DGRAM)
        self._udp.bind(("127.0.0.1", 0))
        self._waker, self._woken = socket.socketpair()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def device(self, protocol: Protocol) -> Device:
        listener = self._tcp if protocol == "tcp" else self._udp
        port = int(listener.getsockname()[1])
        return Device(name=NAME, ip_address="127.0.0.1", port=port, protocol=protocol, timezone=ZONE)

    def close(self) -> None:
        self._waker.close()
        self._thread.join()
        for one in (self._tcp, self._udp, self._woken):
            one.close()

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            for one in (self._tcp, self._udp, self._woken):
                selector.register(one, selectors.EVENT_READ)
            while True:
                ready = [key.fileobj for key, _ in selector.select()]
                if self._woken in ready:
                    return
                if self._tcp in ready:
                    self._answer_connection()
                if self._udp in ready:
                    self._answer_datagram()

    def _answer_connection(self) -> None:
        connection, _ = self._tcp.accept()
        with connection, suppress(OSError):  # the client may close the connection at any time
            connection.sendall(b"".join(self.packets))
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(1 << 16):
                pass

    def _answer_datagram(self) -> None:
        request, address = self._udp.recvfrom(1 << 16)
        if int.from_bytes(request[:2], "little") == Command.CMD_CONNECT:
            for packet in self.packets:
                self._udp.sendto(packet, address)


@contextmanager
def replaying() -> Iterator[Replay]:
    replay = Replay()
    try:
        yield replay
    finally:
        replay.close()
