"""Network server of one emulated terminal: TCP and UDP on one port number. Requests are answered in `session`."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable

from zk_pipeline.simulator.terminal.connections import Address, Connection, TcpConnection, UdpConnection
from zk_pipeline.simulator.terminal.faults import Faults
from zk_pipeline.simulator.terminal.protocol import HEADER_BYTES, TCP_HEADER_BYTES, TCP_MAGIC, Frame, FrameError
from zk_pipeline.simulator.terminal.session import TCP_DATA_BYTES, UDP_DATA_BYTES, Session
from zk_pipeline.simulator.terminal.terminal import EmulatedTerminal

_MAX_REQUEST_BYTES = 64 * 1024
_MAX_UDP_CLIENTS = 64
_PORT_ATTEMPTS = 20
_SESSION_IDS = 0xFFFF


class TerminalServer:
    """Serves one terminal. `faults` delivers the answers and may be replaced at any time.

    Frames with a wrong checksum are dropped without an answer (not documented in the protocol).
    """

    def __init__(
        self, terminal: EmulatedTerminal, faults: Faults | None = None, *, first_session_id: int = 0x1000
    ) -> None:
        self.terminal = terminal
        self.faults = faults or Faults()
        self._next_session_id = first_session_id
        self._is_open = False
        self._tcp: asyncio.Server | None = None
        self._udp: asyncio.DatagramTransport | None = None
        self._udp_clients: dict[Address, tuple[Session, UdpConnection]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self, host: str = "127.0.0.1", port: int = 0) -> int:
        """Listen; returns the port, for 0 one that is free on both transports. Raises OSError."""
        for attempt in itertools.count(1):
            try:
                return await self._bind(host, port)
            except OSError:
                # A free TCP port may be in use by another program on UDP: try the next one.
                if port or attempt == _PORT_ATTEMPTS:
                    raise
        raise AssertionError("unreachable")

    async def stop(self) -> None:
        """Close every connection and both sockets, and wait for all tasks."""
        if self._tcp is None or self._udp is None:
            return
        self._is_open = False
        self._tcp.close()
        self._udp.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for session, _ in self._udp_clients.values():
            session.close()
        self._udp_clients.clear()
        await self._udp_closed.wait()
        await self._tcp.wait_closed()
        self._tcp = self._udp = None

    async def _bind(self, host: str, port: int) -> int:
        self._is_open = True
        tcp = await asyncio.start_server(self._serve_tcp, host, port)
        self._udp_closed = asyncio.Event()
        bound_port = int(tcp.sockets[0].getsockname()[1])
        try:
            self._udp, _ = await asyncio.get_running_loop().create_datagram_endpoint(
                lambda: _UdpProtocol(self._serve_udp, self._udp_closed), local_addr=(host, bound_port)
            )
        except BaseException:
            tcp.close()
            await tcp.wait_closed()
            raise
        self._tcp = tcp
        return bound_port

    def _new_session_id(self) -> int:
        session_id = self._next_session_id
        self._next_session_id = session_id % _SESSION_IDS + 1
        return session_id

    def _new_session(self, connection: Connection, data_bytes: int) -> Session:
        return Session(
            terminal=self.terminal,
            new_session_id=self._new_session_id,
            data_bytes=data_bytes,
            push=lambda frame: connection.write([connection.frame(frame)]),
        )

    async def _serve_tcp(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        is_accepted = self._is_open and self.faults.accepts()
        connection = TcpConnection(writer)
        session = self._new_session(connection, TCP_DATA_BYTES)
        try:
            while is_accepted and (packet := await _read_packet(reader)) is not None:
                await self._answer(session, connection, packet)
            writer.close()
            await writer.wait_closed()
        except (ConnectionError, asyncio.CancelledError):
            pass  # client disconnected, or `stop` was called: asyncio would log a cancelled handler as an error
        finally:
            session.close()
            writer.transport.abort()
            self._tasks.discard(task)

    def _serve_udp(self, packet: bytes, address: Address) -> None:
        client = self._udp_clients.pop(address, None)
        if client is None:
            if not self.faults.accepts():
                return
            assert self._udp is not None
            connection = UdpConnection(self._udp, address)
            client = self._new_session(connection, UDP_DATA_BYTES), connection
            if len(self._udp_clients) >= _MAX_UDP_CLIENTS:
                longest_silent, _ = self._udp_clients.pop(next(iter(self._udp_clients)))
                longest_silent.close()
        self._udp_clients[address] = client
        task = asyncio.get_running_loop().create_task(self._answer(*client, packet))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _answer(self, session: Session, connection: Connection, packet: bytes) -> None:
        try:
            request = Frame.decode(packet)
        except FrameError:
            return
        if answer := session.handle(request):
            await self.faults.deliver(request, answer, connection)


async def _read_packet(reader: asyncio.StreamReader) -> bytes | None:
    """The next frame without its TCP header; None at the end of the stream or for bytes that are not a frame."""
    try:
        header = await reader.readexactly(TCP_HEADER_BYTES)
        length = int.from_bytes(header[4:], "little")
        if not header.startswith(TCP_MAGIC) or not HEADER_BYTES <= length <= _MAX_REQUEST_BYTES:
            return None
        return await reader.readexactly(length)
    except asyncio.IncompleteReadError:
        return None


class _UdpProtocol(asyncio.DatagramProtocol):
    def __init__(self, received: Callable[[bytes, Address], None], closed: asyncio.Event) -> None:
        self._received = received
        self._closed = closed

    def datagram_received(self, data: bytes, addr: Address) -> None:
        self._received(data, addr)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        self._closed.set()
