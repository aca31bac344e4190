"""Ports for servers that cannot choose their own."""

from __future__ import annotations

import socket


def free_port() -> int:
    """Chosen by the kernel; somebody else may get it meanwhile, which the server's log says then."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
