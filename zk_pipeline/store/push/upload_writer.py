"""Writer of uploads that keeps a file open while they arrive one after the other, and shares the transactions of a
shared store with other receivers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import datetime
from itertools import islice
from pathlib import Path

from zk_pipeline.store.engine.database import Connection, Database, OpenStore
from zk_pipeline.store.engine.shared_write import SharedWrite
from zk_pipeline.store.push.shared_uploads import KIND, decode_results, decode_uploads, encode_results, encode_uploads
from zk_pipeline.store.push.uploads import PreparedUpload, PushUpload, StoredUpload, prepare, store_uploads

_PURPOSE = "store uploads"
MAX_OPEN_SECONDS = 2.0  # for programs that open the file without its lock: that they wait is not known


@dataclass
class UploadWriter:
    """Stores uploads, for one thread. A file stays open after a transaction until `close`, which the caller must call
    when `must_close`, and when no upload follows soon.
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
        if not isinstance(self.database.where, Path):
            return self._store_together(prepared)
        if self.must_close():
            self.close()
        try:
            if self._open is None:
                self._open = self._stack.enter_context(self.database.keep_open(_PURPOSE))
            with self._open.write() as connection:
                return store_uploads(connection, prepared, self.clock())
        except BaseException as error:
            self._open = None
            self._stack.__exit__(type(error), error, error.__traceback__)  # may raise a clearer error of the engine
            raise

    def _store_together(self, uploads: Sequence[PreparedUpload]) -> list[StoredUpload | None]:
        """On a shared store: together with the uploads of other receivers that wait for the lock."""
        write = SharedWrite(
            item=uploads,
            kind=KIND,
            encode=encode_uploads,
            decode=decode_uploads,
            store=self._store_groups,
            encode_result=encode_results,
            decode_result=decode_results,
        )
        return self.database.write_shared(_PURPOSE, "", write)

    def _store_groups(
        self, connection: Connection, groups: Sequence[Sequence[PreparedUpload]]
    ) -> list[list[StoredUpload | None]]:
        done = iter(store_uploads(connection, [one for group in groups for one in group], self.clock()))
        return [list(islice(done, len(group))) for group in groups]

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
