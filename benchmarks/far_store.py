"""A shared store whose PostgreSQL is any round trip away. No measurement here."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from zk_pipeline.config.ducklake_address import LakeAddress
from zk_pipeline_tests.ports import free_port
from zk_pipeline_tests.store.store_load import start
from zk_pipeline_tests.waiting import until


@contextmanager
def far_away(near: LakeAddress, milliseconds: float) -> Iterator[LakeAddress]:
    """The same store with its PostgreSQL that round trip away, by a proxy on loopback."""
    if not milliseconds:
        yield near
        return
    parameters, port = dict(near.parameters), free_port()
    proxy = start(_proxy, port, int(parameters["port"]), milliseconds / 2e3)
    try:
        until(lambda: _is_accepting(port))
        yield replace(near, parameters=tuple((parameters | {"port": f"{port}"}).items()))
    finally:
        proxy.kill()
        proxy.join()


def _is_accepting(port: int) -> bool:
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


def _proxy(port: int, target: int, delay: float) -> None:
    """Forward connections to another port of this host, every byte `delay` seconds later."""
    asyncio.run(_serve(port, target, delay))


async def _serve(port: int, target: int, delay: float) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        far_reader, far_writer = await asyncio.open_connection("127.0.0.1", target)
        await asyncio.gather(_forward(reader, far_writer, delay), _forward(far_reader, writer, delay))

    async with await asyncio.start_server(connected, "127.0.0.1", port) as server:
        await server.serve_forever()


async def _forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    loop = asyncio.get_running_loop()
    while data := await reader.read(1 << 16):
        loop.call_later(delay, writer.write, data)
    loop.call_later(delay, writer.close)
