"""A file sent while it is written: the writer waits for whoever reads, and only a few pieces are held meanwhile."""

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

_PIECE = 64 * 1024
_PIECES_WAITING = 8
_PATIENCE_SECONDS = 60  # twice what the guard gives a client to take a piece
_log = logging.getLogger(__name__)


class ClientDisconnected(Exception):
    """Nobody takes the rest of the file."""


class _Pipe(io.RawIOBase):
    """What one thread writes, another one reads piece by piece."""

    def __init__(self) -> None:
        self._held = bytearray()
        self._pieces: queue.Queue[bytes | BaseException | None] = queue.Queue(_PIECES_WAITING)
        self._gone = threading.Event()

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        """Raises ReaderGone."""
        self._held += data
        while len(self._held) >= _PIECE:
            self._pass_on(bytes(self._held[:_PIECE]))
            del self._held[:_PIECE]
        return len(data)

    def finish(self) -> None:
        """Raises ReaderGone."""
        self._pass_on(bytes(self._held))
        self._pass_on(None)

    def fail(self, error: BaseException) -> None:
        """Raises ReaderGone."""
        self._pass_on(error)

    def _pass_on(self, item: bytes | BaseException | None) -> None:
        tries = 0
        while not self._gone.is_set() and tries < _PATIENCE_SECONDS:
            try:
                self._pieces.put(item, timeout=1)
                return
            except queue.Full:
                tries += 1
        raise ClientDisconnected

    def read_pieces(self) -> Iterator[bytes]:
        """Until the end. Raises what the writer has raised."""
        while (item := self._pieces.get()) is not None:
            if isinstance(item, BaseException):
                raise item
            if item:
                yield item

    def abandon(self) -> None:
        self._gone.set()


class StreamedResponse(StreamingResponse):
    """What `write` puts on the stream it is given, in a thread of its own.

    Making it waits for the first piece, and raises what `write` raised before that; a failure after it ends the
    connection, so that half a file is not taken for a whole one. `done` is called at the end, whichever it is.
    """

    def __init__(
        self, write: Callable[[BinaryIO], object], *, media_type: str, filename: str, done: Callable[[], object]
    ) -> None:
        self._pipe = _Pipe()
        threading.Thread(target=self._write, args=(write, done), name=filename, daemon=True).start()
        pieces = self._pipe.read_pieces()
        first = next(pieces, b"")
        super().__init__(
            _chained(first, pieces),
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
            _log.info("nobody takes the rest of %s", threading.current_thread().name)
        except Exception as error:
            with suppress(ClientDisconnected):
                self._pipe.fail(error)
        finally:
            done()


def _chained(first: bytes, rest: Iterator[bytes]) -> Iterator[bytes]:
    yield first
    yield from rest
