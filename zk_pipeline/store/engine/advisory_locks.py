"""Advisory locks of a shared store in PostgreSQL, each on a connection of its own.

PostgreSQL releases a lock when its connection ends, however the process ends; within a minute after the loss of a host.
Its wait queue is fair: a waiting exclusive lock blocks later shared ones.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from zk_pipeline.config.ducklake_address import LakeAddress
from zk_pipeline.store.engine.engine import Mode
from zk_pipeline.store.engine.waiting_writes import MAX_BYTES_SHARED, WaitingWrites
from zk_pipeline.store.errors import StoreBusy, StoreUnreachable, StoreUnusable
from zk_pipeline.store.locks.file_lock import HeldLock, single_lock_per_thread
from zk_pipeline.store.locks.sync_lock import HasSyncLock, SyncAlreadyRunning
from zk_pipeline.store.schema.migrations_runner import newest_version

_CLASS = 0x5A4B  # "ZK": the first of the two numbers of each lock
_WRITER, _MAINTENANCE, _SENDER = 1, 2, 3
_LOCKS: dict[Mode, tuple[tuple[int, str], ...]] = {
    # Readers see snapshots and need no writer lock. But a flush of inlined rows, a deletion of files or a schema change
    # removes what a reader has just looked up (ducklake #1413).
    "shared": ((_MAINTENANCE, "_shared"),),
    "exclusive": ((_WRITER, ""),),
    "maintenance": ((_WRITER, ""), (_MAINTENANCE, "")),
}
_READERS_STOPPED_MS = 500  # at a time: readers that arrive while maintenance waits for a long reader queue behind it
_IDLE_KEPT = 4  # idle connections that this process keeps
# Store version of the program (none in versions up to 34), process number and host: `application_name` of a connection.
_APPLICATION = re.compile(r"zk_pipeline(?:/(\d+))? (\d+)@(.*)")
_CONNECT = {
    "connect_timeout": "10",
    # A host that lost power or network closes no connection: TCP keepalive detects it on both sides.
    "keepalives_idle": "20",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "tcp_user_timeout": "30000",
    "options": "-c tcp_keepalives_idle=20 -c tcp_keepalives_interval=10 -c tcp_keepalives_count=3",
}

_idle: dict[tuple[int, LakeAddress], list[Any]] = {}  # by process id, because a forked child must not use them
_guard = threading.Lock()


def forget_sessions(address: LakeAddress) -> None:
    """Close the idle connections."""
    with _guard:
        for session in _idle.pop((os.getpid(), address), []):
            session.close()


def driver() -> ModuleType:
    """The module psycopg2. Raises StoreUnusable if it is not installed."""
    try:
        import psycopg2  # noqa: PLC0415 (only for those who have a shared store)
        import psycopg2.errors  # noqa: PLC0415
    except ImportError:
        raise StoreUnusable("ZK_PIPELINE_DATABASE: a shared store needs `zk-pipeline[ducklake]` installed") from None
    return psycopg2


@dataclass(frozen=True)
class HeldAdvisoryLock(HeldLock):
    """A lock that is lost with its connection."""

    session: Any
    locks: tuple[int, ...]

    def is_still_held(self) -> bool:
        """Query PostgreSQL, to detect a pooler that has switched the connection to another server process."""
        try:
            with self.session.cursor() as cursor:
                cursor.execute(
                    """
                    SELECT count(*) FROM pg_locks
                    WHERE locktype = 'advisory' AND granted AND pid = pg_backend_pid() AND classid = %s
                      AND database = (SELECT oid FROM pg_database WHERE datname = current_database())
                      AND objid = ANY(%s::bigint[])
                    """,
                    [_CLASS, list(self.locks)],
                )
                return bool(cursor.fetchone() == (len(self.locks),))
        except driver().Error:
            return False


@dataclass(frozen=True)
class StoredByAnother(HeldLock):
    """No lock: the process that had it stored the write that was waiting for it. `result`: see `WaitingWrites`."""

    result: str


@dataclass(frozen=True)
class AdvisoryLocks:
    address: LakeAddress

    @contextmanager
    def lock(self, mode: Mode, purpose: str, *, wait_seconds: float) -> Iterator[HeldLock]:
        """Raises StoreBusy, naming the holders, after `wait_seconds`; StoreUnreachable; NestedHold."""
        with single_lock_per_thread(str(self.address), purpose):
            started = time.monotonic()
            wanted = _LOCKS[mode]
            with self._session() as session:
                for number, kind in wanted:
                    self._acquire(session, number, kind, purpose, started + wait_seconds)
                now = time.monotonic()
                yield HeldAdvisoryLock(
                    now - started, now, lambda _: None, session, tuple(number for number, _ in wanted)
                )

    @contextmanager
    def lock_or_share(
        self, purpose: str, kind: str, item: Callable[[], bytes], *, wait_seconds: float
    ) -> Iterator[HeldAdvisoryLock | StoredByAnother]:
        """The writer lock; or StoredByAnother, if its holder stored `item` while this process waited for the lock.

        `item` is called only if the lock is taken; `kind` names its encoding. Raises as `lock`.
        """
        with single_lock_per_thread(str(self.address), purpose):
            started = time.monotonic()
            with self._session() as session:
                result = self._wait_or_share(session, purpose, kind, item, started + wait_seconds)
                now = time.monotonic()
                if result is None:
                    yield HeldAdvisoryLock(now - started, now, lambda _: None, session, (_WRITER,))
                else:
                    yield StoredByAnother(now - started, now, lambda _: None, result)

    @contextmanager
    def acquire_sync_lock(self) -> Iterator[HasSyncLock]:
        """Acquire the sync lock. Raises SyncAlreadyRunning at once if a sync run on any host has it."""
        with self._session() as session:
            with session.cursor() as cursor:
                cursor.execute("SELECT pg_try_advisory_lock(%s, %s)", [_CLASS, _SENDER])
                if cursor.fetchone() != (True,):
                    raise SyncAlreadyRunning("another sync run is sending to the CRM; wait for it to end")
            now = time.monotonic()
            yield HeldAdvisoryLock(0.0, now, lambda _: None, session, (_SENDER,)).is_still_held

    def ask(self, sql: str) -> Any:
        """The first value of the first row."""
        with self._session() as session, session.cursor() as cursor:
            cursor.execute(sql)
            return cursor.fetchone()[0]

    def older_users(self, version: int) -> list[str]:
        """Description of each process, on any host, that is connected to the store with a store version below
        `version`. A process keeps a connection from its first use of the store until it ends.
        """
        with self._session() as session, session.cursor() as cursor:
            cursor.execute(
                """
                SELECT DISTINCT application_name FROM pg_stat_activity WHERE datname = current_database() ORDER BY 1
                """
            )
            found = [_APPLICATION.fullmatch(name) for (name,) in cursor.fetchall()]
        return [f"process {one[2]} on {one[3]}" for one in found if one and int(one[1] or 0) < version]

    def _wait_or_share(
        self, session: Any, purpose: str, kind: str, item: Callable[[], bytes], deadline: float
    ) -> str | None:
        """Wait until the lock is acquired (None), or another process has stored the item: its result."""
        with session.cursor() as cursor:
            cursor.execute("SELECT %s AS held_for, pg_try_advisory_lock(%s, %s)", [_shown(purpose), _CLASS, _WRITER])
            if cursor.fetchone()[1]:
                return None
        sent = item()
        if len(sent) > MAX_BYTES_SHARED:
            self._acquire(session, _WRITER, "", purpose, deadline)
            return None
        writes = waiting_writes(session)
        ticket = writes.submit(kind, sent)
        is_acquired = self._is_acquired_or_woken(session, purpose, deadline)
        result = writes.take_result(ticket)
        if result is None and not is_acquired:  # interrupted otherwise
            self._acquire(session, _WRITER, "", purpose, deadline)
        elif result is not None and is_acquired:
            with session.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock_all()")
        return result

    def _is_acquired_or_woken(self, session: Any, purpose: str, deadline: float) -> bool:
        """True if the lock is acquired, False if the wait was interrupted. Raises StoreBusy."""
        try:
            self._acquire(session, _WRITER, "", purpose, deadline)
        except driver().errors.QueryCanceled:
            return False
        return True

    def _acquire(self, session: Any, number: int, kind: str, purpose: str, deadline: float) -> None:
        stops_readers = number == _MAINTENANCE and not kind
        while True:
            left = max(1, int((deadline - time.monotonic()) * 1e3))
            patience = min(left, _READERS_STOPPED_MS) if stops_readers else left
            if self._is_acquired(session, number, kind, purpose, patience):
                return
            if patience == left:
                raise StoreBusy(self._in_vain(session, number))
            time.sleep(_READERS_STOPPED_MS / 1e3)  # readers continue during the pause

    def _is_acquired(self, session: Any, number: int, kind: str, purpose: str, patience_ms: int) -> bool:
        with session.cursor() as cursor:
            try:
                cursor.execute(
                    f"SET lock_timeout = {patience_ms}; "
                    f"SELECT pg_advisory_lock{kind}({_CLASS}, {number}), %s AS held_for; SET lock_timeout = 0",
                    [_shown(purpose)],
                )
            except driver().errors.LockNotAvailable:
                return False
        return True

    def _in_vain(self, session: Any, number: int) -> str:
        with session.cursor() as cursor:
            cursor.execute(
                """
                SELECT application_name, query, extract(epoch FROM clock_timestamp() - query_start)
                FROM pg_locks JOIN pg_stat_activity USING (pid)
                WHERE locktype = 'advisory' AND granted AND classid = %s AND objid = %s AND pid <> pg_backend_pid()
                ORDER BY query_start LIMIT 3
                """,
                [_CLASS, number],
            )
            holders = [_named(*row) for row in cursor.fetchall()]
        who = " and ".join(holders) or "a process that has just released it"
        return (
            f"waited too long for the store: {who} still {'hold' if len(holders) > 1 else 'holds'} it; "
            "end that work or try again"
        )

    @contextmanager
    def _session(self) -> Iterator[Any]:
        """A connection to PostgreSQL; reused only if no error occurred and every lock is released."""
        session = self._take()
        try:
            try:
                yield session
            except driver().OperationalError as error:
                raise self._unreachable(error) from None
            with suppress(driver().Error), session.cursor() as cursor:
                cursor.execute("SELECT pg_advisory_unlock_all()")
                self._keep(session)
                session = None
        finally:
            if session is not None:
                session.close()  # PostgreSQL then releases its locks

    def _take(self) -> Any:
        while True:
            with _guard:
                idle = _idle.setdefault((os.getpid(), self.address), [])
                session = idle.pop() if idle else None
            if session is None:
                return self._connect()
            with suppress(driver().Error), session.cursor() as cursor:  # the server may have been restarted since
                cursor.execute("SELECT 1")
                return session
            session.close()

    def _keep(self, session: Any) -> None:
        with _guard:
            idle = _idle.setdefault((os.getpid(), self.address), [])
            if len(idle) < _IDLE_KEPT:
                idle.append(session)
                return
        session.close()

    def _connect(self) -> Any:
        given = dict(self.address.parameters)
        options = " ".join(filter(None, (_CONNECT["options"], given.get("options"))))
        name = f"zk_pipeline/{newest_version()} {os.getpid()}@{os.uname().nodename}"[:63]
        secret = {"password": self.address.password} if self.address.password else {}
        values = _CONNECT | {"application_name": name} | given | secret | {"options": options}
        try:
            session = driver().connect(**values)
        except driver().OperationalError as error:
            raise self._unreachable(error) from None
        session.autocommit = True
        return session

    def _unreachable(self, error: Exception) -> StoreUnreachable:
        lines = self.address.scrubbed(str(error)).strip().splitlines() or ["no message"]
        return StoreUnreachable(f"the PostgreSQL server of the store cannot be used: {lines[0]}")


def waiting_writes(session: Any) -> WaitingWrites:
    """Writes that wait for the writer lock."""
    return WaitingWrites(session, driver(), _CLASS, _WRITER)


def _shown(purpose: str) -> str:
    return purpose.replace("\\", "/")


def _named(application: str, query: str, seconds: float) -> str:
    found = re.search(r"E?'((?:[^']|'')*)' AS held_for", query)
    purpose = found[1].replace("''", "'") if found else "unknown operation"
    name = _APPLICATION.fullmatch(application)
    process = f"process {name[2]} on {name[3]}" if name else f"the connection {application!r}"
    return f"{process} ({purpose}, for {max(0.0, float(seconds)):.0f} s)"
