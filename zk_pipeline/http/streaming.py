"""Streaming response of a file that is still being written, with backpressure: few chunks are buffered."""

from __future__ import annotations

import io
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any, BinaryIO, cast

from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

_CHUNK_BYTES = 64 * 1024
_MAX_CHUNKS = 8
_CLIENT_TIMEOUT_SECONDS = 60  # twice the send timeout of the middleware
_log = logging.getLogger(__name__)


class ClientDisconnected(Exception):
    """The client does not receive the rest of the file."""


class _Pipe(io.RawIOBase):
    """A pipe between two threads: one writes bytes, the other reads chunks."""

    def __init__(self) -> None:
        self._buffer = bytearray()
        self._chunks: queue.Queue[bytes | BaseException | None] = queue.Queue(_MAX_CHUNKS)
        self._disconnected = threading.Event()

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        """Raises ClientDisconnected."""
        self._buffer += data
        while len(self._buffer) >= _CHUNK_BYTES:
            self._put(bytes(self._buffer[:_CHUNK_BYTES]))
            del self._buffer[:_CHUNK_BYTES]
        return len(data)

    def finish(self) -> None:
        """Raises ClientDisconnected."""
        self._put(bytes(self._buffer))
        self._put(None)

    def fail(self, error: BaseException) -> None:
        """Raises ClientDisconnected."""
        self._put(error)

    def _put(self, item: bytes | BaseException | None) -> None:
        tries = 0
        while not self._disconnected.is_set() and tries < _CLIENT_TIMEOUT_SECONDS:
            try:
                self._chunks.put(item, timeout=1)
                return
            except queue.Full:
                tries += 1
        raise ClientDisconnected

    def read_chunks(self) -> Iterator[bytes]:
        """All chunks. Raises the exception of the writer."""
        while (item := self._chunks.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            if item:
                yield item

    def abandon(self) -> None:
        self._disconnected.set()


class StreamedResponse(StreamingResponse):
    """The output of `write`, which runs in a thread of its own.

    The constructor waits for the first chunk and raises an exception that `write` raised before it. A later failure
    closes the connection, so that half a file is not taken for a whole one. `done` is called at the end in any case.
    """

    def __init__(
        self, write: Callable[[BinaryIO], object], *, media_type: str, filename: str, done: Callable[[], object]
    ) -> None:
        self._pipe = _Pipe()
        threading.Thread(target=self._write, args=(write, done), name=filename, daemon=True).start()
        chunks = self._pipe.read_chunks()
        first = next(chunks, b"")
        super().__init__(
            _chained(first, chunks),
            media_type=media_type,
            headers={"Content-Disposition": f'attachment; filename="{filename}"'},
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._pipe.abandon()

    def _write(self, write: Callable[[BinaryIO], object], done: Callable[[], object]) -> None:
        try:
            write(cast(BinaryIO, self._pipe))
            self._pipe.finish()
        except ClientDisconnected:
            _log.info("the client disconnected before the end of %s", threading.current_thread().name)
        except Exception as error:
            with suppress(ClientDisconnected):
                self._pipe.fail(error)
        finally:
            done()


def _chained(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest
