"""Writer of uploads that keeps the store open while they arrive one after the other."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime

from zk_pipeline.store.engine.database import Database, OpenStore
from zk_pipeline.store.push.uploads import PushUpload, StoredUpload, prepare, store_uploads

MAX_OPEN_SECONDS = 2.0  # for programs that open the file without its lock: that they wait is not known


@dataclass
class UploadWriter:
    """Stores uploads, for one thread. The store stays open after a transaction until `close`, which the caller must
    call when `must_close`, and when no upload follows soon.
    """

    database: Database
    clock: Callable[[], datetime]
    _open: OpenStore | None = None
    _stack: ExitStack = field(default_factory=ExitStack)

    def store(self, uploads: Sequence[PushUpload]) -> list[StoredUpload | None]:
        """Store uploads in one transaction; returns the counts of each, in order. Idempotent.

        None for an upload that was not stored, because its terminal is no longer adopted or enabled, or its zone was
        changed. Raises errors of the store, after which nothing of this call is stored and the store is closed.
        """
        prepared = prepare(uploads)
        if self.must_close():
            self.close()
        try:
            if self._open is None:
                self._open = self._stack.enter_context(self.database.keep_open("store uploads"))
            with self._open.write() as connection:
                return store_uploads(connection, prepared, self.clock())
        except BaseException as error:
            self._open = None
            self._stack.__exit__(type(error), error, error.__traceback__)  # may raise a clearer error of the engine
            raise

    def must_close(self) -> bool:
        """True if the store is open and another process waits for it, or it was open for long. For any thread."""
        is_open = self._open
        return is_open is not None and (is_open.open_seconds > MAX_OPEN_SECONDS or is_open.is_wanted())

    @property
    def is_open(self) -> bool:
        return self._open is not None

    def close(self) -> None:
        """Close the store, if it is open."""
        self._open = None
        self._stack.close()
