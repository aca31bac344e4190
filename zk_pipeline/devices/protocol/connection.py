"""Sessions with a terminal: connect over TCP or UDP, with fallback for `auto`, and close in every path."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from zk_pipeline.devices.clock import Clock, Deadline
from zk_pipeline.devices.errors import NoAnswer, Refused, Unreachable
from zk_pipeline.devices.models import Device
from zk_pipeline.devices.protocol.client import TerminalClient
from zk_pipeline.devices.protocol.tcp import connect_tcp
from zk_pipeline.devices.protocol.transport import Kind, Transport
from zk_pipeline.devices.protocol.udp import connect_udp

_CONNECT = {"tcp": connect_tcp, "udp": connect_udp}
# Over UDP a missing terminal shows only as no answer to the first request.
_CONNECTION_ERRORS = {"tcp": (Refused, Unreachable), "udp": (Refused, Unreachable, NoAnswer)}


@dataclass
class Connector:
    """Opens sessions with one device, one after the other, all within one deadline.

    `timeout` for one answer is in seconds. For `auto` the transport that worked last is tried first.
    `bytes_received` is the total of all ended sessions.
    """

    device: Device
    comm_key: int = field(repr=False)
    timeout: float
    deadline: Deadline
    transport: Kind | None = None
    bytes_received: int = 0

    @classmethod
    def within(cls, device: Device, comm_key: int, *, timeout: float, deadline: float, clock: Clock) -> Connector:
        """A connector whose deadline expires `deadline` seconds from now."""
        return cls(device, comm_key, timeout, Deadline.after(deadline, clock), device.last_transport)

    @contextmanager
    def session(self) -> Iterator[TerminalClient]:
        """A session that ends with the block. Raises TerminalError."""
        client = self._open()
        try:
            yield client
        finally:
            client.close_session()
            self.bytes_received += client.transport.bytes_received

    def _open(self) -> TerminalClient:
        if self.device.protocol != "auto":
            return self._open_over(self.device.protocol)
        kinds: tuple[Kind, Kind] = ("udp", "tcp") if self.transport == "udp" else ("tcp", "udp")
        first, other = kinds
        try:
            return self._open_over(first)
        except _CONNECTION_ERRORS[first] as failure:
            try:
                return self._open_over(other)
            except (Refused, Unreachable, NoAnswer):
                attempted = f"connecting over {first.upper()} and {other.upper()}"
                raise type(failure)(self.device, attempted, failure.problem, advice=failure.advice) from None

    def _open_over(self, kind: Kind) -> TerminalClient:
        transport: Transport = _CONNECT[kind](self.device, timeout=self.timeout, deadline=self.deadline)
        try:
            client = TerminalClient(transport)
            client.open_session(self.comm_key)
        except BaseException:
            transport.close()
            self.bytes_received += transport.bytes_received
            raise
        self.transport = kind
        return client
