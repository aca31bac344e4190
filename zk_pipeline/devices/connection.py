"""Opening a session with a terminal over the right protocol, and closing it in every path."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from zk_pipeline.devices.client import TerminalClient
from zk_pipeline.devices.clock import Clock, Deadline
from zk_pipeline.devices.errors import NoAnswer, Refused, Unreachable
from zk_pipeline.devices.models import Device
from zk_pipeline.devices.tcp import connect_tcp
from zk_pipeline.devices.transport import Transport
from zk_pipeline.devices.udp import connect_udp


@contextmanager
def open_session(
    device: Device, comm_key: int, *, timeout: float, deadline: float, clock: Clock
) -> Iterator[TerminalClient]:
    """A session that ends with the block. Limits in seconds, see `read_terminal`. Raises TerminalError."""
    client = _open(device, comm_key, timeout=timeout, deadline=Deadline.after(deadline, clock))
    try:
        yield client
    finally:
        client.close_session()


def _open(device: Device, comm_key: int, *, timeout: float, deadline: Deadline) -> TerminalClient:
    """A session over the device's protocol; for `auto` TCP, and UDP where nothing takes a TCP connection."""
    if device.protocol == "udp":
        return _opened(connect_udp(device, timeout=timeout, deadline=deadline), comm_key)
    try:
        transport: Transport = connect_tcp(device, timeout=timeout, deadline=deadline)
    except (Refused, Unreachable) as no_tcp:
        if device.protocol == "tcp":
            raise
        try:
            return _opened(connect_udp(device, timeout=timeout, deadline=deadline), comm_key)
        except (Refused, Unreachable, NoAnswer):
            raise type(no_tcp)(device, "connecting over TCP and UDP", no_tcp.problem) from None
    return _opened(transport, comm_key)


def _opened(transport: Transport, comm_key: int) -> TerminalClient:
    try:
        client = TerminalClient(transport)
        client.open_session(comm_key)
    except BaseException:
        transport.close()
        raise
    return client
