"""Compared delivery clients: the plain loop of other bridges, zk_pipeline, and async clients that only POST."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import requests

from benchmarks.crm_server import TOKEN
from zk_pipeline.config.settings import load_settings
from zk_pipeline.crm.delivery import deliver
from zk_pipeline.crm.models import Delivery
from zk_pipeline.crm.payload import encode_one
from zk_pipeline.crm.responses import DeliveryResult, ResponseClass
from zk_pipeline.operations.sync import sync
from zk_pipeline.store.deliveries.due_deliveries import SyncScope
from zk_pipeline.store.store import Store


@dataclass(frozen=True)
class Workspace:
    """A store with due deliveries, and the CRM."""

    store: Path
    url: str
    port: int
    authority: Path


def plain_loop(workspace: Workspace) -> Callable[[], int]:
    """The loop of other bridges: `requests.post` and an UPDATE per record, one after the other.

    Faster than most of them: the database connection stays open, and all due deliveries are read at once.
    """
    due = due_days(workspace.store)

    def run() -> int:
        connection = duckdb.connect(str(workspace.store))
        for one in due:
            headers = _headers(one)
            body = encode_one(one)
            answer = requests.post(
                workspace.url, data=body, headers=headers, timeout=30, verify=str(workspace.authority)
            )
            answer.raise_for_status()
            connection.execute(
                "UPDATE crm_deliveries SET state = 'delivered', attempts = 1, delivered_at = now(), last_status = ? "
                "WHERE idempotency_key = ?",
                [answer.status_code, one.idempotency_key],
            )
        connection.close()
        return len(due)

    return run


def pipeline(concurrency: int, batch: int = 1) -> Callable[[Workspace], Callable[[], int]]:
    """`operations.sync`, as in a run."""

    def prepare(workspace: Workspace) -> Callable[[], int]:
        settings = load_settings(
            {
                "ZK_PIPELINE_HOME": str(workspace.store.parent),
                "CRM_API_URL": workspace.url,
                "CRM_API_TOKEN": TOKEN,
                "CRM_CA_BUNDLE": str(workspace.authority),
                "CRM_CONCURRENCY": str(concurrency),
                "CRM_BATCH_SIZE": str(batch),
            }
        )
        store = Store.at(workspace.store)
        return lambda: sync(store, settings, SyncScope(), run_id="benchmark").delivered

    return prepare


class InstantCrm:
    """A CRM without latency."""

    def post_one(self, _: Delivery) -> DeliveryResult:
        return DeliveryResult(meaning=ResponseClass.DELIVERED, status=201)

    def post_batch(self, deliveries: Sequence[Delivery]) -> list[DeliveryResult]:
        return [DeliveryResult(meaning=ResponseClass.DELIVERED, status=201)] * len(deliveries)

    def finish_within(self, seconds: float) -> None:
        pass


def without_requests(concurrency: int, batch: int = 1) -> Callable[[Workspace], Callable[[], int]]:
    """A sync without requests: claims, threads, settlements."""

    def prepare(workspace: Workspace) -> Callable[[], int]:
        store = Store.at(workspace.store)
        sender: Any = InstantCrm()
        outbox = store.deliveries.outbox(SyncScope(), "benchmark", lambda: True)
        return lambda: (
            deliver(
                outbox, sender, concurrency=concurrency, max_attempts=3, batch_size=batch, clock=store.clock
            ).delivered
        )

    return prepare


def bare_sockets(concurrency: int) -> Callable[[Workspace], Callable[[], int]]:
    """asyncio streams that write prepared requests and read only the status."""

    def prepare(workspace: Workspace) -> Callable[[], int]:
        wire = [_wire(one, workspace) for one in due_days(workspace.store)]
        context = ssl.create_default_context(cafile=str(workspace.authority))

        async def worker(left: list[bytes]) -> None:
            reader, writer = await asyncio.open_connection("127.0.0.1", workspace.port, ssl=context)
            while left:
                writer.write(left.pop())
                head = await reader.readuntil(b"\r\n\r\n")
                assert head.startswith(b"HTTP/1.1 201")
                await reader.readexactly(int(head.partition(b"Content-Length: ")[2].partition(b"\r")[0]))
            writer.close()

        async def run() -> None:
            left = list(wire)
            await asyncio.gather(*[worker(left) for _ in range(concurrency)])

        def timed() -> int:
            asyncio.run(run())
            return len(wire)

        return timed

    return prepare


def aiohttp_posts(concurrency: int) -> Callable[[Workspace], Callable[[], int]]:
    """One aiohttp session with `concurrency` parallel requests and prepared bodies."""

    def prepare(workspace: Workspace) -> Callable[[], int]:
        import aiohttp  # noqa: PLC0415 (not a dependency: `uv run --with aiohttp`)

        due = [(encode_one(one), _headers(one)) for one in due_days(workspace.store)]
        context = ssl.create_default_context(cafile=str(workspace.authority))

        async def worker(session: Any, left: list[tuple[bytes, dict[str, str]]]) -> None:
            while left:
                body, headers = left.pop()
                async with session.post(workspace.url, data=body, headers=headers, ssl=context) as answer:
                    assert answer.status == 201
                    await answer.read()

        async def run() -> None:
            left = list(due)
            async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=concurrency)) as session:
                await asyncio.gather(*[worker(session, left) for _ in range(concurrency)])

        def timed() -> int:
            asyncio.run(run())
            return len(due)

        return timed

    return prepare


def due_days(store: Path) -> list[Delivery]:
    return list(Store.at(store).deliveries.peek(SyncScope(), None))


def _headers(one: Delivery) -> dict[str, str]:
    return {
        "Content-Type": "application/json",
        "Authorization": f"Token {TOKEN}",
        "Idempotency-Key": one.idempotency_key,
    }


def _wire(one: Delivery, workspace: Workspace) -> bytes:
    body = encode_one(one)
    headers = {"Host": f"127.0.0.1:{workspace.port}", "Content-Length": str(len(body))} | _headers(one)
    lines = ["POST /api/attendance/ HTTP/1.1", *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode() + body
